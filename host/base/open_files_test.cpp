// SPDX-License-Identifier: Apache-2.0
#include "host/base/open_files.hpp"

#include <gtest/gtest.h>

#include "host/base/process.hpp"

namespace gantry::base {
namespace {

rlimit LimitOf(pid_t pid) {
  rlimit limit{};
  EXPECT_EQ(prlimit(pid, RLIMIT_NOFILE, nullptr, &limit), 0);
  return limit;
}

// Gives this process a soft limit below its hard one, and its own back at the end.
class OpenFilesTest : public ::testing::Test {
 protected:
  void SetSoft(rlim_t soft) const {
    const rlimit limit{soft, before_.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  void TearDown() override { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

  const rlimit before_ = LimitOf(0);
};

TEST_F(OpenFilesTest, RaisesTheSoftLimitToTheHardOne) {
  SetSoft(256);
  ASSERT_TRUE(RaiseOpenFiles());
  EXPECT_EQ(LimitOf(0).rlim_cur, before_.rlim_max);
  EXPECT_EQ(LimitOf(0).rlim_max, before_.rlim_max);
}

TEST_F(OpenFilesTest, LowersTheSoftLimitAlone) {
  ASSERT_GT(before_.rlim_max, kSelectFilesMax) << "this test needs a higher hard limit";
  ASSERT_TRUE(RaiseOpenFiles());
  ASSERT_TRUE(LimitOpenFiles());
  EXPECT_EQ(LimitOf(0).rlim_cur, kSelectFilesMax);
  EXPECT_EQ(LimitOf(0).rlim_max, before_.rlim_max);
}

TEST_F(OpenFilesTest, LeavesALowerLimitAlone) {
  SetSoft(256);
  ASSERT_TRUE(LimitOpenFiles());
  EXPECT_EQ(LimitOf(0).rlim_cur, 256U);
}

TEST_F(OpenFilesTest, AProgramThatIsSpawnedByPathGetsTheUsualLimit) {
  ASSERT_TRUE(RaiseOpenFiles());
  SpawnOptions options;
  options.arguments = {"sleep", "60"};
  const auto child = SpawnProgram("/usr/bin/sleep", options);
  ASSERT_TRUE(child) << child.error().message;
  EXPECT_EQ(LimitOf(child->pid()).rlim_cur, kSelectFilesMax);
}

}  // namespace
}  // namespace gantry::base
