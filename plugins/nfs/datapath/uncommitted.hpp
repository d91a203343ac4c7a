// SPDX-License-Identifier: Apache-2.0
// Makes written data stable, and gives a server that was restarted what it has lost (RFC 1813, 3.3.7 and
// 3.3.21): a WRITE that is not stable stays in the log until a COMMIT has answered with the verifier that
// the WRITE was answered with. Whoever waits for a COMMIT waits here; one is made by itself when data is
// old or the log is filling.
//
// A server that has restarted is known by a connection that had to be made again, so before anything new
// is asked over a new one, reads above all, which would find what was written gone,
//
//   every call under way is answered (what was changing goes over the new connection at once, under its
//   old xid); then each file of the log is committed; what the answer's verifier says is lost is written
//   again, stable, one after the other in the log's order, and with it all that followed in that file:
//   it is marked before in the log (kLost), so that a restore that was cut short, by a death as well,
//   is not taken for done.
//
// A COMMIT that failed may have lost what it was for, so that is marked too and the next one is a restore.
//
// So what a file holds is what it held before. What changes a file by another way than WRITE (SETATTR) has
// its data committed first, and so do all who close it. Two writes of one range at the same time have no
// order, neither here nor at the server.
//
// A release that knows nothing of the log may serve for a while and write what is newer than the log
// (Connection::others_served). What it left is committed, and what is lost of it is not written again but
// an error like a refusal.
//
// A server that has just started may refuse what it takes a moment later; one that answers for the root
// and refuses all the same has the last word. Its refusal is logged, and kept until one who asked for the
// file to be stable has been told (lost_files.hpp).
// Rejected: to write again in the background beside new calls, which needs an order between them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "plugins/nfs/datapath/calls.hpp"
#include "plugins/nfs/datapath/connection.hpp"
#include "plugins/nfs/datapath/lost_files.hpp"
#include "plugins/nfs/datapath/write_log.hpp"

namespace gantry::nfs {

inline constexpr int kUncommittedMsMax = 1'000;  // Then it is committed unasked.
inline constexpr int kCommitAgainMs = 1'000;     // After one that was refused.
inline constexpr int kRestoreAgainMs = 500;      // Likewise, of what was lost.
inline constexpr int kRefusedMsMax =
    10'000;  // Until a refusal that may pass is taken for the last word.

struct LessHandle {
  bool operator()(const FileHandle& a, const FileHandle& b) const {
    if (a.size != b.size) return a.size < b.size;
    return std::memcmp(a.bytes.data(), b.bytes.data(), a.size) < 0;
  }
};

// One thread.
class Uncommitted {
 public:
  // 0 or an errno. Not called when the operation has ended before.
  using Then = std::function<void(int error_number)>;

  Uncommitted(const gantry_datapath_host& host, Connection& connection, Calls& calls, Log log);
  Uncommitted(const Uncommitted&) = delete;

  // Gets the memory, and takes over what a predecessor left in it, before anything is asked over the
  // connection where there may be something. False: the host does not give it.
  // Once or again.
  bool Prepare();
  // The volume is closed.
  void Clear();

  bool HasRoom(size_t bytes, size_t entries) const { return log_.HasRoom(bytes, entries); }
  // A WRITE that is about to be asked for, only where there is room; its data before the answer.
  uint64_t Note(gantry_op op, const FileHandle& file, uint64_t offset, uint32_t bytes,
                const Writer& writer);
  void Keep(uint64_t number, std::span<const std::byte> data) { log_.Fill(number, data); }
  void Written(uint64_t number, const Verifier& verifier, Stable committed);
  // It was refused, or all after the first bytes of it.
  void Drop(uint64_t number);
  void Shorten(uint64_t number, uint32_t bytes) { log_.At(number).bytes = bytes; }
  // The operation has ended without its answers.
  void GiveUp(gantry_op op);

  // Something was written, or is being, that is not known to be stable.
  bool Has(const FileHandle& file) const {
    const auto found = files_.find(file);
    return found != files_.end() && found->second.entries > 0;
  }
  // Likewise, or something was lost.
  bool MustCommit(const FileHandle& file) const {
    return files_.contains(file) || lost_files_.ErrorOf(file) != 0;
  }
  bool empty() const { return log_.begin() == log_.end(); }
  size_t files() const { return files_.size(); }
  // Grows when a restore begins and when it ends: what was answered at another count may have been written
  // over by what is older.
  uint64_t restores() const { return restores_; }

  // Then: all that was written before is stable. `hears`: its caller asked for that, so that a loss it has
  // been told of is settled.
  void Commit(gantry_op op, const FileHandle& file, bool hears, Then then);
  void CommitAll();
  // The connection is a new one; before anything goes over it.
  void OnNewConnection();
  // Does what is due; true: calls were made or may go now.
  bool Continue(TimePoint now);
  TimePoint NextAt() const;

 private:
  enum class Phase : uint8_t { kQuiet, kDraining, kRestoring };
  struct Waiter {
    gantry_op op;
    bool hears;
    Then then;
  };
  struct File {
    uint32_t entries = 0;
    gantry_op commit = 0;         // Under way.
    std::vector<uint64_t> asked;  // What it is for.
    std::vector<Waiter> waiting;  // For it.
    std::vector<Waiter> next;     // For the one after it.
    TimePoint not_before{};       // After a refusal.
    std::optional<TimePoint> refused_since;
  };
  using Files = std::map<FileHandle, File, LessHandle>;

  gantry_op BeginOwn(const Writer& writer);
  static TimePoint Now() { return std::chrono::steady_clock::now(); }
  void Outdate();
  void SettleOutdated(const FileHandle& file, const NfsResult<CommitReply>& reply);
  void Suspect();
  void Free(uint64_t number);
  static bool IsUnstable(const WriteEntry& entry) {
    return entry.state != WriteEntry::kFree && entry.state != WriteEntry::kAsked;
  }
  std::optional<uint64_t> OldestUnstable() const;
  std::vector<uint64_t> UnstableOf(const FileHandle& file) const;
  bool IsStableBy(uint64_t number, const Verifier& verifier) const;
  void StartCommit(const FileHandle& file);
  void OnCommitted(const FileHandle& file, const NfsResult<CommitReply>& reply);
  void Answer(const FileHandle& file, const std::vector<Waiter>& waiters, int error_number);
  void DropIfDone(const FileHandle& file);
  void Lose(const FileHandle& file, const NfsError& error);

  void RestoreNext();
  void OnRestoreCommit(const FileHandle& file, const NfsResult<CommitReply>& reply);
  void Rewrite(uint64_t number, uint32_t done_bytes);
  void OnRefused(const FileHandle& file, const NfsError& error);
  void EndOwn();
  void EndRestore();

  const gantry_datapath_host& host_;
  Connection& connection_;
  Calls& calls_;
  const Log log_line_;
  WriteLog log_;
  LostFiles lost_files_;
  Files files_;
  Phase phase_ = Phase::kQuiet;
  gantry_op restore_op_ = 0;
  uint64_t restored_bytes_ = 0;
  uint64_t restores_ = 0;
  std::optional<TimePoint> refused_since_;  // A restore.
  TimePoint restore_at_ = kNoDeadline;      // After a refusal.
};

}  // namespace gantry::nfs
