// SPDX-License-Identifier: Apache-2.0
// Makes written data stable, and gives a server that was restarted what it has lost (RFC 1813, 3.3.7 and
// 3.3.21): a WRITE that is not stable stays in the log until a COMMIT has answered with the verifier that
// the WRITE was answered with. Whoever waits for a COMMIT waits here; one is made by itself when data is
// old or the log is filling.
//
// A server that has restarted is known by a connection that had to be made again, by another verifier, or
// by a COMMIT that failed. Each file that it may have lost data of is held then: nothing is asked about
// the file by anybody else, reads above all, which would find what was written gone, before
//
//   every change of it under way is answered (it goes over the new connection at once, under its old xid);
//   then it is committed; what the answer's verifier says is lost is written again, stable, one after the
//   other in the log's order, and with it all that followed: it is marked before in the log (kLost), so
//   that a restore that was cut short, by a death as well, is not taken for done.
//
// The other files go on meanwhile, and files are restored side by side. So what a file holds is what it
// held before. What changes a file by another way than such a WRITE (SETATTR, a WRITE that is stable) has
// its data committed first, and so do all who close it; only what empties it takes the data's place. Two
// writes of one range at the same time have no order, neither here nor at the server.
//
// A server that has just started may refuse what it takes a moment later (its rights are not read yet, a
// disk is not there yet), so there is patience, but of one length for all files together: it begins with
// the first refusal, counts only while the server answers, and goes on in a successor. A file that was
// removed takes none of it. What is refused after it, or for good, is lost: logged, and kept until one who
// asked for the file to be stable has been told (lost_files.hpp).
//
// A release that keeps nothing would write what is newer than the log, so it finds another volume's memory
// and does not serve (DataPathOptions::fingerprint).
// Rejected: to write again in the background beside new calls of the file, which needs an order between
// them; to hold all files, because one that is refused would hold up the others.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugins/nfs/datapath/calls.hpp"
#include "plugins/nfs/datapath/connection.hpp"
#include "plugins/nfs/datapath/lost_files.hpp"
#include "plugins/nfs/datapath/write_log.hpp"

namespace gantry::nfs {

inline constexpr int kUncommittedMsMax = 1'000;  // Then it is committed unasked.
inline constexpr int kRefusedAgainMsMin = 250;   // Until what was refused is asked again.
inline constexpr int kRefusedAgainMsMax = 4'000;
inline constexpr int kRestoreMsMax = 60'000;  // From the first refusal to the loss.

// What is told of a loss.
enum class Hears : uint8_t {
  kNothing,  // It goes on: what is lost is never written again.
  kLoss,     // And whoever asks next is told as well.
  kSettles,  // And nobody after it.
};

// One thread.
class Uncommitted {
 public:
  // 0 or an errno. Not called when the operation has ended before.
  using Then = std::function<void(int error_number)>;
  using ThenEmptied = std::function<void(const NfsResult<ChangeReply>& reply)>;

  Uncommitted(const gantry_datapath_host& host, Connection& connection, Calls& calls, Log log);
  Uncommitted(const Uncommitted&) = delete;

  // Gets the memory, and takes over what a predecessor left in it, before anything is asked over the
  // connection where there may be something. Once or again. Fails as WriteLog::Prepare.
  NfsOutcome Prepare();
  // The volume is closed.
  void Clear();

  bool HasRoom(size_t bytes, size_t entries) const { return log_.HasRoom(bytes, entries); }
  // A WRITE that is about to be asked for, only where there is room; its data before the answer.
  uint64_t Note(gantry_op op, const FileHandle& file, uint64_t offset, uint32_t bytes,
                const Writer& writer);
  void Keep(uint64_t number, std::span<const std::byte> data) { log_.Fill(number, data); }
  void Written(uint64_t number, const Verifier& verifier);
  // It was refused, or all after the first bytes of it.
  void Drop(uint64_t number) { Free(number); }
  void Shorten(uint64_t number, uint32_t bytes) { log_.At(number).bytes = bytes; }
  // The operation has ended without its answers.
  void GiveUp(gantry_op op);

