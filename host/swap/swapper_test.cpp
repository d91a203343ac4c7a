// SPDX-License-Identifier: Apache-2.0
#include "host/swap/swapper.hpp"

#include <gmock/gmock.h>

#include "host/base/file.hpp"
#include "host/swap/testing.hpp"

namespace gantry::swap::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const core::SwapStatus& swap) {
  std::vector<std::string> names;
  for (const auto& step : swap.steps) names.push_back(step.name);
  return names;
}

TEST_F(SwapTest, CallsGoToTheNewReleaseOnceItHasCutOver) {
  Start();
  EXPECT_EQ(Answer(), "v1");
  const auto swapped = Swap("v2");
  ASSERT_TRUE(swapped) << swapped.error().message;
  EXPECT_THAT(Names(*swapped), ElementsAre("stage", "preflight", "spawn", "canary", "cut-over"));
  EXPECT_EQ(swapped->from.sha256, "v1");
  EXPECT_EQ(swapped->to.sha256, "v2");
  EXPECT_EQ(Answer(), "v2");
  ASSERT_TRUE(AwaitStep("standby"));
  const auto status = swapper->Status();
  ASSERT_EQ(status.generations.size(), 2U);
  EXPECT_EQ(status.generations[0].release.sha256, "v2");
  EXPECT_EQ(status.generations[0].phase, core::GenerationPhase::kActive);
  EXPECT_EQ(status.generations[1].phase, core::GenerationPhase::kStandby);
}

TEST_F(SwapTest, TheOldOneEndsInOrderAfterItsStandby) {
  pace.standby = 1ms;
  Start();
  ASSERT_TRUE(Swap("v2"));
  ASSERT_TRUE(AwaitStep("finalize"));
  for (const char* step : {"v1 DEACTIVATE", "v1 DRAIN", "v1 STOP"})
    EXPECT_EQ(diary.Count(step), 1U) << step;
  EXPECT_TRUE(Eventually([&] { return swapper->Status().generations.size() == 1; }));
  EXPECT_TRUE(swapper->Status().swap->is_over);
}

TEST_F(SwapTest, AnInstanceIsActivatedOnlyWhenTheOneBeforeIsNot) {
  Start();
  ASSERT_TRUE(Swap("v2"));
  EXPECT_TRUE(diary.IsBefore("v1 DEACTIVATE ended", "v2 ACTIVATE"));
}

TEST_F(SwapTest, ACallUnderWayEndsWhereItBegan) {
  core::CancelFlag go;
  release("v1").script = [&](const FakeCall& call) {
    if (call.handle() == "slow") (void)Eventually([&] { return go.cancelled(); });
    return Fate{Code::kOk, "", false, {VolumeEmit("v1")}};
  };
  Start();
  std::thread slow([&] { EXPECT_EQ(Answer("slow"), "v1"); });
  ASSERT_TRUE(diary.Await("v1 GET_VOLUME"));
  ASSERT_TRUE(Swap("v2"));
  EXPECT_EQ(Answer(), "v2");
  EXPECT_EQ(swapper->Status().generations[1].phase, core::GenerationPhase::kDraining);
  go.Cancel();
  slow.join();
  EXPECT_TRUE(AwaitStep("standby"));
}

TEST_F(SwapTest, ACallThatDoesNotEndIsCancelledAndReplayedOnTheNewOne) {
  pace.drain = 50ms;
  release("v1").script = [&](const FakeCall& call) {
    if (call.handle() == "slow") call.worker.Hang(call);
    return Fate{Code::kOk, "", false, {VolumeEmit("v1")}};
  };
  Start();
  std::thread slow([&] { EXPECT_EQ(Answer("slow"), "v2"); });
  ASSERT_TRUE(diary.Await("v1 GET_VOLUME"));
  ASSERT_TRUE(Swap("v2"));
  slow.join();
  EXPECT_TRUE(diary.IsBefore("v1 GET_VOLUME ended", "v2 GET_VOLUME"));
  EXPECT_EQ(diary.Count("v1 killed by SIGKILL"), 0U);
}

