// SPDX-License-Identifier: Apache-2.0
#include "host/base/children.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <vector>

#include "host/base/file.hpp"

namespace gantry::base {
namespace {

struct Table {
  std::shared_mutex spawning;
  std::mutex mutex;
  std::set<pid_t> own;
  bool IsOwn(pid_t pid) {
    const std::lock_guard lock(mutex);
    return own.contains(pid);
  }
};

Table& TheTable() {
  static Table& table = *new Table;  // children may be reaped while statics are destroyed
  return table;
}

// True for a child of ours that has ended.
bool IsZombieOfOurs(const std::filesystem::path& proc) {
  constexpr size_t kStatBytesMax = 4096;
  const auto stat = ReadFile(proc / "stat", kStatBytesMax);
  if (!stat) return false;
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return false;
  char state = 0;
  int parent = 0;
  return std::sscanf(stat->c_str() + name_end + 1, " %c %d", &state, &parent) == 2 &&
         state == 'Z' && parent == getpid();
}

std::vector<pid_t> Zombies() {
  std::vector<pid_t> zombies;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos && IsZombieOfOurs(entry->path()))
      zombies.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return zombies;
}

}  // namespace

SpawnGuard::SpawnGuard() { TheTable().spawning.lock_shared(); }

SpawnGuard::~SpawnGuard() { TheTable().spawning.unlock_shared(); }

void SpawnGuard::Note(pid_t pid) {
  const std::lock_guard lock(TheTable().mutex);
  TheTable().own.insert(pid);
}

void ForgetChild(pid_t pid) {
  const std::lock_guard lock(TheTable().mutex);
  TheTable().own.erase(pid);
}

size_t ReapOrphans() {
  siginfo_t info{};
  // Most of the time nobody has ended at all.
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return 0;
  const std::unique_lock lock(TheTable().spawning);
  size_t reaped = 0;
  for (const pid_t pid : Zombies())
    if (!TheTable().IsOwn(pid) &&
        waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) == 0 && info.si_pid == pid)
      ++reaped;
  return reaped;
}

OrphanReaper::OrphanReaper() : stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this] {
    pollfd stop{stop_.get(), POLLIN, 0};
    while (poll(&stop, 1, static_cast<int>(kReapPeriodMs.count())) == 0) ReapOrphans();
  });
}

OrphanReaper::~OrphanReaper() {
  (void)eventfd_write(stop_.get(), 1);
  thread_.join();
}

}  // namespace gantry::base
