// SPDX-License-Identifier: Apache-2.0
// The storage behind the simulated plugins, and the model that the host is measured against: what
// exists, what is being changed by whom, and which tasks are to be done. Whoever breaks a rule
// fails the run there and then.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "host/base/simulation.hpp"

namespace gantry::simulation {

struct Process;

struct StoredVolume {
  bool exists = false;
  uint64_t incarnation = 0;
  uint64_t capacity = 0;
  std::set<std::string> nodes;
  // When it came and went, by turns; the first is a coming.
  std::vector<base::TimePoint> changes;
};

struct StoredTask {
  std::string kind;
  std::string key;
  std::string lock;
  uint64_t steps = 0;
  base::TimePoint since;
  // Who runs it at the moment; another controller stays away while this is fresh.
  std::string owner;
  base::TimePoint renewed;
};

class Storage {
 public:
  explicit Storage(base::Simulation& simulation) : simulation_(simulation) {}

  // One change under way. Fails the run when the same node already changes the same thing: by
  // another generation that is not dead, or by another call of the same one.
  class Change {
   public:
    Change(Storage& storage, std::string key, uint64_t id)
        : storage_(&storage), key_(std::move(key)), id_(id) {}
    Change(Change&& other) noexcept
        : storage_(std::exchange(other.storage_, nullptr)),
          key_(std::move(other.key_)),
          id_(other.id_) {}
    Change& operator=(Change&&) = delete;
    ~Change() { End(); }
    void End();

   private:
    Storage* storage_;
    std::string key_;
    uint64_t id_;
  };
  Change Begin(Process& process, const std::string& what, const std::string& operation);
  // Its process is dead: whatever it was changing, it changes no more.
  void EndAllOf(const Process& process);
  size_t under_way() const { return under_way_.size(); }

  StoredVolume& volume(const std::string& backend, const std::string& handle) {
    return volumes_[backend][handle];
  }
  const std::map<std::string, StoredVolume>& volumes(const std::string& backend) {
    return volumes_[backend];
  }
  void Create(const std::string& backend, const std::string& handle, uint64_t capacity);
  void Remove(const std::string& backend, const std::string& handle);
  // Whether it existed at some time between the two, or was absent.
  static bool ExistedWithin(const StoredVolume& volume, base::TimePoint from, base::TimePoint to);
  static bool WasAbsentWithin(const StoredVolume& volume, base::TimePoint from, base::TimePoint to);

  void AddTask(const std::string& backend, StoredTask task);
  StoredTask* FindTask(const std::string& backend, const std::string& kind, const std::string& key);
  void DoneTask(const std::string& backend, const std::string& kind, const std::string& key);
  const std::map<std::string, StoredTask>& tasks(const std::string& backend) {
    return tasks_[backend];
  }

 private:
  struct UnderWay {
    uint64_t id = 0;
    const Process* process = nullptr;
    std::string operation;
  };
  base::Simulation& simulation_;
  uint64_t next_id_ = 1;
  std::map<std::string, UnderWay> under_way_;
  std::map<std::string, std::map<std::string, StoredVolume>> volumes_;
  std::map<std::string, std::map<std::string, StoredTask>> tasks_;
};

}  // namespace gantry::simulation
