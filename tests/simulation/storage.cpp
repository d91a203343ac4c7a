// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/storage.hpp"

#include <algorithm>

#include "tests/simulation/world.hpp"

namespace gantry::simulation {

void Storage::Change::End() {
  if (storage_ == nullptr) return;
  const auto found = storage_->under_way_.find(key_);
  if (found != storage_->under_way_.end() && found->second.id == id_)
    storage_->under_way_.erase(found);
  storage_ = nullptr;
}

Storage::Change Storage::Begin(Process& process, const std::string& what,
                               const std::string& operation) {
  const std::string key = process.node + "/" + process.backend + "/" + what;
  const uint64_t id = next_id_++;
  // The dead change nothing, so they are in nobody's way.
  if (process.dead) return {*this, key, 0};
  const auto [it, is_new] = under_way_.try_emplace(key, UnderWay{id, &process, operation});
  if (!is_new)
    simulation_.Fail("two at once change " + key + ": " + operation + " of " + process.name +
                     " and " + it->second.operation + " of " + it->second.process->name);
  return {*this, key, id};
}

void Storage::EndAllOf(const Process& process) {
  std::erase_if(under_way_, [&](const auto& item) { return item.second.process == &process; });
}

void Storage::Create(const std::string& backend, const std::string& handle, uint64_t capacity) {
  auto& made = volume(backend, handle);
  if (made.exists) return;
  made.exists = true;
  ++made.incarnation;
  made.capacity = capacity;
  made.nodes.clear();
  made.changes.push_back(simulation_.now());
}

void Storage::Remove(const std::string& backend, const std::string& handle) {
  auto& gone = volume(backend, handle);
  if (!gone.exists) return;
  gone.exists = false;
  gone.changes.push_back(simulation_.now());
}

bool Storage::ExistedWithin(const StoredVolume& volume, base::TimePoint from, base::TimePoint to) {
  for (size_t i = 0; i < volume.changes.size(); i += 2) {
    const bool has_gone = i + 1 < volume.changes.size();
    if (volume.changes[i] <= to && (!has_gone || volume.changes[i + 1] >= from)) return true;
  }
  return false;
}

bool Storage::WasAbsentWithin(const StoredVolume& volume, base::TimePoint from,
                              base::TimePoint to) {
  if (volume.changes.empty() || from <= volume.changes.front()) return true;
  for (size_t i = 1; i < volume.changes.size(); i += 2) {
    const bool has_come = i + 1 < volume.changes.size();
    if (volume.changes[i] <= to && (!has_come || volume.changes[i + 1] >= from)) return true;
  }
  return false;
}

void Storage::AddTask(const std::string& backend, StoredTask task) {
  task.since = simulation_.now();
  const std::string name = task.kind + " " + task.key;
  tasks_[backend].try_emplace(name, std::move(task));
}

StoredTask* Storage::FindTask(const std::string& backend, const std::string& kind,
                              const std::string& key) {
  const auto found = tasks_[backend].find(kind + " " + key);
  return found == tasks_[backend].end() ? nullptr : &found->second;
}

void Storage::DoneTask(const std::string& backend, const std::string& kind,
                       const std::string& key) {
  tasks_[backend].erase(kind + " " + key);
}

}  // namespace gantry::simulation
