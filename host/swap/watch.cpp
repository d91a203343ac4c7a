// SPDX-License-Identifier: Apache-2.0
#include "host/swap/watch.hpp"

#include <spdlog/spdlog.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

namespace gantry::swap {

base::Result<std::unique_ptr<DirectoryWatch>> DirectoryWatch::Start(
    const std::filesystem::path& directory, std::function<void(const std::string&)> on_moved) {
  base::UniqueFd fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd || inotify_add_watch(fd.get(), directory.c_str(), IN_MOVED_TO | IN_ONLYDIR) < 0)
    return base::FailErrno(errno, "watch " + directory.string());
  std::unique_ptr<DirectoryWatch> watch(new DirectoryWatch(std::move(fd), std::move(on_moved)));
  watch->thread_ = base::Thread([raw = watch.get()] { raw->Run(); });
  return watch;
}

DirectoryWatch::~DirectoryWatch() {
  stop_.Set();
  if (thread_.joinable()) thread_.join();
}

void DirectoryWatch::Run() {
  // Room for one event at least (inotify(7)).
  alignas(inotify_event) std::array<char, 16 * (sizeof(inotify_event) + NAME_MAX + 1)> buffer{};
  for (;;) {
    std::array<pollfd, 2> wait{{{stop_.fd(), POLLIN, 0}, {fd_.get(), POLLIN, 0}}};
    base::Poll(wait.data(), wait.size(), -1);
    if (wait[0].revents != 0) return;
    const ssize_t size = read(fd_.get(), buffer.data(), buffer.size());
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      at += static_cast<ssize_t>(sizeof event) + event.len;
      if ((event.mask & IN_Q_OVERFLOW) != 0)
        spdlog::warn("files renamed into the plugin directory were missed: swap by hand");
      else if (event.len > 0)
        on_moved_(name);
    }
  }
}

}  // namespace gantry::swap
