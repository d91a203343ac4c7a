// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/supervisor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <sstream>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/supervise/lease.hpp"

namespace gantry::supervise {
namespace {

using base::Code;
using namespace std::chrono_literals;

class NoServices final : public core::HostServices {
 public:
  channel::HostReply Serve(const std::string&, const channel::HostCall&, base::TimePoint,
                           core::Cancellation*) override {
    return {};
  }
};

// A supervisor over fake_worker; `words` say how the worker behaves (see fake_worker.cpp).
class SupervisorTest : public ::testing::Test {
 protected:
  void Make(const std::string& words = {}, RestartPace pace = {1ms, 20ms, 60s}) {
    SetWords(words);
    WorkerSpec spec;
    spec.worker = &*worker_;
    spec.plugin = File("plugin");
    spec.lease = File("lease");
    spec.backend.name = "fake";
    spec.drop_privileges = false;
    spec.ping_period = ping_period;
    spec.backend.stuck = stuck;
    supervisor = std::make_unique<Supervisor>(spec, InstanceSpec{}, host_calls, pace);
  }
  void Start(const std::string& words = {}, RestartPace pace = {1ms, 20ms, 60s}) {
    Make(words, pace);
    const auto started = supervisor->Start();
    ASSERT_TRUE(started) << started.error().message;
  }
  // For the workers that start from now on.
  void SetWords(const std::string& words) {
    ASSERT_TRUE(base::WriteFileDurably(File("plugin"), words, 0600));
  }
  std::filesystem::path File(const std::string& name) const { return dir_.path() / name; }

  static core::BackendCall MakeCall(const std::string& handle,
                                    std::chrono::milliseconds timeout = 20s) {
    core::BackendCall call;
    call.message.set_operation(channel::GET_VOLUME);
    call.message.set_handle(handle);
    call.deadline = std::chrono::steady_clock::now() + timeout;
    return call;
  }
  // The handle of the one volume that came back, or the code's name.
  std::string Answer(const std::string& handle, std::chrono::milliseconds timeout = 20s) {
    const auto emits = supervisor->Call(MakeCall(handle, timeout));
    if (!emits) return base::CodeName(emits.error().code);
    return emits->size() == 1 ? emits->at(0).volume().handle() : std::to_string(emits->size());
  }
  void KillWorker() {
    const pid_t pid = supervisor->state().pid;
    if (pid > 0) kill(pid, SIGKILL);
  }
  std::string Log() const {
    return base::ReadFile(File("plugin.log"), 1 << 20).value_or(std::string());
  }
  size_t Logged(const std::string& line) const {
    std::istringstream in(Log());
    size_t count = 0;
    for (std::string text; std::getline(in, text);)
      if (text.ends_with(" " + line)) ++count;
    return count;
  }
  // Polls for what another process does; nothing in this one could be waited for.
  static bool Eventually(const std::function<bool()>& holds, std::chrono::milliseconds time = 20s) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!holds()) {
      if (std::chrono::steady_clock::now() >= end) return false;
      poll(nullptr, 0, 2);
    }
    return true;
  }
  void TearDown() override {
    supervisor.reset();
    EXPECT_EQ(Logged("NOT ALONE"), 0U) << "two workers lived at once:\n" << Log();
  }

  base::TempDir dir_;
  base::Result<base::PinnedBinary> worker_ = base::PinnedBinary::Open(GANTRY_FAKE_WORKER);
  base::SystemClock clock;
  NoServices services;
  HostCallPool host_calls{services, clock};
  std::chrono::milliseconds ping_period = kPingPeriodMs;
  core::StuckLimits stuck;
  std::unique_ptr<Supervisor> supervisor;
};

TEST_F(SupervisorTest, KnowsWhatThePluginOffersOnceStarted) {
  Start();
  EXPECT_TRUE(supervisor->capabilities().Offers(channel::GET_VOLUME));
  EXPECT_FALSE(supervisor->capabilities().Offers(channel::CREATE_VOLUME));
  EXPECT_EQ(supervisor->state().generation, 1U);
  EXPECT_GT(supervisor->state().pid, 0);
}

