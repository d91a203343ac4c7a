// SPDX-License-Identifier: Apache-2.0
// Runs what may hang (mount, umount, statfs) in a throw-away process, so that a dead storage server
// costs one helper and not a thread of gantryd (kubernetes#31272, #101622). A helper that does not
// end in time is killed; one that the kernel does not let die (state D) is left behind, counted and
// listed until it does. Threads were rejected because they cannot be killed, fork because gantryd
// has threads and gRPC in it.
#pragma once

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/process.hpp"
#include "host/services/helper_protocol.hpp"

namespace gantry::services {

constexpr size_t kHelpersMax = 32;               // running at once
constexpr size_t kHelpersOfDomainMax = 12;       // of these for one fault domain
constexpr size_t kStuckHelpersMax = 64;          // left behind; above, nothing new is begun
constexpr size_t kStuckHelpersOfDomainMax = 16;  // likewise
// One that finds its domain's share in use waits so long for a place.
constexpr std::chrono::milliseconds kDomainWaitMsMax{5000};
constexpr std::chrono::milliseconds kReapMsMax{500};

struct StuckHelper {
  pid_t pid = 0;
  std::string operation;
  std::string path;
  std::string domain;
  base::TimePoint since;
};

// Any thread. The calling thread's mount namespace is where it happens.
class HelperRunner {
 public:
  // `root` is the kubelet directory's fd; it must outlive the runner.
  HelperRunner(base::PinnedBinary binary, int root) : binary_(std::move(binary)), root_(root) {}
  HelperRunner(const HelperRunner&) = delete;
  HelperRunner& operator=(const HelperRunner&) = delete;
  ~HelperRunner();

  // A reply may carry an errno of the operation. An error: DEADLINE_EXCEEDED when it was killed, at
  // most kReapMsMax after the deadline, or is a probe of a path where a helper is stuck already;
  // UNAVAILABLE when there are too many helpers or too many stuck ones, of the request's domain or
  // in all. An unmount that breaks off what is under way (MNT_FORCE, MNT_DETACH) is begun all the
  // same: it is what lets the stuck ones go.
  base::Result<HelperReply> Run(const HelperRequest& request, base::TimePoint deadline);

  // Those that could not be killed and still live.
  std::vector<StuckHelper> Stuck();
  // All that were left behind since the start.
  uint64_t abandoned() const;

 private:
  struct Left {
    base::Child child;
    StuckHelper what;
  };

  base::Status Enter(const HelperRequest& request, base::TimePoint deadline);
  void Leave(const HelperRequest& request);
  base::Status RefuseStuckLocked(const HelperRequest& request) const;
  void ReapLocked();
  base::Result<HelperReply> Converse(const HelperRequest& request, base::TimePoint deadline);
  // Kills when it does not end by itself; puts it among the stuck when even that does not help.
  std::string End(base::Child child, const HelperRequest& request, bool kill);

  const base::PinnedBinary binary_;
  const int root_;
  mutable std::mutex mutex_;
  std::condition_variable left_;
  size_t running_ = 0;
  std::map<std::string, size_t> running_of_;  // by domain
  std::list<Left> stuck_;
  uint64_t abandoned_ = 0;
};

}  // namespace gantry::services
