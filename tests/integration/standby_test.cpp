// SPDX-License-Identifier: Apache-2.0
// A process that waits to take a volume over: when it does, what it may not have before, and what
// becomes of it when others die.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "host/base/file.hpp"
#include "tests/integration/followed_volume.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

bool HasEnded(pid_t pid) {
  const auto status = base::ReadFile("/proc/" + std::to_string(pid) + "/status", 1 << 16);
  return !status || status->find("\nState:\tZ") != std::string::npos;
}

// Links of its open fds, and what it has mapped.
std::string WhatItHas(pid_t pid) {
  const fs::path process = "/proc/" + std::to_string(pid);
  std::string has = base::ReadFile(process / "maps", 1 << 20).value_or("");
  for (const auto& entry : fs::directory_iterator(process / "fd"))
    has += fs::read_symlink(entry.path()).string() + "\n";
  return has;
}
bool Mentions(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

class StandbyTest : public FollowedVolume {
 protected:
  fs::path ServeWarm() { return Serve({}, /*standby=*/true); }
};

TEST_F(StandbyTest, TakesOverAndIsFollowedByAnother) {
  const fs::path root = ServeWarm();
  const base::UniqueFd file(open((root / "f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  Kill();
  EXPECT_EQ(State("v").pid, standby) << "the one that was there";
  ASSERT_TRUE(base::WriteAll(file.get(), "by it"));
  EXPECT_EQ(base::ReadFile(backing() / "f", 100).value(), "by it");
  EXPECT_GT(AwaitStandby(), 0);
  EXPECT_EQ(State("v").take_overs, 1U);
}

TEST_F(StandbyTest, HasNothingOfTheVolumeBeforeItIsToldToServe) {
  ServeWarm();
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  const std::string before = WhatItHas(standby);
  EXPECT_TRUE(Mentions(before, "localfs.so")) << before;
  EXPECT_FALSE(Mentions(before, "/dev/fuse")) << before;
  EXPECT_FALSE(Mentions(before, "gantry-datapath")) << before;
  EXPECT_FALSE(Mentions(before, "gantry-region")) << before;
  Kill();
  const std::string after = WhatItHas(standby);
  EXPECT_TRUE(Mentions(after, "/dev/fuse") && Mentions(after, "gantry-datapath")) << after;
}

TEST_F(StandbyTest, IsReplacedWhenItDies) {
  const fs::path root = ServeWarm();
  const auto server = State("v").pid;
  const pid_t first = AwaitStandby();
  ASSERT_GT(first, 0);
  ASSERT_EQ(kill(first, SIGKILL), 0);
  EXPECT_GT(AwaitStandby(first), 0);
  EXPECT_EQ(State("v").pid, server);
  EXPECT_EQ(State("v").take_overs, 0U);
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
}

TEST_F(StandbyTest, DiesTogetherWithTheServerAndANewProcessFollows) {
  const fs::path root = ServeWarm();
  const auto server = State("v").pid;
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  ASSERT_EQ(kill(standby, SIGKILL), 0);
  ASSERT_EQ(kill(server, SIGKILL), 0);
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
  HasAnother(server);
  EXPECT_NE(State("v").pid, standby);
}

TEST_F(StandbyTest, ThatDoesNotWakeIsKilledAndANewProcessFollows) {
  const fs::path root = ServeWarm();
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  ASSERT_EQ(kill(standby, SIGSTOP), 0);
  const auto server = State("v").pid;
  ASSERT_EQ(kill(server, SIGKILL), 0);
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
  EXPECT_TRUE(HasEnded(standby));
  EXPECT_EQ(State("v").take_overs, 2U);
}

TEST_F(StandbyTest, EndsWithItsKeeperAndTheNextOneStartsAnother) {
  Hold();
  const fs::path root = ServeWarm();
  const auto server = State("v").pid;
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  const pid_t keeper = KeeperPid();
  ASSERT_EQ(kill(keeper, SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return HasEnded(standby); }, kLong));
  ASSERT_TRUE(Eventually([&] { return KeeperPid() > 0 && KeeperPid() != keeper; }, kLong));
  const pid_t next = AwaitStandby();
  ASSERT_GT(next, 0);
  EXPECT_EQ(State("v").pid, server);
  ASSERT_EQ(kill(server, SIGKILL), 0);
  HasAnother(server);
  EXPECT_EQ(State("v").pid, next);
  EXPECT_EQ(mkdir((root / "d").c_str(), 0700), 0);
}

TEST_F(StandbyTest, EndsWhenItsVolumeIsStopped) {
  ServeWarm();
  const pid_t standby = AwaitStandby();
  ASSERT_GT(standby, 0);
  mounts_["v"]->Unmount();
  ASSERT_TRUE(client().Stop("v", In(kLong)));
  EXPECT_TRUE(Eventually([&] { return HasEnded(standby); }, kLong));
}

TEST_F(StandbyTest, IsNotThereWhereNobodyWantsOne) {
  Serve();
  Kill();
  EXPECT_FALSE(State("v").standby);
  EXPECT_EQ(Processes().size(), 1U);
}

}  // namespace
}  // namespace gantry::tests
