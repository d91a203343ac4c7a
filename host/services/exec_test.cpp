// SPDX-License-Identifier: Apache-2.0
#include "host/services/exec.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

base::TimePoint In(milliseconds time) { return std::chrono::steady_clock::now() + time; }
constexpr milliseconds kLong{60000};

// A user that no worker and no account of a test machine is.
constexpr uint32_t kUid = 61'234;

base::PinnedBinary BuiltHelper() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  auto binary = base::PinnedBinary::Open(std::filesystem::path(build != nullptr ? build : ".") /
                                         "bin/gantry-helper");
  if (!binary) throw std::runtime_error(binary.error().message);
  return std::move(*binary);
}
class Gone final : public core::Cancellation {
 public:
  bool cancelled() const override { return cancelled_; }
  std::shared_ptr<void> OnCancel(std::function<void()> fn) override {
    const std::lock_guard lock(mutex_);
    fn_ = std::move(fn);
    return nullptr;
  }
  void Cancel() {
    cancelled_ = true;
    const std::lock_guard lock(mutex_);
    fn_();
  }

 private:
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::function<void()> fn_;
};

class ExecTest : public ::testing::Test {
 protected:
  ExecTest() {
    backend_.name = "fast";
    backend_.uid = backend_.gid = kUid;
    backend_.grants.helpers["show"] = {"/bin/echo", {{"-n", "pool-{number}"}, {"list"}}};
    backend_.grants.helpers["cat"] = {"/bin/cat", {{}}};
  }
  base::Result<ExecResult> Run(const std::vector<std::string>& argv, std::string_view input = "",
                               milliseconds time = kLong) {
    return RunExec(backend_, helper_, argv, input, In(time));
  }
  // Grants one script of a shell and runs it.
  base::Result<ExecResult> Script(const std::string& text, milliseconds time = kLong) {
    backend_.grants.helpers["sh"].program = "/bin/sh";
    backend_.grants.helpers["sh"].arguments = {{"-c", text}};
    return Run({"sh", "-c", text}, "", time);
  }
  void ExpectRefused(const std::vector<std::string>& argv, const std::string& text) {
    const auto program = JudgeExec(backend_, argv);
    ASSERT_FALSE(program);
    EXPECT_EQ(program.error().code, base::Code::kPermissionDenied);
    EXPECT_THAT(program.error().message, HasSubstr(text));
  }
  core::BackendConfig backend_;
  const base::PinnedBinary helper_ = BuiltHelper();
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
  ExpectRefused({"show", "-n", "pool-1 --force"}, "argv[2] \"pool-1 --force\"");
  ExpectRefused({"show", "-n", "pool-1,ro"}, "argv[2]");
  ExpectRefused({"show", "-n", "pool-1\n"}, "argv[2]");
  ExpectRefused({"show", "list", "--evil"}, "argv[2] \"--evil\"");
  ExpectRefused({"show", "-n"}, "end too early");
  ExpectRefused({"show"}, "end too early");
}

TEST_F(ExecTest, ArgumentsWithNulAreRefused) {
  const auto program = JudgeExec(backend_, {"show", std::string("list\0x", 6)});
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().code, base::Code::kInvalidArgument);
}

TEST_F(ExecTest, APathThatLeadsThroughASymlinkIsRefused) {
  base::TempDir temp;
  const std::string top = temp.path().string();
  backend_.grants.helpers["cat"].arguments = {{"{path:" + top + "}"}};
  std::ofstream(temp.path() / "file") << "content";
  std::filesystem::create_directory(temp.path() / "real");
  std::filesystem::create_symlink("/etc/passwd", temp.path() / "link");
  std::filesystem::create_directory_symlink("/etc", temp.path() / "dir");
  EXPECT_TRUE(JudgeExec(backend_, {"cat", top + "/file"}));
  EXPECT_TRUE(JudgeExec(backend_, {"cat", top + "/real/not-there-yet"}));
  ExpectRefused({"cat", top + "/link"}, "argv[1]");
  ExpectRefused({"cat", top + "/dir/passwd"}, "argv[1]");
  ExpectRefused({"cat", top + "/real/../file"}, "argv[1]");
  ExpectRefused({"cat", "/etc/passwd"}, "argv[1]");
}

TEST_F(ExecTest, AProgramThatOthersMayChangeIsNotRun) {
  base::TempDir temp;
  const auto script = temp.path() / "script";
  std::ofstream(script) << "#!/bin/sh\n";
  backend_.grants.helpers["script"] = {script, {{}}};
  for (const mode_t mode : {0777, 0775}) {
    ASSERT_EQ(chmod(script.c_str(), mode), 0);
    EXPECT_EQ(Run({"script"}).error().code, base::Code::kFailedPrecondition);
  }
  ASSERT_EQ(chmod(script.c_str(), 0755), 0);
  ASSERT_EQ(chown(script.c_str(), kUid, kUid), 0);
  EXPECT_THAT(Run({"script"}).error().message, HasSubstr("only root may change"));
}

