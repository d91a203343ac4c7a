// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/uncommitted.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <utility>

namespace gantry::nfs {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Patience changes nothing about it.
bool IsOfSpace(const NfsError& error) {
  return error.Is(NfsStatus3::kNoSpc) || error.Is(NfsStatus3::kDQuot) ||
         error.Is(NfsStatus3::kFBig);
}

// Nor about this, where the server knows the volume.
bool IsGone(const NfsError& error) {
  return error.Is(NfsStatus3::kStale) || error.Is(NfsStatus3::kBadHandle);
}

// Of a COMMIT. Else the server may have dropped what it could not store, and says so only once.
bool DropsNothing(const NfsError& error) { return IsGone(error) || error.Is(NfsStatus3::kJukebox); }

}  // namespace

Uncommitted::Uncommitted(const gantry_datapath_host& host, Connection& connection, Calls& calls,
                         Log log)
    : host_(host), connection_(connection), calls_(calls), log_line_(std::move(log)) {}

NfsOutcome Uncommitted::Prepare() {
  if (log_.ready()) return {};
  GANTRY_PLUGIN_TRY(lost_files_.Prepare(host_));
  GANTRY_PLUGIN_TRY(log_.Prepare(host_));
  const uint64_t end = log_.end();
  std::set<FileHandle, LessHandle> doubtful;
  for (uint64_t number = log_.begin(); number < end; ++number) {
    const WriteEntry& entry = log_.At(number);
    // Its caller was not answered: it is asked for again, or was told that it failed.
    if (entry.state == WriteEntry::kAsked) log_.Free(number);
    if (!IsUnstable(entry)) continue;
    ++files_[entry.file].entries;
    SetDue(entry.file);
    if (log_.suspect() || entry.state != WriteEntry::kWritten) doubtful.insert(entry.file);
  }
  for (const FileHandle& file : doubtful) Hold(file);
  if (calls_.held().empty()) log_.SetSuspect(false);
  return {};
}

void Uncommitted::Clear() {
  for (auto& [handle, file] : files_) EndOwn(file);
  for (const auto& [handle, file] : files_) calls_.Release(handle);
  files_.clear();
  due_.clear();
  closing_ = false;
  log_.Clear();
  lost_files_.Clear();
}

// --- what is kept

uint64_t Uncommitted::Note(gantry_op op, const FileHandle& file, uint64_t offset, uint32_t bytes,
                           const Writer& writer) {
  WriteEntry what{};
  what.op = op;
  what.file = file;
  what.offset = offset;
  what.bytes = bytes;
  what.writer = writer;
  const auto number = log_.Append(what);
  ++files_[file].entries;
  return number.value();
}

void Uncommitted::Written(uint64_t number, const Verifier& verifier) {
  connection_.state().unstable = PathState::kSome;
  log_.Written(number, verifier);
  SetDue(log_.At(number).file);
}

void Uncommitted::GiveUp(gantry_op op) {
  const auto its = [op](const Waiter& waiter) { return waiter.op == op; };
  std::vector<FileHandle> waited;
  for (auto& [handle, file] : files_) {
    if (std::erase_if(file.waiting, its) + std::erase_if(file.next, its) > 0)
      waited.push_back(handle);
    if (!file.emptying || file.emptying->op != op) continue;
    file.emptying.reset();
    waited.push_back(handle);
    // It may be under way, and nothing may overtake it.
    if (file.own != 0) Hold(handle);
  }
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
  if (found == files_.end() || calls_.IsHeld(file)) return;
  const File& it = found->second;
  if (it.entries == 0 && it.own == 0 && it.waiting.empty() && it.next.empty() && !it.emptying)
    files_.erase(found);
}

std::vector<uint64_t> Uncommitted::UnstableOf(const FileHandle& file) const {
  std::vector<uint64_t> numbers;
  for (uint64_t number = log_.begin(); number < log_.end(); ++number) {
    const WriteEntry& entry = log_.At(number);
    if (IsUnstable(entry) && entry.file == file) numbers.push_back(number);
  }
  return numbers;
}

uint64_t Uncommitted::bytes() const {
  uint64_t bytes = 0;
  for (uint64_t number = log_.begin(); number < log_.end(); ++number)
    if (IsUnstable(log_.At(number))) bytes += log_.At(number).bytes;
  return bytes;
}

bool Uncommitted::IsStableBy(uint64_t number, const Verifier& verifier) const {
  const WriteEntry& entry = log_.At(number);
  return entry.state == WriteEntry::kWritten && entry.verifier == verifier;
}

