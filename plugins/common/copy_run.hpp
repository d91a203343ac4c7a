// SPDX-License-Identifier: Apache-2.0
// Inside tree_copy: one run, and what its jobs share. A job (a directory, an entry, a file's data)
// is a small state machine that lives in the callbacks it waits for; the run only decides what
// begins and when everything ends.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugins/common/hard_links.hpp"
#include "plugins/common/tree_copy.hpp"
#include "plugins/common/tree_removal.hpp"

namespace gantry::plugin {

class DirectoryCopy;
class FileData;

inline constexpr std::chrono::milliseconds kCopyLookMs{50};     // Between two questions to `go_on`,
inline constexpr std::chrono::milliseconds kCopyLookMsMin{10};  // at most and at least.
inline constexpr std::chrono::milliseconds kCopyDrainMsMax{2'000};  // For what is still in flight.
inline constexpr int kMakeTriesMax = 8;   // Of a name that is found taken, of owner and mode.
inline constexpr int kLostWritesMax = 8;  // Server restarts while one stretch is written.
inline constexpr int kCreateMode = 0700;  // Of a directory while it is filled.
// Two changes within one tick of the storage's clock look like one: nothing is read before the last
// change is that old.
inline constexpr std::chrono::milliseconds kStorageTickMs{20};
inline constexpr std::chrono::milliseconds kStorageCoarseTickMs{1'100};  // Where it keeps seconds.

// The mode of what is being made: never its source's, so that it does not look complete.
uint32_t WritingMode(const EntryAttributes& source);
// Is what is at the destination the source's copy? Of symlinks and special files the attributes
// alone do not tell: there is always another look at what they are.
bool IsComplete(const EntryAttributes& made, const EntryAttributes& source);
// Of a FIFO, socket or device: is it the same one?
bool IsSameSpecial(const EntryAttributes& made, const EntryAttributes& source);
// What of owner, mode, size and times is not the source's, in words; empty: nothing.
std::string Difference(const EntryAttributes& made, const EntryAttributes& source);
// A storage that keeps whole seconds keeps those of the source.
bool SameTime(int64_t made_ns, int64_t source_ns);
// Nobody has changed it in between.
bool IsSameVersion(const EntryAttributes& before, const EntryAttributes& after);

class CopyRun {
 public:
  using TimePoint = AsyncEntries::TimePoint;

  CopyRun(AsyncStorage& storage, const CopyLimits& limits)
      : storage_(storage), limits_(limits), links_(limits.hard_links_max) {}
  CopyRun(const CopyRun&) = delete;
  CopyRun& operator=(const CopyRun&) = delete;
  ~CopyRun() { storage_.Abandon(); }

  Result<CopyOutcome> Run(const NodeId& from, const NodeId& to,
                          const std::function<bool(const CopyProgress&)>& go_on);

  // --- for the jobs

  AsyncStorage& storage() { return storage_; }
  const CopyLimits& limits() const { return limits_; }
  HardLinks& links() { return links_; }

  // A callback that keeps `job` alive, and does nothing more once the run is ending.
  template <class T, class Job, class Then>
  Done<T> On(std::shared_ptr<Job> job, Then then) {
    return [this, job = std::move(job), then = std::move(then)](StoreResult<T> result) {
      if (!ending_) then(std::move(result));
    };
  }
  void After(std::chrono::milliseconds pause, std::function<void()> then);
  // How long until what was changed at that time of the storage may be read.
  std::chrono::milliseconds UntilCool(int64_t ctime_ns) const;
  // A time that the storage has given something just now.
  void NoteStorageTime(int64_t ns);

  // Ends the run; the first error counts.
  void Fail(Error error);
  void Fail(const std::string& path, const StoreError& error);
  void FailChanging(const std::string& path);

  // Removes whatever is at the name, of the destination. `then` runs when it is gone.
  void RemoveTree(const NodeId& parent, std::string name, std::string path,
                  std::function<void()> then);

  void Opened(std::shared_ptr<DirectoryCopy> directory) { open_.push_back(std::move(directory)); }
  void Closed(const DirectoryCopy* directory);
  void EntryBegun() { ++entries_in_flight_; }
  void EntryEnded() { --entries_in_flight_; }
  void Count(uint64_t entries) { progress_.entries += entries; }
  void CountBytes(int64_t bytes) { progress_.bytes += static_cast<uint64_t>(bytes); }

  // Room for what is read and not yet written; who does not get it is called when there is some.
  bool TakeBuffer(const std::shared_ptr<FileData>& who, uint64_t bytes);
  void GiveBuffer(uint64_t bytes);

 private:
  struct Removal {
    NodeId parent;
    std::string name;
    std::string path;
    std::function<void()> then;
  };

  void Schedule();
  bool ScheduleOf(const std::shared_ptr<DirectoryCopy>& directory);
  void PumpRemovals();
  void FireTimers();
  bool IsIdle() const;
  void Drain();

  AsyncStorage& storage_;
  const CopyLimits limits_;
  HardLinks links_;
  CopyProgress progress_;
  std::optional<Error> error_;
  bool ending_ = false;
  std::vector<std::shared_ptr<DirectoryCopy>> open_;  // In the order they were opened.
  size_t entries_in_flight_ = 0;
  uint64_t buffered_bytes_ = 0;
  std::deque<std::shared_ptr<FileData>> hungry_;
  std::multimap<TimePoint, std::function<void()>> timers_;
  std::deque<Removal> removals_;
  std::unique_ptr<TreeRemoval> removing_;
  std::optional<int64_t> storage_ahead_ns_;  // Of Now(); never more than it is.
};

}  // namespace gantry::plugin
