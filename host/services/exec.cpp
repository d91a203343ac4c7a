// SPDX-License-Identifier: Apache-2.0
#include "host/services/exec.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <span>
#include <utility>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/secret.hpp"
#include "host/core/argument_pattern.hpp"
#include "host/services/helper_program.hpp"

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

// No component of it is a symlink, as far as it exists: the program would follow it.
bool IsFreeOfSymlinks(const std::string& directory, const std::string& below) {
  const UniqueFd top(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top) return errno == ENOENT;
  const UniqueFd found = base::OpenBeneath(top.get(), below);
  if (!found) return errno == ENOENT;
  struct stat status {};
  return fstat(found.get(), &status) == 0 && !S_ISLNK(status.st_mode);
}

bool IsAllowed(const std::string& grant, const std::string& word) {
  const auto pattern = core::ArgumentPattern::Parse(grant);
  if (!pattern || !pattern->Matches(word)) return false;
  return pattern->directory().empty() ||
         IsFreeOfSymlinks(pattern->directory(), std::string(pattern->BelowDirectory(word)));
}

// How many words of argv, from argv[1], the grant allows.
size_t Allowed(const std::vector<std::string>& grant, const std::vector<std::string>& argv) {
  size_t n = 0;
  while (n < grant.size() && n + 1 < argv.size() && IsAllowed(grant[n], argv[n + 1])) ++n;
  return n;
}

// A program that its backend could change would be no grant.
base::Status CheckProgram(const std::filesystem::path& program, const std::string& grant) {
  struct stat status {};
  if (stat(program.c_str(), &status) != 0)
    return Fail(Code::kFailedPrecondition,
                grant + ".program: " + base::FromErrno(errno, program.string()).message);
  if (!S_ISREG(status.st_mode) || (status.st_uid != 0 && status.st_uid != geteuid()) ||
      (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return Fail(Code::kFailedPrecondition, grant + ".program: " + program.string() +
                                               ": expected a file that only root may change");
  return {};
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

base::Result<const core::Grants::Helper*> JudgeExec(const core::BackendConfig& backend,
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
  const std::string grant = "backends." + backend.name + ".grants.helpers";
  const auto helper = backend.grants.helpers.find(argv[0]);
  if (helper == backend.grants.helpers.end())
    return Fail(Code::kPermissionDenied,
                "exec: argv[0] " + Shown(argv[0]) + ": no such helper is granted (" + grant + ")");
  size_t best = 0;
  for (const auto& words : helper->second.arguments) {
    const size_t allowed = Allowed(words, argv);
    if (allowed == words.size() && allowed + 1 == argv.size()) {
      GANTRY_TRY(CheckProgram(helper->second.program, grant + "." + argv[0]));
      return &helper->second;
    }
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

base::Result<ExecResult> RunExec(const core::BackendConfig& backend,
                                 const base::PinnedBinary& helper,
                                 const std::vector<std::string>& argv, std::string_view input,
                                 base::TimePoint deadline, core::Cancellation* cancellation) {
  GANTRY_TRY_ASSIGN(const auto* granted, JudgeExec(backend, argv));
  if (input.size() > kExecInputBytesMax)
    return Fail(Code::kInvalidArgument, "exec: input of " + std::to_string(input.size()) +
                                            " bytes, expected at most " +
                                            std::to_string(kExecInputBytesMax));
  GANTRY_TRY_ASSIGN(const InputFile standard_input, InputFile::Make(input));
  GANTRY_TRY_ASSIGN(Pipe out, MakePipe());
  GANTRY_TRY_ASSIGN(Pipe err, MakePipe());
  GANTRY_TRY_ASSIGN(Pipe fault, MakePipe());
  // Where gantryd itself is nobody, it can make nobody else of its children, as of its workers.
  const bool is_root = geteuid() == 0;
  // Shared, since a cancel may be on its way while this returns.
  const auto stop = std::make_shared<UniqueFd>(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!*stop) return base::FailErrno(errno, "eventfd");
  std::shared_ptr<void> registration;
  if (cancellation != nullptr)
    registration = cancellation->OnCancel([stop] { (void)eventfd_write(stop->get(), 1); });
  base::SpawnOptions options;
  options.arguments = {"gantry-helper",
                       std::string(kProgramWord),
                       std::to_string(getpid()),
                       std::to_string(is_root ? granted->uid.value_or(backend.uid) : geteuid()),
                       std::to_string(is_root ? granted->gid.value_or(backend.gid) : getegid()),
                       granted->program.string()};
  options.arguments.insert(options.arguments.end(), argv.begin() + 1, argv.end());
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"};
  options.pass_fds = {fault.write.get()};
  options.stdin_fd = standard_input.fd();
  options.stdout_fd = out.write.get();
  options.stderr_fd = err.write.get();
  options.new_session = true;
  GANTRY_TRY_ASSIGN(base::Child child, base::Spawn(helper, options));
  out.write.Reset();
  err.write.Reset();
  fault.write.Reset();

  ExecResult result;
  const bool ended = CollectUntilEnd(child, &out.read, &result.output, &err.read,
                                     &result.error_output, deadline, stop->get());
  // The helper kills what it started and ends last; where it does not, the session goes whole. Not
  // reaped yet, so the number is still its own, and its group's.
  if (!ended) {
    (void)child.Kill(SIGTERM);
    pollfd end{child.pidfd(), POLLIN, 0};
    (void)poll(&end, 1, static_cast<int>(kExecReapMsMax.count()));
  }
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
  std::string why;
  Drain(&fault.read, &why);
  if (!why.empty())
    return Fail(Code::kFailedPrecondition, "exec: " + argv[0] + " cannot be run: " + why);
  result.exit_status = status->signal != 0 ? 128 + status->signal : status->code;
  return result;
}

}  // namespace gantry::services
