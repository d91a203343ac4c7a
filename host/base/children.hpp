// SPDX-License-Identifier: Apache-2.0
// Which children are our own, and the end of those that are not. A process that is PID 1 of its
// namespace, as gantryd in a container, inherits every orphan there and has to reap it; a plain
// waitpid(-1) loop would take away the exit states that Child waits for. So every spawn notes its
// pid, and only what is not noted is reaped here.
//
// The table is one for the process, as the kernel's is that it mirrors: whoever owns a Child cannot
// know who else has some. Rejected: a SIGCHLD handler (gRPC's threads would get it), and telling
// orphans by their age.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <thread>

#include "host/base/fd.hpp"

namespace gantry::base {

// Held while a process is started and noted, so that a child which ends at once is not taken for an
// orphan. Any thread; several at once.
class SpawnGuard {
 public:
  SpawnGuard();
  ~SpawnGuard();
  SpawnGuard(const SpawnGuard&) = delete;
  SpawnGuard& operator=(const SpawnGuard&) = delete;
  void Note(pid_t pid);
};

// It has been reaped, or given up: from now on it is anybody's.
void ForgetChild(pid_t pid);

// Reaps every child that has ended and is not our own; how many. Never blocks for one.
size_t ReapOrphans();

constexpr std::chrono::milliseconds kReapPeriodMs{500};

// Does so again and again, on a thread of its own.
class OrphanReaper {
 public:
  OrphanReaper();
  ~OrphanReaper();
  OrphanReaper(const OrphanReaper&) = delete;
  OrphanReaper& operator=(const OrphanReaper&) = delete;

 private:
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace gantry::base
