// SPDX-License-Identifier: Apache-2.0
// How calls live through the deaths of the workers that have them.
#include "host/swap/router_process.hpp"

#include <gmock/gmock.h>

#include <array>

namespace gantry::swap {
namespace {

TEST_F(RouterTest, KnowsWhatThePluginOffersOnceStarted) {
  Start();
  EXPECT_TRUE((*backend)->capabilities().Offers(channel::GET_VOLUME));
  EXPECT_FALSE((*backend)->capabilities().Offers(channel::CREATE_VOLUME));
  EXPECT_EQ(backend->state().generation, 1U);
  EXPECT_GT(backend->state().pid, 0);
}

TEST_F(RouterTest, ReturnsThePluginsOwnErrorFromStart) {
  Make("refuse-create");
  const auto started = backend->Start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kInvalidArgument);
  EXPECT_NE(started.error().message.find("config.server"), std::string::npos);
}

TEST_F(RouterTest, APluginThatIsNotWhatWasTrustedIsNeverStarted) {
  tampered = true;
  Make();
  const auto started = backend->Start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("was tampered with"), std::string::npos);
  EXPECT_EQ(verified, std::vector{File("plugin")});
  EXPECT_EQ(Log(), "");
  tampered = false;
  ASSERT_TRUE(backend->Start());
  // Nor again after a death.
  tampered = true;
  const size_t before = Logged("alone");
  KillWorker();
  EXPECT_EQ(Answer("echo", 300ms), "UNAVAILABLE");
  EXPECT_EQ(Logged("alone"), before);
}

TEST_F(RouterTest, StartFailsWhenTheWorkerDiesInIt) {
  Make("die-in-start");
  const auto started = backend->Start();
  EXPECT_EQ(started ? Code::kOk : started.error().code, Code::kUnavailable);
  // And may be tried again: what the plugin offers is known then.
  SetWords("");
  ASSERT_TRUE(backend->Start());
  EXPECT_TRUE((*backend)->capabilities().Offers(channel::GET_VOLUME));
}

