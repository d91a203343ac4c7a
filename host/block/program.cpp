// SPDX-License-Identifier: Apache-2.0
#include "host/block/program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "host/base/fd.hpp"

namespace gantry::block {
namespace {

using base::Code;
using base::Fail;
using base::UniqueFd;

constexpr int kNotInstalled = 127;
// libdevmapper makes its nodes itself: the semaphores that it shares with udev belong to an IPC
// namespace, and a container's is not the node's.
constexpr std::array kEnvironment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                     "DM_DISABLE_UDEV=1"};

int MillisecondsUntil(base::TimePoint deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  constexpr int64_t kPollMsMax = 3'600'000;
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, kPollMsMax));
}

// After fork: nothing but system calls. `argv` and `environment` were made before it.
[[noreturn]] void Become(char* const* argv, char* const* environment, pid_t parent, int input,
                         int output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kNotInstalled);
  setsid();  // what it starts is killed with it
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(input >= 0 ? input : null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  close_range(STDERR_FILENO + 1, ~0U, 0);
  execvpe(argv[0], argv, environment);
  _exit(kNotInstalled);
}

void Keep(std::string* output, const char* bytes, size_t length) {
  output->append(bytes, length);
  if (output->size() > kProgramOutputBytesMax)
    output->erase(0, output->size() - kProgramOutputBytesMax);
}

// Reads until nobody holds the other end. False: the deadline came first.
bool ReadAll(int from, base::TimePoint deadline, std::string* output) {
  std::array<char, 4096> buffer{};
  for (;;) {
    pollfd wait{from, POLLIN, 0};
    const int ready = poll(&wait, 1, MillisecondsUntil(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t length = read(from, buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return true;
    Keep(output, buffer.data(), static_cast<size_t>(length));
  }
}

bool WaitUntilEnded(int pidfd, base::TimePoint deadline) {
  for (;;) {
    pollfd wait{pidfd, POLLIN, 0};
    const int ready = poll(&wait, 1, MillisecondsUntil(deadline));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) return false;
  }
}

void MakePrintable(std::string* text) {
  while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
  for (char& c : *text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = c == '\n' ? ';' : '?';
}

}  // namespace

base::Result<ProgramEnd> RunProgram(const std::vector<std::string>& argv, base::TimePoint deadline,
                                    int input) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return base::FailErrno(errno, "pipe for " + argv.at(0));
  const UniqueFd from(pipe_fds[0]);
  UniqueFd to(pipe_fds[1]);
  // execvpe looks in the calling process' PATH, not in the new environment's.
  if (setenv("PATH", kEnvironment[0] + 5, 1) != 0) return base::FailErrno(errno, "setenv PATH");
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::vector<char*> environment;
  for (const char* entry : kEnvironment) environment.push_back(const_cast<char*>(entry));
  environment.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return base::FailErrno(errno, "fork for " + argv[0]);
  if (pid == 0) Become(words.data(), environment.data(), parent, input, to.get());
  to.Reset();
  // Not reaped yet, so the number is still this child's.
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  ProgramEnd end;
  const bool in_time =
      pidfd && ReadAll(from.get(), deadline, &end.output) && WaitUntilEnded(pidfd.get(), deadline);
  if (!in_time) {
    (void)kill(-pid, SIGKILL);
    (void)kill(pid, SIGKILL);
    if (pidfd && WaitUntilEnded(pidfd.get(), std::chrono::steady_clock::now() + kProgramReapMsMax))
      (void)waitpid(pid, nullptr, 0);
    return Fail(Code::kDeadlineExceeded, argv[0] + " did not end in time and was killed");
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return base::FailErrno(errno, "wait for " + argv[0]);
  MakePrintable(&end.output);
  if (WIFSIGNALED(status))
    return Fail(Code::kUnavailable, argv[0] + " was ended by signal " +
                                        std::to_string(WTERMSIG(status)) + ": " + end.output);
  end.exit_code = WEXITSTATUS(status);
  if (end.exit_code == kNotInstalled && end.output.empty())
    return Fail(Code::kFailedPrecondition, argv[0] + " is not installed on this node");
  return end;
}

base::Status MustRun(const std::vector<std::string>& argv, base::TimePoint deadline, int input) {
  GANTRY_TRY_ASSIGN(const ProgramEnd end, RunProgram(argv, deadline, input));
  if (end.exit_code == 0) return {};
  return Fail(Code::kFailedPrecondition,
              argv[0] + " exited with " + std::to_string(end.exit_code) + ": " + end.output);
}

}  // namespace gantry::block
