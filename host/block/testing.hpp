// SPDX-License-Identifier: Apache-2.0
// A disk for tests: a sparse file under a loop device, and a mount of it.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "host/base/clock.hpp"
#include "host/base/fd.hpp"
#include "host/base/temp_dir.hpp"
#include "host/block/loop.hpp"

namespace gantry::block {

constexpr uint64_t kMiB = 1U << 20;

inline base::TimePoint Soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(60);
}

// Throws where it cannot be made. Detached with the object.
class TestDisk {
 public:
  explicit TestDisk(uint64_t bytes = 64 * kMiB);
  ~TestDisk();
  std::string path() const { return loop_.Path(); }
  const Loop& loop() const { return loop_; }
  std::filesystem::path file() const { return temp_.path() / "disk.img"; }
  // For reading and writing, and not for itself alone.
  base::UniqueFd Open() const;
  void Write(uint64_t offset, const std::string& bytes) const;
  // The file's; the loop device is told by the test.
  void ResizeFile(uint64_t bytes) const;

 private:
  base::TempDir temp_;
  Loop loop_;
};

// Mounted at a directory of the test's own, in whatever mount namespace it has.
class TestMount {
 public:
  TestMount(const std::string& device, const std::string& fs_type);
  ~TestMount();
  const std::filesystem::path& path() const { return temp_.path(); }
  int fd() const { return fd_.get(); }

 private:
  base::TempDir temp_;
  base::UniqueFd fd_;
};

}  // namespace gantry::block
