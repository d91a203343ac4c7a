// SPDX-License-Identifier: Apache-2.0
#include "host/base/children.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::base {
namespace {

using namespace std::chrono_literals;

class ChildrenTest : public ::testing::Test {
 protected:
  // Orphans come to us as they would to PID 1.
  void SetUp() override { ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); }
  void TearDown() override { prctl(PR_SET_CHILD_SUBREAPER, 0); }

  static Result<Child> Sh(const std::string& script) {
    SpawnOptions options;
    options.arguments = {"sh", "-c", script};
    options.environment = {"PATH=/usr/bin:/bin"};
    return SpawnProgram("/bin/sh", options);
  }
};

TEST_F(ChildrenTest, ReapsAnOrphan) {
  const TempDir dir;
  const auto file = dir.path() / "pid";
  auto parent = Sh("sh -c 'echo $$ >" + file.string() + "' & exit 0");
  ASSERT_TRUE(parent);
  ASSERT_TRUE((*parent->Wait(20s)).has_value());
  size_t reaped = 0;
  for (int i = 0; i < 4000 && reaped == 0; ++i) {
    reaped += ReapOrphans();
    poll(nullptr, 0, 5);
  }
  EXPECT_EQ(reaped, 1U);
  const auto pid = ReadFile(file, 100);
  ASSERT_TRUE(pid);
  EXPECT_EQ(kill(std::stoi(*pid), 0), -1) << "still a zombie";
}

TEST_F(ChildrenTest, LeavesOurOwnTheirExitStates) {
  std::atomic<bool> over = false;
  std::thread reaper([&] {
    while (!over) ReapOrphans();
  });
  for (int code = 0; code < 100; ++code) {
    auto child = Sh("exit " + std::to_string(code));
    ASSERT_TRUE(child);
    // Long enough a zombie to be met by the reaper.
    if (code % 10 == 0) poll(nullptr, 0, 20);
    const auto status = child->Wait(20s);
    ASSERT_TRUE(status.has_value()) << status.error().message;
    ASSERT_TRUE(status->has_value());
    EXPECT_EQ((*status)->code, code);
  }
  over = true;
  reaper.join();
}

TEST_F(ChildrenTest, ReapsAChildThatWasGivenUp) {
  auto child = Sh("exit 0");
  ASSERT_TRUE(child);
  const pid_t pid = child->Abandon();
  for (int i = 0; i < 4000 && kill(pid, 0) == 0; ++i) {
    ReapOrphans();
    poll(nullptr, 0, 5);
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(ChildrenTest, TheThreadReapsByItself) {
  const OrphanReaper reaper;
  auto child = Sh("exit 0");
  ASSERT_TRUE(child);
  const pid_t pid = child->Abandon();
  for (int i = 0; i < 4000 && kill(pid, 0) == 0; ++i) poll(nullptr, 0, 5);
  EXPECT_EQ(kill(pid, 0), -1);
}

}  // namespace
}  // namespace gantry::base
