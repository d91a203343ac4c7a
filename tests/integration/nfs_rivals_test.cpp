// SPDX-License-Identifier: Apache-2.0
// What a successor of a data path must not do to others, nor its predecessor to it: bytes of the dead
// process that reach the server late, and locks made of names that another node fights for.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "host/base/file.hpp"
#include "tests/integration/holding_relay.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kProgressMax{30};
constexpr size_t kBlockBytes = 4096;

bool IsLong() { return std::getenv("GANTRY_SURVIVAL_LONG") != nullptr; }

pid_t DataPathOf(const NfsNode& node) {
  const auto pids = node.DataPathPids();
  return pids.empty() ? 0 : pids.front();
}

void KillDataPath(const NfsNode& node) {
  const pid_t victim = DataPathOf(node);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  ASSERT_TRUE(
      Soon([&] { return DataPathOf(node) > 0 && DataPathOf(node) != victim; }, kProgressMax));
}

// Versions of one block, each written, then read back past every cache.
class BlockWriter {
 public:
  BlockWriter(const fs::path& file, off_t offset)
      : fd_(open(file.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644)),
        offset_(offset),
        thread_([this] { Run(); }) {}
  ~BlockWriter() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint64_t version() const { return version_; }
  std::string error() const { return failed_ ? error_ : ""; }
  off_t offset() const { return offset_; }

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

TEST(NfsRivals, LateBytesOfADeadDataPathDoNotLandOnNewerOnes) {
  auto server = lab::Ganesha::Start();
  ASSERT_TRUE(server) << server.error().message;
  HoldingRelay relay(server->port());
  NfsNodeOptions options;
  options.own_server = false;
  options.shares = {"{server: 127.0.0.1, share: " + server->export_path() +
                    ", port: " + std::to_string(relay.port()) +
                    ", mountPort: " + std::to_string(server->mount_port()) + "}"};
  NfsNode node(options);
  const Volume volume = node.Run("late");
  std::vector<std::unique_ptr<BlockWriter>> writers;
  for (off_t block = 0; block < 4; ++block)
    writers.push_back(std::make_unique<BlockWriter>(volume.target / "file",
                                                    block * static_cast<off_t>(kBlockBytes)));
  const auto all_advance = [&] {
    std::vector<uint64_t> wanted;
    for (const auto& writer : writers) wanted.push_back(writer->version() + 5);
    return Soon(
        [&] {
          for (size_t i = 0; i < writers.size(); ++i)
            if (writers[i]->version() < wanted[i] && writers[i]->error().empty()) return false;
          return true;
        },
        kProgressMax);
  };
  const std::vector<milliseconds> holds =
      IsLong()
          ? std::vector<milliseconds>{seconds(1), seconds(2), seconds(3), seconds(4), seconds(5)}
          : std::vector<milliseconds>{milliseconds(1000), milliseconds(1500)};
  for (const milliseconds hold : holds) {
    ASSERT_TRUE(all_advance());
    const uint64_t before = relay.held_bytes();
    relay.Hold(hold);
    ASSERT_TRUE(Soon([&] { return relay.held_bytes() > before; }, kProgressMax));
    KillDataPath(node);
    ASSERT_TRUE(all_advance());
  }
  for (const auto& writer : writers) {
    writer->Stop();
    EXPECT_EQ(writer->error(), "");
  }
  const auto content = ReadWhole(server->root() / "late" / "file");
  ASSERT_TRUE(content.has_value());
  for (const auto& writer : writers) {
    uint64_t seen = 0;
    std::memcpy(&seen, content->data() + writer->offset(), sizeof seen);
    EXPECT_EQ(seen, writer->version());
  }
  writers.clear();
  ASSERT_GRPC_OK(node.End(volume));
}

// --- two nodes

// Another node of the same server, with the first one's volume.
class Elsewhere {
 public:
  Elsewhere(NfsNode& first, const Volume& volume)
      : node_([&] {
          NfsNodeOptions options;
          options.own_server = false;
          options.shares = {ShareOf(first.server())};
          options.host.node_id = "node-2";
          return options;
        }()),
        volume_(node_.Plan(volume.backing.filename())) {
    volume_.id = volume.id;
    volume_.context = volume.context;
    const auto staged = node_.Stage(volume_);
    const auto published = staged.ok() ? node_.Publish(volume_) : staged;
    if (!published.ok()) throw std::runtime_error(Text(published));
  }
  const fs::path& target() const { return volume_.target; }
  NfsNode& node() { return node_; }
  // Deleting it is the first node's.
  grpc::Status Leave() {
    const auto unpublished = node_.Unpublish(volume_);
    return unpublished.ok() ? node_.Unstage(volume_) : unpublished;
  }

