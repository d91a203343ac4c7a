// SPDX-License-Identifier: Apache-2.0
// The life of a worker: loading, creating, stopping, and every way to die.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "gantry/gantry.h"
#include "tests/integration/worker_process.hpp"

namespace gantry::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

TEST(WorkerLife, DescribesThePluginWhenItIsCreated) {
  WorkerProcess worker("good");
  const Outcome outcome = worker.Create();
  ASSERT_EQ(outcome.code, GANTRY_OK) << outcome.message << worker.Log();
  ASSERT_EQ(outcome.emits.size(), 1u);
  const channel::Description& description = outcome.emits[0].description();
  EXPECT_EQ(description.name(), "zoo");
  EXPECT_EQ(description.version(), "1.2.3");
  EXPECT_EQ(description.thread_model(), GANTRY_THREADS_PARALLEL);
  EXPECT_EQ(description.calls_max(), 4u);
  EXPECT_EQ(description.controller_flags(), GANTRY_CONTROLLER_CLONES);
  EXPECT_THAT(
      description.slots(),
      UnorderedElementsAre("gantry.controller/1:create_volume", "gantry.controller/1:delete_volume",
                           "gantry.controller/1:list_volumes", "gantry.node/1:attach",
                           "gantry.task/1:run_task"));
  EXPECT_TRUE(worker.AwaitLog("created for zoo-1"));
}

TEST(WorkerLife, GoesThroughAllSteps) {
  WorkerProcess worker("good");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  EXPECT_EQ(worker.Run(channel::START).message, "a step");
  EXPECT_EQ(worker.Run(channel::ACTIVATE).code, GANTRY_OK) << "NULL: nothing to do";
  const Outcome probe = worker.Run(channel::PROBE);
  EXPECT_EQ(probe.code, GANTRY_UNAVAILABLE);
  EXPECT_EQ(probe.message, "nas is away");
  EXPECT_EQ(worker.Run(channel::DEACTIVATE).code, GANTRY_OK);
  EXPECT_EQ(worker.Run(channel::DRAIN).message, "a step");
  EXPECT_EQ(worker.Run(channel::STOP).code, GANTRY_OK);
  const base::ExitStatus status = worker.AwaitExit();
  EXPECT_EQ(status.Describe(), "exited with 0");
  EXPECT_THAT(worker.Log(), HasSubstr("stopped\ninfo: destroyed"));
}

struct LoadCase {
  const char* plugin;
  const char* expected;
};
class WorkerLoads : public ::testing::TestWithParam<LoadCase> {};

TEST_P(WorkerLoads, TellsWhyAPluginCannotBeUsed) {
  WorkerProcess worker(GetParam().plugin);
  const Outcome outcome = worker.Create();
  EXPECT_EQ(outcome.code, GANTRY_FAILED_PRECONDITION);
  EXPECT_THAT(outcome.message, HasSubstr(GetParam().expected));
  EXPECT_THAT(outcome.message, HasSubstr(std::string(GetParam().plugin) + ".so"));
  EXPECT_EQ(worker.Run(CreateVolume("x")).code, GANTRY_UNAVAILABLE);
  EXPECT_EQ(worker.Run(channel::STOP).code, GANTRY_OK);
  EXPECT_EQ(worker.AwaitExit().Describe(), "exited with 0");
}

INSTANTIATE_TEST_SUITE_P(
    Zoo, WorkerLoads,
    ::testing::Values(LoadCase{"bad_magic", "magic is 0x12345678, expected 0x47544e59"},
                      LoadCase{"wrong_major", "abi_major is 7, expected 0"},
                      LoadCase{"null_manifest", "manifest is NULL, expected a gantry_manifest"},
                      LoadCase{"bad_manifest", "manifest.calls_max is 1000, expected 0 to 256"},
                      LoadCase{"refuses", "refuses this host (ABI 0.4): it needs minor 9"},
                      LoadCase{"undefined_symbol", "gantry_zoo_nobody_defines_this"},
                      LoadCase{"no_entry", "gantry_plugin_entry_v0"},
                      LoadCase{"does_not_exist", "No such file"}),
    [](const auto& one) { return std::string(one.param.plugin); });

TEST(WorkerLife, PassesOnWhyACreateFailed) {
  WorkerProcess worker("fails_create");
  const Outcome outcome = worker.Create();
  EXPECT_EQ(outcome.code, GANTRY_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.message, "server: \"{}\", expected a name");
}

TEST(WorkerLife, DoesNotBelieveACreateWithoutAnInstance) {
  WorkerProcess worker("null_instance");
  EXPECT_EQ(worker.Create().code, GANTRY_UNAVAILABLE);
}

