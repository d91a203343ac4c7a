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

// Patience changes nothing about it.
bool IsLastWord(const NfsError& error) {
  return error.Is(NfsStatus3::kStale) || error.Is(NfsStatus3::kBadHandle) ||
         error.Is(NfsStatus3::kNoSpc) || error.Is(NfsStatus3::kDQuot) ||
         error.Is(NfsStatus3::kFBig);
}

// When it is committed unasked.
TimePoint DueAt(const WriteEntry& entry) {
  return TimePoint(
             std::chrono::duration_cast<TimePoint::duration>(nanoseconds(entry.asked_at_ns))) +
         milliseconds(kUncommittedMsMax);
}

NfsError Outdated() {
  return {
      Failure::kLost, NfsStatus3::kOk, false, 0,
      "it is not written again, because a release that cannot do that has served the volume since"};
}

bool IsLong(TimePoint since) {
  return std::chrono::steady_clock::now() - since >= milliseconds(kRefusedMsMax);
}

}  // namespace

Uncommitted::Uncommitted(const gantry_datapath_host& host, Connection& connection, Calls& calls,
                         Log log)
    : host_(host), connection_(connection), calls_(calls), log_line_(std::move(log)) {}

bool Uncommitted::Prepare() {
  if (log_.ready()) return true;
  if (!lost_files_.Prepare(host_) || !log_.Prepare(host_)) return false;
  const uint64_t end = log_.end();
  for (uint64_t number = log_.begin(); number < end; ++number) {
    const WriteEntry& entry = log_.At(number);
    // Its caller was not answered: it is asked for again, or was told that it failed.
    if (entry.state == WriteEntry::kAsked) log_.Free(number);
    if (IsUnstable(entry)) ++files_[entry.file].entries;
  }
  if (connection_.others_served()) Outdate();
  if (log_.suspect()) Suspect();
  return true;
}

void Uncommitted::Clear() {
  EndOwn();
  calls_.Hold(false);
  phase_ = Phase::kQuiet;
  files_.clear();
  log_.Clear();
  lost_files_.Clear();
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
  std::vector<FileHandle> waited;
  for (auto& [handle, file] : files_)
    if (std::erase_if(file.waiting, its) + std::erase_if(file.next, its) > 0)
      waited.push_back(handle);
  for (const FileHandle& file : waited) DropIfDone(file);
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
  if (it.entries == 0 && it.commit == 0 && it.waiting.empty() && it.next.empty())
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
  return (entry.state == WriteEntry::kWritten || entry.state == WriteEntry::kOutdated) &&
         entry.verifier == verifier;
}

gantry_op Uncommitted::BeginOwn(const Writer& writer) {
  const std::span<const uint32_t> groups(writer.groups.data(),
                                         std::min<uint32_t>(writer.group_count, kGroupsMax));
  return calls_.BeginOwn(
      std::make_shared<const Credentials>(*Credentials::Sys(writer.uid, writer.gid, groups)));
}

// --- COMMIT

