// SPDX-License-Identifier: Apache-2.0
// Child processes: spawned from a pinned binary, watched by pidfd, never waited for without a
// deadline. posix_spawn rather than fork: the parent has many threads and gRPC in it.
// A pid is used only through its pidfd, so that a recycled pid is never signalled (pidfd_open(2)).
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::base {

// A program opened once (O_PATH), so that replacing the file on disk cannot mix versions.
class PinnedBinary {
 public:
  static Result<PinnedBinary> Open(const std::filesystem::path& path);
  // "/proc/self/fd/N" of the spawning process, with N >= 10 so that no remapped fd covers it.
  std::string SpawnPath() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }
  const std::filesystem::path& path() const { return path_; }

 private:
  PinnedBinary(UniqueFd fd, std::filesystem::path path)
      : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::filesystem::path path_;
};

struct SpawnOptions {
  std::vector<std::string> arguments;    // argv, argv[0] included
  std::vector<std::string> environment;  // "NAME=value"; nothing else is passed on
  // Child's fd i+3 becomes a duplicate of pass_fds[i].
  std::vector<int> pass_fds;
  int stdin_fd = -1;   // -1: /dev/null
  int stdout_fd = -1;  // -1: /dev/null
  int stderr_fd = -1;  // -1: the parent's
  bool new_session = false;
};

struct ExitStatus {
  int code = 0;       // exit code, when signal is 0
  int signal = 0;     // the signal that ended it
  bool core = false;  // it left a core dump
  rusage usage{};
  std::string Describe() const;  // "exited with 3", "killed by SIGSEGV (core dumped)"
};

// A child process that has not been reaped yet. Destroying it kills and reaps it.
class Child {
 public:
  Child() = default;
  Child(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}
  Child& operator=(Child&& other) noexcept;
  ~Child();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  explicit operator bool() const { return pid_ > 0; }

  Status Kill(int signal_number) const;
  // Reaps within the time given; nullopt when it still runs. Blocks at most that long.
  Result<std::optional<ExitStatus>> Wait(std::chrono::milliseconds timeout);
  // Lets go of a child that cannot be reaped (stuck in D); it is then init's, or the reaper's.
  pid_t Abandon();

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
};

Result<Child> Spawn(const PinnedBinary& binary, const SpawnOptions& options);

// By path, for programs that may be scripts: an interpreter could not open a pinned one. They are not
// ours, so they get the usual limit of open files (open_files.hpp).
Result<Child> SpawnProgram(const std::filesystem::path& program, const SpawnOptions& options);

}  // namespace gantry::base