TEST_F(SupervisorTest, ReturnsThePluginsOwnErrorFromStart) {
  Make("refuse-create");
  const auto started = supervisor->Start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kInvalidArgument);
  EXPECT_NE(started.error().message.find("config.server"), std::string::npos);
}

TEST_F(SupervisorTest, StartFailsWhenTheWorkerDiesInIt) {
  Make("die-in-start");
  const auto started = supervisor->Start();
  EXPECT_EQ(started ? Code::kOk : started.error().code, Code::kUnavailable);
  // And may be tried again: what the plugin offers is known then.
  SetWords("");
  ASSERT_TRUE(supervisor->Start());
  EXPECT_TRUE(supervisor->capabilities().Offers(channel::GET_VOLUME));
}

TEST_F(SupervisorTest, AnswersCalls) {
  Start();
  EXPECT_EQ(Answer("echo"), "attempt-1");
  EXPECT_EQ(Answer("code 5"), "NOT_FOUND");
  EXPECT_EQ(Answer("code 13"), "INTERNAL");
}

TEST_F(SupervisorTest, TakesACodeThatDoesNotExistForNoFinalAnswer) {
  Start();
  EXPECT_EQ(Answer("code 99"), "UNAVAILABLE");
  EXPECT_EQ(Answer("code -1"), "UNAVAILABLE");
}

TEST_F(SupervisorTest, TakesAnUnreadableResultForNoAnswerRatherThanAShortList) {
  Start();
  EXPECT_EQ(Answer("unreadable"), "UNAVAILABLE");
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(SupervisorTest, PassesSecretsToTheWorker) {
  Start();
  core::SecretMap secrets;
  secrets.emplace("password", base::SecretBytes("canary-7321"));
  auto call = MakeCall("secret");
  call.secrets = &secrets;
  const auto emits = supervisor->Call(call);
  ASSERT_TRUE(emits);
  EXPECT_EQ(emits->at(0).volume().handle(), "canary-7321");
}

TEST_F(SupervisorTest, ReplaysOnceACallWhoseWorkerDied) {
  Start();
  for (const std::string how : {"abort", "exit", "kill"})
    EXPECT_EQ(Answer(how + "-once"), "attempt-2") << how;
  EXPECT_EQ(supervisor->state().deaths, 3U);
}

TEST_F(SupervisorTest, AnswersUnavailableWhenTheReplayDiesToo) {
  Start();
  for (const std::string how : {"abort", "exit", "kill"})
    EXPECT_EQ(Answer(how + "-always"), "UNAVAILABLE") << how;
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(SupervisorTest, ForgetsWhatADeadWorkerHadEmitted) {
  Start();
  EXPECT_EQ(Answer("emit-and-die-once"), "attempt-2");
}

TEST_F(SupervisorTest, DoesNotReplayAStreamThatHasPassedSomethingOn) {
  Start();
  size_t passed = 0;
  const auto status = supervisor->Stream(MakeCall("emit-and-die-once"), [&](const channel::Emit&) {
    ++passed;
    return true;
  });
  EXPECT_EQ(status ? Code::kOk : status.error().code, Code::kUnavailable);
  EXPECT_EQ(passed, 200U);
  EXPECT_EQ(Answer("abort-once"), "attempt-2");
}

TEST_F(SupervisorTest, HearsTheLastWordsOfAWorkerThatDiesAtOnceAfterThem) {
  Start("", {1ms, 1ms, 0s});
  for (uint64_t deaths = 1; deaths <= 20; ++deaths) {
    EXPECT_EQ(Answer("last-words"), "attempt-1");
    // The next one must not be sent to a worker that is already dying.
    ASSERT_TRUE(Eventually([&] {
      const auto state = supervisor->state();
      return state.deaths == deaths && state.pid != 0;
    }));
  }
}

TEST_F(SupervisorTest, TakesListsOfAnyLengthWithinItsLimits) {
  Start();
  EXPECT_EQ(Answer("emit 5000"), "5000");
  EXPECT_EQ(Answer("emit 60000"), "UNAVAILABLE");
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(SupervisorTest, StopsAStreamThatNobodyWants) {
  Start();
  size_t passed = 0;
  ASSERT_TRUE(supervisor->Stream(MakeCall("emit 100000"),
                                 [&](const channel::Emit&) { return ++passed < 300; }));
  EXPECT_EQ(passed, 300U);
}

TEST_F(SupervisorTest, RestartsAtOnceTheFirstTimeAndThenLater) {
  Start("", {2s, 2s, 60s});
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Answer("abort-once"), "attempt-2");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1900ms);
  begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Answer("abort-once"), "attempt-2");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 2s);
}