TEST_F(RouterTest, KeepsTryingWhereItIsToldToAndSaysWhyMeanwhile) {
  Make("die-in-start");
  ASSERT_FALSE(backend->Start());
  backend->KeepTrying();
  EXPECT_TRUE(Eventually([&] {
    const auto known = (*backend)->Known();
    return !known &&
           known.error().message.find("the worker died during START") != std::string::npos;
  }));
  EXPECT_FALSE((*backend)->capabilities().Offers(channel::GET_VOLUME));
  SetWords("");
  EXPECT_TRUE(Eventually([&] { return (*backend)->Known().has_value(); }));
  EXPECT_TRUE((*backend)->capabilities().Offers(channel::GET_VOLUME));
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(RouterTest, AnswersCalls) {
  Start();
  EXPECT_EQ(Answer("echo"), "attempt-1");
  EXPECT_EQ(Answer("code 5"), "NOT_FOUND");
  EXPECT_EQ(Answer("code 13"), "INTERNAL");
}

TEST_F(RouterTest, TakesACodeThatDoesNotExistForNoFinalAnswer) {
  Start();
  EXPECT_EQ(Answer("code 99"), "UNAVAILABLE");
  EXPECT_EQ(Answer("code -1"), "UNAVAILABLE");
}

TEST_F(RouterTest, TakesAnUnreadableResultForNoAnswerRatherThanAShortList) {
  Start();
  EXPECT_EQ(Answer("unreadable"), "UNAVAILABLE");
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(RouterTest, PassesSecretsToTheWorker) {
  Start();
  core::SecretMap secrets;
  secrets.emplace("password", base::SecretBytes("canary-7321"));
  auto call = MakeCall("secret");
  call.secrets = &secrets;
  const auto emits = (*backend)->Call(call);
  ASSERT_TRUE(emits);
  EXPECT_EQ(emits->at(0).volume().handle(), "canary-7321");
}

TEST_F(RouterTest, ReplaysOnceACallWhoseWorkerDied) {
  Start();
  for (const std::string how : {"abort", "exit", "kill"})
    EXPECT_EQ(Answer(how + "-once"), "attempt-2") << how;
  EXPECT_EQ(backend->state().deaths, 3U);
}

TEST_F(RouterTest, AnswersUnavailableWhenTheReplayDiesToo) {
  Start();
  for (const std::string how : {"abort", "exit", "kill"})
    EXPECT_EQ(Answer(how + "-always"), "UNAVAILABLE") << how;
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(RouterTest, ForgetsWhatADeadWorkerHadEmitted) {
  Start();
  EXPECT_EQ(Answer("emit-and-die-once"), "attempt-2");
}

TEST_F(RouterTest, DoesNotReplayAStreamThatHasPassedSomethingOn) {
  Start();
  size_t passed = 0;
  const auto status = (*backend)->Stream(MakeCall("emit-and-die-once"), [&](const channel::Emit&) {
    ++passed;
    return true;
  });
  EXPECT_EQ(status ? Code::kOk : status.error().code, Code::kUnavailable);
  EXPECT_EQ(passed, 200U);
  EXPECT_EQ(Answer("abort-once"), "attempt-2");
}

TEST_F(RouterTest, HearsTheLastWordsOfAWorkerThatDiesAtOnceAfterThem) {
  Start("", {1ms, 1ms, 0s});
  for (uint64_t deaths = 1; deaths <= 20; ++deaths) {
    EXPECT_EQ(Answer("last-words"), "attempt-1");
    // The next one must not be sent to a worker that is already dying.
    ASSERT_TRUE(Eventually([&] {
      const auto state = backend->state();
      return state.deaths == deaths && state.pid != 0;
    }));
  }
}

TEST_F(RouterTest, TakesListsOfAnyLengthWithinItsLimits) {
  Start();
  EXPECT_EQ(Answer("emit 5000"), "5000");
  EXPECT_EQ(Answer("emit 60000"), "UNAVAILABLE");
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(RouterTest, StopsAStreamThatNobodyWants) {
  Start();
  size_t passed = 0;
  ASSERT_TRUE((*backend)->Stream(MakeCall("emit 100000"),
                                 [&](const channel::Emit&) { return ++passed < 300; }));
  EXPECT_EQ(passed, 300U);
}

TEST_F(RouterTest, RestartsAtOnceAWorkerThatHadDoneSomeGood) {
  Start("", {10s, 10s, 60s});
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Answer("abort-once"), "attempt-2");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(RouterTest, RestartsLaterOneThatDiesBeforeItsFirstGoodAnswer) {
  Start("", {1s, 1s, 60s});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Answer("abort-always"), "UNAVAILABLE");
  EXPECT_EQ(Answer("echo"), "attempt-1");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(backend->state().early_deaths, 2U);
}

TEST_F(RouterTest, RestartsAtOnceWhenTheWorkerHadLivedLongEnough) {
  Start("", {10s, 10s, 0s});
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Answer("abort-once"), "attempt-2");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

// Else a call that came at the wrong moment would have used up its replay.
TEST_F(RouterTest, AnAttemptIsOneThatTheWorkerHasSeen) {
  SetWords("");
  WorkerSpec spec;
  spec.worker = &*worker_;
  spec.plugin = File("plugin");
  spec.lease = File("lease");
  spec.backend.name = "fake";
  spec.drop_privileges = false;
  const auto generation = supervise::Generation::Spawn(spec, 1, host_calls, [] {});
  ASSERT_TRUE(generation);
  const auto ignore = [](const channel::Emit&) { return true; };
  const auto seen = (*generation)->Run(MakeCall("abort-once"), {1, nullptr, nullptr}, ignore);
  EXPECT_EQ(seen.event, supervise::PendingCall::Event::kDied);
  EXPECT_TRUE(seen.sent);
  EXPECT_TRUE((*generation)->AwaitEnd(std::chrono::steady_clock::now() + 20s));
  EXPECT_NE((*generation)->end().find("SIGABRT"), std::string::npos);
  const auto missed = (*generation)->Run(MakeCall("echo"), {1, nullptr, nullptr}, ignore);
  EXPECT_EQ(missed.event, supervise::PendingCall::Event::kDied);
  EXPECT_FALSE(missed.sent);
}

TEST_F(RouterTest, CallsWaitForAWorkerThatIsBeingStarted) {
  Start("", {300ms, 300ms, 60s});
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return backend->state().deaths == 1; }));
  ASSERT_TRUE(Eventually([&] { return backend->state().pid != 0; }));
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return backend->state().deaths == 2; }));
  EXPECT_EQ(backend->state().pid, 0);
  EXPECT_EQ(Answer("echo"), "attempt-1") << "it was never sent to the dead one";
}

