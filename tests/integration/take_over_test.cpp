// SPDX-License-Identifier: Apache-2.0
// A data path that dies and its successor, over the localfs plugin: what was under way is ended, what
// is open stays open, and nobody learns of it. The same on a real server under load is
// nfs_survival_test.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>
#include <thread>
#include <vector>

#include "host/base/file.hpp"
#include "host/datapath/nodes.hpp"
#include "host/datapath/slots.hpp"
#include "tests/integration/followed_volume.hpp"
#include "tests/integration/waiting_stat.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr int kRefusedMs = 300;  // some attempts to open long

class TakeOverTest : public FollowedVolume {};

TEST_F(TakeOverTest, WhatIsOpenStaysOpenAndWhatWasAskedIsAnswered) {
  const fs::path root = Serve();
  const base::UniqueFd file(open((root / "f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(base::WriteAll(file.get(), "before "));
  WaitingStat slow(root / ".slow");
  ASSERT_TRUE(slow.waits());
  Kill();
  EXPECT_EQ(slow.Join(), ENOENT);
  ASSERT_TRUE(base::WriteAll(file.get(), "and after"));
  EXPECT_EQ(base::ReadFile(backing() / "f", 100).value(), "before and after");
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
  EXPECT_TRUE(fs::is_directory(backing() / "d"));
  const auto state = State("v");
  EXPECT_EQ(state.take_overs, 1U);
  EXPECT_EQ(state.fault, "");
  mounts_["v"]->Unmount();
  EXPECT_TRUE(client().Stop("v", In(kLong)));
  EXPECT_TRUE(client().List(In(kLong))->empty());
}

TEST_F(TakeOverTest, AnInterruptReachesTheSuccessor) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  const fs::path root = Serve();
  WaitingStat hung(root / ".hang");
  ASSERT_TRUE(hung.waits());
  Kill();
  hung.Signal();
  EXPECT_EQ(hung.Join(), EINTR);
  // Told to the one that dies before it can do anything about it.
  WaitingStat again(root / ".hang");
  ASSERT_TRUE(again.waits());
  const auto pid = State("v").pid;
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  again.Signal();
  Kill();
  EXPECT_EQ(again.Join(), EINTR);
}

TEST_F(TakeOverTest, OneThatCrashesAgainAndAgainIsGivenUp) {
  const fs::path root = Serve();
  struct stat s {};
  EXPECT_EQ(stat((root / ".crash").c_str(), &s), -1);
  EXPECT_TRUE(errno == ENOTCONN || errno == ECONNABORTED) << errno;
  EXPECT_TRUE(Eventually([&] { return State("v").pid == 0; }, kLong));
  const auto state = State("v");
  EXPECT_NE(state.fault.find("SIGABRT"), std::string::npos) << state.fault;
  EXPECT_EQ(state.take_overs, 2U);
  EXPECT_TRUE(client().Stop("v", In(kLong)));
}

// A server that is putting its rights back together refuses everybody for a while.
TEST_F(TakeOverTest, ASuccessorThatIsRefusedTriesOn) {
  const fs::path root = Serve();
  std::ofstream(backing() / "file") << "content";
  std::ofstream(backing() / ".refused") << "yet";
  const auto before = State("v").pid;
  ASSERT_EQ(kill(before, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return State("v").pid != before; }, kLong));
  auto content = std::async(std::launch::async,
                            [&] { return base::ReadFile(root / "file", 100).value_or("error"); });
  poll(nullptr, 0, kRefusedMs);
  EXPECT_FALSE(State("v").serving);
  fs::remove(backing() / ".refused");
  EXPECT_EQ(content.get(), "content");
  EXPECT_TRUE(Eventually([&] { return State("v").serving; }, kLong))
      << "its keeper hears of it later";
  EXPECT_EQ(State("v").fault, "");
}

#ifndef GANTRY_SANITIZED  // a sanitizer itself wants more address space than that
// Its node table alone asks for more than the node has just then.
TEST_F(TakeOverTest, ASuccessorThatIsShortOfMemoryTriesOn) {
  const fs::path root = Serve();
  std::ofstream(backing() / "file") << "content";
  const auto before = State("v");
  const auto limit_to = [&](rlim_t bytes) {
    const rlimit limit{bytes, RLIM_INFINITY};
    return prlimit(KeeperPid(), RLIMIT_AS, &limit, nullptr);
  };
  ASSERT_EQ(limit_to(datapath::NodesBytes(datapath::kNodesMax)), 0);
  ASSERT_EQ(kill(before.pid, SIGKILL), 0);
  auto content = std::async(std::launch::async,
                            [&] { return base::ReadFile(root / "file", 100).value_or("error"); });
  ASSERT_TRUE(Eventually([&] { return State("v").take_overs > before.take_overs + 1; }, kLong));
  EXPECT_FALSE(State("v").serving);
  ASSERT_EQ(limit_to(RLIM_INFINITY), 0);
  EXPECT_EQ(content.get(), "content");
  EXPECT_EQ(State("v").fault, "");
}
#endif

TEST_F(TakeOverTest, AnUnmountedVolumeHasNoSuccessor) {
  Serve();
  mounts_["v"]->Unmount();
  EXPECT_TRUE(Eventually([&] { return State("v").pid == 0; }, kLong));
  EXPECT_EQ(State("v").take_overs, 0U);
}

TEST_F(TakeOverTest, CountsOfNodesAreExactAfterManyDeaths) {
  constexpr int kThreads = 3;
  constexpr int kDeaths = 12;
  const fs::path root = Serve();
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> users;
  for (int t = 0; t < kThreads; ++t)
    users.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const fs::path name = root / (std::to_string(t) + "-" + std::to_string(i % 100));
        const base::UniqueFd fd(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        struct stat s {};
        if (!fd || fstat(fd.get(), &s) != 0 || stat(name.c_str(), &s) != 0) ++wrong;
        // Localfs does what was begun once more, without a journal: gone is gone.
        if (i % 3 == 0 && unlink(name.c_str()) != 0 && errno != ENOENT) ++wrong;
      }
    });
  for (int i = 0; i < kDeaths; ++i) Kill();
  stop = true;
  users.clear();
  EXPECT_EQ(wrong, 0);
  for (const auto& entry : fs::directory_iterator(root)) fs::remove(entry.path());
  AllIsForgotten();
}