TEST_F(ExecTest, WhatCannotBeRunSaysWhy) {
  base::TempDir temp;
  const auto script = temp.path() / "script";
  std::ofstream(script) << "#!/no/such/interpreter\n";
  ASSERT_EQ(chmod(temp.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod(script.c_str(), 0755), 0);
  backend_.grants.helpers["script"] = {script, {{}}};
  const auto result = Run({"script"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, base::Code::kFailedPrecondition);
  EXPECT_THAT(result.error().message, HasSubstr("No such file"));
  EXPECT_THAT(result.error().message, HasSubstr(script.string()));
}

TEST_F(ExecTest, PassesTheInputAndGivesBackBothOutputsAndTheStatus) {
  const std::string input(300000, 'x');
  EXPECT_EQ(Run({"cat"}, input)->output, input);
  const auto result = Script("echo out; echo err >&2; exit 7");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->error_output, "err\n");
  EXPECT_EQ(result->exit_status, 7);
  EXPECT_EQ(Script("kill -TERM $$")->exit_status, 128 + SIGTERM);
}

TEST_F(ExecTest, RunsAsTheBackendsUserWithoutAnyPrivilege) {
  const gid_t others[] = {4, 24};
  ASSERT_EQ(setgroups(2, others), 0);
  const auto result =
      Script("id -u; id -g; id -G; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status");
  ASSERT_TRUE(result) << result.error().message;
  const std::string none = ":\t0000000000000000\n";
  EXPECT_EQ(result->output, "61234\n61234\n61234\nCapPrm" + none + "CapEff" + none + "CapBnd" +
                                none + "CapAmb" + none + "NoNewPrivs:\t1\n");
}

TEST_F(ExecTest, RunsAsRootOnlyWhereTheGrantSaysSo) {
  backend_.grants.helpers["sh"].uid = 0;
  backend_.grants.helpers["sh"].gid = 0;
  const auto result = Script("id -u; grep NoNewPrivs /proc/self/status");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "0\nNoNewPrivs:\t1\n");
}

TEST_F(ExecTest, InheritsNeitherEnvironmentNorDirectoryNorFds) {
  setenv("GANTRY_TEST_LEAK", "leaked", 1);
  const base::UniqueFd leaked(fcntl(0, F_DUPFD, 50));  // not close-on-exec
  ASSERT_TRUE(leaked);
  const auto result = Script(
      "pwd; /usr/bin/env | grep -v -E '^(PWD|_)=' | sort; ulimit -c; "
      "exec ls /proc/self/fd");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output,
            "/\nLC_ALL=C.UTF-8\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n0\n0\n1\n2\n3\n")
      << "3 is what ls reads the directory with";
}

TEST_F(ExecTest, OutputIsCutAndTheProgramStillEnds) {
  const auto result = Script("head -c 3000000 /dev/zero");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.size(), kExecOutputBytesMax);
  EXPECT_EQ(result->exit_status, 0);
}

// Fails the test when it still lives.
void ExpectGone(const std::filesystem::path& pid_file) {
  // Its number in the helper's namespace says nothing here, its file's lock does: flock(1) holds it
  // as long as it lives.
  const base::UniqueFd file(open(pid_file.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file);
  EXPECT_EQ(flock(file.get(), LOCK_EX | LOCK_NB), 0) << "somebody still holds " << pid_file;
}

TEST_F(ExecTest, AtTheDeadlineAllThatItStartedIsKilledAlsoInSessionsOfTheirOwn) {
  base::TempDir temp;
  ASSERT_EQ(chmod(temp.path().c_str(), 0777), 0);
  const std::string lock = (temp.path() / "lock").string();
  const auto begin = std::chrono::steady_clock::now();
  const auto result = Script("setsid flock " + lock + " sleep 600 & until ! flock -n " + lock +
                                 " true; do :; done; echo held; exec yes",
                             milliseconds(3000));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, base::Code::kDeadlineExceeded) << result.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(10000));
  ExpectGone(lock);
}

TEST_F(ExecTest, WhatItLeavesRunningIsGoneWithIt) {
  base::TempDir temp;
  ASSERT_EQ(chmod(temp.path().c_str(), 0777), 0);
  const std::string lock = (temp.path() / "lock").string();
  const auto begin = std::chrono::steady_clock::now();
  const auto result = Script("setsid flock " + lock + " sleep 600 & until ! flock -n " + lock +
                             " true; do :; done; echo done");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(20000));
  ExpectGone(lock);
}

TEST_F(ExecTest, AScriptMayBeAHelper) {
  base::TempDir temp;
  const auto script = temp.path() / "script";
  std::ofstream(script) << "#!/bin/sh\necho \"script $1\"\n";
  ASSERT_EQ(chmod(script.c_str(), 0755), 0);
  ASSERT_EQ(chmod(temp.path().c_str(), 0755), 0);
  backend_.grants.helpers["script"] = {script, {{"{name}"}}};
  const auto result = Run({"script", "x"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "script x\n");
}

TEST_F(ExecTest, IsKilledAndReapedWithAllItStartedWhenWhoeverAskedIsDead) {
  const base::TempDir temp;
  ASSERT_EQ(chmod(temp.path().c_str(), 0777), 0);
  const std::string lock = (temp.path() / "lock").string();
  const std::string ready = (temp.path() / "ready").string();
  const std::string text = "setsid flock " + lock + " sleep 600 & until ! flock -n " + lock +
                           " true; do :; done; echo >" + ready + "; sleep 600";
  backend_.grants.helpers["sh"] = {"/bin/sh", {{"-c", text}}};
  Gone gone;
  base::Result<ExecResult> result;
  std::thread caller([&] {
    result = RunExec(backend_, helper_, {"sh", "-c", text}, "", In(kLong), &gone);
  });
  while (!std::filesystem::exists(ready)) poll(nullptr, 0, 2);
  gone.Cancel();
  caller.join();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, base::Code::kCancelled);
  ExpectGone(lock);
}

}  // namespace
}  // namespace gantry::services