TEST_F(SwapTest, ACallThatIsDeafCostsTheOldWorkerItsLifeAndIsReplayedOnTheNewOne) {
  pace.drain = 50ms;
  pace.recall = 50ms;
  release("v1").script = [&](const FakeCall& call) {
    if (call.handle() == "deaf") call.worker.HangUntilDeath();
    return Fate{Code::kOk, "", false, {VolumeEmit("v1")}};
  };
  Start();
  std::thread deaf([&] { EXPECT_EQ(Answer("deaf"), "v2"); });
  ASSERT_TRUE(diary.Await("v1 GET_VOLUME"));
  ASSERT_TRUE(Swap("v2"));
  deaf.join();
  EXPECT_EQ(diary.Count("v1 killed by SIGKILL"), 1U);
}

TEST_F(SwapTest, AReleaseThatMustNotServeNeverGetsACall) {
  auto fewer = Describe();
  fewer.mutable_slots()->DeleteSubrange(1, 1);
  Add("shrinks", fewer);
  auto other = Describe();
  other.set_name("other");
  Add("other", other);
  Add("newer", Describe(3, 2));
  Add("refuses").life = [](const FakeCall& call) {
    return call.operation() == channel::CREATE_INSTANCE
               ? Fate{Code::kInvalidArgument, "config.server: 7: expected a name", false, {}}
               : Fate{};
  };
  Add("dies").life = [](const FakeCall& call) {
    return Fate{Code::kOk, "", call.operation() == channel::START, {}};
  };
  Add("bad-probe").life = [](const FakeCall& call) {
    return call.operation() == channel::PROBE ? Fate{Code::kUnavailable, "no", false, {}} : Fate{};
  };
  Add("bad-canary").script = [](const FakeCall&) { return Fate{Code::kInternal, "no", false, {}}; };
  Add("bad-activate").life = [](const FakeCall& call) {
    return call.operation() == channel::ACTIVATE ? Fate{Code::kInternal, "no", false, {}} : Fate{};
  };
  Start();
  EXPECT_THAT(SwapError("shrinks"),
              HasSubstr("FAILED_PRECONDITION: preflight: it takes away the capability "
                        "gantry.controller/1:get_capacity"));
  EXPECT_THAT(SwapError("other"), HasSubstr("it is the plugin \"other\": expected \"fake\""));
  EXPECT_THAT(SwapError("newer"), HasSubstr("it cannot read records of format 1, which are "
                                            "written now: it reads 2 to 3"));
  EXPECT_THAT(SwapError("refuses"),
              HasSubstr("INVALID_ARGUMENT: preflight: create: config.server"));
  EXPECT_THAT(SwapError("dies"),
              HasSubstr("FAILED_PRECONDITION: preflight: start: the worker died"));
  EXPECT_THAT(SwapError("bad-probe"), HasSubstr("FAILED_PRECONDITION: canary: PROBE: no"));
  EXPECT_THAT(SwapError("bad-canary"), HasSubstr("FAILED_PRECONDITION: canary: GET_CAPACITY: no"));
  EXPECT_THAT(SwapError("bad-activate"), HasSubstr("FAILED_PRECONDITION: activate: no"));
  EXPECT_THAT(SwapError("missing"), HasSubstr("NOT_FOUND"));
  for (const char* name :
       {"shrinks", "other", "newer", "refuses", "dies", "bad-probe", "bad-canary", "bad-activate"})
    EXPECT_EQ(diary.Count(std::string(name) + " GET_VOLUME"), 0U) << name;
  EXPECT_EQ(Answer(), "v1");
  const auto swap = swapper->Status().swap;
  ASSERT_TRUE(swap && swap->error);
  EXPECT_EQ(swap->steps.back().name, "rollback");
  EXPECT_TRUE(swap->is_over);
  // And the next good one is taken.
  EXPECT_EQ(SwapError("v2"), "");
  EXPECT_EQ(Answer(), "v2");
}

TEST_F(SwapTest, StorageThatIsAwayKeepsNobodyFromSwapping) {
  const auto away = [](const FakeCall& call) {
    return call.operation() == channel::PROBE ? Fate{Code::kUnavailable, "away", false, {}}
                                              : Fate{};
  };
  release("v1").life = away;
  release("v2").life = away;
  Start();
  EXPECT_EQ(SwapError("v2"), "");
}

