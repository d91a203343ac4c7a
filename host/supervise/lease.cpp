// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/lease.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <sstream>
#include <string>
#include <thread>

#include "host/base/file.hpp"

namespace gantry::supervise {
namespace {

constexpr size_t kLeaseBytesMax = 256;
constexpr size_t kStatBytesMax = 4096;
constexpr std::chrono::milliseconds kLeaseRetryMs{5};

// Field 22 of /proc/PID/stat (proc(5)), counted after the ')' that ends the command name, which may
// itself hold spaces. Together with the pid it names a process once and for all.
base::Result<std::string> StartTime(pid_t pid) {
  GANTRY_TRY_ASSIGN(const std::string stat,
                    base::ReadFile("/proc/" + std::to_string(pid) + "/stat", kStatBytesMax));
  const size_t end = stat.rfind(')');
  if (end == std::string::npos)
    return base::Fail(base::Code::kInternal, "unreadable process state");
  std::istringstream fields(stat.substr(end + 1));
  std::string field;
  constexpr int kFieldsToStartTime = 20;
  for (int i = 0; i < kFieldsToStartTime; ++i) fields >> field;
  return field;
}

// Ends the process that the file names, if it is still the same one.
void EndHolder(int fd) {
  std::string text(kLeaseBytesMax, '\0');
  const ssize_t n = pread(fd, text.data(), text.size(), 0);
  if (n <= 0) return;
  text.resize(static_cast<size_t>(n));
  std::istringstream words(text);
  pid_t pid = 0;
  std::string start;
  if (!(words >> pid >> start) || pid <= 1) return;
  const base::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return;
  // Checked after the pidfd is open, so that a recycled pid is never signalled.
  const auto now = StartTime(pid);
  if (!now || *now != start) return;
  syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

}  // namespace

base::Result<base::UniqueFd> TakeLease(const std::filesystem::path& file,
                                       std::chrono::milliseconds timeout) {
  base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return base::FailErrno(errno, "open " + file.string());
  const auto end = std::chrono::steady_clock::now() + timeout;
  // flock has no timeout of its own, and a thread blocked in it could not be given up.
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return base::FailErrno(errno, "lock " + file.string());
    // Each time: the holder may have been noted only just now.
    EndHolder(fd.get());
    if (std::chrono::steady_clock::now() >= end)
      return base::Fail(base::Code::kUnavailable,
                        file.string() + " is still held by an earlier worker");
    poll(nullptr, 0, static_cast<int>(kLeaseRetryMs.count()));
  }
  return fd;
}

std::filesystem::path LeaseFile(const std::filesystem::path& directory, const std::string& backend,
                                uint32_t slot) {
  return directory / (backend + "." + std::to_string(slot) + ".lock");
}

base::Status EndHolders(const std::filesystem::path& directory, const std::string& backend,
                        std::chrono::milliseconds timeout) {
  GANTRY_TRY_ASSIGN(const auto files, base::ListFiles(directory));
  // A backend's name has no dot in it.
  for (const auto& file : files)
    if (file.starts_with(backend + ".") && file.ends_with(".lock"))
      GANTRY_TRY(TakeLease(directory / file, timeout));
  return {};
}

base::Status NoteHolder(int lease_fd, pid_t pid) {
  GANTRY_TRY_ASSIGN(const std::string start, StartTime(pid));
  const std::string text = std::to_string(pid) + " " + start + "\n";
  if (ftruncate(lease_fd, 0) != 0 ||
      pwrite(lease_fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return base::FailErrno(errno, "write a lease");
  return {};
}

}  // namespace gantry::supervise