TEST_F(SupervisorTest, RestartsAtOnceWhenTheWorkerHadLivedLongEnough) {
  Start("", {10s, 10s, 0s});
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Answer("abort-once"), "attempt-2");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

// Else a call that came at the wrong moment would have used up its replay.
TEST_F(SupervisorTest, AnAttemptIsOneThatTheWorkerHasSeen) {
  SetWords("");
  WorkerSpec spec;
  spec.worker = &*worker_;
  spec.plugin = File("plugin");
  spec.lease = File("lease");
  spec.backend.name = "fake";
  spec.drop_privileges = false;
  const auto generation = Generation::Spawn(spec, 1, host_calls, [] {});
  ASSERT_TRUE(generation);
  const auto ignore = [](const channel::Emit&) { return true; };
  const auto seen = (*generation)->Run(MakeCall("abort-once"), 1, nullptr, ignore);
  EXPECT_EQ(seen.event, PendingCall::Event::kDied);
  EXPECT_TRUE(seen.sent);
  EXPECT_TRUE((*generation)->AwaitEnd(std::chrono::steady_clock::now() + 20s));
  EXPECT_NE((*generation)->end().find("SIGABRT"), std::string::npos);
  const auto missed = (*generation)->Run(MakeCall("echo"), 1, nullptr, ignore);
  EXPECT_EQ(missed.event, PendingCall::Event::kDied);
  EXPECT_FALSE(missed.sent);
}

TEST_F(SupervisorTest, CallsWaitForAWorkerThatIsBeingStarted) {
  Start("", {300ms, 300ms, 60s});
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return supervisor->state().deaths == 1; }));
  ASSERT_TRUE(Eventually([&] { return supervisor->state().pid != 0; }));
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return supervisor->state().deaths == 2; }));
  EXPECT_EQ(supervisor->state().pid, 0);
  EXPECT_EQ(Answer("echo"), "attempt-1") << "it was never sent to the dead one";
}

TEST_F(SupervisorTest, CallsWaitNoLongerThanTheirDeadline) {
  Start("", {10s, 10s, 60s});
  SetWords("die-in-start");
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return supervisor->state().generation == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Answer("echo", 200ms), "UNAVAILABLE");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(SupervisorTest, KeepsTheHoldAfterTheDeadlineUntilTheWorkersFinish) {
  Start();
  auto call = MakeCall("slow 700", 100ms);
  call.hold = std::make_shared<int>(1);
  const std::weak_ptr<void> held = call.hold;
  const auto emits = supervisor->Call(call);
  call.hold.reset();
  ASSERT_FALSE(emits);
  EXPECT_EQ(emits.error().code, Code::kDeadlineExceeded);
  EXPECT_FALSE(held.expired());
  EXPECT_TRUE(Eventually([&] { return held.expired(); }));
  EXPECT_EQ(Logged("finished"), 1U) << "not before the plugin was done";
  EXPECT_EQ(Logged("cancel"), 1U);
}

TEST_F(SupervisorTest, LetsTheHoldGoWhenTheWorkerDies) {
  Start();
  auto call = MakeCall("never", 100ms);
  call.hold = std::make_shared<int>(1);
  const std::weak_ptr<void> held = call.hold;
  EXPECT_FALSE(supervisor->Call(call));
  call.hold.reset();
  EXPECT_FALSE(held.expired());
  KillWorker();
  EXPECT_TRUE(Eventually([&] { return held.expired(); }));
}

