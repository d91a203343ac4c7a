// SPDX-License-Identifier: Apache-2.0
#include "host/admin/log_ring.hpp"

#include <algorithm>

namespace gantry::admin {
namespace {

size_t SizeOf(const LogLine& line) {
  return sizeof(line) + line.text.capacity() + line.call.id.capacity() +
         line.call.backend.capacity();
}

}  // namespace

void LogRing::Add(LogLine line) {
  line.text.shrink_to_fit();
  const std::lock_guard lock(mutex_);
  bytes_ += SizeOf(line);
  lines_.push_back(std::move(line));
  while (lines_.size() > kRingLinesMax || (bytes_ > kRingBytesMax && lines_.size() > 1)) {
    bytes_ -= SizeOf(lines_.front());
    lines_.pop_front();
    ++first_;
  }
  added_.notify_all();
}

LogRing::Page LogRing::Read(uint64_t from, size_t lines_max) const {
  const std::lock_guard lock(mutex_);
  Page page;
  page.next = std::max(from, first_);
  page.skipped = page.next - std::min(from, page.next);
  for (; page.next < first_ + lines_.size() && page.lines.size() < lines_max; ++page.next)
    page.lines.push_back(lines_[page.next - first_]);
  return page;
}

uint64_t LogRing::End() const {
  const std::lock_guard lock(mutex_);
  return first_ + lines_.size();
}

uint64_t LogRing::Tail(uint64_t lines) const {
  const std::lock_guard lock(mutex_);
  const uint64_t end = first_ + lines_.size();
  return end - std::min<uint64_t>(lines, lines_.size());
}

bool LogRing::Await(uint64_t from, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return added_.wait_for(lock, timeout, [&] { return first_ + lines_.size() > from; });
}

bool IsAbout(const LogLine& line, const std::string& backend) {
  if (line.call.backend == backend) return true;
  const std::string begin = "backend " + backend;
  return line.text.starts_with(begin) && line.text.size() > begin.size() &&
         (line.text[begin.size()] == ':' || line.text[begin.size()] == ' ');
}

}  // namespace gantry::admin
