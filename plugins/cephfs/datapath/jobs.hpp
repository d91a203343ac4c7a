// SPDX-License-Identifier: Apache-2.0
// Operations under way. libcephfs of the releases in use has no asynchronous low-level calls for names
// and attributes, and for data only from Ceph 19 on, so each operation is a job on one of a bounded
// number of threads, and many are in flight at once.
//
// A call into libcephfs cannot be cancelled. An operation whose time is over, or whose caller was
// interrupted, is answered and its job left alone: it works on copies, so nobody's memory is touched
// when it goes on later. What has not begun by then never does. Until such a job has ended, no change
// to the files and directories that it changes is begun: it may yet be done, and the caller's next
// change must not land before it.
//
// Names and data have threads of their own: with a frozen MDS reads and writes of files that are open
// still go on.
//
// Whatever holds something of libcephfs' is let go of on such a thread: giving it back takes a lock of
// libcephfs', which the one thread that serves everybody is not to wait for.
#pragma once

#include <gantry/datapath.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <vector>

#include "plugins/cephfs/datapath/inodes.hpp"
#include "plugins/cephfs/datapath/threads.hpp"

namespace gantry::cephfs {

inline constexpr size_t kNameThreadsMax = 16;
inline constexpr size_t kDataThreadsMax = 16;
// Of data under way at once. What is on its way is copied several times between here and an OSD: many
// large pieces side by side only push each other out of the processor's caches.
inline constexpr size_t kDataBytesMax = 4 << 20;
// What nobody waits for is tried again after so long when there was no thread to be had for it.
inline constexpr std::chrono::milliseconds kThreadRetry{100};

using TimePoint = std::chrono::steady_clock::time_point;
inline constexpr TimePoint kNever = TimePoint::max();

enum class Lane : uint8_t { kNames, kData };

// Ends an operation; on the loop's thread, or never where the operation was given up.
using Finish = std::function<void(gantry_op)>;

struct Order {
  gantry_op op = 0;  // 0: nobody waits for it, so it is never given up, and is done some time
  Lane lane = Lane::kNames;
  std::vector<Handle> changes;   // what the work changes; empty: nothing
  std::function<Finish()> work;  // blocks; any thread
  TimePoint deadline = kNever;
  size_t bytes = 0;    // of data that it moves
  bool alone = false;  // begins only when no other is under way or waits
};

// What nobody waits for.
inline Order Background(std::function<Finish()> work) {
  return {0, Lane::kNames, {}, std::move(work), kNever};
}

// The loop's thread only, but for the work.
class Jobs {
 public:
  // Answers an operation that is given up.
  using GiveUp = std::function<void(gantry_op, int error_number)>;

  explicit Jobs(GiveUp give_up, Threads::StartThread start = &Threads::StartDetached)
      : give_up_(std::move(give_up)), threads_(std::move(start)) {}
  Jobs(const Jobs&) = delete;

  void Submit(Order order);
  // Drops the caller's reference on a thread. Nothing is nothing.
  void LetGo(std::shared_ptr<void> last);
  void Interrupt(gantry_op op);
  void OnTime(TimePoint now);
  TimePoint NextAt() const;
  // Of the threads: readable when OnReadable has something to do.
  int fd() const { return threads_.fd(); }
  void OnReadable();
  // Works that were given up and have not ended.
  size_t Abandoned() const { return abandoned_; }

 private:
  struct Job {
    Order order;
    bool begun = false;
    bool given_up = false;
  };
  using JobPtr = std::shared_ptr<Job>;
  using Deadlines = std::multimap<TimePoint, JobPtr>;
  static size_t ThreadsOf(Lane lane);

  void Start();
  bool IsHeld(const Job& job) const;
  bool HasRoom(const Job& job) const;
  // False: there is no thread for it.
  bool Begin(const JobPtr& job);
  void CountOut(const Job& job);
  void End(const JobPtr& job, Finish finish);
  void LetAllGo();
  void GiveUpOn(const JobPtr& job, int error_number);
  void Forget(gantry_op op);

  const GiveUp give_up_;
  // Not answered.
  Deadlines deadlines_;
  std::map<gantry_op, Deadlines::iterator> jobs_;
  std::array<std::list<JobPtr>, 2> waiting_;  // by lane, not begun
  std::array<size_t, 2> running_{};
  size_t running_bytes_ = 0;
  std::map<Handle, size_t> held_;  // changed by works that were given up
  size_t abandoned_ = 0;
  TimePoint retry_at_ = kNever;  // what nobody waits for begins no earlier; kNever: at once
  std::vector<std::shared_ptr<void>> let_go_;  // the next ones
  bool letting_go_ = false;                    // others are on a thread, or will be
  Threads threads_;
};

}  // namespace gantry::cephfs