 private:
  NfsNode node_;
  Volume volume_;
};

TEST(NfsRivals, WhatOneNodeHasClosedAnotherSeesWhenItOpens) {
  NfsNode first;
  const Volume volume = first.Run("close-to-open");
  Elsewhere second(first, volume);
  std::string content;
  for (int round = 0; round < 20; ++round) {
    content += "round " + std::to_string(round) + "\n";
    const fs::path& writer = round % 2 == 0 ? volume.target : second.target();
    const fs::path& reader = round % 2 == 0 ? second.target() : volume.target;
    ASSERT_EQ(WriteWhole(writer / "file", content), 0);
    ASSERT_EQ(ReadWhole(reader / "file"), content) << "round " << round;
  }
  ASSERT_GRPC_OK(second.Leave());
  ASSERT_GRPC_OK(first.End(volume));
}

// --- locks

// Tries to become the holder: 0, or the errno of what was refused.
struct Mutex {
  const char* name;
  std::function<int(const fs::path& lock, const fs::path& own)> acquire;
  std::function<int(const fs::path& lock)> release;
};

int ErrnoOf(int result) { return result == 0 ? 0 : errno; }

const std::vector<Mutex>& Mutexes() {
  static const std::vector<Mutex> kAll{
      {"an O_EXCL file",
       [](const fs::path& lock, const fs::path&) {
         const base::UniqueFd fd(open(lock.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
         return fd ? 0 : errno;
       },
       [](const fs::path& lock) { return ErrnoOf(unlink(lock.c_str())); }},
      {"a directory",
       [](const fs::path& lock, const fs::path&) { return ErrnoOf(mkdir(lock.c_str(), 0755)); },
       [](const fs::path& lock) { return ErrnoOf(rmdir(lock.c_str())); }},
      {"a link",
       [](const fs::path& lock, const fs::path& own) {
         return ErrnoOf(link(own.c_str(), lock.c_str()));
       },
       [](const fs::path& lock) { return ErrnoOf(unlink(lock.c_str())); }}};
  return kAll;
}

TEST(NfsRivals, OfTwoNodesOneHoldsALock) {
  NfsNode first;
  const Volume volume = first.Run("fought-for");
  Elsewhere second(first, volume);

  constexpr int kThreadsOfANode = 2;
  const int kills = IsLong() ? 30 : 6;
  for (const Mutex& mutex : Mutexes()) {
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
    std::vector<std::jthread> rivals;
    for (int i = 0; i < 2 * kThreadsOfANode; ++i)
      rivals.emplace_back([&, root = i % 2 == 0 ? volume.target : second.target(), i] {
        const fs::path own = root / ("own-" + std::to_string(i));
        if (WriteWhole(own, "mine") != 0) note("own file", errno);
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
          if (const int failed = mutex.release(root / "lock"); failed != 0)
            return note("release", failed);
        }
      });
    for (int i = 0; i < kills; ++i) {
      const uint64_t before = acquired;
      const auto failed = [&] {
        const std::lock_guard lock(guard);
        return !unexpected.empty();
      };
      ASSERT_TRUE(Soon([&] { return acquired > before + 5 || failed(); }, kProgressMax));
      KillDataPath(i % 2 == 0 ? first : second.node());
    }
    stop = true;
    rivals.clear();
    EXPECT_EQ(held_by_two, 0);
    EXPECT_EQ(unexpected, "");
    std::printf("  %s: %llu times acquired, %d data paths killed\n", mutex.name,
                static_cast<unsigned long long>(acquired), kills);
  }
  ASSERT_GRPC_OK(second.Leave());
  ASSERT_GRPC_OK(first.End(volume));
}

}  // namespace
}  // namespace gantry::tests
