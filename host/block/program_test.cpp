// SPDX-License-Identifier: Apache-2.0
#include "host/block/program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "host/base/fd.hpp"

namespace gantry::block {
namespace {

using base::Code;
using ::testing::HasSubstr;

base::TimePoint Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(30); }

TEST(RunProgram, GivesTheExitCodeAndTheEndOfTheOutput) {
  const auto end = RunProgram({"sh", "-c", "echo one; echo two >&2; exit 3"}, Soon());
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->exit_code, 3);
  EXPECT_EQ(end->output, "one;two");
  const auto failed = MustRun({"sh", "-c", "echo broken; exit 4"}, Soon());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(failed.error().message, HasSubstr("exited with 4: broken"));
}

TEST(RunProgram, KeepsNoMoreThanTheTail) {
  const auto end = RunProgram({"sh", "-c", "yes | head -c 1000000; echo last"}, Soon());
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_LE(end->output.size(), kProgramOutputBytesMax);
  EXPECT_THAT(end->output, ::testing::EndsWith("last"));
}

TEST(RunProgram, GivesTheInputAndNoOtherFd) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);  // no close-on-exec
  const base::UniqueFd from(fds[0]);
  base::UniqueFd to(fds[1]);
  ASSERT_EQ(write(to.get(), "key", 3), 3);
  to.Reset();
  const auto end = RunProgram({"sh", "-c", "cat; ls /proc/self/fd | tr '\\n' ' '"}, Soon(), fds[0]);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->output, "key0 1 2 3");  // 3: the directory that ls reads
}

TEST(RunProgram, KillsWhatDoesNotEndInTimeAndItsChildren) {
  const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  const auto end =
      RunProgram({"sh", "-c", "cat /dev/zero > /dev/null & cat /dev/zero > /dev/null"}, soon);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::kDeadlineExceeded);
}

TEST(RunProgram, SaysWhatIsMissingAndWhatWasKilled) {
  const auto missing = RunProgram({"gantry-no-such-program"}, Soon());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(missing.error().message, HasSubstr("not installed"));
  const auto killed = RunProgram({"sh", "-c", "kill -9 $$"}, Soon());
  ASSERT_FALSE(killed);
  EXPECT_EQ(killed.error().code, Code::kUnavailable);
  EXPECT_THAT(killed.error().message, HasSubstr("signal 9"));
}

}  // namespace
}  // namespace gantry::block
