// SPDX-License-Identifier: Apache-2.0
// What the tests of swaps share: a plugin directory of a test's own, clients that never stop, and
// what they saw.
#pragma once

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>

#include "host/base/temp_dir.hpp"
#include "tests/integration/nfs_lab.hpp"

namespace gantry::itest {

inline std::filesystem::path BuildDirectory() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  return build != nullptr ? build : "build/dev";
}

// A directory that a backend with `watch: true` looks at.
class PluginDirectory {
 public:
  PluginDirectory() { std::filesystem::permissions(path(), std::filesystem::perms(0755)); }
  const std::filesystem::path& path() const { return directory_.path(); }
  // Whole and at once, as it has to be done.
  void Put(const std::filesystem::path& file, const std::string& plugin) {
    const auto temporary = path() / "coming";
    std::filesystem::copy_file(file, temporary, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::rename(temporary, path() / (plugin + ".so"));
  }

 private:
  base::TempDir directory_;
};

inline size_t CountIn(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

// What clients saw of their calls.
class Tally {
 public:
  void Add(const std::string& rpc, const grpc::Status& status, std::chrono::nanoseconds took) {
    const std::lock_guard lock(mutex_);
    ++calls_;
    longest_ = std::max(longest_, took);
    if (status.ok() || status.error_code() == grpc::StatusCode::ABORTED) return;
    ++failed_;
    if (errors_.size() < 10)
      errors_.push_back(rpc + ": " + std::to_string(status.error_code()) + " " +
                        status.error_message());
  }
  uint64_t calls() const { return calls_; }
  uint64_t failed() const { return failed_; }
  double longest_ms() const {
    const std::lock_guard lock(mutex_);
    return static_cast<double>(longest_.count()) / 1e6;
  }
  std::string errors() const {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const auto& error : errors_) all += error + "\n";
    return all;
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> failed_{0};
  std::chrono::nanoseconds longest_{0};
  std::vector<std::string> errors_;
};

// Threads that each run `round` again and again until the object goes.
class Clients {
 public:
  Clients(int count, const std::function<void(int client, uint64_t number)>& round) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this, i, round] {
        for (uint64_t number = 0; !over_; ++number) round(i, number);
      });
  }
  ~Clients() {
    over_ = true;
    for (auto& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> over_ = false;
  std::vector<std::thread> threads_;
};

inline uint64_t ResidentKib(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("Pss:")) return std::stoull(line.substr(4));
  return 0;
}

}  // namespace gantry::itest
