// SPDX-License-Identifier: Apache-2.0
#include "host/services/exec.hpp"

#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <span>
#include <utility>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/secret.hpp"

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;
using base::UniqueFd;

constexpr std::chrono::milliseconds kExecReapMsMax{2000};

std::string Shown(const std::string& word) {
  constexpr size_t kShownBytesMax = 64;
  return "\"" + word.substr(0, kShownBytesMax) + (word.size() > kShownBytesMax ? "...\"" : "\"");
}

// How many words of argv, from argv[1], the pattern allows.
size_t Allowed(const std::vector<std::string>& patterns, const std::vector<std::string>& argv) {
  size_t n = 0;
  while (n < patterns.size() && n + 1 < argv.size() &&
         fnmatch(patterns[n].c_str(), argv[n + 1].c_str(), 0) == 0)
    ++n;
  return n;
}

// The child's standard input: memory rather than a pipe, so that nothing waits for its reading it.
// Locked, since it may hold a credential, and wiped by the destructor.
class InputFile {
 public:
  static base::Result<InputFile> Make(std::string_view input) {
    InputFile file;
    file.fd_ = UniqueFd(memfd_create("gantry-exec-input", MFD_CLOEXEC));
    if (!file.fd_) return base::FailErrno(errno, "memfd_create");
    if (input.empty()) return file;
    if (ftruncate(file.fd_.get(), static_cast<off_t>(input.size())) != 0)
      return base::FailErrno(errno, "size the input");
    void* map = mmap(nullptr, input.size(), PROT_READ | PROT_WRITE, MAP_SHARED, file.fd_.get(), 0);
    if (map == MAP_FAILED) return base::FailErrno(errno, "map the input");
    file.map_ = {static_cast<char*>(map), input.size()};
    (void)mlock(map, input.size());
    std::copy(input.begin(), input.end(), file.map_.begin());
    return file;
  }
  InputFile(InputFile&& other) noexcept
      : fd_(std::move(other.fd_)), map_(std::exchange(other.map_, {})) {}
  InputFile& operator=(InputFile&&) = delete;
  ~InputFile() {
    if (map_.empty()) return;
    base::Wipe(map_);
    munmap(map_.data(), map_.size());
  }
  int fd() const { return fd_.get(); }

 private:
  InputFile() = default;
  UniqueFd fd_;
  std::span<char> map_;
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

base::Result<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return base::FailErrno(errno, "pipe");
  Pipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  GANTRY_TRY(base::SetNonBlocking(pipe.read.get()));
  return pipe;
}

// Reads some of what is there, not all: a program that never stops writing must not keep this from
// looking at the clock. Closes at the end of the stream.
void Drain(UniqueFd* fd, std::string* output) {
  std::array<char, 16384> buffer;
  constexpr int kReadsMax = 64;
  for (int i = 0; i < kReadsMax; ++i) {
    const ssize_t n = read(fd->get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return fd->Reset();
    const size_t room = kExecOutputBytesMax - output->size();
    output->append(buffer.data(), std::min(room, static_cast<size_t>(n)));
  }
}

int MillisecondsUntil(base::TimePoint deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  constexpr int64_t kPollMsMax = 60'000;
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, kPollMsMax));
}

// Until the child has ended, the deadline is over or `stop` can be read; true when it has ended.
bool CollectUntilEnd(const base::Child& child, UniqueFd* out, std::string* output, UniqueFd* err,
                     std::string* error_output, base::TimePoint deadline, int stop) {
  for (;;) {
    std::array<pollfd, 4> wait{pollfd{child.pidfd(), POLLIN, 0}, pollfd{out->get(), POLLIN, 0},
                               pollfd{err->get(), POLLIN, 0}, pollfd{stop, POLLIN, 0}};
    (void)poll(wait.data(), wait.size(), MillisecondsUntil(deadline));
    if (*out) Drain(out, output);
    if (*err) Drain(err, error_output);
    if ((wait[0].revents & POLLIN) != 0) return true;
    if ((wait[3].revents & POLLIN) != 0) return false;
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
}

}  // namespace