TEST_F(RouterTest, CallsWaitNoLongerThanTheirDeadline) {
  Start("", {10s, 10s, 60s});
  SetWords("die-in-start");
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return backend->state().generation == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Answer("echo", 200ms), "UNAVAILABLE");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(RouterTest, KeepsTheHoldAfterTheDeadlineUntilTheWorkersFinish) {
  Start();
  auto call = MakeCall("slow 700", 100ms);
  call.hold = std::make_shared<int>(1);
  const std::weak_ptr<void> held = call.hold;
  const auto emits = (*backend)->Call(call);
  call.hold.reset();
  ASSERT_FALSE(emits);
  EXPECT_EQ(emits.error().code, Code::kDeadlineExceeded);
  EXPECT_FALSE(held.expired());
  EXPECT_TRUE(Eventually([&] { return held.expired(); }));
  EXPECT_EQ(Logged("finished"), 1U) << "not before the plugin was done";
  EXPECT_EQ(Logged("cancel"), 1U);
}

TEST_F(RouterTest, LetsTheHoldGoWhenTheWorkerDies) {
  Start();
  auto call = MakeCall("never", 100ms);
  call.hold = std::make_shared<int>(1);
  const std::weak_ptr<void> held = call.hold;
  EXPECT_FALSE((*backend)->Call(call));
  call.hold.reset();
  EXPECT_FALSE(held.expired());
  KillWorker();
  EXPECT_TRUE(Eventually([&] { return held.expired(); }));
}

TEST_F(RouterTest, TellsTheWorkerOfACancel) {
  Start();
  core::CancelFlag cancel;
  auto call = MakeCall("never");
  call.cancellation = &cancel;
  std::thread canceller([&] {
    poll(nullptr, 0, 50);
    cancel.Cancel();
  });
  const auto emits = (*backend)->Call(call);
  canceller.join();
  ASSERT_FALSE(emits);
  EXPECT_EQ(emits.error().code, Code::kCancelled);
  EXPECT_TRUE(Eventually([&] { return Logged("cancel") == 1; }));
}

TEST_F(RouterTest, EndsAWorkerThatAnswersNoPing) {
  ping_period = 50ms;
  Start("deaf");
  SetWords("");
  EXPECT_TRUE(Eventually([&] { return backend->state().generation == 2; }));
  EXPECT_EQ(Answer("echo"), "attempt-1");
  poll(nullptr, 0, 500);
  EXPECT_EQ(backend->state().generation, 2U) << "one that answers is left alone";
}

TEST_F(RouterTest, ReplacesAWorkerThatServesNobodyAndSaysWhy) {
  stuck = {.grace = 100ms, .age_max = 1h, .calls_max = 100};
  Start();
  for (uint32_t i = 0; i < supervise::kVainCallsMax; ++i)
    EXPECT_EQ(Answer("never", 30ms), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([&] { return backend->state().generation == 2; }));
  // How many of the calls are stuck by then is a matter of the machine's speed.
  EXPECT_THAT(backend->state().last_death,
              ::testing::ContainsRegex("by the host: [123] stuck call"));
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(RouterTest, FreesTheLockOfAStuckCallAndLetsOthersFinishFirst) {
  stuck = {.grace = 50ms, .age_max = 300ms, .calls_max = 100};
  Start();
  auto call = MakeCall("never", 50ms);
  call.hold = std::make_shared<int>(1);
  const std::weak_ptr<void> held = call.hold;
  EXPECT_FALSE((*backend)->Call(call));
  call.hold.reset();
  // Begun before the verdict and longer than it; sent to one worker only, so not replayed.
  std::thread other([&] { EXPECT_EQ(Answer("slow 1500"), "attempt-1"); });
  EXPECT_TRUE(Eventually([&] { return held.expired(); }));
  other.join();
  EXPECT_EQ(Logged("finished"), 1U);
  EXPECT_TRUE(Eventually([&] { return backend->state().generation == 2; }));
}

TEST_F(RouterTest, LeavesAWorkerAloneWhoseStuckCallIsOneOfMany) {
  stuck = {.grace = 30ms, .age_max = 1h, .calls_max = 100};
  Start();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Answer("never", 30ms), "DEADLINE_EXCEEDED");
    EXPECT_EQ(Answer("echo"), "attempt-1");
  }
  poll(nullptr, 0, 300);
  EXPECT_EQ(Answer("echo"), "attempt-1");
  EXPECT_EQ(backend->state().deaths, 0U);
}

