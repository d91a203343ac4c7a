// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/copy_run.hpp"

#include <algorithm>

#include "plugins/common/copy_directory.hpp"
#include "plugins/common/copy_entry.hpp"
#include "plugins/common/copy_file.hpp"

namespace gantry::plugin {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr int64_t kNsPerS = 1'000'000'000;
constexpr uint32_t kWritingMode = 0200;
constexpr uint32_t kOtherWritingMode = 0600;

int64_t NsOf(CopyRun::TimePoint at) {
  return std::chrono::duration_cast<nanoseconds>(at.time_since_epoch()).count();
}

bool IsDevice(EntryKind kind) {
  return kind == EntryKind::kBlockDevice || kind == EntryKind::kCharacterDevice;
}

}  // namespace

uint32_t WritingMode(const EntryAttributes& source) {
  return source.mode == kWritingMode ? kOtherWritingMode : kWritingMode;
}

bool SameTime(int64_t made_ns, int64_t source_ns) {
  return made_ns == source_ns ||
         (made_ns % kNsPerS == 0 && made_ns / kNsPerS == source_ns / kNsPerS);
}

std::string Difference(const EntryAttributes& made, const EntryAttributes& source) {
  std::string text;
  const auto compare = [&](const char* what, auto is, auto wanted) {
    if (is == wanted) return;
    if (!text.empty()) text += ", ";
    text += std::string(what) + " " + std::to_string(is) + " instead of " + std::to_string(wanted);
  };
  compare("uid", made.uid, source.uid);
  compare("gid", made.gid, source.gid);
  // A symlink's mode means nothing, and not every server sets its times.
  if (source.kind == EntryKind::kSymlink) return text;
  compare("mode", made.mode, source.mode);
  if (source.kind == EntryKind::kFile) compare("size", made.size, source.size);
  if (!SameTime(made.mtime_ns, source.mtime_ns)) {
    compare("mtime (ns)", made.mtime_ns, source.mtime_ns);
  }
  return text;
}

bool IsComplete(const EntryAttributes& made, const EntryAttributes& source) {
  return made.kind == EntryKind::kFile && source.kind == EntryKind::kFile &&
         made.links <= source.links && Difference(made, source).empty();
}

bool IsSameSpecial(const EntryAttributes& made, const EntryAttributes& source) {
  return made.kind == source.kind && made.links <= source.links &&
         (!IsDevice(source.kind) ||
          (made.device_major == source.device_major && made.device_minor == source.device_minor));
}

bool IsSameVersion(const EntryAttributes& before, const EntryAttributes& after) {
  return before.size == after.size && before.mtime_ns == after.mtime_ns &&
         before.ctime_ns == after.ctime_ns;
}

Result<CopyOutcome> TreeCopy::Run(const NodeId& from, const NodeId& to,
                                  const std::function<bool(const CopyProgress&)>& go_on) {
  CopyRun run(storage_, limits_);
  return run.Run(from, to, go_on);
}

Result<CopyOutcome> CopyRun::Run(const NodeId& from, const NodeId& to,
                                 const std::function<bool(const CopyProgress&)>& go_on) {
  const auto top = std::make_shared<DirectoryCopy>(*this, nullptr, "", Entry{from, {}});
  Opened(top);
  top->BeginAt(to);
  TimePoint asked = storage_.Now();
  bool stopped = false;
  while (!top->finished() && !error_ && !stopped) {
    Schedule();
    PumpRemovals();
    if (IsIdle()) {
      Fail({code::kInternal, "the copy stands still; this is a bug"});
      break;
    }
    TimePoint until = asked + kCopyLookMs;
    if (!timers_.empty()) until = std::min(until, timers_.begin()->first);
    storage_.Wait(until);
    FireTimers();
    if (const TimePoint now = storage_.Now(); now - asked >= kCopyLookMsMin) {
      asked = now;
      stopped = !go_on(progress_);
    }
  }
  Drain();
  if (error_) return tl::make_unexpected(*error_);
  return CopyOutcome{top->finished(), progress_};
}

// --- what begins when

// The deepest directories first, so that they end before others begin and little is kept.
void CopyRun::Schedule() {
  for (bool progress = true; progress && !error_;) {
    progress = false;
    for (size_t i = open_.size(); i > 0; --i) {
      if (i > open_.size()) continue;
      const std::shared_ptr<DirectoryCopy> directory = open_[i - 1];
      progress = ScheduleOf(directory) || progress;
    }
  }
}

