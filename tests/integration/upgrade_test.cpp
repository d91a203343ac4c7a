// SPDX-License-Identifier: Apache-2.0
// A volume's data path goes over to another version of its plugin, and back when that one is of no use,
// under a load that looks at every result. The same with gantryctl over a real server is in
// nfs_survival_test.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>

#include "host/base/file.hpp"
#include "host/wire/data_path_description.hpp"
#include "tests/integration/followed_volume.hpp"
#include "tests/integration/waiting_stat.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Writes, reads back and looks at a file, open all the while, until it is destroyed.
class Load {
 public:
  explicit Load(const fs::path& root)
      : thread_([this, root](const std::stop_token& stop) {
          const base::UniqueFd file(
              open((root / "load").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
          if (!file) ++wrong_;
          for (uint64_t i = 0; !stop.stop_requested(); ++i, ++rounds_) {
            const std::array<uint64_t, 2> written{i, ~i};
            std::array<uint64_t, 2> read{};
            struct stat found {};
            const auto at = static_cast<off_t>(i % 64 * sizeof written);
            if (pwrite(file.get(), written.data(), sizeof written, at) != sizeof written ||
                pread(file.get(), read.data(), sizeof read, at) != sizeof read || read != written ||
                fstat(file.get(), &found) != 0 || found.st_size < at ||
                stat((root / "load").c_str(), &found) != 0 ||
                access((root / "not there").c_str(), F_OK) == 0)
              ++wrong_;
          }
        }) {}
  // Whether it comes on.
  bool Advances() const {
    constexpr uint64_t kRounds = 20;
    const uint64_t before = rounds_;
    return Eventually([&] { return rounds_ > before + kRounds; }, kLong);
  }
  int wrong() const { return wrong_; }

 private:
  std::atomic<int> wrong_ = 0;
  std::atomic<uint64_t> rounds_ = 0;
  std::jthread thread_;
};

class UpgradeTest : public FollowedVolume {
 protected:
  fs::path Plugin(const std::string& name) const {
    return BuildDir() / "lib" / "gantry" / "plugins" / (name + ".so");
  }
  base::Status Upgrade(const std::string& plugin, std::chrono::milliseconds within = kLong) {
    return client().Upgrade("v", Plugin(plugin), In(within));
  }
};

TEST_F(UpgradeTest, AnotherVersionGoesOnWithWhatIsOpen) {
  const fs::path root = Serve();
  const auto first = State("v");
  EXPECT_EQ(first.plugin, Plugin("localfs"));
  Load load(root);
  ASSERT_TRUE(load.Advances());
  const auto upgraded = Upgrade("localfs_next");
  ASSERT_TRUE(upgraded) << upgraded.error().message;
  const auto second = State("v");
  EXPECT_EQ(second.plugin, Plugin("localfs_next"));
  EXPECT_NE(second.pid, first.pid);
  EXPECT_TRUE(second.serving);
  ASSERT_TRUE(load.Advances());
  // Its successor is of that version too.
  Kill();
  EXPECT_EQ(State("v").plugin, Plugin("localfs_next"));
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(load.wrong(), 0);
}

TEST_F(UpgradeTest, ThereAndBackAgainUnderLoad) {
  constexpr int kTimes = 10;
  const fs::path root = Serve({}, /*standby=*/true);
  Load load(root);
  for (int i = 0; i < kTimes; ++i) {
    const auto upgraded = Upgrade(i % 2 == 0 ? "localfs_next" : "localfs");
    ASSERT_TRUE(upgraded) << upgraded.error().message;
    ASSERT_TRUE(load.Advances());
  }
  EXPECT_EQ(load.wrong(), 0);
  EXPECT_EQ(State("v").take_overs, uint64_t{kTimes});
}

TEST_F(UpgradeTest, AStandbyIsOfTheNewVersionAfterwards) {
  Serve({}, /*standby=*/true);
  const pid_t old = AwaitStandby();
  ASSERT_GT(old, 0);
  ASSERT_TRUE(Upgrade("localfs_next"));
  const pid_t standby = AwaitStandby(old);
  ASSERT_GT(standby, 0);
  EXPECT_THAT(base::ReadFile("/proc/" + std::to_string(standby) + "/maps", 1 << 20).value(),
              HasSubstr("localfs_next.so"));
}

TEST_F(UpgradeTest, OneThatDoesNotLoadCostsNothing) {
  const fs::path root = Serve();
  const auto before = State("v");
  Load load(root);
  const auto upgraded = Upgrade("not_there");
  ASSERT_FALSE(upgraded);
  EXPECT_THAT(upgraded.error().message, HasSubstr("not_there.so"));
  EXPECT_EQ(State("v").pid, before.pid);
  EXPECT_EQ(State("v").plugin, before.plugin);
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(load.wrong(), 0);
}

TEST_F(UpgradeTest, OneThatCrashesBeforeItServesIsTakenBack) {
  const fs::path root = Serve({{"next", "abort"}});
  Load load(root);
  ASSERT_TRUE(load.Advances());
  const auto upgraded = Upgrade("localfs_next");
  ASSERT_FALSE(upgraded);
  EXPECT_THAT(upgraded.error().message, HasSubstr("SIGABRT"));
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(State("v").plugin, Plugin("localfs"));
  EXPECT_EQ(State("v").fault, "");
  // No worse off than before: it has its crashes still.
  Kill(SIGSEGV);
  Kill(SIGSEGV);
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(load.wrong(), 0);
}

TEST_F(UpgradeTest, OneThatSaysItCannotServeIsTakenBack) {
  const fs::path root = Serve();
  Load load(root);
  ASSERT_TRUE(load.Advances());
  const auto upgraded = Upgrade("filedisk");
  ASSERT_FALSE(upgraded);
  EXPECT_THAT(upgraded.error().message, HasSubstr("has no gantry.datapath/1"));
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(State("v").fault, "");
  EXPECT_EQ(load.wrong(), 0);
}

TEST_F(UpgradeTest, OneThatDoesNotServeInTimeIsTakenBack) {
  const fs::path root = Serve({{"next", "away"}}, /*standby=*/true);
  Load load(root);
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  const auto upgraded = Upgrade("localfs_next", std::chrono::seconds(2));
  ASSERT_FALSE(upgraded);
  EXPECT_THAT(upgraded.error().message, HasSubstr("in time"));
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(State("v").plugin, Plugin("localfs"));
  EXPECT_EQ(State("v").pid, standby) << "the old version's, which was there still";
  EXPECT_EQ(load.wrong(), 0);
}

TEST_F(UpgradeTest, AYoungOneThatCrashesAgainAndAgainIsFollowedByTheOneBefore) {
  const fs::path root = Serve();
  Load load(root);
  ASSERT_TRUE(Upgrade("localfs_next"));
  struct stat found {};
  EXPECT_EQ(stat((root / ".young").c_str(), &found), -1);
  EXPECT_EQ(errno, ENOENT) << "the one before knows of no such thing";
  EXPECT_EQ(State("v").plugin, Plugin("localfs"));
  ASSERT_TRUE(load.Advances());
  EXPECT_EQ(load.wrong(), 0);
}

// Who hears that it is done may end the keeper at once: the next one must know it too.
TEST_F(UpgradeTest, AHolderHasTheCopyBeforeItHearsThatItIsDone) {
  Serve();
  const auto fds = client().Fds("v", In(kLong));
  ASSERT_TRUE(fds);
  auto description = wire::ReadDescription(fds->description.get());
  ASSERT_TRUE(description);
  description->plugin = Plugin("localfs_next");
  const auto sealed = wire::SealDescription(*description);
  ASSERT_TRUE(sealed);
  const base::UniqueFd holder = Connect();
  wire::KeeperMessage hold;
  hold.kind = wire::KeeperKind::kHold;
  ASSERT_TRUE(wire::SendKeeper(holder.get(), hold));
  wire::KeeperMessage upgrade;
  upgrade.kind = wire::KeeperKind::kUpgrade;
  upgrade.id = 7;
  upgrade.Add(wire::KeeperTag::kVolume, "v")
      .Add(wire::KeeperTag::kPlugin, description->plugin)
      .Add(wire::KeeperTag::kTimeoutMs, uint64_t{std::chrono::milliseconds(kLong).count()});
  const std::vector<int> passed{sealed->get()};
  ASSERT_TRUE(wire::SendKeeper(holder.get(), upgrade, passed));
  wire::KeeperMessage copy;
  wire::KeeperMessage message;
  while (message.id != upgrade.id) {
    if (message.kind == wire::KeeperKind::kHeld) copy = std::move(message);
    message = Receive(holder);
  }
  EXPECT_EQ(message.code, base::Code::kOk);
  EXPECT_EQ(copy.Text(wire::KeeperTag::kPlugin), description->plugin);
  EXPECT_EQ(copy.Number(wire::KeeperTag::kTrial), 0U) << "else the next keeper would go back";
}

TEST_F(UpgradeTest, AYoungOnesWayBackOutlivesTheKeeper) {
  Hold();
  const fs::path root = Serve();
  ASSERT_TRUE(Upgrade("localfs_next"));
  const pid_t first = KeeperPid();
  ASSERT_EQ(kill(first, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return KeeperPid() > 0 && KeeperPid() != first; }, kLong));
  ASSERT_TRUE(Eventually([&] { return State("v").plugin == Plugin("localfs_next"); }, kLong));
  struct stat found {};
  EXPECT_EQ(stat((root / ".young").c_str(), &found), -1);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(State("v").plugin, Plugin("localfs"));
}

TEST_F(UpgradeTest, WhatDoesNotEndInTimeIsLeftToTheNewVersion) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  const fs::path root = Serve();
  WaitingStat hung(root / ".hang");
  ASSERT_TRUE(hung.waits());
  const auto upgraded = Upgrade("localfs_next");
  ASSERT_TRUE(upgraded) << upgraded.error().message;
  hung.Signal();
  EXPECT_EQ(hung.Join(), EINTR);
}

