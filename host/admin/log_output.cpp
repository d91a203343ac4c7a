// SPDX-License-Identifier: Apache-2.0
#include "host/admin/log_output.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

namespace gantry::admin {

LogOutput::LogOutput(int fd, LogFormat format, LogRing& ring)
    : fd_(fd),
      format_(format),
      ring_(ring),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      writer_([this] { Write(); }) {}

LogOutput::~LogOutput() {
  (void)Flush(kFlushMsMax);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(stop_.get(), &one, sizeof one);
  writer_.join();
}

void LogOutput::log(const spdlog::details::log_msg& message) {
  LogLine line;
  line.when = message.time;
  const auto level = spdlog::level::to_string_view(message.level);
  line.level.assign(level.data(), level.size());
  line.text.assign(message.payload.data(), message.payload.size());
  // A message may quote what a client sent: it must stay one line, also on a terminal.
  for (char& c : line.text)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) c = ' ';
  line.call = base::CallScope::Current();
  std::string text = FormatLine(line, format_);
  ring_.Add(std::move(line));
  const std::lock_guard lock(mutex_);
  if (bytes_ + text.size() > kLogQueueBytesMax) {
    ++dropped_;
    return;
  }
  bytes_ += text.size();
  queue_.push_back(std::move(text));
  changed_.notify_all();
}

bool LogOutput::Flush(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return queue_.empty() && !writing_; });
}

void LogOutput::Write() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    // All that waits in one write: a flood then costs few system calls.
    std::string text;
    size_t lines = queue_.size();
    for (auto& line : queue_) text += line;
    queue_.clear();
    writing_ = true;
    lock.unlock();
    if (!WriteWhole(text)) dropped_ += lines;
    lock.lock();
    bytes_ -= text.size();
    writing_ = false;
    changed_.notify_all();
  }
}

bool LogOutput::WriteWhole(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    std::array<pollfd, 2> fds{{{fd_, POLLOUT, 0}, {stop_.get(), POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return false;
    if (fds[1].revents != 0) return false;
    if (fds[0].revents == 0) continue;
    // No more than a pipe that poll calls writable takes at once (pipe(7)).
    const size_t size = std::min<size_t>(text.size() - at, PIPE_BUF);
    const ssize_t n = write(fd_, text.data() + at, size);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (n > 0) at += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace gantry::admin