TEST_F(SwapTest, ADryRunEndsAfterThePreflightAndIsNotJournaled) {
  Start();
  core::SwapRequest request;
  request.backend = "fake";
  request.plugin_file = "v2";
  request.dry_run = true;
  const auto swapped = swapper->Swap(request, {}, nullptr);
  ASSERT_TRUE(swapped) << swapped.error().message;
  EXPECT_EQ(diary.Count("v2 CREATE_INSTANCE"), 1U);
  EXPECT_EQ(diary.Count("v2 ACTIVATE"), 0U);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "fake.json"));
  EXPECT_FALSE(swapper->Status().swap);
}

TEST_F(SwapTest, AReleaseThatCrashLoopsIsRolledBackAndNoCallFails) {
  release("v2").script = [](const FakeCall& call) {
    return Fate{Code::kOk, "", call.operation() == channel::GET_VOLUME, {}};
  };
  Start();
  ASSERT_TRUE(Swap("v2"));
  int calls = 0;
  ASSERT_TRUE(Eventually([&] {
    EXPECT_EQ(Answer(std::to_string(++calls)), "v1");
    return swapper->Status().swap->is_over;
  }));
  EXPECT_EQ(swapper->Status().swap->steps.back().name, "rollback");
  EXPECT_TRUE(swapper->Status().swap->error);
  EXPECT_EQ(Answer(), "v1");
  EXPECT_EQ(diary.Count("v1 ACTIVATE"), 2U);
  EXPECT_TRUE(Eventually([&] { return swapper->Status().generations.size() == 1; }));
  // The new one is gone, and v1 is asked alone.
  const auto before = diary.Count("v2 GET_VOLUME");
  EXPECT_EQ(Answer(), "v1");
  EXPECT_EQ(diary.Count("v2 GET_VOLUME"), before);
}

TEST_F(SwapTest, ABadAnswerOfTheNewOneIsAskedAgainOfTheOld) {
  release("v2").script = [](const FakeCall& call) {
    if (call.handle() == "bad") return Fate{Code::kInternal, "lost my mind", false, {}};
    if (call.handle() == "gone") return Fate{Code::kNotFound, "", false, {}};
    return Fate{Code::kOk, "", false, {VolumeEmit("v2")}};
  };
  Start();
  ASSERT_TRUE(Swap("v2"));
  EXPECT_EQ(Answer("bad"), "v1");
  EXPECT_EQ(Answer("gone"), "NOT_FOUND") << "an answer like any other";
  EXPECT_EQ(Answer("good"), "v2");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Answer("bad"), "v1");
  ASSERT_TRUE(AwaitStep("rollback"));
  EXPECT_THAT(swapper->Status().swap->error->message,
              HasSubstr("answers were errors that its predecessor does not give"));
}

TEST_F(SwapTest, WhatBothCannotDoIsNoRegression) {
  for (const char* name : {"v1", "v2"})
    release(name).script = [](const FakeCall& call) {
      return call.operation() == channel::GET_VOLUME ? Fate{Code::kUnavailable, "away", false, {}}
                                                     : Fate{};
    };
  Start();
  ASSERT_TRUE(Swap("v2"));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Answer(), "UNAVAILABLE");
  EXPECT_TRUE(AwaitStep("standby"));
  EXPECT_FALSE(swapper->Status().swap->is_over);
}

TEST_F(SwapTest, ATaskEndsOnTheOldOneBeforeAnyBeginsOnTheNew) {
  release("v1").script = [](const FakeCall& call) {
    if (call.operation() == channel::RUN_TASK) call.worker.Hang(call);
    return Fate{};
  };
  Start();
  std::thread runner([&] {
    core::BackendCall call;
    call.message.set_operation(channel::RUN_TASK);
    call.message.mutable_task()->set_kind("trash");
    call.deadline = base::Now() + kSoonMax;
    EXPECT_TRUE(swapper->backend().Stream(call, [](const channel::Emit&) { return true; }));
  });
  ASSERT_TRUE(diary.Await("v1 RUN_TASK"));
  ASSERT_TRUE(Swap("v2"));
  runner.join();
  EXPECT_TRUE(diary.IsBefore("v1 RUN_TASK ended", "v2 ACTIVATE"));
  EXPECT_TRUE(diary.IsBefore("v2 ACTIVATE ended", "v2 RUN_TASK"));
}