TEST_F(SupervisorTest, TellsTheWorkerOfACancel) {
  Start();
  core::CancelFlag cancel;
  auto call = MakeCall("never");
  call.cancellation = &cancel;
  std::thread canceller([&] {
    poll(nullptr, 0, 50);
    cancel.Cancel();
  });
  const auto emits = supervisor->Call(call);
  canceller.join();
  ASSERT_FALSE(emits);
  EXPECT_EQ(emits.error().code, Code::kCancelled);
  EXPECT_TRUE(Eventually([&] { return Logged("cancel") == 1; }));
}

TEST_F(SupervisorTest, EndsAWorkerThatAnswersNoPing) {
  ping_period = 50ms;
  Start("deaf");
  SetWords("");
  EXPECT_TRUE(Eventually([&] { return supervisor->state().generation == 2; }));
  EXPECT_EQ(Answer("echo"), "attempt-1");
  poll(nullptr, 0, 500);
  EXPECT_EQ(supervisor->state().generation, 2U) << "one that answers is left alone";
}

TEST_F(SupervisorTest, ReplacesAWorkerThatServesNobodyAndSaysWhy) {
  stuck = {.grace = 100ms, .age_max = 1h, .calls_max = 100};
  Start();
  for (uint32_t i = 0; i < kVainCallsMax; ++i)
    EXPECT_EQ(Answer("never", 30ms), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([&] { return supervisor->state().generation == 2; }));
  EXPECT_NE(supervisor->state().last_death.find("by the host: 1 stuck call"), std::string::npos)
      << supervisor->state().last_death;
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(SupervisorTest, FreesTheLockOfAStuckCallAndLetsOthersFinishFirst) {
  stuck = {.grace = 50ms, .age_max = 300ms, .calls_max = 100};
  Start();
  auto call = MakeCall("never", 50ms);
  call.hold = std::make_shared<int>(1);
  const std::weak_ptr<void> held = call.hold;
  EXPECT_FALSE(supervisor->Call(call));
  call.hold.reset();
  // Begun before the verdict and longer than it; sent to one worker only, so not replayed.
  std::thread other([&] { EXPECT_EQ(Answer("slow 1500"), "attempt-1"); });
  EXPECT_TRUE(Eventually([&] { return held.expired(); }));
  other.join();
  EXPECT_EQ(Logged("finished"), 1U);
  EXPECT_TRUE(Eventually([&] { return supervisor->state().generation == 2; }));
}

TEST_F(SupervisorTest, LeavesAWorkerAloneWhoseStuckCallIsOneOfMany) {
  stuck = {.grace = 30ms, .age_max = 1h, .calls_max = 100};
  Start();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Answer("never", 30ms), "DEADLINE_EXCEEDED");
    EXPECT_EQ(Answer("echo"), "attempt-1");
  }
  poll(nullptr, 0, 300);
  EXPECT_EQ(Answer("echo"), "attempt-1");
  EXPECT_EQ(supervisor->state().deaths, 0U);
}

