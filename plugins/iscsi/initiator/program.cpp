// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "plugins/common/unique_fd.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr int kNotInstalled = 127;
constexpr std::array<const char*, 3> kEnvironment = {
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL=C", nullptr};

[[noreturn]] void Become(char* const* argv, pid_t parent, int output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kNotInstalled);
  setsid();  // what it starts is killed with it
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  close_range(STDERR_FILENO + 1, ~0U, 0);
  execvpe(argv[0], argv, const_cast<char* const*>(kEnvironment.data()));
  _exit(kNotInstalled);
}

// Reads until nobody holds the other end. False: the deadline came first.
bool ReadAll(int from, TimePoint deadline, std::string* output) {
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd wait{from, POLLIN, 0};
    const int ready =
        poll(&wait, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT32_MAX)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t length = read(from, buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return true;
    output->append(buffer.data(), static_cast<size_t>(length));
    if (output->size() > kToolOutputBytesMax)
      output->erase(0, output->size() - kToolOutputBytesMax);
  }
}

std::string OneLine(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      if (!line.empty() && !line.ends_with("; ")) line += "; ";
    } else {
      line += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
    }
  }
  if (line.ends_with("; ")) line.resize(line.size() - 2);
  return line;
}

}  // namespace

Result<ToolEnd> RunTool(const std::vector<std::string>& argv, TimePoint deadline) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0)
    return Fail(code::kInternal, "pipe: " + std::string(std::strerror(errno)));
  const plugin::UniqueFd from(fds[0]);
  plugin::UniqueFd to(fds[1]);
  // execvpe looks in the calling process' PATH, not in the new environment's.
  setenv("PATH", kEnvironment[0] + 5, 1);
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return Fail(code::kInternal, "fork: " + std::string(std::strerror(errno)));
  if (pid == 0) Become(words.data(), parent, to.get());
  to.Reset();
  ToolEnd end;
  const bool in_time = ReadAll(from.get(), deadline, &end.output);
  if (!in_time) {
    (void)kill(-pid, SIGKILL);
    (void)kill(pid, SIGKILL);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  end.output = OneLine(end.output);
  if (!in_time)
    return Fail(code::kDeadlineExceeded, argv[0] + " did not end in time and was killed" +
                                             (end.output.empty() ? "" : ": " + end.output));
  if (WIFSIGNALED(status))
    return Fail(code::kUnavailable,
                argv[0] + " was ended by signal " + std::to_string(WTERMSIG(status)));
  end.exit_code = WEXITSTATUS(status);
  if (end.exit_code == kNotInstalled && end.output.empty())
    return Fail(code::kFailedPrecondition, argv[0] + " is not installed on this node");
  return end;
}

}  // namespace gantry::iscsi::initiator