TEST_F(SwapTest, ATaskThatDoesNotEndCostsTheOldWorkerItsLife) {
  pace.tasks_end = 50ms;
  release("v1").script = [](const FakeCall& call) {
    if (call.operation() == channel::RUN_TASK) call.worker.HangUntilDeath();
    return Fate{};
  };
  Start();
  std::thread runner([&] {
    core::BackendCall call;
    call.message.set_operation(channel::RUN_TASK);
    call.deadline = base::Now() + kSoonMax;
    EXPECT_TRUE(swapper->backend().Stream(call, [](const channel::Emit&) { return true; }));
  });
  ASSERT_TRUE(diary.Await("v1 RUN_TASK"));
  ASSERT_TRUE(Swap("v2"));
  runner.join();
  EXPECT_TRUE(diary.IsBefore("v1 killed by SIGKILL", "v2 ACTIVATE"));
}

TEST_F(SwapTest, OneSwapAtATimeUntilItHasCutOver) {
  core::CancelFlag go;
  std::atomic<bool> is_first = true;
  release("v2").life = [&](const FakeCall& call) {
    if (call.operation() == channel::START && is_first.exchange(false))
      (void)Eventually([&] { return go.cancelled(); });
    return Fate{};
  };
  Start();
  std::thread first([&] { EXPECT_EQ(SwapError("v2"), ""); });
  ASSERT_TRUE(diary.Await("v2 START"));
  EXPECT_THAT(SwapError("v3"), HasSubstr("ABORTED"));
  go.Cancel();
  first.join();
  EXPECT_EQ(SwapError("v3"), "");
  // v1's standby is over at once, v2 stands by.
  EXPECT_TRUE(diary.Await("v1 STOP"));
  EXPECT_TRUE(Eventually([&] { return swapper->Status().generations.size() == 2; }));
  EXPECT_EQ(swapper->Status().generations[1].release.sha256, "v2");
  swapper.reset();
}

TEST_F(SwapTest, ASwapThatIsCancelledLeavesEverythingAsItWas) {
  core::CancelFlag cancel;
  release("v2").life = [&](const FakeCall& call) {
    if (call.operation() == channel::START) cancel.Cancel();
    return Fate{};
  };
  Start();
  core::SwapRequest request;
  request.backend = "fake";
  request.plugin_file = "v2";
  const auto swapped = swapper->Swap(request, {}, &cancel);
  EXPECT_EQ(swapped ? Code::kOk : swapped.error().code, Code::kCancelled);
  EXPECT_EQ(Answer(), "v1");
  EXPECT_EQ(diary.Count("v2 ACTIVATE"), 0U);
  swapper.reset();
}

TEST_F(SwapTest, RollsBackWhenAskedWhileThereIsAStandby) {
  Start();
  EXPECT_EQ(swapper->Rollback({}).error().code, Code::kFailedPrecondition);
  ASSERT_TRUE(Swap("v2"));
  std::vector<std::string> said;
  const auto back =
      swapper->Rollback([&](const core::SwapStep& step) { said.push_back(step.name); });
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_THAT(said, ::testing::Contains("rollback"));
  EXPECT_EQ(Answer(), "v1");
  EXPECT_TRUE(diary.Await("v2 STOP"));
  EXPECT_EQ(swapper->Rollback({}).error().code, Code::kFailedPrecondition);
  EXPECT_EQ(SwapError("v2"), "");
}

TEST_F(SwapTest, AShareOfTheVolumesGoesFirst) {
  Start();
  core::SwapRequest request;
  request.backend = "fake";
  request.plugin_file = "v2";
  request.shift_percent_start = 30;
  request.shift = 600ms;
  std::thread swap([&] { EXPECT_TRUE(swapper->Swap(request, {}, nullptr)); });
  ASSERT_TRUE(Eventually([&] {
    int new_ones = 0;
    for (int i = 0; i < 100; ++i) new_ones += Answer("volume-" + std::to_string(i)) == "v2" ? 1 : 0;
    return new_ones > 15 && new_ones < 85;
  }));
  swap.join();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Answer("volume-" + std::to_string(i)), "v2");
}

