// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/uncommitted.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

namespace gantry::nfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// As a server answers that has not read yet who may do what.
bool IsOfRights(const NfsError& error) {
  return error.failure == Failure::kRejected || error.Is(NfsStatus3::kAcces) ||
         error.Is(NfsStatus3::kPerm) || error.Is(NfsStatus3::kRoFs);
}

}  // namespace

Uncommitted::Uncommitted(const gantry_datapath_host& host, Connection& connection, Calls& calls,
                         Log log)
    : host_(host), connection_(connection), calls_(calls), log_line_(std::move(log)) {}

bool Uncommitted::Prepare() {
  if (log_.ready()) return true;
  if (!log_.Prepare(host_)) return false;
  const uint64_t end = log_.end();
  for (uint64_t number = log_.begin(); number < end; ++number) {
    const WriteEntry& entry = log_.At(number);
    // Its caller was not answered: it is asked for again, or was told that it failed.
    if (entry.state == WriteEntry::kAsked) log_.Free(number);
    if (IsUnstable(entry)) ++files_[entry.file].entries;
  }
  if (log_.suspect()) Suspect();
  return true;
}

void Uncommitted::Clear() {
  EndOwn();
  calls_.Hold(false);
  phase_ = Phase::kQuiet;
  files_.clear();
  lost_files_ = 0;
  log_.Clear();
}

uint64_t Uncommitted::Note(gantry_op op, const FileHandle& file, uint64_t offset, uint32_t bytes,
                           const Writer& writer) {
  WriteEntry what{};
  what.op = op;
  what.file = file;
  what.offset = offset;
  what.bytes = bytes;
  what.writer = writer;
  what.asked_at_ns = std::chrono::duration_cast<nanoseconds>(Now().time_since_epoch()).count();
  const auto number = log_.Append(what);
  ++files_[file].entries;
  return number.value();
}

void Uncommitted::Written(uint64_t number, const Verifier& verifier, Stable committed) {
  // Nothing older of the file can be lost, and be written over it.
  if (committed == Stable::kFileSync && files_[log_.At(number).file].entries == 1)
    return Free(number);
  PathState& state = connection_.state();
  state.verifier = verifier;
  state.unstable = PathState::kOneVerifier;
  log_.Written(number, verifier);
}

void Uncommitted::Drop(uint64_t number) { Free(number); }

void Uncommitted::GiveUp(gantry_op op) {
  const auto its = [op](const Waiter& waiter) { return waiter.op == op; };
  for (auto& [handle, file] : files_) {
    std::erase_if(file.waiting, its);
    std::erase_if(file.next, its);
  }
  for (uint64_t number = log_.begin(); number < log_.end(); ++number) {
    const WriteEntry& entry = log_.At(number);
    if (entry.state == WriteEntry::kAsked && entry.op == op) Free(number);
  }
}

void Uncommitted::Free(uint64_t number) {
  const FileHandle file = log_.At(number).file;
  log_.Free(number);
  --files_[file].entries;
  DropIfDone(file);
}

void Uncommitted::DropIfDone(const FileHandle& file) {
  const auto found = files_.find(file);
  if (found == files_.end()) return;
  const File& it = found->second;
  if (it.entries == 0 && it.error_number == 0 && it.commit == 0 && it.waiting.empty() &&
      it.next.empty())
    files_.erase(found);
}

std::optional<uint64_t> Uncommitted::OldestUnstable() const {
  for (uint64_t number = log_.begin(); number < log_.end(); ++number)
    if (IsUnstable(log_.At(number))) return number;
  return std::nullopt;
}

std::vector<uint64_t> Uncommitted::UnstableOf(const FileHandle& file) const {
  std::vector<uint64_t> numbers;
  for (uint64_t number = log_.begin(); number < log_.end(); ++number) {
    const WriteEntry& entry = log_.At(number);
    if (IsUnstable(entry) && entry.file == file) numbers.push_back(number);
  }
  return numbers;
}

bool Uncommitted::IsStableBy(uint64_t number, const Verifier& verifier) const {
  const WriteEntry& entry = log_.At(number);
  return entry.state == WriteEntry::kWritten && entry.verifier == verifier;
}

gantry_op Uncommitted::BeginOwn(const Writer& writer) {
  const std::span<const uint32_t> groups(writer.groups.data(),
                                         std::min<uint32_t>(writer.group_count, kGroupsMax));
  return calls_.BeginOwn(
      std::make_shared<const Credentials>(*Credentials::Sys(writer.uid, writer.gid, groups)));
}

// --- COMMIT

void Uncommitted::Commit(gantry_op op, const FileHandle& file, Then then) {
  files_[file].next.push_back({op, std::move(then)});
  if (phase_ == Phase::kQuiet && files_[file].commit == 0) StartCommit(file);
}

void Uncommitted::CommitAll() {
  if (phase_ != Phase::kQuiet) return;
  std::vector<FileHandle> all;
  for (const auto& [handle, file] : files_)
    if (file.commit == 0) all.push_back(handle);
  for (const FileHandle& file : all) StartCommit(file);
}

