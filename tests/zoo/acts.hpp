// SPDX-License-Identifier: Apache-2.0
// What the animals do in CreateVolume that needs more than a line: one function, one animal a macro.
// Included by zoo.cpp alone, after its helpers; a file of its own because there are so many.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>

namespace zoo {

[[maybe_unused]] inline std::atomic<int> g_calls{0};
[[maybe_unused]] inline uint64_t g_lives = 0;

// Fds of the process that are sockets: its channel, wherever the host has moved it.
[[maybe_unused]] inline std::vector<int> Sockets() {
  std::vector<int> sockets;
  for (int fd = 0; fd < 4096; ++fd) {
    struct stat found {};
    if (fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode)) sockets.push_back(fd);
  }
  return sockets;
}

// A thread of the process by its name: finds the host's own threads, which are nobody's business.
[[maybe_unused]] inline pid_t ThreadNamed(const std::string& name) {
  pid_t found = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* entry = tasks == nullptr ? nullptr : readdir(tasks)) {
    std::ifstream comm(std::string("/proc/self/task/") + entry->d_name + "/comm");
    std::string line;
    if (std::getline(comm, line) && line == name) found = std::atoi(entry->d_name);
  }
  if (tasks != nullptr) closedir(tasks);
  return found;
}

[[maybe_unused]] inline void StopReading() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    for (;;) pause();
  };
  sigaction(SIGUSR2, &action, nullptr);
  const pid_t reader = ThreadNamed("wire-read");
  if (reader != 0) (void)syscall(SYS_tgkill, getpid(), reader, SIGUSR2);
  // Where it cannot look: every thread but its own, the reader among them.
  for (pid_t tid = getpid(); reader == 0 && tid < getpid() + 64; ++tid)
    if (tid != gettid()) (void)syscall(SYS_tgkill, getpid(), tid, SIGUSR2);
}

}  // namespace zoo