  // Something was written, or is being, that is not known to be stable.
  bool Has(const FileHandle& file) const {
    const auto found = files_.find(file);
    return found != files_.end() && found->second.entries > 0;
  }
  // Likewise, or it is being restored, or something was lost.
  bool MustCommit(const FileHandle& file) const {
    return files_.contains(file) || LossOf(file) != 0;
  }
  bool empty() const { return log_.begin() == log_.end(); }
  size_t files() const { return files_.size(); }
  uint64_t bytes() const;
  // Grows before and after anything is written again: what was answered at another count may have been
  // written over by what is older, or be of a time when that was lost.
  uint64_t rewrites() const { return rewrites_; }

  // 0: nothing was lost that nobody was told of.
  int LossOf(const FileHandle& file) const { return lost_files_.ErrorOf(file); }
  // Then: all that was written before is stable, or lost.
  void Commit(gantry_op op, const FileHandle& file, Hears hears, Then then);
  // Only one at a time.
  bool IsEmptying(const FileHandle& file) const {
    const auto found = files_.find(file);
    return found != files_.end() && found->second.emptying;
  }
  // Sets the file's size to 0. Once that is done, what was written before is dropped.
  void Empty(gantry_op op, std::shared_ptr<const Credentials> credentials, const SetAttr& call,
             ThenEmptied then);
  // From now on everything at once.
  void CommitAll();
  // The connection is a new one; before anything goes over it.
  void OnNewConnection();
  // Of a COMMIT that nobody waits for: of what, is not known. It is in the log when this returns.
  void OnCommitFailed(const NfsError& error);
  // Does what is due; true: calls were made or may go now.
  bool Continue(TimePoint now);
  TimePoint NextAt() const;

 private:
  struct Waiter {
    gantry_op op;
    Hears hears;
    Then then;
  };
  struct Emptying {
    gantry_op op;
    std::shared_ptr<const Credentials> credentials;
    SetAttr call;
    ThenEmptied then;
  };
  struct File {
    uint32_t entries = 0;
    bool due = false;             // It is in due_.
    gantry_op own = 0;            // What is asked about it: one call at a time.
    std::vector<uint64_t> asked;  // A COMMIT, and what it is for.
    std::vector<Waiter> waiting;  // For that.
    std::vector<Waiter> next;     // For the one after it, or for the end of a restore.
    std::optional<Emptying> emptying;
    TimePoint not_before{};  // While it is held: after a refusal.
    int again_ms = 0;
    bool root_answered = false;  // After the file was said to be gone.
  };
  using Files = std::map<FileHandle, File, LessHandle>;

  static TimePoint Now() { return std::chrono::steady_clock::now(); }
  gantry_op BeginOwn(uint64_t number, bool patient);
  void EndOwn(File& file);
  void Free(uint64_t number);
  void DropIfDone(const FileHandle& file);
  static bool IsUnstable(const WriteEntry& entry) {
    return entry.state != WriteEntry::kFree && entry.state != WriteEntry::kAsked;
  }
  std::vector<uint64_t> UnstableOf(const FileHandle& file) const;
  bool IsStableBy(uint64_t number, const Verifier& verifier) const;
  void SetDue(const FileHandle& file);

  bool Advance(const FileHandle& file);
  void StartCommit(const FileHandle& file);
  void OnCommitted(const FileHandle& file, const NfsResult<CommitReply>& reply);
  void StartEmptying(const FileHandle& file);
  void Answer(const FileHandle& file, const std::vector<Waiter>& waiters, int error_number);

  void Hold(const FileHandle& file);
  void Release(const FileHandle& file);
  void Restore(const FileHandle& file);
  void OnRestoreCommit(const FileHandle& file, const NfsResult<CommitReply>& reply);
  void Rewrite(uint64_t number, uint32_t done_bytes);
  void Refused(const FileHandle& file, const NfsError& error);
  void RetryLater(const FileHandle& file, const NfsError& error);
  void Lose(const FileHandle& file, const NfsError& error);

  const gantry_datapath_host& host_;
  Connection& connection_;
  Calls& calls_;
  const Log log_line_;
  WriteLog log_;
  LostFiles lost_files_;
  Files files_;
  std::deque<std::pair<TimePoint, FileHandle>> due_;  // To be committed unasked.
  bool closing_ = false;
  uint64_t restored_bytes_ = 0;
  uint64_t rewrites_ = 0;
  std::optional<TimePoint> refused_at_;  // The last time over this connection.
};

}  // namespace gantry::nfs
