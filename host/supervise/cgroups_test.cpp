// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/cgroups.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::supervise {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A directory that looks like a cgroup filesystem. The kernel's files appear with the directory;
// here a test makes them before.
class CgroupsTest : public ::testing::Test {
 protected:
  void Touch(const fs::path& file, const std::string& text = {}) {
    fs::create_directories((root_.path() / file).parent_path());
    ASSERT_TRUE(base::WriteFileDurably(root_.path() / file, text, 0600));
  }
  std::string Read(const fs::path& file) {
    return base::ReadFile(root_.path() / file, 4096).value_or("(none)");
  }
  void MakeV2() {
    Touch("cgroup.controllers", "memory pids cpu");
    Touch("gantry/cgroup.procs");
    Touch("gantry/cgroup.subtree_control");
  }
  core::CgroupConfig Config() const { return {root_.path(), "gantry"}; }

  base::TempDir root_;
  const wire::WorkerLimits limits_{64, 32, 128, 50};
};

TEST_F(CgroupsTest, WithoutADelegatedGroupNothingIsTouchedAndItSaysSo) {
  const auto cgroups = Cgroups::Open({root_.path(), ""});
  ASSERT_TRUE(cgroups);
  const auto made = cgroups->Make("nfs", 1, limits_);
  EXPECT_THAT(made.paths(), IsEmpty());
  EXPECT_THAT(made.not_enforced(), ElementsAre(HasSubstr("cgroup: none is delegated")));
}

TEST_F(CgroupsTest, SetsTheLimitsOfAV2Group) {
  MakeV2();
  for (const char* file : {"memory.max", "pids.max", "cpu.weight", "memory.oom.group"})
    Touch(fs::path("gantry/gw-nfs.3") / file);
  const auto cgroups = Cgroups::Open(Config());
  ASSERT_TRUE(cgroups) << cgroups.error().message;
  const auto made = cgroups->Make("nfs", 3, limits_);
  EXPECT_THAT(made.paths(), ElementsAre(root_.path() / "gantry/gw-nfs.3"));
  EXPECT_THAT(made.not_enforced(), IsEmpty());
  EXPECT_EQ(Read("gantry/gw-nfs.3/memory.max"), "67108864");
  EXPECT_EQ(Read("gantry/gw-nfs.3/memory.oom.group"), "1");
  EXPECT_EQ(Read("gantry/gw-nfs.3/pids.max"), "32");
  EXPECT_EQ(Read("gantry/gw-nfs.3/cpu.weight"), "50");
}

TEST_F(CgroupsTest, NamesALimitThatAV2GroupDoesNotHave) {
  MakeV2();
  for (const char* file : {"memory.max", "cpu.weight"}) Touch(fs::path("gantry/gw-nfs.3") / file);
  const auto made = Cgroups::Open(Config())->Make("nfs", 3, limits_);
  EXPECT_THAT(made.not_enforced(), ElementsAre(HasSubstr("pids.max: open ")));
}

TEST_F(CgroupsTest, MovesItsOwnProcessesOutOfTheWayOfControllers) {
  MakeV2();
  Touch("gantry/cgroup.procs", "4711\n");
  Touch("gantry/host/cgroup.procs");
  ASSERT_TRUE(Cgroups::Open(Config()));
  EXPECT_EQ(Read("gantry/host/cgroup.procs"), "4711");
}

TEST_F(CgroupsTest, SetsTheLimitsOfV1Controllers) {
  Touch("memory/gantry/gw-nfs.3/memory.limit_in_bytes");
  Touch("pids/gantry/gw-nfs.3/pids.max");
  Touch("cpu/gantry/gw-nfs.3/cpu.shares");
  const auto cgroups = Cgroups::Open(Config());
  ASSERT_TRUE(cgroups) << cgroups.error().message;
  const auto made = cgroups->Make("nfs", 3, limits_);
  EXPECT_THAT(made.not_enforced(), IsEmpty());
  EXPECT_EQ(made.paths().size(), 3U);
  EXPECT_EQ(Read("memory/gantry/gw-nfs.3/memory.limit_in_bytes"), "67108864");
  EXPECT_EQ(Read("pids/gantry/gw-nfs.3/pids.max"), "32");
  EXPECT_EQ(Read("cpu/gantry/gw-nfs.3/cpu.shares"), "512");
}

TEST_F(CgroupsTest, MakesNoGroupThatWasNotDelegated) {
  fs::create_directories(root_.path() / "memory/gantry");
  fs::create_directories(root_.path() / "pids");
  const auto made = Cgroups::Open(Config())->Make("nfs", 3, limits_);
  EXPECT_FALSE(fs::exists(root_.path() / "pids/gantry"));
  EXPECT_THAT(made.not_enforced(), ::testing::Contains(HasSubstr("pids.max: make ")));
}

TEST_F(CgroupsTest, RefusesAGroupThatIsNotThere) {
  const auto v1 = Cgroups::Open(Config());
  ASSERT_FALSE(v1);
  EXPECT_THAT(v1.error().message, HasSubstr("has no gantry"));
  Touch("cgroup.controllers");
  const auto v2 = Cgroups::Open(Config());
  ASSERT_FALSE(v2);
  EXPECT_THAT(v2.error().message, HasSubstr("/gantry: expected a delegated cgroup"));
}

TEST_F(CgroupsTest, RemovesItsGroupsAndWhatAnEarlierHostLeft) {
  fs::create_directories(root_.path() / "memory/gantry/gw-old.9");
  fs::create_directories(root_.path() / "memory/gantry/of-another");
  const auto cgroups = Cgroups::Open(Config());
  ASSERT_TRUE(cgroups);
  EXPECT_FALSE(fs::exists(root_.path() / "memory/gantry/gw-old.9"));
  EXPECT_TRUE(fs::exists(root_.path() / "memory/gantry/of-another"));
  { const auto made = cgroups->Make("nfs", 3, limits_); }
  EXPECT_FALSE(fs::exists(root_.path() / "memory/gantry/gw-nfs.3"));
}

}  // namespace
}  // namespace gantry::supervise