bool CopyRun::ScheduleOf(const std::shared_ptr<DirectoryCopy>& directory) {
  bool progress = false;
  while (entries_in_flight_ < limits_.entries_in_flight_max) {
    auto child = directory->TakeEntry();
    if (!child) break;
    ++entries_in_flight_;
    std::make_shared<EntryCopy>(*this, directory, std::move(child->name), std::move(child->source))
        ->Begin();
    progress = true;
  }
  // Beyond the bound only where nothing else goes on: then the deepest directory needs one more.
  if (open_.size() < limits_.directories_open_max || IsIdle()) {
    if (auto child = directory->TakeDirectory()) {
      const auto below = std::make_shared<DirectoryCopy>(*this, directory, std::move(child->name),
                                                         std::move(child->source));
      Opened(below);
      below->Begin();
      progress = true;
    }
  }
  return directory->ListOn() || progress;
}

bool CopyRun::IsIdle() const {
  return storage_.outstanding() == 0 && timers_.empty() && removals_.empty() && !removing_ &&
         !error_;
}

void CopyRun::Closed(const DirectoryCopy* directory) {
  std::erase_if(open_, [&](const auto& open) { return open.get() == directory; });
}

bool CopyRun::TakeBuffer(const std::shared_ptr<FileData>& who, uint64_t bytes) {
  // One is always let in, however small the bound is.
  if (buffered_bytes_ > 0 && buffered_bytes_ + bytes > limits_.buffer_bytes_max) {
    hungry_.push_back(who);
    return false;
  }
  buffered_bytes_ += bytes;
  return true;
}

void CopyRun::GiveBuffer(uint64_t bytes) {
  buffered_bytes_ -= bytes;
  // In their order, each for what it can take; who does not get enough comes again at the end.
  for (size_t asked = hungry_.size(); asked > 0 && !hungry_.empty(); --asked) {
    const auto who = std::move(hungry_.front());
    hungry_.pop_front();
    if (!who->Pump() && buffered_bytes_ >= limits_.buffer_bytes_max) break;
  }
}

// --- removing at the destination, one tree at a time: it is rare

void CopyRun::RemoveTree(const NodeId& parent, std::string name, std::string path,
                         std::function<void()> then) {
  removals_.push_back({parent, std::move(name), std::move(path), std::move(then)});
}

void CopyRun::PumpRemovals() {
  while (!removals_.empty() && !error_) {
    if (!removing_) {
      removing_ = std::make_unique<TreeRemoval>(storage_, [] { return true; });
      removing_->Begin(removals_.front().parent, removals_.front().name);
    }
    removing_->Pump();
    if (removing_->state() == TreeRemoval::State::kRunning) return;
    const auto done = std::exchange(removing_, nullptr);
    const Removal removal = std::move(removals_.front());
    removals_.pop_front();
    if (done->state() == TreeRemoval::State::kFailed) {
      return Fail(Wrap(done->error(), "'" + removal.path + "'"));
    }
    if (done->state() != TreeRemoval::State::kGone) {
      return Fail({code::kFailedPrecondition,
                   "what is in the way of '" + removal.path + "' stays: " + done->stuck()});
    }
    removal.then();
  }
}

// --- time

void CopyRun::After(milliseconds pause, std::function<void()> then) {
  timers_.emplace(storage_.Now() + pause, std::move(then));
}

void CopyRun::FireTimers() {
  while (!timers_.empty() && timers_.begin()->first <= storage_.Now() && !error_) {
    const auto then = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    then();
  }
}

// What it gave was its time or an earlier one, so the difference is never more than it is.
void CopyRun::NoteStorageTime(int64_t ns) {
  const int64_t ahead = ns - NsOf(storage_.Now());
  storage_ahead_ns_ = std::max(storage_ahead_ns_.value_or(ahead), ahead);
}

milliseconds CopyRun::UntilCool(int64_t ctime_ns) const {
  if (!storage_ahead_ns_) return milliseconds(0);
  const milliseconds tick = ctime_ns % kNsPerS == 0 ? kStorageCoarseTickMs : kStorageTickMs;
  const nanoseconds age(NsOf(storage_.Now()) + *storage_ahead_ns_ - ctime_ns);
  // From the future: its clock has been set, and says nothing.
  if (age >= tick || age < -tick) return milliseconds(0);
  return std::chrono::ceil<milliseconds>(tick - age);
}

// --- the end

void CopyRun::Fail(Error error) {
  if (!error_) error_ = std::move(error);
  ending_ = true;
}

void CopyRun::Fail(const std::string& path, const StoreError& error) {
  Fail(Wrap(error.error, "'" + path + "'"));
}

void CopyRun::FailChanging(const std::string& path) {
  Fail({code::kAborted, "'" + path + "' keeps changing while it is copied; it was tried " +
                            std::to_string(limits_.changed_tries_max) + " times"});
}

// Sees the end of what is in flight, so that the destination is not written to behind the caller's
// back; but not for long.
void CopyRun::Drain() {
  ending_ = true;
  const TimePoint end = storage_.Now() + kCopyDrainMsMax;
  while (storage_.outstanding() > 0 && storage_.Now() < end) storage_.Wait(end);
  storage_.Abandon();
}

}  // namespace gantry::plugin
