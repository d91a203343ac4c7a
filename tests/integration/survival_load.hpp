// SPDX-License-Identifier: Apache-2.0
// Work on a mount that notices every wrong answer, for tests that kill what serves it: a metadata
// loop that knows each result beforehand, a probe that times single blocks, fio with checksums and
// SQLite transactions. Each runs in a thread of its own until Stop or its first error.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace gantry::tests {

// A thread that repeats rounds of work. The first round that returns a text ends it.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  virtual ~Worker() { Stop(); }
  // Waits for the round under way.
  void Stop();
  // What went wrong, empty: nothing.
  std::string error() const;
  uint64_t rounds() const { return rounds_; }

 protected:
  // At the end of the constructor of what derives; Stop at the beginning of its destructor.
  void Begin();
  virtual std::string Round(uint64_t number) = 0;
  bool stopping() const { return stop_; }

 private:
  mutable std::mutex mutex_;
  std::string error_;
  std::atomic<uint64_t> rounds_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Names made, linked, renamed and removed in a directory of its own, every result checked, refusals
// too.
class MetadataLoop final : public Worker {
 public:
  explicit MetadataLoop(std::filesystem::path directory);
  ~MetadataLoop() override { Stop(); }

 private:
  std::string Round(uint64_t number) override;
  const std::filesystem::path directory_;
};

// A block written past the page cache and read back, again and again.
class Probe final : public Worker {
 public:
  explicit Probe(const std::filesystem::path& file);
  ~Probe() override;
  // The longest operation since the last call.
  std::chrono::nanoseconds TakeLongest() {
    return std::chrono::nanoseconds(longest_ns_.exchange(0));
  }

 private:
  std::string Round(uint64_t number) override;
  template <class Operation>
  bool Timed(Operation&& operation);
  int fd_;
  char* block_;
  std::atomic<int64_t> longest_ns_ = 0;
};

// A program, run anew for each round; anything but exit code 0 is an error, with its output.
class ProgramLoop final : public Worker {
 public:
  ProgramLoop(std::vector<std::string> command, std::filesystem::path output,
              std::chrono::seconds round_max);
  ~ProgramLoop() override { Stop(); }

 private:
  std::string Round(uint64_t number) override;
  const std::vector<std::string> command_;
  const std::filesystem::path output_;
  const std::chrono::seconds round_max_;
};

// One program to its end: empty, or how it failed and what it said.
std::string RunProgram(const std::vector<std::string>& command, const std::filesystem::path& output,
                       std::chrono::seconds time_max);

// Every block of two files written once in random order, then read and its checksum compared.
std::vector<std::string> FioCommand(const std::filesystem::path& directory);
// Transactions that move what must add up, then the check that it does.
std::vector<std::string> SqliteCommand(const std::filesystem::path& database);

}  // namespace gantry::tests
