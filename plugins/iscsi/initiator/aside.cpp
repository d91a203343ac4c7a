// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/aside.hpp"

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
using plugin::UniqueFd;
namespace code = plugin::code;

constexpr size_t kMessageBytesMax = 2048;
constexpr int kAnswerFd = 3;

// What the child says, in one write: less than a pipe takes at once.
struct Answer {
  int32_t code = 0;
  uint32_t length = 0;  // of the message
  uint64_t value = 0;
  std::array<char, kMessageBytesMax> message{};
};
static_assert(sizeof(Answer) < 4096);

[[noreturn]] void Become(pid_t parent, int to,
                         const std::function<plugin::Result<uint64_t>()>& work) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, standard);
  // The lock is among the others, and is to end with the parent.
  if (to != kAnswerFd) dup2(to, kAnswerFd);
  close_range(kAnswerFd + 1, ~0U, 0);
  const auto done = work();
  Answer answer;
  if (done) {
    answer.value = *done;
  } else {
    answer.code = done.error().code;
    answer.length = static_cast<uint32_t>(std::min(done.error().message.size(), kMessageBytesMax));
    std::copy_n(done.error().message.begin(), answer.length, answer.message.begin());
  }
  const bool is_told = write(kAnswerFd, &answer, sizeof answer) == sizeof answer;
  _exit(is_told ? 0 : 1);
}

Result<uint64_t> Read(int from, TimePoint deadline, const std::string& what) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd wait{from, POLLIN, 0};
    const int ready =
        poll(&wait, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT32_MAX)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Fail(code::kUnavailable, what + " does not answer");
    Answer answer;
    const ssize_t length = read(from, &answer, sizeof answer);
    if (length < 0 && errno == EINTR) continue;
    if (length != sizeof answer)
      return Fail(code::kUnavailable, what + ": the process that asked has died");
    if (answer.code == 0) return answer.value;
    return Fail(answer.code, std::string(answer.message.data(),
                                         std::min<size_t>(answer.length, kMessageBytesMax)));
  }
}

}  // namespace

Result<uint64_t> Aside(TimePoint deadline, const std::string& what,
                       const std::function<Result<uint64_t>()>& work) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0)
    return Fail(code::kInternal, "pipe: " + std::string(std::strerror(errno)));
  const UniqueFd from(fds[0]);
  UniqueFd to(fds[1]);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return Fail(code::kInternal, "fork: " + std::string(std::strerror(errno)));
  if (child == 0) Become(parent, to.get(), work);
  to.Reset();
  auto answer = Read(from.get(), deadline, what);
  kill(child, SIGKILL);
  // One that waits in the kernel is left to whoever reaps this process' children.
  (void)waitpid(child, nullptr, WNOHANG);
  return answer;
}

plugin::Status AsideStatus(TimePoint deadline, const std::string& what,
                           const std::function<plugin::Status()>& work) {
  const auto done = Aside(deadline, what, [&]() -> Result<uint64_t> {
    GANTRY_PLUGIN_TRY(work());
    return uint64_t{0};
  });
  if (!done) return tl::unexpected(done.error());
  return {};
}

}  // namespace gantry::iscsi::initiator