void Uncommitted::SetDue(const FileHandle& handle) {
  File& file = files_[handle];
  if (std::exchange(file.due, true)) return;
  due_.emplace_back(closing_ ? TimePoint() : Now() + milliseconds(kUncommittedMsMax), handle);
}

// Under the rights of who wrote it.
gantry_op Uncommitted::BeginOwn(uint64_t number, bool patient) {
  const Writer& writer = log_.At(number).writer;
  const std::span<const uint32_t> groups(writer.groups.data(),
                                         std::min<uint32_t>(writer.group_count, kGroupsMax));
  return calls_.BeginOwn(
      std::make_shared<const Credentials>(*Credentials::Sys(writer.uid, writer.gid, groups)),
      patient);
}

// Whoever waits for it waits for what comes instead.
void Uncommitted::EndOwn(File& file) {
  if (file.own != 0) calls_.End(std::exchange(file.own, 0));
  file.asked.clear();
  file.next.insert(file.next.begin(), std::make_move_iterator(file.waiting.begin()),
                   std::make_move_iterator(file.waiting.end()));
  file.waiting.clear();
}

// --- what is asked about a file

void Uncommitted::Commit(gantry_op op, const FileHandle& file, Hears hears, Then then) {
  files_[file].next.push_back({op, hears, std::move(then)});
  Advance(file);
}

void Uncommitted::Empty(gantry_op op, std::shared_ptr<const Credentials> credentials,
                        const SetAttr& call, ThenEmptied then) {
  files_[call.object].emptying = {op, std::move(credentials), call, std::move(then)};
  Advance(call.object);
}

void Uncommitted::CommitAll() {
  closing_ = true;
  for (auto& [time, file] : due_) time = TimePoint();
}

// Asks the next, unless something is under way or it is not time. False: it did nothing.
bool Uncommitted::Advance(const FileHandle& handle) {
  const auto found = files_.find(handle);
  if (found == files_.end() || found->second.own != 0) return false;
  File& file = found->second;
  const bool held = calls_.IsHeld(handle);
  if (held && (!connection_.up() || Now() < file.not_before || calls_.IsChanging(handle)))
    return false;
  if (file.emptying)
    StartEmptying(handle);
  else if (held)
    Restore(handle);
  else if (!file.next.empty())
    StartCommit(handle);
  else
    return false;
  return true;
}

void Uncommitted::StartCommit(const FileHandle& handle) {
  File& file = files_[handle];
  file.asked = UnstableOf(handle);
  file.waiting = std::exchange(file.next, {});
  if (file.asked.empty()) return Answer(handle, std::exchange(file.waiting, {}), 0);
  file.own = BeginOwn(file.asked.back(), true);
  calls_.To<nfs::Commit>(file.own, {handle, 0, 0}, Touched(handle),
                         [this, handle](auto reply, bool) { OnCommitted(handle, reply); });
}

void Uncommitted::OnCommitted(const FileHandle& handle, const NfsResult<CommitReply>& reply) {
  File& file = files_[handle];
  calls_.End(std::exchange(file.own, 0));
  const std::vector<uint64_t> asked = std::exchange(file.asked, {});
  const bool stable = reply && std::ranges::all_of(asked, [&](uint64_t number) {
                        return IsStableBy(number, reply->verifier);
                      });
  if (!stable) {
    const bool drops_nothing = !reply && DropsNothing(reply.error());
    if (!reply && !drops_nothing)
      for (const uint64_t number : UnstableOf(handle)) log_.Lost(number);
    Hold(handle);
    if (drops_nothing) Refused(handle, reply.error());
    return;
  }
  const std::vector<Waiter> waiting = std::exchange(file.waiting, {});
  if (file.entries > asked.size()) SetDue(handle);
  for (const uint64_t number : asked) Free(number);
  Answer(handle, waiting, 0);
}

// Its data needs neither a COMMIT nor a restore, but stays until it is known that the server did it. An
// operation of our own goes where the file is held, and is asked again, not looked up in the journal, where
// this process dies: what it left may have been restored by then.
void Uncommitted::StartEmptying(const FileHandle& handle) {
  File& file = files_[handle];
  file.own = calls_.BeginOwn(file.emptying->credentials, true);
  calls_.To<SetAttr>(file.own, file.emptying->call, Touched(handle),
                     [this, handle, before = UnstableOf(handle)](auto reply, bool) {
                       File& emptied = files_[handle];
                       calls_.End(std::exchange(emptied.own, 0));
                       const Emptying done = *std::exchange(emptied.emptying, std::nullopt);
                       if (reply)
                         for (const uint64_t number : before) Free(number);
                       if (Has(handle)) SetDue(handle);
                       if (calls_.Has(done.op)) done.then(reply);
                       if (!Advance(handle)) DropIfDone(handle);
                     });
}

