// SPDX-License-Identifier: Apache-2.0
#include "host/worker/sandbox.hpp"

#include <cap-ng.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "host/worker/landlock.hpp"
#include "host/worker/own_root.hpp"
#include "host/worker/process_limits.hpp"
#include "host/worker/syscall_filter.hpp"

namespace gantry::worker {
namespace {

base::Result<std::vector<unsigned>> Numbers(const std::vector<std::string>& names) {
  std::vector<unsigned> numbers;
  for (const auto& name : names) {
    const int number = capng_name_to_capability(name.c_str());
    if (number < 0)
      return base::Fail(
          base::Code::kInvalidArgument,
          "--capabilities: \"" + name + "\" is unknown, expected names like net_bind_service");
    numbers.push_back(static_cast<unsigned>(number));
  }
  return numbers;
}

// A process with this can become root again, or read root's memory.
base::Status RefusePowerful(const std::vector<unsigned>& capabilities) {
  for (const unsigned capability : capabilities)
    if (capability == CAP_SETUID || capability == CAP_SETGID || capability == CAP_SETPCAP ||
        capability == CAP_SYS_ADMIN || capability == CAP_SYS_PTRACE ||
        capability == CAP_SYS_MODULE || capability == CAP_SYS_RAWIO ||
        capability == CAP_DAC_OVERRIDE || capability == CAP_SETFCAP)
      return base::Fail(base::Code::kInvalidArgument,
                        std::string("--capabilities: \"") + capng_capability_to_name(capability) +
                            "\" is as good as root and never granted");
  return {};
}

base::Status CloseOthers(int last_fd) {
  if (close_range(static_cast<unsigned>(last_fd) + 1, ~0u, 0) != 0)
    return base::FailErrno(errno, "close_range");
  return {};
}

// The capabilities that are left after the change of ids: permitted through it by
// PR_SET_KEEPCAPS, which capng_change_id sets.
base::Status ChangeIds(uid_t uid, gid_t gid, const std::vector<unsigned>& granted) {
  if (setgroups(0, nullptr) != 0) return base::FailErrno(errno, "setgroups");
  capng_clear(CAPNG_SELECT_ALL);
  constexpr auto kSets = static_cast<capng_type_t>(
      CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE | CAPNG_AMBIENT | CAPNG_BOUNDING_SET);
  for (const unsigned capability : granted)
    if (capng_update(CAPNG_ADD, kSets, capability) != 0)
      return base::Fail(base::Code::kInternal, "choose capabilities");
  // While CAP_SETPCAP is still there. capng_change_id could do it, but would clear the granted ones
  // too, and what is not in the bounding set cannot become inheritable (capabilities(7)).
  if (capng_apply(CAPNG_SELECT_BOUNDS) != 0)
    return base::Fail(base::Code::kInternal, "shrink the capability bounding set");
  const int changed = capng_change_id(static_cast<int>(uid), static_cast<int>(gid), CAPNG_NO_FLAG);
  if (changed != 0)
    return base::Fail(base::Code::kInternal, "become uid " + std::to_string(uid) + " gid " +
                                                 std::to_string(gid) + ": capng_change_id gave " +
                                                 std::to_string(changed));
  // Cleared by the change of uid, hence raised after it.
  if (!granted.empty() && capng_apply(CAPNG_SELECT_AMBIENT) != 0)
    return base::Fail(base::Code::kInternal, "raise the ambient capabilities");
  return {};
}

// Believes nothing of the above.
base::Status Verify(uid_t uid, gid_t gid, const std::vector<unsigned>& granted) {
  uid_t uids[3];
  gid_t gids[3];
  if (getresuid(&uids[0], &uids[1], &uids[2]) != 0 || getresgid(&gids[0], &gids[1], &gids[2]) != 0)
    return base::FailErrno(errno, "read the ids back");
  for (int i = 0; i < 3; ++i)
    if (uids[i] != uid || gids[i] != gid)
      return base::Fail(base::Code::kInternal, "the ids have not changed");
  if (setresuid(0, 0, 0) == 0)
    return base::Fail(base::Code::kInternal, "the process can still become root");
  if (capng_get_caps_process() != 0)
    return base::Fail(base::Code::kInternal, "read the capabilities back");
  for (unsigned capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    bool expected = false;
    for (const unsigned one : granted) expected = expected || one == capability;
    if ((capng_have_capability(CAPNG_PERMITTED, capability) != 0) != expected)
      return base::Fail(base::Code::kInternal,
                        std::string("capability ") + capng_capability_to_name(capability) +
                            (expected ? " was granted and is missing" : " has not gone"));
  }
  return {};
}

void IgnoreSignals() {
  // A closed socket is an error of a write, and so is a file that grows too large. The worker ends
  // when gantryd says so or is gone, not by a signal to its process group (Ctrl-C, a service
  // manager's stop).
  for (const int number : {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGHUP}) std::signal(number, SIG_IGN);
}

// Its allocations then never wait for memory to be written back, which may be by itself, nor is it
// slowed down for the pages that it dirties (prctl(2)). Inherited by its threads; CAP_SYS_RESOURCE.
base::Status BecomeIoFlusher() {
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) return base::FailErrno(errno, "PR_SET_IO_FLUSHER");
  return {};
}

// What this machine does not have is reported, and no reason not to serve.
void Attempt(const char* what, const base::Status& status, SandboxReport& report) {
  if (!status) report.not_enforced.push_back(std::string(what) + ": " + status.error().message);
}

base::Status ChangeIdsOrKeep(const SandboxOptions& options, const std::vector<unsigned>& granted,
                             SandboxReport& report) {
  report.ids_kept = geteuid() != 0;
  if (!report.ids_kept) {
    GANTRY_TRY(ChangeIds(options.uid, options.gid, granted));
    return Verify(options.uid, options.gid, granted);
  }
  if (!granted.empty())
    return base::Fail(base::Code::kPermissionDenied,
                      "--capabilities: only a worker that is started as root can be granted any");
  report.not_enforced.emplace_back("uid: not started as root");
  return {};
}

// The change of ids sets all of this anew (prctl(2)), so it comes after.
base::Status SetFlags(bool ends_with_parent) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return base::FailErrno(errno, "PR_SET_NO_NEW_PRIVS");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return base::FailErrno(errno, "PR_SET_DUMPABLE");
  // A parent that died before this is noticed by the channel's end.
  if (ends_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
    return base::FailErrno(errno, "PR_SET_PDEATHSIG");
  return {};
}

}  // namespace

