// SPDX-License-Identifier: Apache-2.0
// The operations under way and the NFS calls they make. An operation asks one call or many at once,
// each with what to do with its answer, and is ended by whoever asked. Here is everything that is
// the same for all of them: waiting for room and for a connection, NFS3ERR_JUKEBOX, timeouts,
// interrupts, and what a lost connection means for a call.
//
// An operation that is given up (interrupt, timeout) leaves its calls behind: the server may
// execute them at any time until they are answered. So a later change of the same file or directory
// waits for that answer, in any connection; otherwise an old WRITE could land on a newer one.
// Servers execute the calls of one connection in any order, so the order of sending is no help.
//
// A file may be held (uncommitted.hpp): nothing is asked about it then but by own operations, which
// belong to no caller.
//
// What a change came to is in the journal until the operation's end, so an operation that is asked
// for again by a successor goes through its chain with the answers that its predecessor got.
#pragma once

#include <gantry/datapath.h>

#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "plugins/nfs/datapath/connection.hpp"
#include "plugins/nfs/datapath/journal.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr int kJukeboxWaitMsMin = 100;
inline constexpr int kJukeboxWaitMsMax = 5'000;
inline constexpr int kServerFaultTriesMax = 4;
inline constexpr size_t kOperationsMax = 4096;  // The host bounds them further.

struct LessHandle {
  bool operator()(const FileHandle& a, const FileHandle& b) const {
    if (a.size != b.size) return a.size < b.size;
    return std::memcmp(a.bytes.data(), b.bytes.data(), a.size) < 0;
  }
};

// The handles a call changes something about: two directories at most, or a file and a directory.
class Touched {
 public:
  Touched() = default;
  explicit Touched(const FileHandle& one) : handles_{one}, count_(1) {}
  Touched(const FileHandle& one, const FileHandle& other) : handles_{one, other}, count_(2) {}

  bool empty() const { return count_ == 0; }
  bool Meets(const Touched& other) const;

 private:
  std::array<FileHandle, 2> handles_{};
  uint32_t count_ = 0;
};

// Which answers a call is repeated after by itself.
enum class Patience : uint8_t { kNone, kJukebox, kJukeboxAndServerFault };

// One call, from when it is asked for until it is answered.
class Ask {
 public:
  Ask(gantry_op op, Touched touched) : op_(op), touched_(touched) {}
  virtual ~Ask() = default;
  virtual uint32_t procedure() const = 0;
  // The file it is about; null where it is about a name, or about the volume.
  virtual const FileHandle* subject() const = 0;
  virtual NfsResult<uint32_t> Submit(RpcStream& stream, const Credentials& credentials,
                                     uint64_t tag) = 0;
  // What the reply says; for a status that there is patience with nothing is done with it.
  virtual NfsStatus3 Answer(const Reply& reply, Patience patience, bool ambiguous) = 0;
  virtual void Fail(NfsError error, bool ambiguous) = 0;

 private:
  friend class Calls;
  gantry_op op_;  // 0: its operation has ended
  Touched touched_;
  uint32_t step_ = 0;              // Of the operation's changes.
  JournalEntry* entry_ = nullptr;  // The operation's.
  bool ambiguous_ = false;         // It may have been executed before this time.
  int faults_ = 0;
  int jukebox_ms_ = 0;
};

// What an operation hears about its call. `ambiguous`: the server may have executed the call before
// and lost the memory of it, so that a refusal may be the echo of its own success.
template <class Call>
using Then = std::function<void(NfsResult<typename Call::Reply> reply, bool ambiguous)>;

template <class Call>
class AskFor final : public Ask {
 public:
  AskFor(gantry_op op, Touched touched, const Call& call, Then<Call> then)
      : Ask(op, touched), call_(call), then_(std::move(then)) {}
  uint32_t procedure() const override { return Call::kNumber; }
  const FileHandle* subject() const override {
    if constexpr (requires(const Call& call) { call.object; })
      return &call_.object;
    else if constexpr (requires(const Call& call) { call.file; })
      return &call_.file;
    else
      return nullptr;
  }
  NfsResult<uint32_t> Submit(RpcStream& stream, const Credentials& credentials,
                             uint64_t tag) override {
    return nfs::Submit(stream, call_, credentials, tag, kNoDeadline);
  }
  NfsStatus3 Answer(const Reply& reply, Patience patience, bool ambiguous) override {
    auto decoded = DecodeReply<Call>(reply);
    if (!decoded && decoded.error().failure == Failure::kStatus) {
      const NfsStatus3 status = decoded.error().status;
      if (status == NfsStatus3::kJukebox && patience != Patience::kNone) return status;
      if (status == NfsStatus3::kServerFault && patience == Patience::kJukeboxAndServerFault)
        return status;
    }
    then_(std::move(decoded), ambiguous);
    return NfsStatus3::kOk;
  }
  void Fail(NfsError error, bool ambiguous) override {
    then_(tl::make_unexpected(std::move(error)), ambiguous);
  }