void Uncommitted::StartCommit(const FileHandle& handle) {
  if (phase_ != Phase::kQuiet) return;
  std::vector<uint64_t> asked = UnstableOf(handle);
  if (std::ranges::any_of(
          asked, [&](uint64_t number) { return log_.At(number).state == WriteEntry::kLost; }))
    return Suspect();
  File& file = files_[handle];
  file.asked = std::move(asked);
  file.waiting = std::exchange(file.next, {});
  if (file.asked.empty()) {
    const int error_number = std::exchange(file.error_number, 0);
    if (error_number != 0) --lost_files_;
    return Answer(handle, std::exchange(file.waiting, {}), error_number);
  }
  const gantry_op op = file.commit = BeginOwn(log_.At(file.asked.back()).writer);
  calls_.To<nfs::Commit>(op, {handle, 0, 0}, Touched(handle),
                         [this, handle](auto reply, bool) { OnCommitted(handle, reply); });
}

void Uncommitted::OnCommitted(const FileHandle& handle, const NfsResult<CommitReply>& reply) {
  File& file = files_[handle];
  calls_.End(std::exchange(file.commit, 0));
  const std::vector<uint64_t> asked = std::exchange(file.asked, {});
  if (!reply) {
    const int error_number = ToErrno(reply.error());
    file.not_before = Now() + milliseconds(kCommitAgainMs);
    for (const uint64_t number : asked) {
      // The file is gone, and what was in it; else the server may have dropped what it could not store.
      if (reply.error().Is(NfsStatus3::kStale))
        Free(number);
      else if (!IsOfRights(reply.error()))
        log_.Lost(number);
    }
    return Answer(handle, std::exchange(files_[handle].waiting, {}), error_number);
  }
  if (!std::ranges::all_of(asked,
                           [&](uint64_t number) { return IsStableBy(number, reply->verifier); })) {
    file.next.insert(file.next.begin(), std::make_move_iterator(file.waiting.begin()),
                     std::make_move_iterator(file.waiting.end()));
    file.waiting.clear();
    return Suspect();
  }
  std::vector<Waiter> waiting = std::exchange(file.waiting, {});
  for (const uint64_t number : asked) Free(number);
  int error_number = 0;
  if (const auto found = files_.find(handle); found != files_.end()) {
    error_number = waiting.empty() ? 0 : std::exchange(found->second.error_number, 0);
    if (error_number != 0) --lost_files_;
  }
  Answer(handle, std::move(waiting), error_number);
}

void Uncommitted::Answer(const FileHandle& handle, std::vector<Waiter> waiters, int error_number) {
  for (const Waiter& waiter : waiters)
    if (calls_.Has(waiter.op)) waiter.then(error_number);
  const auto found = files_.find(handle);
  if (found == files_.end()) return;
  if (phase_ == Phase::kQuiet && found->second.commit == 0 && !found->second.next.empty())
    return StartCommit(handle);
  DropIfDone(handle);
}

// --- a server that may have lost it

void Uncommitted::OnNewConnection() {
  if (!empty()) Suspect();
}

void Uncommitted::Suspect() {
  EndOwn();
  log_.SetSuspect(true);
  ++restores_;
  phase_ = Phase::kDraining;
  restore_began_ = Now();
  restore_at_ = kNoDeadline;
  calls_.Hold(true);
}

// Whoever waits waits for what comes instead.
void Uncommitted::EndOwn() {
  for (auto& [handle, file] : files_) {
    if (file.commit == 0) continue;
    calls_.End(std::exchange(file.commit, 0));
    file.asked.clear();
    file.next.insert(file.next.begin(), std::make_move_iterator(file.waiting.begin()),
                     std::make_move_iterator(file.waiting.end()));
    file.waiting.clear();
  }
  if (restore_op_ != 0) calls_.End(std::exchange(restore_op_, 0));
}

void Uncommitted::RestoreNext() {
  if (restore_op_ != 0) calls_.End(std::exchange(restore_op_, 0));
  phase_ = Phase::kRestoring;
  const auto oldest = OldestUnstable();
  if (!oldest) return EndRestore();
  if (log_.At(*oldest).state == WriteEntry::kLost) return Rewrite(*oldest, 0);
  const FileHandle file = log_.At(*oldest).file;
  restore_op_ = BeginOwn(log_.At(*oldest).writer);
  calls_.To<nfs::Commit>(restore_op_, {file, 0, 0}, Touched(file),
                         [this, file](auto reply, bool) { OnRestoreCommit(file, reply); });
}

void Uncommitted::OnRestoreCommit(const FileHandle& file, const NfsResult<CommitReply>& reply) {
  if (!reply) return OnRefused(file, reply.error());
  const std::vector<uint64_t> unstable = UnstableOf(file);
  const auto lost = std::ranges::find_if_not(
      unstable, [&](uint64_t number) { return IsStableBy(number, reply->verifier); });
  if (lost != unstable.end()) log_.Lost(*lost);
  std::for_each(unstable.begin(), lost, [&](uint64_t number) { Free(number); });
  RestoreNext();
}

