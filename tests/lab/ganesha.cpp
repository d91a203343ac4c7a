// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/ganesha.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/process.hpp"

namespace gantry::lab {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using base::Status;

// Above the sum of the tool's own deadlines, so that its message arrives instead of ours.
constexpr std::chrono::milliseconds kToolMsMax{90000};

constexpr std::chrono::milliseconds kSignalMsMax{3000};
constexpr size_t kStatBytesMax = 4096;

std::string Environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

// What the tool said fits into a pipe (64 KiB): it is read after the tool has ended.
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

// Runs tests/lab/ganesha with these arguments; its output, or an error with what it complained of.
Result<std::string> RunTool(const std::vector<std::string>& arguments) {
  const std::filesystem::path tool =
      std::filesystem::path(Environment("GANTRY_SOURCE_DIR", ".")) / "tests/lab/ganesha";
  GANTRY_TRY_ASSIGN(const auto bash, base::PinnedBinary::Open("/bin/bash"));
  GANTRY_TRY_ASSIGN(const auto out, MakePipe());
  GANTRY_TRY_ASSIGN(const auto complaints, MakePipe());
  base::SpawnOptions options;
  options.arguments = {"bash", tool.string()};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.environment = {"PATH=" + Environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                         "GANTRY_BUILD_DIR=" + Environment("GANTRY_BUILD_DIR", "")};
  options.stdout_fd = out.writer.get();
  options.stderr_fd = complaints.writer.get();
  GANTRY_TRY_ASSIGN(auto child, base::Spawn(bash, options));
  GANTRY_TRY_ASSIGN(const auto status, child.Wait(kToolMsMax));
  const std::string what = tool.string() + " " + arguments.front();
  if (!status) return Fail(Code::kDeadlineExceeded, what + " did not end in time");
  if (status->code != 0 || status->signal != 0)
    return Fail(Code::kUnavailable,
                what + " " + status->Describe() + ": " + ReadAvailable(complaints.reader.get()));
  return ReadAvailable(out.reader.get());
}

template <class Number>
Status TakeNumber(std::string_view facts, std::string_view name, Number* number) {
  const std::string key = "\n" + std::string(name) + "=";
  const size_t at = facts.find(key);
  if (at == std::string_view::npos)
    return Fail(Code::kInternal, "tests/lab/ganesha gave no " + std::string(name));
  const std::string_view value = facts.substr(at + key.size());
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
  if (error != std::errc{} || *end != '\n')
    return Fail(Code::kInternal, "tests/lab/ganesha gave a bad " + std::string(name));
  return {};
}

}  // namespace

Result<Ganesha> Ganesha::Start(GaneshaOptions options) {
  Ganesha server;
  if (options.directory.empty()) {
    server.temporary_ = std::make_unique<base::TempDir>();
    options.directory = server.temporary_->path();
  }
  server.directory_ = options.directory;
  server.exports_ = options.exports;
  std::ostringstream exports;
  for (const auto& name : options.exports) exports << (exports.tellp() > 0 ? "," : "") << name;

  std::vector<std::string> arguments = {"start",
                                        "--dir",
                                        server.directory_.string(),
                                        "--address",
                                        options.address,
                                        "--exports",
                                        exports.str(),
                                        "--fsal",
                                        options.fsal,
                                        "--squash",
                                        options.root_squash ? "root_squash" : "no_root_squash",
                                        "--owner",
                                        std::to_string(getpid())};
  if (options.port != 0)
    arguments.insert(arguments.end(), {"--port", std::to_string(options.port)});
  if (options.privileged_port) arguments.emplace_back("--privileged-port");
  if (options.v4_only) arguments.emplace_back("--v4-only");
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool(arguments));
  GANTRY_TRY(server.TakeFacts(facts));
  return server;
}

Ganesha::Ganesha(Ganesha&& other) noexcept
    : temporary_(std::move(other.temporary_)),
      directory_(std::exchange(other.directory_, {})),
      exports_(std::move(other.exports_)),
      pid_(std::exchange(other.pid_, 0)),
      port_(other.port_),
      mount_port_(other.mount_port_) {}

Ganesha& Ganesha::operator=(Ganesha&& other) noexcept {
  if (this != &other) {
    const Ganesha old(std::move(*this));
    temporary_ = std::move(other.temporary_);
    directory_ = std::exchange(other.directory_, {});
    exports_ = std::move(other.exports_);
    pid_ = std::exchange(other.pid_, 0);
    port_ = other.port_;
    mount_port_ = other.mount_port_;
  }
  return *this;
}

// Killed rather than stopped: nobody reads what a clean end would still write.
Ganesha::~Ganesha() {
  if (directory_.empty()) return;
  (void)Kill();
  (void)Stop();
}

Status Ganesha::Run(const std::string& verb) {
  GANTRY_TRY(RunTool({verb, "--dir", directory_.string()}));
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool({"facts", "--dir", directory_.string()}));
  return TakeFacts(facts);
}

// No tool is spawned: a child that closes a file of this server's frozen mount would wait for it.
Status Ganesha::SignalUntil(int signal, bool stopped) {
  const base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!process) return base::FailErrno(errno, "pidfd_open " + std::to_string(pid_));
  if (syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) != 0)
    return base::FailErrno(errno, "pidfd_send_signal " + std::to_string(pid_));
  const std::filesystem::path stat = "/proc/" + std::to_string(pid_) + "/stat";
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

Status Ganesha::TakeFacts(const std::string& facts) {
  const std::string lines = "\n" + facts;
  GANTRY_TRY(TakeNumber(lines, "GANESHA_PID", &pid_));
  GANTRY_TRY(TakeNumber(lines, "GANESHA_PORT", &port_));
  return TakeNumber(lines, "GANESHA_MOUNT_PORT", &mount_port_);
}

Status Ganesha::Freeze() { return SignalUntil(SIGSTOP, true); }
Status Ganesha::Thaw() { return SignalUntil(SIGCONT, false); }
Status Ganesha::Kill() { return Run("kill"); }
Status Ganesha::Restart() { return Run("restart"); }
Status Ganesha::Stop() { return Run("stop"); }

}  // namespace gantry::lab
