// SPDX-License-Identifier: Apache-2.0
// Clients that live volumes' lives on one node, with every RPC that the NFS backend has and data
// written through each mount, and a judge who looks behind the server and at the node for what they
// must have left.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {

// What calls may come to besides OK.
struct Leniency {
  // UNAVAILABLE and ABORTED after at least so long, when the same call succeeds after tries of a
  // sidecar's kind; nothing: never.
  std::optional<std::chrono::milliseconds> fails_after;
  // From its first error to its success at most.
  std::chrono::milliseconds retried_max{60'000};
};

// What the clients saw. Any thread.
class LoadTally {
 public:
  void Add(const std::string& rpc, const grpc::Status& status, std::chrono::nanoseconds took,
           const Leniency& leniency);
  void Recovered(const std::string& rpc, std::chrono::nanoseconds took, const Leniency& leniency);
  void Wrong(const std::string& what);

  // "calm: 1234 calls, ..." and the longest of each RPC.
  std::string Report(const std::string& part) const;
  std::string wrongs() const;
  uint64_t calls() const { return calls_; }
  double longest_ms() const { return static_cast<double>(longest_.count()) / 1e6; }

 private:
  void WrongLocked(const std::string& what);

  mutable std::mutex mutex_;
  uint64_t calls_ = 0;
  uint64_t failed_ = 0;
  std::chrono::nanoseconds longest_{0};
  std::chrono::nanoseconds longest_retried_{0};
  std::map<std::string, std::chrono::nanoseconds> longest_of_;
  std::vector<std::string> wrongs_;
  uint64_t wrong_ = 0;
};

// One part of a test: clients beside something that disturbs them. The node outlives it.
class NfsLoad {
 public:
  NfsLoad(NfsNode& node, std::string part, Leniency leniency)
      : node_(node), part_(std::move(part)), leniency_(leniency) {}

  // Runs `clients` for `time`, and `disturb` once a `period`; then prints what was seen.
  void Run(int clients, std::chrono::milliseconds time, std::chrono::milliseconds period,
           const std::function<void()>& disturb);
  // Some volumes were kept: they are there once, with their data, and nothing else is; a second
  // CreateVolume gives the same ones. Deletes them: then nothing is left at all.
  void Judge();

  const LoadTally& tally() const { return tally_; }

 private:
  struct Kept {
    Volume volume;
    std::string content;
  };

  bool Call(const std::string& rpc, const std::function<grpc::Status()>& send);
  void Live(int client, uint64_t number);
  bool Use(const Volume& volume, const std::string& content);
  void ExpectOnServer(const std::vector<Kept>& kept) const;

  NfsNode& node_;
  const std::string part_;
  const Leniency leniency_;
  LoadTally tally_;
  std::mutex mutex_;
  std::vector<Kept> kept_;
};

}  // namespace gantry::tests