base::Result<std::filesystem::path> JudgeExec(const std::string& backend,
                                              const core::Grants& grants,
                                              const std::vector<std::string>& argv) {
  if (argv.empty() || argv.size() > kExecArgumentsMax)
    return Fail(Code::kInvalidArgument, "exec: " + std::to_string(argv.size()) +
                                            " arguments, expected 1 to " +
                                            std::to_string(kExecArgumentsMax));
  for (size_t i = 0; i < argv.size(); ++i)
    if (argv[i].size() > kExecArgumentBytesMax || argv[i].find('\0') != std::string::npos)
      return Fail(Code::kInvalidArgument,
                  "exec: argv[" + std::to_string(i) + "]: expected at most " +
                      std::to_string(kExecArgumentBytesMax) + " bytes without NUL");
  const std::string grant = "backends." + backend + ".grants.helpers";
  const auto helper = grants.helpers.find(argv[0]);
  if (helper == grants.helpers.end())
    return Fail(Code::kPermissionDenied,
                "exec: argv[0] " + Shown(argv[0]) + ": no such helper is granted (" + grant + ")");
  if (!helper->second.program.is_absolute())
    return Fail(Code::kInternal, grant + "." + argv[0] + ".program: expected an absolute path");
  size_t best = 0;
  for (const auto& patterns : helper->second.arguments) {
    const size_t allowed = Allowed(patterns, argv);
    if (allowed == patterns.size() && allowed + 1 == argv.size()) return helper->second.program;
    best = std::max(best, allowed);
  }
  if (best + 1 == argv.size())
    return Fail(Code::kPermissionDenied, "exec: " + std::to_string(argv.size()) +
                                             " arguments end too early for every grant (" + grant +
                                             "." + argv[0] + ".arguments)");
  return Fail(Code::kPermissionDenied, "exec: argv[" + std::to_string(best + 1) + "] " +
                                           Shown(argv[best + 1]) + ": no grant allows it (" +
                                           grant + "." + argv[0] + ".arguments)");
}

base::Result<ExecResult> RunExec(const std::string& backend, const core::Grants& grants,
                                 const std::vector<std::string>& argv, std::string_view input,
                                 base::TimePoint deadline, core::Cancellation* cancellation) {
  GANTRY_TRY_ASSIGN(const auto program, JudgeExec(backend, grants, argv));
  if (input.size() > kExecInputBytesMax)
    return Fail(Code::kInvalidArgument, "exec: input of " + std::to_string(input.size()) +
                                            " bytes, expected at most " +
                                            std::to_string(kExecInputBytesMax));
  GANTRY_TRY_ASSIGN(const InputFile standard_input, InputFile::Make(input));
  GANTRY_TRY_ASSIGN(Pipe out, MakePipe());
  GANTRY_TRY_ASSIGN(Pipe err, MakePipe());
  // Shared, since a cancel may be on its way while this returns.
  const auto stop = std::make_shared<UniqueFd>(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!*stop) return base::FailErrno(errno, "eventfd");
  std::shared_ptr<void> registration;
  if (cancellation != nullptr)
    registration = cancellation->OnCancel([stop] { (void)eventfd_write(stop->get(), 1); });
  base::SpawnOptions options;
  options.arguments = argv;
  options.arguments[0] = program.string();
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  options.stdin_fd = standard_input.fd();
  options.stdout_fd = out.write.get();
  options.stderr_fd = err.write.get();
  options.new_session = true;
  GANTRY_TRY_ASSIGN(base::Child child, base::SpawnProgram(program, options));
  out.write.Reset();
  err.write.Reset();

  ExecResult result;
  const bool ended = CollectUntilEnd(child, &out.read, &result.output, &err.read,
                                     &result.error_output, deadline, stop->get());
  // Not reaped yet, so the number is still its own, and its group's.
  kill(-child.pid(), SIGKILL);
  if (out.read) Drain(&out.read, &result.output);
  if (err.read) Drain(&err.read, &result.error_output);
  GANTRY_TRY_ASSIGN(const auto status, child.Wait(kExecReapMsMax));
  if (!ended && cancellation != nullptr && cancellation->cancelled())
    return Fail(Code::kCancelled, "exec: " + argv[0] + " was killed: its worker is dead");
  if (!ended)
    return Fail(Code::kDeadlineExceeded,
                "exec: " + argv[0] + " did not end before the deadline and was killed");
  if (!status) return Fail(Code::kInternal, "exec: " + argv[0] + " ended but cannot be reaped");
  result.exit_status = status->signal != 0 ? 128 + status->signal : status->code;
  return result;
}

}  // namespace gantry::services