TEST_F(SupervisorTest, ADeadWorkersReportSaysWhatItWasAskedLastAndWhatItUsedAndSaid) {
  Make();
  WorkerSpec spec;
  spec.worker = &*worker_;
  spec.plugin = File("plugin");
  spec.lease = File("lease");
  spec.backend.name = "fake";
  spec.drop_privileges = false;
  const auto worker = MakeSpawner(spec, host_calls)(7, [] {});
  ASSERT_TRUE(worker) << worker.error().message;
  EXPECT_EQ((*worker)->Run(MakeCall("code 5"), 1, nullptr, [](const auto&) { return true; }).event,
            PendingCall::Event::kFinished);
  const auto living = (*worker)->Report();
  EXPECT_GT(living.use.resident_bytes, 1U << 20);
  EXPECT_GE(living.use.threads, 1U);
  EXPECT_GE(living.use.open_fds, 4U);
  EXPECT_EQ(
      (*worker)->Run(MakeCall("say-and-die"), 2, nullptr, [](const auto&) { return true; }).event,
      PendingCall::Event::kDied);
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

TEST_F(SupervisorTest, StopsInOrder) {
  Start();
  supervisor->Stop();
  EXPECT_EQ(Logged("DEACTIVATE"), 1U);
  EXPECT_EQ(Logged("DRAIN"), 1U);
  EXPECT_EQ(Logged("STOP"), 1U);
  EXPECT_EQ(Answer("echo"), "UNAVAILABLE");
  EXPECT_TRUE(TakeLease(File("lease"), 0ms)) << "its worker is gone";
}

TEST_F(SupervisorTest, StopEndsAWorkerThatDoesNotGo) {
  Start("stubborn");
  const auto begin = std::chrono::steady_clock::now();
  supervisor->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kWindDownMsMax + kReapMsMax + 5s);
  EXPECT_TRUE(TakeLease(File("lease"), 0ms));
}

TEST_F(SupervisorTest, StopDoesNotWaitForABringUp) {
  Start();
  SetWords("mute-create");
  KillWorker();
  ASSERT_TRUE(Eventually([&] { return Logged("CREATE_INSTANCE") == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  supervisor->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(SupervisorTest, StopAnswersWhatIsStillUnderWay) {
  Start();
  std::thread caller([&] { EXPECT_EQ(Answer("never"), "UNAVAILABLE"); });
  poll(nullptr, 0, 50);
  supervisor->Stop();
  caller.join();
}

TEST_F(SupervisorTest, NoCallFailsWhileTheWorkerIsKilledAgainAndAgain) {
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
    EXPECT_TRUE(Eventually([&] { return supervisor->state().pid != 0; }));
    KillWorker();
    EXPECT_TRUE(Eventually([&] { return supervisor->state().deaths == kills + 1; }));
  }
  over = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(supervisor->state().deaths, kKills);
  EXPECT_EQ(died_twice, 0U);
}

// The whole of a gantryd is killed; its worker is nobody's child any more.
class OrphanTest : public SupervisorTest {
 protected:
  // Starts a host of its own, kills it, and gives a pidfd of its worker.
  base::UniqueFd OrphanAWorker(const std::string& words) {
    SetWords(words);
    const auto program = base::PinnedBinary::Open(GANTRY_FAKE_HOST);
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const base::UniqueFd reader(ends[0]);
    base::UniqueFd writer(ends[1]);
    base::SpawnOptions options;
    options.arguments = {"fake_host", GANTRY_FAKE_WORKER, File("plugin").string(),
                         File("lease").string()};
    options.stdout_fd = writer.get();
    auto host = base::Spawn(*program, options);
    EXPECT_TRUE(host);
    writer.Reset();
    std::string text(32, '\0');
    const ssize_t n = read(reader.get(), text.data(), text.size());
    EXPECT_GT(n, 0) << "the host did not start";
    const pid_t pid = std::atoi(text.c_str());
    base::UniqueFd worker(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    EXPECT_TRUE(worker);
    EXPECT_TRUE(host->Kill(SIGKILL));
    EXPECT_TRUE(host->Wait(10s));
    return worker;
  }
  static bool Ends(const base::UniqueFd& pidfd, std::chrono::milliseconds time) {
    pollfd wait{pidfd.get(), POLLIN, 0};
    return poll(&wait, 1, static_cast<int>(time.count())) > 0;
  }
};

TEST_F(OrphanTest, AWorkerEndsWithItsHost) {
  const auto worker = OrphanAWorker("");
  EXPECT_TRUE(Ends(worker, 10s));
  Start();
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(OrphanTest, ANewHostEndsAWorkerThatDidNot) {
  const auto worker = OrphanAWorker("ignore-end");
  EXPECT_FALSE(Ends(worker, 100ms));
  Start();
  EXPECT_TRUE(Ends(worker, 0ms)) << "fenced before the successor acts";
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

}  // namespace
}  // namespace gantry::supervise
