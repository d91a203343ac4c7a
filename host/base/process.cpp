// SPDX-License-Identifier: Apache-2.0
#include "host/base/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "host/base/children.hpp"
#include "host/base/open_files.hpp"

namespace gantry::base {
namespace {

constexpr int kFirstPassedFd = 3;
constexpr int kPassedFdsMax = 64;
// Fds are first moved above everything that a remapping could cover (see LiftAbove).
constexpr int kPinnedFdMin = 10;

// posix_spawn file actions run in order, so a source fd could be overwritten before its turn.
// Sources are therefore duplicated above the range of targets first.
Result<std::vector<UniqueFd>> LiftAbove(const std::vector<int>& fds, int minimum) {
  std::vector<UniqueFd> lifted;
  for (const int fd : fds) {
    UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, minimum));
    if (!copy) return FailErrno(errno, "duplicate a passed file descriptor");
    lifted.push_back(std::move(copy));
  }
  return lifted;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const auto& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<PinnedBinary> PinnedBinary::Open(const std::filesystem::path& path) {
  UniqueFd low(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!low) return FailErrno(errno, "open " + path.string());
  UniqueFd high(fcntl(low.get(), F_DUPFD_CLOEXEC, kFirstPassedFd + kPassedFdsMax + kPinnedFdMin));
  if (!high) return FailErrno(errno, "pin " + path.string());
  return PinnedBinary(std::move(high), path);
}

std::string ExitStatus::Describe() const {
  if (signal == 0) return "exited with " + std::to_string(code);
  const char* name = sigabbrev_np(signal);
  return "killed by SIG" + (name != nullptr ? std::string(name) : std::to_string(signal)) +
         (core ? " (core dumped)" : "");
}

namespace {

// `spawn_path` is what the kernel is given, `program` what people are told.
Result<Child> SpawnPath(const std::string& spawn_path, const std::filesystem::path& program,
                        const SpawnOptions& options) {
  if (options.pass_fds.size() > kPassedFdsMax)
    return Fail(Code::kInternal, "too many file descriptors to pass to " + program.string());
  const int above = kFirstPassedFd + static_cast<int>(options.pass_fds.size());
  GANTRY_TRY_ASSIGN(const auto lifted, LiftAbove(options.pass_fds, above));

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  if (options.stdin_fd >= 0)
    posix_spawn_file_actions_adddup2(&actions, options.stdin_fd, STDIN_FILENO);
  else
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (options.stdout_fd >= 0)
    posix_spawn_file_actions_adddup2(&actions, options.stdout_fd, STDOUT_FILENO);
  else
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (options.stderr_fd >= 0)
    posix_spawn_file_actions_adddup2(&actions, options.stderr_fd, STDERR_FILENO);
  for (size_t i = 0; i < lifted.size(); ++i)
    posix_spawn_file_actions_adddup2(&actions, lifted[i].get(),
                                     kFirstPassedFd + static_cast<int>(i));

  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&attributes, flags);

  auto argv = Pointers(options.arguments);
  auto envp = Pointers(options.environment);
  pid_t pid = -1;
  SpawnGuard guard;
  const int error =
      posix_spawn(&pid, spawn_path.c_str(), &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return FailErrno(error, "spawn " + program.string());
  guard.Note(pid);

  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const int pidfd_error = errno;
  Child child(pid, std::move(pidfd));
  if (child.pidfd() < 0) return FailErrno(pidfd_error, "pidfd_open");
  return child;
}

}  // namespace

Result<Child> Spawn(const PinnedBinary& binary, const SpawnOptions& options) {
  return SpawnPath(binary.SpawnPath(), binary.path(), options);
}

Result<Child> SpawnProgram(const std::filesystem::path& program, const SpawnOptions& options) {
  GANTRY_TRY_ASSIGN(Child child, SpawnPath(program.string(), program, options));
  // A moment late: posix_spawn knows no limits. Nothing opens a thousand files in that moment, and a
  // program that is gone already needs no limit.
  (void)LimitOpenFiles(child.pid());
  return child;
}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    Child old(std::move(*this));
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

Child::~Child() {
  if (pid_ <= 0) return;
  constexpr std::chrono::milliseconds kReapMsMax{2000};
  if (pidfd_) {
    (void)Kill(SIGKILL);
    (void)Wait(kReapMsMax);
  } else {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (pid_ > 0) ForgetChild(pid_);
}

Status Child::Kill(int signal_number) const {
  if (syscall(SYS_pidfd_send_signal, pidfd_.get(), signal_number, nullptr, 0) != 0)
    return FailErrno(errno, "signal process " + std::to_string(pid_));
  return {};
}

Result<std::optional<ExitStatus>> Child::Wait(std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd wait{pidfd_.get(), POLLIN, 0};
    const int ready = poll(&wait, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return FailErrno(errno, "poll a pidfd");
    if (ready == 0) return std::optional<ExitStatus>{};
    break;
  }
  int status = 0;
  ExitStatus result;
  if (wait4(pid_, &status, WNOHANG, &result.usage) != pid_)
    return FailErrno(errno, "wait for process " + std::to_string(pid_));
  ForgetChild(pid_);
  pid_ = -1;
  pidfd_.Reset();
  if (WIFSIGNALED(status)) {
    result.signal = WTERMSIG(status);
    result.core = WCOREDUMP(status);
  } else {
    result.code = WEXITSTATUS(status);
  }
  return std::optional<ExitStatus>(result);
}

pid_t Child::Abandon() {
  pidfd_.Reset();
  if (pid_ > 0) ForgetChild(pid_);
  return std::exchange(pid_, -1);
}

}  // namespace gantry::base