TEST_F(SwapTest, AShareThatGoesWrongIsTakenBack) {
  release("v2").script = [](const FakeCall& call) {
    return call.operation() == channel::GET_VOLUME ? Fate{Code::kInternal, "no", false, {}}
                                                   : Fate{};
  };
  Start();
  core::SwapRequest request;
  request.backend = "fake";
  request.plugin_file = "v2";
  request.shift_percent_start = 50;
  request.shift = 20s;
  std::thread swap([&] {
    const auto swapped = swapper->Swap(request, {}, nullptr);
    EXPECT_THAT(swapped ? "" : swapped.error().message, HasSubstr("canary: "));
  });
  ASSERT_TRUE(diary.Await("v2 PROBE"));
  while (!swapper->Status().swap->is_over)
    for (int i = 0; i < 50; ++i) EXPECT_EQ(Answer(std::to_string(i)), "v1");
  swap.join();
  EXPECT_EQ(diary.Count("v2 ACTIVATE"), 0U);
}

TEST_F(SwapTest, TheNewOneWritesTheOldFormatUntilNobodyCanGoBack) {
  auto two = Describe(2);
  two.add_slots("gantry.state/1:use_formats");
  std::mutex mutex;
  std::vector<std::string> formats;
  Add("two", two).life = [&](const FakeCall& call) {
    const std::lock_guard lock(mutex);
    if (call.operation() == channel::CREATE_INSTANCE)
      formats.push_back("create " + std::to_string(call.call.message.instance().record_format()));
    return Fate{};
  };
  release("two").script = [&](const FakeCall& call) {
    const std::lock_guard lock(mutex);
    if (call.operation() == channel::USE_FORMATS)
      formats.push_back("use " + std::to_string(call.call.message.instance().record_format()));
    return Fate{};
  };
  Start();
  ASSERT_TRUE(Swap("two"));
  ASSERT_TRUE(AwaitStep("standby"));
  {
    const std::lock_guard lock(mutex);
    EXPECT_THAT(formats, ElementsAre("create 0", "create 1")) << "the first is the preflight";
  }
  ASSERT_TRUE(swapper->Rollback({}));
  pace.standby = 1ms;
  swapper.reset();
  Start();
  ASSERT_TRUE(Swap("two"));
  ASSERT_TRUE(diary.Await("two USE_FORMATS ended"));
  EXPECT_EQ(formats.back(), "use 2");
  EXPECT_THAT(SwapError("v1"), HasSubstr("cannot read records of format 2"));
  swapper.reset();  // its workers' scripts use what is local here
}

TEST_F(SwapTest, StateGoesFromTheOldOneToTheNewWhileCallsWait) {
  for (const char* name : {"v1", "v2"}) {
    release(name).description.add_slots("gantry.state/1:export_state");
    release(name).description.add_slots("gantry.state/1:import_state");
  }
  release("v1").script = [](const FakeCall& call) {
    Fate fate;
    if (call.operation() != channel::EXPORT_STATE) return fate;
    for (const char* part : {"all that ", "I know"}) {
      fate.emits.emplace_back();
      fate.emits.back().mutable_state()->set_bytes(part);
    }
    return fate;
  };
  std::string taken;
  release("v2").script = [&](const FakeCall& call) {
    if (call.operation() == channel::IMPORT_STATE) taken = call.call.message.request();
    return Fate{};
  };
  Start();
  ASSERT_TRUE(Swap("v2"));
  EXPECT_EQ(taken, "all that I know");
  EXPECT_TRUE(diary.IsBefore("v2 IMPORT_STATE ended", "v2 ACTIVATE"));
}

TEST_F(SwapTest, ADrainedBackendAnswersUnavailableUntilItIsResumed) {
  Start();
  ASSERT_TRUE(swapper->Drain(1s));
  EXPECT_EQ(Answer(), "UNAVAILABLE");
  EXPECT_EQ(diary.Count("v1 STOP"), 1U);
  EXPECT_EQ(swapper->Status().health, core::BackendHealth::kStopped);
  EXPECT_THAT(SwapError("v2"), HasSubstr("FAILED_PRECONDITION"));
  ASSERT_TRUE(swapper->Resume());
  EXPECT_EQ(Answer(), "v1");
  EXPECT_EQ(swapper->Status().health, core::BackendHealth::kServing);
}

