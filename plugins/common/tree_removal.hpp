// SPDX-License-Identifier: Apache-2.0
// Removes a tree with many operations in flight and bounded memory. Names are removed below handles
// that the tree itself has led to, so an operation that comes late, after the tree has gone, finds
// its directory gone, whatever has been made under its name since.
//
// It starts nothing by itself: whoever drives it calls Pump between two waits, which is also where
// it may be told to stop (a lease that is lost, a run's bound).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "plugins/common/async_storage.hpp"
#include "plugins/common/result.hpp"

namespace gantry::plugin {

struct RemovalLimits {
  size_t calls_in_flight_max = 64;
  size_t directories_open_max = 64;  // Besides one for each level.
  size_t depth_max = 4'096;
};

// One thread at a time; outlives its operations, or Abandon is called on the storage first.
class TreeRemoval {
 public:
  // Asked before each removal is sent: false stops, an error ends everything.
  using MayRemove = std::function<Result<bool>()>;

  TreeRemoval(AsyncEntries& storage, MayRemove may_remove, RemovalLimits limits = {})
      : storage_(storage), may_remove_(std::move(may_remove)), limits_(limits) {}
  TreeRemoval(const TreeRemoval&) = delete;
  TreeRemoval& operator=(const TreeRemoval&) = delete;

  // Takes on what is at that name, of any kind. Once.
  void Begin(const NodeId& parent, std::string name);
  // Sends what may be sent now. The removal goes on in Pump and in the storage's Wait.
  void Pump();

  enum class State : uint8_t {
    kRunning,
    kGone,     // Nothing is left.
    kStuck,    // What is left could not be removed; `stuck` says what and why.
    kStopped,  // `may_remove` said so; nothing is in flight any more.
    kFailed,   // The storage did not answer, or `may_remove` failed; likewise.
  };
  State state() const { return state_; }
  const Error& error() const { return error_; }
  const std::string& stuck() const { return stuck_; }  // "'name': why", of the first.
  uint64_t removed() const { return removed_; }        // Files and directories.
  uint64_t sent() const { return sent_; }  // Of these, and of those that may yet be removed.

 private:
  struct Directory;
  using DirectoryPtr = std::shared_ptr<Directory>;

  bool Step(const DirectoryPtr& directory);
  void Open(const DirectoryPtr& above, std::string name, NodeId id);
  void List(const DirectoryPtr& directory);
  void OnListed(const DirectoryPtr& directory, StoreResult<ListPage> page);
  void Resolve(const DirectoryPtr& directory, std::string name);
  void Sort(const DirectoryPtr& directory, std::string name, const Entry& entry);
  bool SendRemove(const DirectoryPtr& directory, std::string name);
  bool SendRemoveDirectory(const DirectoryPtr& directory);
  void Close(const DirectoryPtr& directory, bool stuck);
  void Stuck(const DirectoryPtr& directory, const std::string& name, const Error& why);
  void Fail(Error error);
  bool Allowed();
  void EndIfIdle();

  AsyncEntries& storage_;
  const MayRemove may_remove_;
  const RemovalLimits limits_;
  State state_ = State::kRunning;
  State ending_ = State::kRunning;  // What it will be once nothing is in flight.
  Error error_;
  std::string stuck_;
  uint64_t removed_ = 0;
  uint64_t sent_ = 0;
  size_t in_flight_ = 0;
  uint64_t fsid_ = 0;
  std::vector<DirectoryPtr> open_;  // In the order they were opened.
};

}  // namespace gantry::plugin