TEST_F(RouterTest, ADeadWorkersReportSaysWhatItWasAskedLastAndWhatItUsedAndSaid) {
  Make();
  WorkerSpec spec;
  spec.worker = &*worker_;
  spec.plugin = File("plugin");
  spec.lease = File("lease");
  spec.backend.name = "fake";
  spec.drop_privileges = false;
  const auto worker = supervise::MakeSpawner(spec, host_calls)(7, [] {});
  ASSERT_TRUE(worker) << worker.error().message;
  EXPECT_EQ((*worker)
                ->Run(MakeCall("code 5"), {1, nullptr, nullptr}, [](const auto&) { return true; })
                .event,
            supervise::PendingCall::Event::kFinished);
  const auto living = (*worker)->Report();
  EXPECT_GT(living.use.resident_bytes, 1U << 20);
  EXPECT_GE(living.use.threads, 1U);
  EXPECT_GE(living.use.open_fds, 4U);
  EXPECT_EQ(
      (*worker)
          ->Run(MakeCall("say-and-die"), {2, nullptr, nullptr}, [](const auto&) { return true; })
          .event,
      supervise::PendingCall::Event::kDied);
  ASSERT_TRUE((*worker)->AwaitEnd(std::chrono::steady_clock::now() + 20s));
  EXPECT_EQ((*worker)->end(), "killed by SIGABRT");
  const auto dead = (*worker)->Report();
  ASSERT_EQ(dead.last_calls.size(), 2U);
  EXPECT_TRUE(dead.last_calls[0].starts_with("GET_VOLUME say-and-die attempt 2: in flight for "))
      << dead.last_calls[0];
  EXPECT_TRUE(dead.last_calls[1].starts_with("GET_VOLUME code 5: NOT_FOUND after "))
      << dead.last_calls[1];
  EXPECT_EQ(dead.stderr_tail, "stderr: my last words\n");
  EXPECT_GT(dead.use.cpu.count(), 0);
  EXPECT_GT(dead.use.resident_bytes, 1U << 20);
}

TEST_F(RouterTest, StopsInOrder) {
  Start();
  backend->Stop();
  EXPECT_EQ(Logged("DEACTIVATE"), 1U);
  EXPECT_EQ(Logged("DRAIN"), 1U);
  EXPECT_EQ(Logged("STOP"), 1U);
  EXPECT_EQ(Answer("echo"), "UNAVAILABLE");
  EXPECT_TRUE(supervise::TakeLease(File("lease"), 0ms)) << "its worker is gone";
}

TEST_F(RouterTest, StopEndsAWorkerThatDoesNotGo) {
  Start("stubborn");
  const auto begin = std::chrono::steady_clock::now();
  backend->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin,
            supervise::kWindDownMsMax + supervise::kReapMsMax + 5s);
  EXPECT_TRUE(supervise::TakeLease(File("lease"), 0ms));
}

TEST_F(RouterTest, StopDoesNotWaitForABringUp) {
  Start();
  SetWords("mute-create");
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return Logged("CREATE_INSTANCE") == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  backend->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(RouterTest, StopAnswersWhatIsStillUnderWay) {
  Start();
  std::thread caller([&] { EXPECT_EQ(Answer("never"), "UNAVAILABLE"); });
  poll(nullptr, 0, 50);
  backend->Stop();
  caller.join();
}

TEST_F(RouterTest, NoCallFailsWhileTheWorkerIsKilledAgainAndAgain) {
  Start();
  constexpr int kThreads = 16;
  constexpr uint64_t kKills = 20;
  std::atomic<bool> over = false;
  std::array<std::atomic<uint64_t>, kThreads> answered{};
  std::atomic<uint64_t> died_twice = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      while (!over) {
        const std::string answer = Answer("echo");
        if (answer == "attempt-1" || answer == "attempt-2")
          ++answered[static_cast<size_t>(i)];
        else if (answer == "UNAVAILABLE")
          ++died_twice;
        else
          ADD_FAILURE() << answer;
      }
    });
  // Before each kill every thread has had an answer of this worker (two, since the first may be of
  // the one before), so no call meets two kills.
  for (uint64_t kills = 0; kills < kKills; ++kills) {
    for (auto& count : answered) {
      const uint64_t before = count;
      EXPECT_TRUE(Eventually([&] { return count >= before + 2; }));
    }
    EXPECT_TRUE(Eventually([&] { return backend->state().pid != 0; }));
    KillWorker();
    EXPECT_TRUE(Eventually([&] { return backend->state().deaths == kills + 1; }));
  }
  over = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(backend->state().deaths, kKills);
  EXPECT_EQ(died_twice, 0U);
}

}  // namespace
}  // namespace gantry::swap
