// SPDX-License-Identifier: Apache-2.0
#include "host/base/process.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace gantry::base {
namespace {

constexpr std::chrono::milliseconds kLong{10000};

Result<Child> Shell(const std::string& script, SpawnOptions options = {}) {
  auto shell = PinnedBinary::Open("/bin/sh");
  options.arguments = {"sh", "-c", script};
  options.environment = {"PATH=/usr/bin:/bin"};
  return Spawn(*shell, options);
}

TEST(Process, ReportsTheExitCode) {
  auto child = Shell("exit 7");
  ASSERT_TRUE(child);
  EXPECT_EQ(child->Wait(kLong).value()->code, 7);
}

TEST(Process, ReportsTheSignal) {
  auto child = Shell("exec sleep 1000");
  ASSERT_TRUE(child);
  ASSERT_TRUE(child->Kill(SIGKILL));
  EXPECT_EQ(child->Wait(kLong).value()->Describe(), "killed by SIGKILL");
}

TEST(Process, WaitGivesUpAtTheDeadline) {
  auto child = Shell("exec sleep 1000");
  ASSERT_TRUE(child);
  EXPECT_FALSE(child->Wait(std::chrono::milliseconds(10)).value().has_value());
}

TEST(Process, PassesFdsFromThreeOnAndNoOthers) {
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  UniqueFd reader(pipe_fds[0]);
  UniqueFd writer(pipe_fds[1]);
  SpawnOptions options;
  options.pass_fds = {writer.get()};
  auto child = Shell("for f in /proc/self/fd/*; do echo ${f##*/}; done >&3", options);
  ASSERT_TRUE(child);
  writer.Reset();
  std::string out(4096, '\0');
  size_t have = 0;
  for (ssize_t n = 1; n > 0; have += static_cast<size_t>(n))
    n = read(reader.get(), out.data() + have, out.size() - have);
  out.resize(have);
  EXPECT_EQ(child->Wait(kLong).value()->code, 0);
  EXPECT_NE(out.find("3\n"), std::string::npos) << out;
  EXPECT_EQ(out.find("5\n"), std::string::npos) << out;
}

TEST(Process, GivesTheChildOnlyTheEnvironmentItWasGiven) {
  ASSERT_EQ(setenv("GANTRY_SECRET_TEST", "1", 1), 0);
  auto child = Shell("test -z \"$GANTRY_SECRET_TEST\"");
  ASSERT_TRUE(child);
  EXPECT_EQ(child->Wait(kLong).value()->code, 0);
}

}  // namespace
}  // namespace gantry::base
