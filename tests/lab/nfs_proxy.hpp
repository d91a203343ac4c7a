// SPDX-License-Identifier: Apache-2.0
// A TCP relay between an NFS client and its server that knows where RPC records end and which of
// them are NFS calls, so that a test can kill, drop or delay at one exact step of a protocol.
// Rejected: a fault-injecting plugin (then it is not the shipped plugin that is tested), and delays
// by time (which hit another step on every machine).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::lab {

// Procedures of NFSv3 that tests tell apart (RFC 1813, section 3).
inline constexpr uint32_t kNfsRename = 14;

struct NfsCall {
  uint64_t number = 0;  // From 1, since Arm.
  uint32_t procedure = 0;
};

class NfsProxy {
 public:
  enum class Stage : uint8_t { kRequest, kReply };  // Before it reaches the server; the client.
  enum class Verdict : uint8_t {
    kPass,
    kDrop,  // The record is lost, and the connection with it.
    kHold,  // Requests only: lies here until Release, on a connection that stays open for it; the
            // client's is closed.
    kHush,  // The same, but the client's stays open too, and it hears nothing.
  };
  // Called on a connection's thread, by several at once.
  using Hook = std::function<Verdict(const NfsCall&, Stage)>;

  // Relays to 127.0.0.1:`server_port` from a port of its own.
  static base::Result<std::unique_ptr<NfsProxy>> Start(uint16_t server_port);
  ~NfsProxy();

  uint16_t port() const { return port_; }
  // Counts anew, and asks `hook` about every NFS call but NULL and about its reply.
  void Arm(Hook hook);
  void Disarm() { Arm({}); }
  uint64_t calls() const { return calls_; }
  size_t held() const;
  // Sends what is held to the server, and waits until each has been answered or refused.
  base::Status Release();

 private:
  struct Held {
    base::UniqueFd server;
    std::string record;
  };

  NfsProxy() = default;
  void Accept();
  void Relay(base::UniqueFd client);
  void Hush(int client);
  Verdict Ask(const NfsCall& call, Stage stage);

  base::UniqueFd listener_;
  base::UniqueFd stop_;
  uint16_t port_ = 0;
  uint16_t server_port_ = 0;
  std::atomic<uint64_t> calls_ = 0;
  mutable std::mutex mutex_;
  std::shared_ptr<const Hook> hook_;
  std::vector<Held> held_;
  std::list<std::thread> relays_;
  std::thread acceptor_;
};

}  // namespace gantry::lab
