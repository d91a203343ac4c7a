// SPDX-License-Identifier: Apache-2.0
#include "host/services/exec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

base::TimePoint In(milliseconds time) { return std::chrono::steady_clock::now() + time; }
constexpr milliseconds kLong{60000};

class Gone final : public core::Cancellation {
 public:
  bool cancelled() const override { return cancelled_; }
  std::shared_ptr<void> OnCancel(std::function<void()> fn) override {
    fn_ = std::move(fn);
    return nullptr;
  }
  void Cancel() {
    cancelled_ = true;
    fn_();
  }

 private:
  std::atomic<bool> cancelled_ = false;
  std::function<void()> fn_;
};

class ExecTest : public ::testing::Test {
 protected:
  ExecTest() {
    grants_.helpers["show"] = {"/bin/echo", {{"-n", "pool-*"}, {"list"}}};
    grants_.helpers["cat"] = {"/bin/cat", {{}}};
    grants_.helpers["sh"] = {"/bin/sh", {{"-c", "*"}}};
  }
  base::Result<ExecResult> Run(const std::vector<std::string>& argv, std::string_view input = "",
                               milliseconds time = kLong) {
    return RunExec("fast", grants_, argv, input, In(time));
  }
  void ExpectRefused(const std::vector<std::string>& argv, const std::string& text) {
    const auto program = JudgeExec("fast", grants_, argv);
    ASSERT_FALSE(program);
    EXPECT_EQ(program.error().code, base::Code::kPermissionDenied);
    EXPECT_THAT(program.error().message, HasSubstr(text));
  }
  core::Grants grants_;
};

TEST_F(ExecTest, RunsWhatIsGranted) {
  const auto result = Run({"show", "-n", "pool-1"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->exit_status, 0);
  EXPECT_EQ(result->output, "pool-1");
  EXPECT_TRUE(Run({"show", "list"}));
}

TEST_F(ExecTest, RefusalsNameTheArgumentThatNoGrantAllows) {
  ExpectRefused({"rm", "-rf"}, "argv[0] \"rm\"");
  ExpectRefused({"/bin/echo", "list"}, "argv[0] \"/bin/echo\"");
  ExpectRefused({"show", "delete"}, "argv[1] \"delete\"");
  ExpectRefused({"show", "-n", "disk-1"}, "argv[2] \"disk-1\"");
  ExpectRefused({"show", "list", "--evil"}, "argv[2] \"--evil\"");
  ExpectRefused({"show", "-n"}, "end too early");
  ExpectRefused({"show"}, "end too early");
}

TEST_F(ExecTest, NoShellReadsTheArguments) {
  const auto result = Run({"show", "-n", "pool-$(id);`id`"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "pool-$(id);`id`");
}

TEST_F(ExecTest, ArgumentsWithNulAreRefused) {
  const auto program = JudgeExec("fast", grants_, {"show", std::string("list\0x", 6)});
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().code, base::Code::kInvalidArgument);
}

TEST_F(ExecTest, PassesTheInputAndGivesBackBothOutputsAndTheStatus) {
  const std::string input(300000, 'x');
  EXPECT_EQ(Run({"cat"}, input)->output, input);
  const auto result = Run({"sh", "-c", "echo out; echo err >&2; exit 7"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->error_output, "err\n");
  EXPECT_EQ(result->exit_status, 7);
  EXPECT_EQ(Run({"sh", "-c", "kill -TERM $$"})->exit_status, 128 + SIGTERM);
}

TEST_F(ExecTest, TheEnvironmentIsNotTheHosts) {
  setenv("GANTRY_TEST_LEAK", "leaked", 1);
  const auto result = Run({"sh", "-c", "/usr/bin/env"});
  ASSERT_TRUE(result);
  EXPECT_THAT(result->output, ::testing::Not(HasSubstr("leaked")));
  EXPECT_THAT(result->output, HasSubstr("PATH="));
}

TEST_F(ExecTest, OutputIsCutAndTheProgramStillEnds) {
  const auto result = Run({"sh", "-c", "head -c 3000000 /dev/zero"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.size(), kExecOutputBytesMax);
  EXPECT_EQ(result->exit_status, 0);
}

TEST_F(ExecTest, AtTheDeadlineTheWholeSessionIsKilled) {
  base::TempDir temp;
  const std::string pid_file = (temp.path() / "pid").string();
  const auto begin = std::chrono::steady_clock::now();
  const auto result =
      Run({"sh", "-c", "sleep 600 & echo $! > " + pid_file + "; yes"}, "", milliseconds(1000));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, base::Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(10000));
  pid_t grandchild = 0;
  std::ifstream(pid_file) >> grandchild;
  ASSERT_GT(grandchild, 0);
  const base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, grandchild, 0)));
  if (!process) {
    EXPECT_EQ(errno, ESRCH);
    return;
  }
  pollfd end{process.get(), POLLIN, 0};
  EXPECT_EQ(poll(&end, 1, 30000), 1);
}

TEST_F(ExecTest, WhatItLeavesRunningDoesNotHoldUpTheAnswer) {
  const auto begin = std::chrono::steady_clock::now();
  const auto result = Run({"sh", "-c", "sleep 600 & echo done"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(20000));
}

TEST_F(ExecTest, AScriptMayBeAHelper) {
  base::TempDir temp;
  const auto script = temp.path() / "script";
  std::ofstream(script) << "#!/bin/sh\necho \"script $1\"\n";
  ASSERT_EQ(chmod(script.c_str(), 0755), 0);
  grants_.helpers["script"] = {script, {{"*"}}};
  const auto result = Run({"script", "x"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "script x\n");
}

TEST_F(ExecTest, IsKilledAndReapedWhenWhoeverAskedIsDead) {
  const base::TempDir temp;
  const auto file = temp.path() / "pid";
  Gone gone;
  base::Result<ExecResult> result;
  std::thread caller([&] {
    result = RunExec("fast", grants_, {"sh", "-c", "echo $$ >" + file.string() + "; sleep 600"}, "",
                     In(kLong), &gone);
  });
  std::string pid;
  while (pid.empty() || pid.back() != '\n') {
    pid = base::ReadFile(file, 100).value_or("");
    poll(nullptr, 0, 2);
  }
  gone.Cancel();
  caller.join();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, base::Code::kCancelled);
  EXPECT_EQ(kill(std::stoi(pid), 0), -1) << "not even a zombie";
}

}  // namespace
}  // namespace gantry::services
