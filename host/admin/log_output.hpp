// SPDX-License-Identifier: Apache-2.0
// Where gantryd's log goes: into the ring, and by a thread of its own to a file descriptor. Whoever
// reads that (a container runtime, a full disk) may stop reading; then lines are dropped and
// counted, and no call waits for them. Rejected: spdlog's asynchronous logger, which formats on
// its own thread, where the call's id is not known, and takes its memory in advance.
#pragma once

#include <spdlog/sinks/sink.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "host/admin/log_ring.hpp"
#include "host/base/fd.hpp"

namespace gantry::admin {

constexpr size_t kLogQueueBytesMax = 1024 * 1024;

// Thread-safe.
class LogOutput final : public spdlog::sinks::sink {
 public:
  // Both outlive it; the fd is borrowed.
  LogOutput(int fd, LogFormat format, LogRing& ring);
  // Waits for what is queued no longer than kFlushMsMax.
  ~LogOutput() override;

  void log(const spdlog::details::log_msg& message) override;
  void flush() override {}  // the writer never rests while there is something to write
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Waits until everything queued so far is written; false at the timeout.
  bool Flush(std::chrono::milliseconds timeout);
  uint64_t dropped() const { return dropped_; }

 private:
  static constexpr std::chrono::milliseconds kFlushMsMax{1000};

  void Write();
  bool WriteWhole(const std::string& text);

  const int fd_;
  const LogFormat format_;
  LogRing& ring_;
  base::UniqueFd stop_;  // eventfd: the writer is to give up
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> queue_;
  size_t bytes_ = 0;
  bool writing_ = false;
  bool stopping_ = false;
  std::atomic<uint64_t> dropped_{0};
  std::thread writer_;
};

}  // namespace gantry::admin