// It may go over what is newer, so all of that goes again after it.
void Uncommitted::Rewrite(uint64_t number, uint32_t done_bytes) {
  if (restore_op_ != 0) calls_.End(std::exchange(restore_op_, 0));
  const WriteEntry& entry = log_.At(number);
  for (const uint64_t later : UnstableOf(entry.file)) log_.Lost(later);
  restore_op_ = BeginOwn(entry.writer);
  const nfs::Write call{entry.file, entry.offset + done_bytes,
                        log_.Data(number).subspan(done_bytes), Stable::kFileSync};
  calls_.To<nfs::Write>(
      restore_op_, call, Touched(entry.file), [this, number, done_bytes](auto reply, bool) {
        const WriteEntry& written = log_.At(number);
        if (!reply) return OnRefused(written.file, reply.error());
        const uint32_t left_bytes = written.bytes - done_bytes;
        if (reply->count == 0 || reply->count > left_bytes ||
            reply->committed != Stable::kFileSync) {
          return OnRefused(written.file, {Failure::kMalformed, NfsStatus3::kOk, false, 0,
                                          "WRITE: not as much, or not as stable, as asked for"});
        }
        if (reply->count < left_bytes) return Rewrite(number, done_bytes + reply->count);
        restored_bytes_ += written.bytes;
        Free(number);
        RestoreNext();
      });
}

// Does the server know the volume at all?
void Uncommitted::OnRefused(const FileHandle& file, const NfsError& error) {
  calls_.End(restore_op_);
  const bool may_pass =
      IsOfRights(error) && Now() - restore_began_ < milliseconds(kRestoreRightsMsMax);
  restore_op_ = calls_.BeginOwn(std::make_shared<const Credentials>(*Credentials::Sys(0, 0, {})));
  const FileHandle root = connection_.state().root;
  calls_.To<nfs::GetAttr>(restore_op_, {root}, [this, file, error, may_pass](auto reply, bool) {
    if (!reply || may_pass) {
      calls_.End(std::exchange(restore_op_, 0));
      restore_at_ = Now() + milliseconds(kRestoreAgainMs);
      return;
    }
    Lose(file, error);
    RestoreNext();
  });
}

void Uncommitted::Lose(const FileHandle& handle, const NfsError& error) {
  // Somebody else has removed the file.
  const bool gone = error.Is(NfsStatus3::kStale);
  if (!gone)
    log_line_(
        GANTRY_LOG_ERROR,
        "the server was restarted, has lost written data of a file and does not take it again: " +
            error.message);
  File& file = files_[handle];
  if (!gone && file.error_number == 0 && lost_files_ < kLostFilesMax) {
    ++lost_files_;
    file.error_number = ToErrno(error);
  }
  for (const uint64_t number : UnstableOf(handle)) Free(number);
}

void Uncommitted::EndRestore() {
  phase_ = Phase::kQuiet;
  log_.SetSuspect(false);
  calls_.Hold(false);
  if (restored_bytes_ > 0)
    log_line_(GANTRY_LOG_WARNING, "the server was restarted; " + std::to_string(restored_bytes_) +
                                      " bytes that it had not committed were written again");
  restored_bytes_ = 0;
  std::vector<FileHandle> waited;
  for (const auto& [handle, file] : files_)
    if (!file.next.empty()) waited.push_back(handle);
  for (const FileHandle& file : waited) StartCommit(file);
}

bool Uncommitted::Continue(TimePoint now) {
  if (phase_ == Phase::kQuiet) {
    const auto oldest = OldestUnstable();
    if (!oldest || (now < NextAt() && !log_.IsFilling())) return false;
    const FileHandle handle = log_.At(*oldest).file;
    const File& file = files_[handle];
    if (file.commit != 0 || now < file.not_before) return false;
    StartCommit(handle);
    return true;
  }
  if (phase_ == Phase::kRestoring && now >= restore_at_) {
    phase_ = Phase::kDraining;
    restore_at_ = kNoDeadline;
  }
  if (phase_ != Phase::kDraining || !connection_.up() || connection_.outstanding() > 0)
    return false;
  RestoreNext();
  return true;
}

TimePoint Uncommitted::NextAt() const {
  if (phase_ != Phase::kQuiet) return restore_at_;
  const auto oldest = OldestUnstable();
  if (!oldest) return kNoDeadline;
  const WriteEntry& entry = log_.At(*oldest);
  const File& file = files_.at(entry.file);
  if (file.commit != 0) return kNoDeadline;
  const TimePoint asked_at{
      std::chrono::duration_cast<TimePoint::duration>(nanoseconds(entry.asked_at_ns))};
  return std::max(asked_at + milliseconds(kUncommittedMsMax), file.not_before);
}

}  // namespace gantry::nfs