// A loss is settled after it was told, so that it is told again where this process dies in between.
void Uncommitted::Answer(const FileHandle& handle, const std::vector<Waiter>& waiters,
                         int error_number) {
  const int lost = lost_files_.ErrorOf(handle);
  bool told = false;
  for (const Waiter& waiter : waiters) {
    if (!calls_.Has(waiter.op)) continue;
    told = told || waiter.hears == Hears::kSettles;
    const int error = error_number != 0 ? error_number : lost;
    waiter.then(waiter.hears == Hears::kNothing ? 0 : error);
  }
  if (told && lost != 0) lost_files_.Forget(handle);
  if (!Advance(handle)) DropIfDone(handle);
}

// --- a server that may have lost it

void Uncommitted::OnNewConnection() {
  refused_at_.reset();
  std::vector<FileHandle> doubtful;
  for (const auto& [handle, file] : files_)
    if (file.entries > 0 || calls_.IsHeld(handle)) doubtful.push_back(handle);
  for (const FileHandle& file : doubtful) Hold(file);
}

void Uncommitted::OnCommitFailed(const NfsError& error) {
  if (DropsNothing(error)) return;
  for (uint64_t number = log_.begin(); number < log_.end(); ++number)
    if (log_.At(number).state == WriteEntry::kWritten) log_.Lost(number);
  OnNewConnection();
}

// Again or once.
void Uncommitted::Hold(const FileHandle& handle) {
  log_.SetSuspect(true);
  calls_.Hold(handle);
  File& file = files_[handle];
  EndOwn(file);
  file.not_before = {};
  file.again_ms = 0;
  file.root_answered = false;
}

void Uncommitted::Release(const FileHandle& handle) {
  calls_.Release(handle);
  if (calls_.held().empty()) {
    log_.SetSuspect(false);
    refused_at_.reset();
    if (restored_bytes_ > 0)
      log_line_(GANTRY_LOG_WARNING, "the server had lost what it had not committed; " +
                                        std::to_string(restored_bytes_) +
                                        " bytes were written again");
    restored_bytes_ = 0;
  }
  if (!Advance(handle)) DropIfDone(handle);
}

void Uncommitted::Restore(const FileHandle& handle) {
  const std::vector<uint64_t> unstable = UnstableOf(handle);
  if (unstable.empty()) return Release(handle);
  // With one of them the server may have dropped another that was under way.
  if (std::ranges::any_of(
          unstable, [&](uint64_t number) { return log_.At(number).state == WriteEntry::kLost; }))
    return Rewrite(unstable.front(), 0);
  File& file = files_[handle];
  file.own = BeginOwn(unstable.front(), false);
  calls_.To<nfs::Commit>(file.own, {handle, 0, 0}, Touched(handle),
                         [this, handle](auto reply, bool) { OnRestoreCommit(handle, reply); });
}

void Uncommitted::OnRestoreCommit(const FileHandle& handle, const NfsResult<CommitReply>& reply) {
  EndOwn(files_[handle]);
  const std::vector<uint64_t> unstable = UnstableOf(handle);
  if (!reply) {
    const NfsError& error = reply.error();
    if (DropsNothing(error)) return Refused(handle, error);
    for (const uint64_t number : unstable) log_.Lost(number);
    Advance(handle);
    return;
  }
  const auto lost = std::ranges::find_if_not(
      unstable, [&](uint64_t number) { return IsStableBy(number, reply->verifier); });
  if (lost != unstable.end()) log_.Lost(*lost);
  std::for_each(unstable.begin(), lost, [&](uint64_t number) { Free(number); });
  Advance(handle);
}

// It may go over what is newer, so all of that goes again after it.
void Uncommitted::Rewrite(uint64_t number, uint32_t done_bytes) {
  const WriteEntry& entry = log_.At(number);
  const FileHandle handle = entry.file;
  ++rewrites_;
  for (const uint64_t later : UnstableOf(handle)) log_.Lost(later);
  File& file = files_[handle];
  file.own = BeginOwn(number, false);
  const nfs::Write call{handle, entry.offset + done_bytes, log_.Data(number).subspan(done_bytes),
                        Stable::kFileSync};
  calls_.To<nfs::Write>(
      file.own, call, Touched(handle), [this, handle, number, done_bytes](auto reply, bool) {
        ++rewrites_;
        EndOwn(files_[handle]);
        if (!reply) return Refused(handle, reply.error());
        const uint32_t bytes = log_.At(number).bytes;
        const uint32_t left_bytes = bytes - done_bytes;
        if (reply->count == 0 || reply->count > left_bytes ||
            reply->committed != Stable::kFileSync) {
          return Refused(handle, {Failure::kMalformed, NfsStatus3::kOk, false, 0,
                                  "WRITE: " + std::to_string(reply->count) + " of " +
                                      std::to_string(left_bytes) +
                                      " bytes written, or less stable than asked for"});
        }
        if (reply->count < left_bytes) return Rewrite(number, done_bytes + reply->count);
        restored_bytes_ += bytes;
        Free(number);
        Advance(handle);
      });
}