 private:
  Call call_;
  Then<Call> then_;
};

// One thread. Never calls back from within Begin, To or End.
class Calls {
 public:
  // An operation has ended without its answers: EINTR, the timeout's error.
  using OnGivenUp = std::function<void(gantry_op op, int error_number)>;
  // A COMMIT has failed that no operation waits for any more, a predecessor's or one that was left behind;
  // called before its answer is gone from the memory that outlives the process.
  using OnCommitFailed = std::function<void(const NfsError& error)>;

  Calls(Connection& connection, Journal& journal, OnGivenUp on_given_up,
        OnCommitFailed on_commit_failed);
  Calls(const Calls&) = delete;

  // An operation that nobody asked for, without a deadline; it has a number that no host gives. Impatient:
  // it is told of every answer.
  gantry_op BeginOwn(std::shared_ptr<const Credentials> credentials, bool patient);
  // Until Release only own operations' calls about the file are submitted.
  void Hold(const FileHandle& file) { held_.insert(file); }
  void Release(const FileHandle& file) { held_.erase(file); }
  bool IsHeld(const FileHandle& file) const { return held_.contains(file); }
  const std::set<FileHandle, LessHandle>& held() const { return held_; }
  // Calls of a predecessor are not answered.
  bool HasPast() const { return connection_.outstanding() > sent_.size(); }
  // A change of the file is not answered.
  bool IsChanging(const FileHandle& file) const;
  // False: there are too many, or this one is under way already.
  bool Begin(gantry_op op, std::shared_ptr<const Credentials> credentials, bool replayed,
             TimePoint deadline);
  // Asks a call; what it borrows (names, data) must live until the operation's end. `touched` is
  // what the call changes, for those that change something.
  template <class Call>
  void To(gantry_op op, const Call& call, Touched touched, Then<Call> then) {
    Add(std::make_unique<AskFor<Call>>(op, touched, call, std::move(then)));
  }
  template <class Call>
  void To(gantry_op op, const Call& call, Then<Call> then) {
    To<Call>(op, call, Touched(), std::move(then));
  }
  // The operation is over; its calls without an answer are left to themselves.
  void End(gantry_op op);
  // Ends it through OnGivenUp, if it is under way. All: but own ones.
  void GiveUp(gantry_op op, int error_number);
  void GiveUpAll(int error_number);
  // Forgets the calls left behind; the connection has forgotten them as well.
  void Forget();

  bool Has(gantry_op op) const { return operations_.contains(op); }
  size_t count() const { return operations_.size(); }
  // Changes that nobody waits for and that are not answered.
  size_t left_behind() const { return left_behind_.size(); }

  // Submits what can be submitted.
  void Pump();
  TimePoint NextAt() const;
  // Ends operations past their deadline with this error.
  void OnTime(TimePoint now, int timeout_error);

  // From the connection.
  void OnReply(const Reply& reply);
  bool OnRepeat(const Unanswered& call, bool same_port);

 private:
  struct Operation {
    std::shared_ptr<const Credentials> credentials;
    bool replayed = false;
    bool own = false;
    bool patient = true;
    TimePoint deadline = kNoDeadline;
    uint32_t asks = 0;
    uint32_t steps = 0;
    std::vector<JournalEntry*> entries;
  };

  void Add(std::unique_ptr<Ask> ask);
  bool MayGo(const Ask& ask) const;
  void Settled(const Ask& ask);
  bool HasEntry(Ask& ask);
  void GiveAnswer(std::unique_ptr<Ask> ask, const Reply& reply);
  void GiveJournaled(std::unique_ptr<Ask> ask);

  Connection& connection_;
  Journal& journal_;
  const OnGivenUp on_given_up_;
  const OnCommitFailed on_commit_failed_;
  std::unordered_map<gantry_op, Operation> operations_;
  std::deque<std::unique_ptr<Ask>> queue_;
  std::multimap<TimePoint, std::unique_ptr<Ask>> delayed_;
  std::unordered_map<uint64_t, std::unique_ptr<Ask>> sent_;  // by tag
  std::multimap<TimePoint, gantry_op> deadlines_;
  std::unordered_map<uint64_t, Touched> left_behind_;  // by tag
  std::vector<std::pair<std::unique_ptr<Ask>, NfsError>> failed_;
  std::vector<std::unique_ptr<Ask>> journaled_;  // Answered by the journal.
  std::vector<JournalEntry*> ended_;  // Of operations whose ends the host is just being told.
  uint64_t next_tag_;
  uint64_t own_operations_ = 0;
  std::set<FileHandle, LessHandle> held_;
};

}  // namespace gantry::nfs