TEST_F(UpgradeTest, AServerThatDoesNotListenIsKilled) {
  const fs::path root = Serve();
  ASSERT_EQ(kill(State("v").pid, SIGSTOP), 0);
  const auto upgraded = Upgrade("localfs_next");
  ASSERT_TRUE(upgraded) << upgraded.error().message;
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
}

TEST_F(UpgradeTest, AVolumeWhoseDataPathHasNoSuccessorIsRefused) {
  FuseMount& mount = Mount("v");
  ASSERT_TRUE(client().Start(Spec("v", mount.TakeFd()), In(kLong)));
  const auto before = State("v").pid;
  const auto upgraded = Upgrade("localfs_next");
  ASSERT_FALSE(upgraded);
  EXPECT_EQ(upgraded.error().code, base::Code::kFailedPrecondition);
  EXPECT_EQ(State("v").pid, before);
  EXPECT_EQ(client().Upgrade("w", Plugin("localfs_next"), In(kLong)).error().code,
            base::Code::kNotFound);
}

TEST_F(UpgradeTest, AStopEndsIt) {
  Serve({{"next", "away"}});
  std::jthread upgrade([&] {
    services::KeeperClient other(Options());
    const auto upgraded = other.Upgrade("v", Plugin("localfs_next"), In(kLong));
    ASSERT_FALSE(upgraded);
    EXPECT_EQ(upgraded.error().code, base::Code::kAborted);
  });
  const auto before = State("v").pid;
  ASSERT_TRUE(Eventually([&] { return State("v").pid != before; }, kLong));
  EXPECT_TRUE(client().Stop("v", In(kLong)));
  EXPECT_TRUE(client().List(In(kLong))->empty());
}

}  // namespace
}  // namespace gantry::tests
