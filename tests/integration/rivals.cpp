// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/rivals.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "host/base/fd.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kProgressMax{30};
constexpr size_t kBlockBytes = 4096;
constexpr uint64_t kVersionsOnward = 5;
constexpr int kThreadsOfANode = 2;

int ErrnoOf(int result) { return result == 0 ? 0 : errno; }

}  // namespace

// --- blocks

class BlockWriters::Writer {
 public:
  Writer(const fs::path& file, off_t offset)
      : fd_(open(file.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644)),
        offset_(offset),
        thread_([this] { Run(); }) {}
  ~Writer() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint64_t version() const { return version_; }
  std::string error() const { return failed_ ? error_ : ""; }

 private:
  void Run() {
    alignas(4096) static thread_local std::array<char, kBlockBytes> block;
    const auto fail = [&](const std::string& what) {
      error_ = what;
      failed_ = true;
    };
    while (!stop_) {
      const uint64_t version = version_ + 1;
      block.fill(static_cast<char>('a' + version % 26));
      std::memcpy(block.data(), &version, sizeof version);
      if (pwrite(fd_.get(), block.data(), block.size(), offset_) != ssize_t{kBlockBytes})
        return fail(std::string("pwrite: ") + strerror(errno));
      version_ = version;
      block.fill(0);
      if (pread(fd_.get(), block.data(), block.size(), offset_) != ssize_t{kBlockBytes})
        return fail(std::string("pread: ") + strerror(errno));
      uint64_t seen = 0;
      std::memcpy(&seen, block.data(), sizeof seen);
      if (seen != version)
        return fail("version " + std::to_string(seen) + " is there, written was " +
                    std::to_string(version));
    }
  }

  base::UniqueFd fd_;
  const off_t offset_;
  std::atomic<uint64_t> version_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> failed_ = false;
  std::string error_;
  std::thread thread_;
};

BlockWriters::BlockWriters(const fs::path& file) {
  for (size_t block = 0; block < kBlocks; ++block)
    writers_.push_back(std::make_unique<Writer>(file, static_cast<off_t>(block * kBlockBytes)));
}

BlockWriters::~BlockWriters() = default;

bool BlockWriters::AllAdvance() const {
  std::array<uint64_t, kBlocks> wanted = versions();
  for (uint64_t& version : wanted) version += kVersionsOnward;
  const auto advanced = [&] {
    for (size_t i = 0; i < kBlocks; ++i)
      if (writers_[i]->version() < wanted[i] && writers_[i]->error().empty()) return false;
    return true;
  };
  return Soon(advanced, kProgressMax) &&
         std::ranges::all_of(writers_, [](const auto& writer) { return writer->error().empty(); });
}

void BlockWriters::Finish() {
  for (const auto& writer : writers_) {
    writer->Stop();
    EXPECT_EQ(writer->error(), "");
  }
}

std::array<uint64_t, BlockWriters::kBlocks> BlockWriters::versions() const {
  std::array<uint64_t, kBlocks> all{};
  for (size_t i = 0; i < kBlocks; ++i) all[i] = writers_[i]->version();
  return all;
}

std::array<uint64_t, BlockWriters::kBlocks> BlockWriters::VersionsIn(const std::string& content) {
  std::array<uint64_t, kBlocks> all{};
  for (size_t i = 0; i < kBlocks; ++i)
    if (content.size() >= i * kBlockBytes + sizeof all[i])
      std::memcpy(&all[i], content.data() + i * kBlockBytes, sizeof all[i]);
  return all;
}

// --- locks

const Mutex& ExclusiveFileMutex() {
  static const Mutex kMutex{
      "an O_EXCL file",
      [](const fs::path& lock, const fs::path&) {
        const base::UniqueFd fd(open(lock.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        return fd ? 0 : errno;
      },
      [](const fs::path& lock) { return ErrnoOf(unlink(lock.c_str())); }};
  return kMutex;
}

const Mutex& DirectoryMutex() {
  static const Mutex kMutex{
      "a directory",
      [](const fs::path& lock, const fs::path&) { return ErrnoOf(mkdir(lock.c_str(), 0755)); },
      [](const fs::path& lock) { return ErrnoOf(rmdir(lock.c_str())); }};
  return kMutex;
}

const Mutex& LinkMutex() {
  static const Mutex kMutex{"a link",
                            [](const fs::path& lock, const fs::path& own) {
                              return ErrnoOf(link(own.c_str(), lock.c_str()));
                            },
                            [](const fs::path& lock) { return ErrnoOf(unlink(lock.c_str())); }};
  return kMutex;
}

void FightFor(const Mutex& mutex, const std::array<fs::path, 2>& roots, int disturbances,
              const std::function<void(int)>& disturb) {
  SCOPED_TRACE(mutex.name);
  std::atomic<bool> stop = false;
  std::atomic<int> holders = 0;
  std::atomic<int> held_by_two = 0;
  std::atomic<uint64_t> acquired = 0;
  std::mutex guard;
  std::string unexpected;
  const auto note = [&](const std::string& what, int error_number) {
    const std::lock_guard lock(guard);
    if (unexpected.empty()) unexpected = what + ": " + strerror(error_number);
  };
  const auto failed = [&] {
    const std::lock_guard lock(guard);
    return !unexpected.empty();
  };
  const auto want = [&](const fs::path& root, int number) {
    const fs::path own = root / ("own-" + std::to_string(number));
    if (const int refused = WriteWhole(own, "mine"); refused != 0) return note("own file", refused);
    while (!stop) {
      const int refused = mutex.acquire(root / "lock", own);
      if (refused == EEXIST) {
        poll(nullptr, 0, 1);
        continue;
      }
      if (refused != 0) return note("acquire", refused);
      if (holders.fetch_add(1) != 0) ++held_by_two;
      ++acquired;
      poll(nullptr, 0, 1);
      holders.fetch_sub(1);
      if (const int kept = mutex.release(root / "lock"); kept != 0) return note("release", kept);
    }
  };
  {
    std::vector<std::jthread> rivals;
    struct Stop {
      std::atomic<bool>& stop;
      ~Stop() { stop = true; }
    } at_end{stop};  // before the threads are waited for
    for (int i = 0; i < 2 * kThreadsOfANode; ++i)
      rivals.emplace_back(want, roots[static_cast<size_t>(i) % roots.size()], i);
    for (int i = 0; i < disturbances; ++i) {
      const uint64_t before = acquired;
      ASSERT_TRUE(Soon([&] { return acquired > before + 5 || failed(); }, kProgressMax));
      disturb(i);
    }
  }
  EXPECT_EQ(held_by_two, 0);
  EXPECT_EQ(unexpected, "");
  std::printf("  %s: %llu times acquired, %d data paths killed\n", mutex.name,
              static_cast<unsigned long long>(acquired), disturbances);
}

}  // namespace gantry::tests
