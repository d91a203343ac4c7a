// SPDX-License-Identifier: Apache-2.0
// A container orchestrator of the simulation: makes, grows, publishes, lists and deletes volumes,
// repeats what failed as the sidecars do, and checks every answer against the storage.
#pragma once

#include <map>
#include <string>

#include "tests/simulation/cluster.hpp"

namespace gantry::simulation {

struct Tally {
  uint64_t calls = 0;
  uint64_t failed_calls = 0;
  base::Duration longest_calm{0};
};

class Client {
 public:
  Client(World& world, Cluster& cluster, Tally& tally, std::string name)
      : world_(world), cluster_(cluster), tally_(tally), name_(std::move(name)) {}

  // So many volumes' lives, one after the other.
  void Run(size_t lives);
  // What must be there in the end, by backend: handle -> bytes at least.
  const std::map<std::string, std::map<std::string, uint64_t>>& left() const { return left_; }

 private:
  template <class Response>
  using Call =
      std::function<base::Result<Response>(const core::Controller&, const core::CallContext&)>;
  // Repeats until it succeeds. `allowed` is another final answer that may come.
  template <class Response>
  base::Result<Response> Persist(const std::string& backend, const std::string& what,
                                 const Call<Response>& call, base::Code allowed = base::Code::kOk);
  template <class Response>
  std::optional<base::Result<Response>> Once(const std::string& backend, const std::string& what,
                                             const Call<Response>& call);
  void CheckFailure(const std::string& backend, const std::string& what, const base::Error& error,
                    base::TimePoint since, base::TimePoint deadline, const Gantryd& gantryd,
                    bool was_cancelled);

  void Live(const std::string& backend, const std::string& volume, bool is_shared);
  std::string Create(const std::string& backend, const std::string& volume, uint64_t bytes);
  void Expand(const std::string& backend, const std::string& id, uint64_t bytes, bool is_shared);
  void Publish(const std::string& backend, const std::string& id, bool is_shared);
  void List();
  void Delete(const std::string& backend, const std::string& id);

  World& world_;
  Cluster& cluster_;
  Tally& tally_;
  const std::string name_;
  size_t node_ = 0;
  uint64_t next_token_ = 1;
  base::TimePoint begun_;  // of the attempt that was answered last
  std::map<std::string, std::map<std::string, uint64_t>> left_;
};

}  // namespace gantry::simulation