void Uncommitted::Refused(const FileHandle& handle, const NfsError& error) {
  if (IsOfSpace(error)) return Lose(handle, error);
  if (!IsGone(error)) return RetryLater(handle, error);
  // A server that does not know the volume yet says that of every file, so it is to say it again after it
  // has answered for the root.
  File& file = files_[handle];
  if (file.root_answered) return Lose(handle, error);
  file.own =
      calls_.BeginOwn(std::make_shared<const Credentials>(*Credentials::Sys(0, 0, {})), false);
  calls_.To<nfs::GetAttr>(file.own, {connection_.state().root},
                          [this, handle, error](auto reply, bool) {
                            File& gone = files_[handle];
                            EndOwn(gone);
                            gone.root_answered = reply.has_value();
                            if (!reply) return RetryLater(handle, error);
                            Advance(handle);
                          });
}

void Uncommitted::RetryLater(const FileHandle& handle, const NfsError& error) {
  const TimePoint now = Now();
  const auto since = refused_at_ ? duration_cast<milliseconds>(now - *refused_at_)
                                 : milliseconds(kRefusedAgainMsMin);
  if (log_.refused_ms() == 0)
    log_line_(GANTRY_LOG_WARNING, "the server does not take again what it has lost of a file: " +
                                      error.message + "; trying on");
  // A longer time than it is asked after is not one in which it answered.
  log_.AddRefused(static_cast<uint32_t>(std::min(since, milliseconds(kRefusedAgainMsMax)).count()));
  refused_at_ = now;
  if (log_.refused_ms() >= kRestoreMsMax) return Lose(handle, error);
  File& file = files_[handle];
  file.again_ms = std::clamp(2 * file.again_ms, kRefusedAgainMsMin, kRefusedAgainMsMax);
  file.not_before = now + milliseconds(file.again_ms);
}

void Uncommitted::Lose(const FileHandle& handle, const NfsError& error) {
  const std::vector<uint64_t> unstable = UnstableOf(handle);
  uint64_t bytes = 0;
  for (const uint64_t number : unstable) bytes += log_.At(number).bytes;
  // A file that is gone was removed, mostly by its writer. One of a volume that is gone was not.
  const bool gone = IsGone(error) && files_[handle].root_answered;
  const int error_number = IsGone(error) && !gone ? EIO : ToErrno(error);
  lost_files_.Add(handle, error_number);
  if (!gone)
    log_line_(GANTRY_LOG_ERROR,
              "the server has lost " + std::to_string(bytes) +
                  " bytes written to a file, and does not take them again: " + error.message);
  const std::vector<Waiter> waiters = std::exchange(files_[handle].next, {});
  for (const uint64_t number : unstable) Free(number);
  Release(handle);
  Answer(handle, waiters, error_number);
}

// --- time

bool Uncommitted::Continue(TimePoint now) {
  // A predecessor's changes come first, and what the server said to its COMMIT, which it says only once.
  if (calls_.HasPast()) return false;
  bool begun = false;
  while (!due_.empty() && (due_.front().first <= now || log_.IsFilling())) {
    const FileHandle handle = due_.front().second;
    due_.pop_front();
    const auto found = files_.find(handle);
    if (found == files_.end()) continue;
    File& file = found->second;
    file.due = false;
    // The end of what is asked, or of the restore, looks after what is here.
    if (file.own != 0 || calls_.IsHeld(handle)) continue;
    StartCommit(handle);
    begun = true;
  }
  const std::vector<FileHandle> held(calls_.held().begin(), calls_.held().end());
  for (const FileHandle& file : held) begun = Advance(file) || begun;
  return begun;
}

TimePoint Uncommitted::NextAt() const {
  if (calls_.HasPast()) return kNoDeadline;
  const TimePoint now = Now();
  TimePoint next = due_.empty() ? kNoDeadline : due_.front().first;
  for (const FileHandle& handle : calls_.held()) {
    const TimePoint at = files_.at(handle).not_before;
    if (at > now) next = std::min(next, at);
  }
  return next;
}

}  // namespace gantry::nfs
