// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper_program.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>

namespace gantry::services {
namespace {

constexpr int kFixedArguments = 6;  // with the program
constexpr int kLastCapability = 63;
constexpr mode_t kUmask = 022;

struct Order {
  pid_t parent = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  char** program = nullptr;  // its argv
  char** environment = nullptr;
};

template <class Number>
bool Read(const char* text, Number* number) {
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), *number);
  return error == std::errc() && *end == '\0';
}

std::optional<Order> ReadOrder(int argc, char** argv, char** environment) {
  Order order;
  if (argc < kFixedArguments || !Read(argv[2], &order.parent) || !Read(argv[3], &order.uid) ||
      !Read(argv[4], &order.gid))
    return std::nullopt;
  order.program = argv + kFixedArguments - 1;
  order.environment = environment;
  return order;
}

[[noreturn]] void GiveUp(const char* what) {
  dprintf(kProgramFaultFd, "%s: %s", what, std::strerror(errno));
  _exit(kProgramNotRun);
}

int ExitCode(int status) {
  constexpr int kSignalled = 128;
  return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
}

// Another user keeps nothing that root had; root keeps its capabilities, since it was asked for.
void BecomeUser(const Order& order) {
  if (geteuid() != 0) {
    errno = EPERM;
    if (order.uid != geteuid() || order.gid != getegid()) GiveUp("change the user");
    return;
  }
  if (order.uid != 0)
    for (int capability = 0; capability <= kLastCapability; ++capability)
      (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // EINVAL above the kernel's last
  if (setgroups(0, nullptr) != 0 || setresgid(order.gid, order.gid, order.gid) != 0 ||
      setresuid(order.uid, order.uid, order.uid) != 0)
    GiveUp("change the user");
}

[[noreturn]] void BecomeProgram(const Order& order) {
  BecomeUser(order);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) GiveUp("set no_new_privs");
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(order.program[0], order.program, order.environment);
  GiveUp(order.program[0]);
}

// Process 1 of the namespace: reaps what is given to it and ends with the program; its end is
// everybody's.
[[noreturn]] void BecomeInit(const Order& order, int helper_lives) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The signal is only sent for a death from now on.
  pollfd gone{helper_lives, 0, 0};
  if (poll(&gone, 1, 0) != 0) _exit(kProgramNotRun);
  const pid_t program = fork();
  if (program < 0) GiveUp("fork");
  if (program == 0) BecomeProgram(order);
  close(kProgramFaultFd);
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, 0);
    if (ended == program) _exit(ExitCode(status));
    if (ended < 0 && errno != EINTR) _exit(kProgramNotRun);
  }
}

int AwaitEnd(pid_t child, const sigset_t& signals) {
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return ExitCode(status);
    if (sigwaitinfo(&signals, nullptr) == SIGTERM) kill(child, SIGKILL);
  }
}

}  // namespace

int RunProgram(int argc, char** argv, char** environment) {
  const auto order = ReadOrder(argc, argv, environment);
  if (!order) {
    std::fprintf(stderr, "gantry-helper: it is started by gantryd and is of no use by hand\n");
    return kProgramNotRun;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != order->parent) return kProgramNotRun;
  (void)syscall(SYS_close_range, kProgramFaultFd + 1, ~0U, 0);
  fcntl(kProgramFaultFd, F_SETFD, FD_CLOEXEC);
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) GiveUp("forbid core dumps");
  if (chdir("/") != 0) GiveUp("chdir /");
  umask(kUmask);

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  int lives[2];
  if (pipe2(lives, O_CLOEXEC) != 0) GiveUp("pipe");
  const bool has_namespace = unshare(CLONE_NEWPID) == 0;
  const pid_t child = fork();
  if (child < 0) GiveUp("fork");
  if (child == 0) {
    close(lives[1]);
    if (has_namespace) BecomeInit(*order, lives[0]);
    BecomeProgram(*order);
  }
  close(kProgramFaultFd);
  close(lives[0]);
  return AwaitEnd(child, signals);
}

}  // namespace gantry::services
