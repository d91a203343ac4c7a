// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/job_runner.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "gantry/job.h"
#include "host/base/sync.hpp"
#include "host/core/cancel_flag.hpp"

namespace gantry::supervise {
namespace {

using base::Code;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

// fake_worker is the process; the job's name says how it answers.
class JobRunnerTest : public ::testing::Test {
 protected:
  base::Result<std::string> Run(const std::string& name, const std::string& input = {},
                                std::chrono::milliseconds time = 20s,
                                core::Cancellation* cancellation = nullptr) {
    return RunJob(spec_, name, input, base::Now() + time, cancellation);
  }
  std::string Error(const std::string& name) {
    const auto output = Run(name);
    return output ? "no error" : base::CodeName(output.error().code) + " " + output.error().message;
  }
  base::Result<base::PinnedBinary> worker_ = base::PinnedBinary::Open(GANTRY_FAKE_WORKER);
  JobSpec spec_{&*worker_, {"gantry-worker"}, "fast", {}};
};

TEST_F(JobRunnerTest, GivesTheInputAndTakesTheOutput) {
  for (const size_t bytes : {size_t{0}, size_t{3}, size_t{GANTRY_JOB_INPUT_BYTES_MAX}}) {
    const auto output = Run("echo", std::string(bytes, 'i'));
    ASSERT_TRUE(output) << output.error().message;
    EXPECT_EQ(*output, std::string(bytes, 'i'));
  }
}

TEST_F(JobRunnerTest, PassesTheJobsOwnCodeOn) {
  EXPECT_THAT(Error("refuse"), HasSubstr("FAILED_PRECONDITION backend fast job refuse"));
}

TEST_F(JobRunnerTest, BelievesNoHalfAnswerAndNoneTooMuch) {
  for (const char* name : {"garbage", "short", "silent", "no-code", "flood", "crash"})
    EXPECT_THAT(Error(name), HasSubstr("UNAVAILABLE backend fast job ")) << name;
  EXPECT_THAT(Error("crash"), HasSubstr("killed by SIGABRT"));
}

TEST_F(JobRunnerTest, KillsAtTheDeadline) {
  const auto begin = base::Now();
  const auto output = Run("hang", "input", 100ms);
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Code::kDeadlineExceeded);
  EXPECT_LT(base::Now() - begin, 10s);
}

TEST_F(JobRunnerTest, KillsWhenWhoeverAskedIsDead) {
  core::CancelFlag gone;
  base::Result<std::string> output;
  std::thread caller([&] { output = Run("hang", "input", 60s, &gone); });
  gone.Cancel();
  caller.join();
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Code::kCancelled);
}

TEST_F(JobRunnerTest, StartsNothingWhoseTimeIsOverOrWhosePluginIsNotTheOne) {
  EXPECT_EQ(Run("echo", "x", -1ms).error().code, Code::kDeadlineExceeded);
  spec_.verify = [] { return base::Fail(Code::kFailedPrecondition, "another digest"); };
  EXPECT_THAT(Error("echo"), HasSubstr("another digest"));
}

TEST_F(JobRunnerTest, RefusesNamesAndInputsThatAreNone) {
  EXPECT_THAT(Error("Bad/Name"), HasSubstr("INVALID_ARGUMENT"));
  EXPECT_THAT(Error(""), HasSubstr("INVALID_ARGUMENT"));
  const auto output = Run("echo", std::string(GANTRY_JOB_INPUT_BYTES_MAX + 1, 'i'));
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::supervise
