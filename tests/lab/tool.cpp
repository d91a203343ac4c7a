// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/tool.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/process.hpp"

namespace gantry::lab {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using base::Status;

constexpr std::chrono::milliseconds kSignalMsMax{3000};
constexpr size_t kStatBytesMax = 4096;

// Until the writers are closed, which they are when the tool has ended: nothing of it is awaited.
std::string ReadAvailable(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

struct Pipe {
  base::UniqueFd reader;
  base::UniqueFd writer;
};

Result<Pipe> MakePipe() {
  std::array<int, 2> fds{};
  if (pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) != 0) return base::FailErrno(errno, "pipe2");
  return Pipe{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

Status SignalUntil(pid_t pid, int signal, bool stopped) {
  const base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return base::FailErrno(errno, "pidfd_open " + std::to_string(pid));
  if (syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) != 0)
    return base::FailErrno(errno, "pidfd_send_signal " + std::to_string(pid));
  const std::filesystem::path stat = "/proc/" + std::to_string(pid) + "/stat";
  const auto deadline = std::chrono::steady_clock::now() + kSignalMsMax;
  do {
    GANTRY_TRY_ASSIGN(const std::string line, base::ReadFile(stat, kStatBytesMax));
    const size_t name_end = line.rfind(") ");
    if (name_end != std::string::npos && (line[name_end + 2] == 'T') == stopped) return {};
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return Fail(Code::kDeadlineExceeded,
              stat.string() + ": the server did not " + (stopped ? "stop" : "go on"));
}

}  // namespace

std::string EnvironmentOr(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

Result<std::string> RunLabTool(const std::string& name, const std::vector<std::string>& arguments,
                               std::chrono::milliseconds limit,
                               const std::vector<std::string>& more_environment) {
  const std::filesystem::path tool =
      std::filesystem::path(EnvironmentOr("GANTRY_SOURCE_DIR", ".")) / "tests/lab" / name;
  GANTRY_TRY_ASSIGN(const auto bash, base::PinnedBinary::Open("/bin/bash"));
  GANTRY_TRY_ASSIGN(const auto out, MakePipe());
  GANTRY_TRY_ASSIGN(const auto complaints, MakePipe());
  base::SpawnOptions options;
  options.arguments = {"bash", tool.string()};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.environment = more_environment;
  options.environment.push_back("PATH=" + EnvironmentOr("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
  options.stdout_fd = out.writer.get();
  options.stderr_fd = complaints.writer.get();
  GANTRY_TRY_ASSIGN(auto child, base::Spawn(bash, options));
  GANTRY_TRY_ASSIGN(const auto status, child.Wait(limit));
  const std::string what = tool.string() + " " + arguments.front();
  if (!status) return Fail(Code::kDeadlineExceeded, what + " did not end in time");
  if (status->code != 0 || status->signal != 0)
    return Fail(Code::kUnavailable,
                what + " " + status->Describe() + ": " + ReadAvailable(complaints.reader.get()));
  return ReadAvailable(out.reader.get());
}

Status StopProcess(pid_t pid) { return SignalUntil(pid, SIGSTOP, true); }
Status ContinueProcess(pid_t pid) { return SignalUntil(pid, SIGCONT, false); }

}  // namespace gantry::lab