base::Result<SandboxReport> EnterSandbox(const SandboxOptions& options) {
  if (options.uid == 0 || options.gid == 0)
    return base::Fail(base::Code::kInvalidArgument,
                      "--uid and --gid: 0 is never used, expected an id of the backend's own");
  GANTRY_TRY_ASSIGN(const auto granted, Numbers(options.capabilities));
  GANTRY_TRY(RefusePowerful(granted));
  prctl(PR_SET_NAME, options.process_name.c_str(), 0, 0, 0);
  GANTRY_TRY(CloseOthers(std::max(options.last_fd, options.prepared_root)));
  IgnoreSignals();
  umask(0077);
  if (chdir("/") != 0) return base::FailErrno(errno, "chdir /");

  SandboxReport report;
  // While it is root.
  JoinCgroups(options.cgroups, report.not_enforced);
  Attempt("oom_score_adj", RaiseOomScore(options.oom_score), report);
  if (options.io_flusher) Attempt("io flusher", BecomeIoFlusher(), report);
  GANTRY_TRY(LimitResources(options, report.not_enforced));
  const OwnRoot root = ReadableFolders();
  Attempt("mounts", EnterOwnRoot(root, options.plugin, options.prepared_root), report);
  if (options.prepared_root >= 0) close(options.prepared_root);
  GANTRY_TRY(ChangeIdsOrKeep(options, granted, report));
  GANTRY_TRY(SetFlags(options.ends_with_parent));
  // Last: they would forbid the steps before.
  Attempt("landlock", RestrictFiles(root.readable, options.plugin, report.not_enforced), report);
  Attempt("seccomp", FilterSystemCalls(), report);
  return report;
}

}  // namespace gantry::worker
