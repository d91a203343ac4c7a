// SPDX-License-Identifier: Apache-2.0
#include "host/worker/syscall_filter.hpp"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>

namespace gantry::worker {
namespace {

using Comparison = scmp_arg_cmp;

constexpr std::array kDenied{
    // Mounts and roots.
    "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen",
    "fsconfig", "fsmount", "fspick", "mount_setattr", "swapon", "swapoff", "quotactl",
    "quotactl_fd", "acct",
    // Other processes.
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp", "move_pages", "migrate_pages",
    "tkill",
    // Processes and namespaces of its own. A fork would hold the backend's lease.
    "execve", "execveat", "fork", "vfork", "unshare", "setns",
    // The kernel itself.
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "bpf",
    "perf_event_open", "userfaultfd", "reboot", "syslog", "iopl", "ioperm", "modify_ldt",
    "lookup_dcookie", "fanotify_init", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "sethostname", "setdomainname", "vhangup", "nfsservctl", "uselib", "_sysctl",
    // Keys are the user's, and outlive the process.
    "keyctl", "add_key", "request_key",
    // System V and POSIX queues and memory outlive it as well, and count against nobody.
    "shmget", "semget", "msgget", "mq_open",
    // Files by handle pass by every path rule.
    "open_by_handle_at", "name_to_handle_at"};
// Newer than the libseccomp of Debian 12; the numbers are the same everywhere (Linux 5.x onward).
constexpr std::array kDeniedNumbers{467 /* open_tree_attr */};
constexpr std::array kMissing{"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"};

constexpr std::array<uint64_t, 7> kNewNamespaces{CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                                 CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
                                                 CLONE_NEWNET};
constexpr std::array<uint64_t, 5> kIoctls{TIOCSTI, TIOCSETD, TIOCLINUX, FIOSETOWN, SIOCSPGRP};
constexpr int kTypeMask = 0xf;  // of socket's second argument: the rest are flags
constexpr int kSockPacket = 10;

// The kernel reads an int where the filter sees 64 bits, so equality is asked of the lower half: a
// caller that sets bits above would else pass by the rule.
Comparison Is(unsigned argument, uint64_t value) {
  return SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, 0xffffffffU, value & 0xffffffffU);
}
Comparison HasBits(unsigned argument, uint64_t mask, uint64_t value) {
  return SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, value);
}
// Bits above make it unequal, and are refused with the rest.
Comparison IsNot(unsigned argument, uint64_t value) {
  return SCMP_CMP(argument, SCMP_CMP_NE, value);
}
Comparison IsAbove(unsigned argument, uint64_t value) {
  return SCMP_CMP(argument, SCMP_CMP_GT, value);
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release) {
    if (context_ == nullptr) {
      error_ = -ENOMEM;
      return;
    }
    // Other ABIs of the machine (i386, x32) would be a way around every rule.
    Note(seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)));
    Note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_TSYNC, 1));
    Note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, kBinaryTree));
  }

  void Deny(const char* name, std::initializer_list<Comparison> when = {}) {
    Add(SCMP_ACT_ERRNO(EPERM), name, when);
  }
  void DenyNumber(int number) {
    if (context_ != nullptr)
      Note(seccomp_rule_add_array(context_.get(), SCMP_ACT_ERRNO(EPERM), number, 0, nullptr));
  }
  void Hide(const char* name) { Add(SCMP_ACT_ERRNO(ENOSYS), name, {}); }

  base::Status Load() {
    if (error_ == 0) Note(seccomp_load(context_.get()));
    if (error_ != 0) return base::FailErrno(-error_, "load the filter");
    return {};
  }

 private:
  static constexpr uint32_t kBinaryTree = 2;

  void Note(int result) {
    if (error_ == 0 && result < 0) error_ = result;
  }
  void Add(uint32_t action, const char* name, std::initializer_list<Comparison> when) {
    if (context_ == nullptr) return;
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) return;  // this machine never had it
    Note(seccomp_rule_add_array(context_.get(), action, number, static_cast<unsigned>(when.size()),
                                when.begin()));
  }

  const std::unique_ptr<void, decltype(&seccomp_release)> context_;
  int error_ = 0;
};

void DenyProcesses(Filter& filter) {
  const auto self = static_cast<uint64_t>(getpid());
  filter.Deny("clone", {HasBits(0, CLONE_THREAD, 0)});
  for (const uint64_t flag : kNewNamespaces) filter.Deny("clone", {HasBits(0, flag, flag)});
  // Others of the same uid are of the same backend, but may be its newer generation. Landlock says
  // this from Linux 6.12 on, the filter everywhere.
  for (const char* name : {"kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"})
    filter.Deny(name, {IsNot(0, self)});
  filter.Deny("prlimit64", {IsNot(0, 0)});
  filter.Deny("personality", {IsNot(0, 0xffffffffU)});  // which only asks
  for (const uint64_t command : {F_SETOWN, F_SETOWN_EX}) filter.Deny("fcntl", {Is(1, command)});
  filter.Deny("prctl", {Is(0, PR_SET_DUMPABLE), IsNot(1, 0)});
  for (const uint64_t option : {PR_SET_PDEATHSIG, PR_SET_PTRACER, PR_SET_MM})
    filter.Deny("prctl", {Is(0, option)});
}

void DenySockets(Filter& filter) {
  // Left are AF_UNIX, AF_INET, AF_INET6, and of AF_NETLINK what getaddrinfo asks for addresses.
  for (uint64_t family = AF_INET + 1; family < AF_NETLINK; ++family)
    if (family != AF_INET6) filter.Deny("socket", {Is(0, family)});
  filter.Deny("socket", {IsAbove(0, AF_NETLINK)});
  filter.Deny("socket", {Is(0, AF_NETLINK), IsNot(2, 0)});
  for (const uint64_t family : {AF_INET, AF_INET6})
    for (const uint64_t type : {int{SOCK_RAW}, kSockPacket})
      filter.Deny("socket", {Is(0, family), HasBits(1, kTypeMask, type)});
}

}  // namespace

base::Status FilterSystemCalls() {
  Filter filter;
  for (const char* name : kDenied) filter.Deny(name);
  for (const int number : kDeniedNumbers) filter.DenyNumber(number);
  for (const char* name : kMissing) filter.Hide(name);
  DenyProcesses(filter);
  DenySockets(filter);
  for (const uint64_t request : kIoctls) filter.Deny("ioctl", {Is(1, request)});
  return filter.Load();
}

}  // namespace gantry::worker