TEST_F(SwapTest, AConfigurationIsSwappedLikeAPlugin) {
  std::mutex mutex;
  std::string seen;
  release("v1").life = [&](const FakeCall& call) {
    const std::lock_guard lock(mutex);
    if (call.operation() == channel::CREATE_INSTANCE)
      seen = call.call.message.instance().config_json();
    return seen == "{bad}" ? Fate{Code::kInvalidArgument, "no", false, {}} : Fate{};
  };
  Start();
  EXPECT_FALSE(swapper->Reconfigure("plugin", "{bad}"));
  EXPECT_EQ(swapper->config().config_json, "{}");
  ASSERT_TRUE(swapper->Reconfigure("plugin", "{new}"));
  EXPECT_EQ(seen, "{new}");
  EXPECT_EQ(swapper->serving().config_json, "{new}");
  swapper.reset();
}

// --- a new gantryd ---------------------------------------------------------------------------

TEST_F(SwapTest, ANewGantrydServesWhatWasSwappedInAndKeepsTheStandby) {
  Start();
  ASSERT_TRUE(Swap("v2"));
  ASSERT_TRUE(AwaitStep("standby"));
  swapper.reset();
  Start();
  EXPECT_EQ(Answer(), "v2");
  ASSERT_TRUE(Eventually([&] { return swapper->Status().generations.size() == 2; }));
  ASSERT_TRUE(swapper->Rollback({}));
  EXPECT_EQ(Answer(), "v1");
  swapper.reset();
  Start();
  EXPECT_EQ(Answer(), "v1");
}

TEST_F(SwapTest, ANewGantrydServesThePluginDirectorysFileOnceThatIsAnotherOne) {
  Start();
  ASSERT_TRUE(Swap("v2"));
  swapper.reset();
  file = "v3";
  Start();
  EXPECT_EQ(Answer(), "v3");
}

TEST_F(SwapTest, ANewGantrydServesTheConfigurationFileOnceThatIsAnotherOne) {
  Start();
  ASSERT_TRUE(Swap("v2"));
  swapper.reset();
  config = "{newer}";
  Start();
  EXPECT_EQ(Answer(), "v1");
  EXPECT_EQ(swapper->serving().config_json, "{newer}");
}

TEST_F(SwapTest, ANewGantrydGoesBackWhenWhatWasSwappedInDoesNotStart) {
  Start();
  ASSERT_TRUE(Swap("v2"));
  swapper.reset();
  release("v2").life = [](const FakeCall& call) {
    return Fate{Code::kOk, "", call.operation() == channel::START, {}};
  };
  Start();
  EXPECT_EQ(Answer(), "v1");
  EXPECT_EQ(swapper->Status().swap->steps.back().name, "rollback");
}

// gantryd is killed after each write of the journal: what the file says then is all that is left.
TEST_F(SwapTest, WhereverGantrydIsKilledTheJournalSaysWhomToServe) {
  pace.standby = 1ms;
  std::vector<std::pair<std::string, std::string>> journals;  // step, content
  Make();
  ASSERT_TRUE(swapper->Start());
  core::SwapRequest request;
  request.backend = "fake";
  request.plugin_file = "v2";
  const auto journal = directory.path() / "fake.json";
  const auto keep = [&](const core::SwapStep& step) {
    journals.emplace_back(step.name, *base::ReadFile(journal, 1 << 20));
  };
  ASSERT_TRUE(swapper->Swap(request, keep, nullptr));
  ASSERT_TRUE(AwaitStep("finalize"));
  journals.emplace_back("finalize", *base::ReadFile(journal, 1 << 20));
  ASSERT_EQ(journals.size(), 6U);
  bool is_past_cut_over = false;
  for (const auto& [step, content] : journals) {
    swapper.reset();
    ASSERT_TRUE(base::WriteFileDurably(journal, content, 0600));
    Start();
    is_past_cut_over |= step == "cut-over";
    EXPECT_EQ(Answer(), is_past_cut_over ? "v2" : "v1") << "killed after " << step;
    EXPECT_TRUE(Eventually([&] { return swapper->Status().swap->is_over; })) << step;
    EXPECT_TRUE(Eventually([&] { return swapper->Status().generations.size() == 1; })) << step;
  }
}

}  // namespace
}  // namespace gantry::swap::testing