void Uncommitted::Commit(gantry_op op, const FileHandle& file, bool hears, Then then) {
  files_[file].next.push_back({op, hears, std::move(then)});
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
  if (file.asked.empty()) return Answer(handle, std::exchange(file.waiting, {}), 0);
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
    if (!file.refused_since) file.refused_since = Now();
    const bool may_pass = IsOfRights(reply.error()) && !IsLong(*file.refused_since);
    for (const uint64_t number : asked) {
      // The file is gone, and what was in it; else the server may have dropped what it could not store.
      if (reply.error().Is(NfsStatus3::kStale))
        Free(number);
      else if (!may_pass)
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
  const std::vector<Waiter> waiting = std::exchange(file.waiting, {});
  file.refused_since.reset();
  for (const uint64_t number : asked) Free(number);
  Answer(handle, waiting, 0);
}

// A loss is settled after it was told, so that it is told again where this process dies in between.
void Uncommitted::Answer(const FileHandle& handle, const std::vector<Waiter>& waiters,
                         int error_number) {
  const int lost = lost_files_.ErrorOf(handle);
  bool told = false;
  for (const Waiter& waiter : waiters) {
    if (!calls_.Has(waiter.op)) continue;
    told = told || waiter.hears;
    waiter.then(error_number != 0 ? error_number : lost);
  }
  if (told && lost != 0) lost_files_.Forget(handle);
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
  refused_since_.reset();
  restore_at_ = kNoDeadline;
  calls_.Hold(true);
}

// Before anything is asked: from then on it can't be seen any more that others have served.
void Uncommitted::Outdate() {
  std::vector<FileHandle> lost;
  for (uint64_t number = log_.begin(); number < log_.end(); ++number) {
    const WriteEntry& entry = log_.At(number);
    if (entry.state == WriteEntry::kWritten) log_.Outdate(number);
    if (entry.state == WriteEntry::kLost) lost.push_back(entry.file);
  }
  for (const FileHandle& file : lost)
    if (Has(file)) Lose(file, Outdated());
  if (!empty()) log_.SetSuspect(true);
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
  if (!reply && reply.error().Is(NfsStatus3::kStale)) return OnRefused(file, reply.error());
  const std::vector<uint64_t> unstable = UnstableOf(file);
  if (std::ranges::any_of(unstable, [&](uint64_t number) {
        return log_.At(number).state == WriteEntry::kOutdated;
      })) {
    return SettleOutdated(file, reply);
  }
  if (!reply) {
    for (const uint64_t number : unstable) log_.Lost(number);
    return RestoreNext();
  }
  const auto lost = std::ranges::find_if_not(
      unstable, [&](uint64_t number) { return IsStableBy(number, reply->verifier); });
  if (lost != unstable.end()) log_.Lost(*lost);
  std::for_each(unstable.begin(), lost, [&](uint64_t number) { Free(number); });
  RestoreNext();
}

void Uncommitted::SettleOutdated(const FileHandle& file, const NfsResult<CommitReply>& reply) {
  if (!reply && IsOfRights(reply.error())) return OnRefused(file, reply.error());
  for (const uint64_t number : UnstableOf(file))
    if (reply && IsStableBy(number, reply->verifier)) Free(number);
  if (!UnstableOf(file).empty()) Lose(file, reply ? Outdated() : reply.error());
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
        refused_since_.reset();
        restored_bytes_ += written.bytes;
        Free(number);
        RestoreNext();
      });
}

// Does the server know the volume at all?
void Uncommitted::OnRefused(const FileHandle& file, const NfsError& error) {
  calls_.End(restore_op_);
  if (!refused_since_) refused_since_ = Now();
  const bool patient = !IsLong(*refused_since_);
  restore_op_ = calls_.BeginOwn(std::make_shared<const Credentials>(*Credentials::Sys(0, 0, {})));
  const FileHandle root = connection_.state().root;
  calls_.To<nfs::GetAttr>(restore_op_, {root}, [this, file, error, patient](auto reply, bool) {
    if (!reply || (patient && !IsLastWord(error))) {
      calls_.End(std::exchange(restore_op_, 0));
      restore_at_ = Now() + milliseconds(kRestoreAgainMs);
      return;
    }
    Lose(file, Wrap(error, "it does not take it again"));
    RestoreNext();
  });
}

void Uncommitted::Lose(const FileHandle& handle, const NfsError& error) {
  refused_since_.reset();  // The next one's refusal may pass.
  // Else somebody has removed the file: there is nothing to remember, but who waits is told.
  if (!error.Is(NfsStatus3::kStale)) {
    lost_files_.Add(handle, ToErrno(error));
    log_line_(GANTRY_LOG_ERROR, "the server has lost written data of a file: " + error.message);
  }
  const std::vector<Waiter> waiters = std::exchange(files_[handle].next, {});
  for (const uint64_t number : UnstableOf(handle)) Free(number);
  Answer(handle, waiters, ToErrno(error));
}

void Uncommitted::EndRestore() {
  phase_ = Phase::kQuiet;
  ++restores_;
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
    for (uint64_t number = log_.begin(); number < log_.end(); ++number) {
      const WriteEntry& entry = log_.At(number);
      if (!IsUnstable(entry)) continue;
      const File& file = files_.at(entry.file);
      if (file.commit != 0) return false;
      if (now < file.not_before) continue;  // The others need not wait for it.
      if (now < DueAt(entry) && !log_.IsFilling()) return false;
      StartCommit(FileHandle(entry.file));
      return true;
    }
    return false;
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
  TimePoint next = kNoDeadline;
  for (uint64_t number = log_.begin(); number < log_.end(); ++number) {
    const WriteEntry& entry = log_.At(number);
    if (!IsUnstable(entry)) continue;
    const File& file = files_.at(entry.file);
    if (file.commit != 0) break;
    // What follows is younger.
    if (file.not_before <= DueAt(entry)) return std::min(next, DueAt(entry));
    next = std::min(next, file.not_before);
  }
  return next;
}

}  // namespace gantry::nfs