TEST(WorkerLife, AnExceptionOutOfCreateIsACrashThatTheLogExplains) {
  WorkerProcess worker("throws_in_create");
  EXPECT_EQ(worker.Create().code, 1000);
  const base::ExitStatus status = worker.AwaitExit();
  EXPECT_EQ(status.signal, SIGABRT) << status.Describe();
  EXPECT_FALSE(status.core);
  EXPECT_THAT(worker.Log(), HasSubstr("the plugin let an exception leave create: out of create"));
}

TEST(WorkerLife, AnExceptionOutOfAnOperationIsACrashThatTheLogExplains) {
  WorkerProcess worker("throws_on_op");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  EXPECT_EQ(worker.Run(CreateVolume("x")).code, 1000);
  EXPECT_EQ(worker.AwaitExit().signal, SIGABRT);
  EXPECT_THAT(worker.Log(), HasSubstr("leave create_volume: out of an operation"));
}

TEST(WorkerLife, AnAbortInAnOperationEndsTheProcessWithoutACore) {
  WorkerProcess worker("aborts_on_op");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  EXPECT_EQ(worker.Run(CreateVolume("x")).code, 1000);
  const base::ExitStatus status = worker.AwaitExit();
  EXPECT_EQ(status.signal, SIGABRT) << status.Describe();
  EXPECT_FALSE(status.core);
}

TEST(WorkerLife, EndsAtOnceWithItsChannelWhateverThePluginDoes) {
  WorkerProcess worker("hangs");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  for (int i = 0; i < 4; ++i) worker.Send(CreateVolume("x" + std::to_string(i)));
  ASSERT_TRUE(worker.AwaitLog("hanging"));
  const auto before = std::chrono::steady_clock::now();
  worker.CloseChannel();
  EXPECT_EQ(worker.AwaitExit().code, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
}

TEST(WorkerLife, AnswersPingsWhileEveryThreadHangs) {
  WorkerProcess worker("hangs");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  for (int i = 0; i < 20; ++i) worker.Send(CreateVolume("x" + std::to_string(i)));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(worker.Ping());
}

TEST(WorkerLife, StopsWithoutAnOperationThatDoesNotEnd) {
  WorkerProcess worker("hangs");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  worker.Send(CreateVolume("x"));
  ASSERT_TRUE(worker.AwaitLog("hanging"));
  channel::Call stop;
  stop.set_operation(channel::STOP);
  stop.set_deadline_ns(
      base::ToNanoseconds(std::chrono::steady_clock::now() + std::chrono::milliseconds(300)));
  const Outcome outcome = worker.Run(std::move(stop));
  EXPECT_EQ(outcome.code, GANTRY_UNAVAILABLE);
  EXPECT_EQ(outcome.message, "stopped with 1 operations unfinished");
  EXPECT_EQ(worker.AwaitExit().code, 0);
  EXPECT_THAT(worker.Log(), Not(HasSubstr("destroyed")));
}

TEST(WorkerLife, SurvivesAPluginThatClosesForeignFds) {
  WorkerProcess worker("closes_fds");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  EXPECT_EQ(worker.Run(CreateVolume("x")).code, GANTRY_OK);
  EXPECT_TRUE(worker.Ping());
  EXPECT_EQ(worker.Run(channel::STOP).code, GANTRY_OK);
  EXPECT_TRUE(worker.AwaitLog("destroyed"));
}

TEST(WorkerLife, AFloodOfLogsDelaysNoAnswerAndIsCounted) {
  WorkerProcess worker("floods_log");
  ASSERT_EQ(worker.Create().code, GANTRY_OK);
  const uint64_t flood = worker.Send(CreateVolume("x"));
  EXPECT_TRUE(worker.Ping());
  EXPECT_EQ(worker.Await(flood).code, GANTRY_OK);
  EXPECT_TRUE(worker.Ping());
  EXPECT_EQ(worker.Run(DeleteVolume("y")).code, GANTRY_OK);
}

TEST(WorkerLife, RefusesAStepBeforeCreateAndASecondCreate) {
  WorkerProcess worker("good");
  EXPECT_EQ(worker.Run(channel::START).code, GANTRY_FAILED_PRECONDITION);
  EXPECT_EQ(worker.Run(CreateVolume("x")).code, GANTRY_UNAVAILABLE);
  EXPECT_EQ(worker.Create().code, GANTRY_OK);
  EXPECT_EQ(worker.Create().code, GANTRY_FAILED_PRECONDITION);
}

}  // namespace
}  // namespace gantry::testing