TEST_F(TakeOverTest, AVolumeOutlivesItsKeeper) {
  Hold();
  const fs::path root = Serve();
  const base::UniqueFd file(open((root / "f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const pid_t first = KeeperPid();
  const pid_t path = State("v").pid;
  ASSERT_EQ(kill(first, SIGKILL), 0);
  // Nobody asks; the holder notices by itself.
  ASSERT_TRUE(Eventually([&] { return KeeperPid() > 0 && KeeperPid() != first; }, kLong));
  EXPECT_EQ(State("v").pid, path);
  EXPECT_TRUE(State("v").serving);
  Kill();
  ASSERT_TRUE(base::WriteAll(file.get(), "still there"));
  EXPECT_EQ(base::ReadFile(backing() / "f", 100).value(), "still there");
  mounts_["v"]->Unmount();
  EXPECT_TRUE(client().Stop("v", In(kLong)));
  EXPECT_TRUE(client().List(In(kLong))->empty());
}

TEST_F(TakeOverTest, AVolumeOutlivesItsKeeperAndItsDataPath) {
  Hold();
  const fs::path root = Serve();
  const auto path = State("v").pid;
  ASSERT_EQ(kill(KeeperPid(), SIGKILL), 0);
  ASSERT_EQ(kill(path, SIGKILL), 0);
  // No open file here: the next keeper, spawned by this very process, would wait to close its copy.
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
  EXPECT_TRUE(fs::is_directory(backing() / "d"));
  EXPECT_NE(State("v").pid, path);
}

// Nobody starts another keeper here; one data path has died, the other one has not.
TEST_F(TakeOverTest, WhereNoKeeperComesCallersGetAnErrorInBoundedTimeAndWhoeverIsServedNotices) {
  constexpr std::chrono::seconds kAwayMax{1};
  const fs::path root = Serve();
  const fs::path other = VolumeFixture::Serve("w");
  auto options = Options();
  options.keeper.clear();
  options.hold = true;
  options.away_max = kAwayMax;
  services::KeeperClient holder(options);
  const auto fuse_fds = [] {
    int count = 0;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd"))
      if (fs::read_symlink(entry.path(), gone) == "/dev/fuse") ++count;
    return count;
  };
  ASSERT_TRUE(Eventually([&] { return fuse_fds() == 2; }, kLong)) << "it holds both";
  WaitingStat hung(root / ".hang");
  ASSERT_TRUE(hung.waits());
  const pid_t data_path = State("v").pid;
  client_.reset();
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(KeeperPid(), SIGKILL), 0);
  ASSERT_EQ(kill(data_path, SIGKILL), 0);
  const int error = hung.Join();
  const auto waited = std::chrono::steady_clock::now() - begun;
  EXPECT_TRUE(error == ENOTCONN || error == ECONNABORTED) << error;
  EXPECT_GE(waited, kAwayMax) << "a keeper may come so long";
  EXPECT_LT(waited, kLong);
  EXPECT_EQ(mkdir((other / "d").c_str(), 0700), 0);
}

TEST_F(TakeOverTest, WhatWasStoppedIsNotGivenToTheNextKeeper) {
  Hold();
  Serve();
  mounts_["v"]->Unmount();
  ASSERT_TRUE(client().Stop("v", In(kLong)));
  const pid_t first = KeeperPid();
  ASSERT_EQ(kill(first, SIGKILL), 0);
  EXPECT_TRUE(client().List(In(kLong))->empty());
  EXPECT_NE(KeeperPid(), first);
}

}  // namespace
}  // namespace gantry::tests
