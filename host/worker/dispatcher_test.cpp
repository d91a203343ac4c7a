// SPDX-License-Identifier: Apache-2.0
#include "host/worker/dispatcher.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>

namespace gantry::worker {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::seconds kLong{30};

// What all works of one test do, in one place that can be waited for.
class Stage {
 public:
  void Enter(uint64_t id) {
    std::lock_guard lock(mutex_);
    entered_.push_back(id);
    changed_.notify_all();
  }
  void Refuse(uint64_t id, const base::Error& why) {
    std::lock_guard lock(mutex_);
    refused_.emplace(id, why);
    changed_.notify_all();
  }
  bool WaitEntered(size_t count) {
    return Wait([&] { return entered_.size() >= count; });
  }
  bool WaitRefused(size_t count) {
    return Wait([&] { return refused_.size() >= count; });
  }
  std::vector<uint64_t> entered() {
    std::lock_guard lock(mutex_);
    return entered_;
  }
  std::map<uint64_t, base::Error> refused() {
    std::lock_guard lock(mutex_);
    return refused_;
  }

 private:
  template <class Condition>
  bool Wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLong, condition);
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> entered_;
  std::map<uint64_t, base::Error> refused_;
};

// Enters and returns at once, as an asynchronous plugin does; the test finishes it.
class FakeWork : public Work {
 public:
  FakeWork(Stage& stage, uint64_t id, Placement placement,
           base::TimePoint deadline = base::TimePoint::max())
      : stage_(stage), id_(id), placement_(std::move(placement)), deadline_(deadline) {}
  uint64_t id() const override { return id_; }
  base::TimePoint deadline() const override { return deadline_; }
  bool cancelled() const override { return cancelled_; }
  base::Result<Placement> Prepare() override { return placement_; }
  void Run() override { stage_.Enter(id_); }
  void Refuse(const base::Error& why) override { stage_.Refuse(id_, why); }

  std::atomic<bool> cancelled_{false};

 private:
  Stage& stage_;
  const uint64_t id_;
  const Placement placement_;
  const base::TimePoint deadline_;
};

class DispatcherTest : public testing::Test {
 protected:
  void Begin(ThreadModel model, uint32_t calls_max, uint32_t domain_calls_max) {
    dispatcher =
        std::make_unique<Dispatcher>(DispatcherLimits{model, calls_max, domain_calls_max}, clerk);
  }
  void Submit(uint64_t id, std::string domain = "", std::vector<std::string> keys = {},
              base::TimePoint deadline = base::TimePoint::max()) {
    dispatcher->Submit(std::make_shared<FakeWork>(
        stage, id, Placement{std::move(domain), std::move(keys)}, deadline));
  }
  // By then every work has been placed, entered or refused.
  void Settle() {
    const auto until = steady_clock::now() + std::chrono::milliseconds(100);
    ASSERT_FALSE(dispatcher->WaitIdle(until));
  }

  Stage stage;
  TaskThread clerk{"clerk", 10000};
  std::unique_ptr<Dispatcher> dispatcher;
};

TEST_F(DispatcherTest, SerialLetsOneInAtATimeInOrder) {
  Begin(ThreadModel::kSerial, 16, 8);
  for (uint64_t id = 1; id <= 5; ++id) Submit(id);
  for (uint64_t id = 1; id <= 5; ++id) {
    ASSERT_TRUE(stage.WaitEntered(id));
    Settle();
    EXPECT_EQ(stage.entered().size(), id);
    dispatcher->Finished(id);
  }
  EXPECT_EQ(stage.entered(), (std::vector<uint64_t>{1, 2, 3, 4, 5}));
  EXPECT_TRUE(dispatcher->WaitIdle(steady_clock::now() + kLong));
}

TEST_F(DispatcherTest, ParallelLetsCallsMaxIn) {
  Begin(ThreadModel::kParallel, 3, 3);
  for (uint64_t id = 1; id <= 5; ++id) Submit(id, "", {"one key"});
  ASSERT_TRUE(stage.WaitEntered(3));
  Settle();
  EXPECT_EQ(stage.entered().size(), 3u);
  dispatcher->Finished(2);
  ASSERT_TRUE(stage.WaitEntered(4));
  for (const uint64_t id : {1, 3, 4}) dispatcher->Finished(id);
  ASSERT_TRUE(stage.WaitEntered(5));
  dispatcher->Finished(5);
}

TEST_F(DispatcherTest, PerVolumeLetsOneInForEachKey) {
  Begin(ThreadModel::kPerVolume, 16, 16);
  Submit(1, "", {"a"});
  Submit(2, "", {"a"});
  Submit(3, "", {"b"});
  ASSERT_TRUE(stage.WaitEntered(2));
  Settle();
  const auto entered = stage.entered();
  EXPECT_EQ(entered.size(), 2u);
  EXPECT_EQ(std::count(entered.begin(), entered.end(), 2u), 0);
  dispatcher->Finished(1);
  ASSERT_TRUE(stage.WaitEntered(3));
  dispatcher->Finished(2);
  dispatcher->Finished(3);
}

TEST_F(DispatcherTest, PerVolumeDoesNotLetALaterCallOvertakeOnASharedKey) {
  Begin(ThreadModel::kPerVolume, 16, 16);
  Submit(1, "", {"a"});
  ASSERT_TRUE(stage.WaitEntered(1));
  Submit(2, "", {"a", "b"});
  Settle();
  Submit(3, "", {"b"});
  Settle();
  EXPECT_EQ(stage.entered().size(), 1u);
  dispatcher->Cancel(2);  // the one in between goes: nothing holds b any more
  ASSERT_TRUE(stage.WaitEntered(2));
  EXPECT_EQ(stage.entered().back(), 3u);
  dispatcher->Finished(1);
  dispatcher->Finished(3);
}

TEST_F(DispatcherTest, ADeadDomainDelaysNoOther) {
  Begin(ThreadModel::kParallel, 4, 2);
  for (uint64_t id = 1; id <= 50; ++id) Submit(id, "dead");
  ASSERT_TRUE(stage.WaitEntered(2));
  for (uint64_t id = 101; id <= 120; ++id) {
    Submit(id, "alive");
    ASSERT_TRUE(stage.WaitEntered(3 + (id - 101)));
    EXPECT_EQ(stage.entered().back(), id);
    dispatcher->Finished(id);
  }
  const auto entered = stage.entered();
  EXPECT_EQ(std::count_if(entered.begin(), entered.end(), [](uint64_t id) { return id <= 50; }), 2);
  for (uint64_t id = 1; id <= 50; ++id) dispatcher->Cancel(id);
  dispatcher->Finished(stage.entered()[0]);
  dispatcher->Finished(stage.entered()[1]);
}

TEST_F(DispatcherTest, DomainsTakeTurns) {
  Begin(ThreadModel::kParallel, 1, 1);
  Submit(1, "a");
  ASSERT_TRUE(stage.WaitEntered(1));
  for (const uint64_t id : {2, 3, 4}) Submit(id, "a");
  Submit(5, "b");
  Settle();
  dispatcher->Finished(1);
  ASSERT_TRUE(stage.WaitEntered(2));
  dispatcher->Finished(stage.entered().back());
  ASSERT_TRUE(stage.WaitEntered(3));
  const auto entered = stage.entered();
  EXPECT_EQ(std::count(entered.begin(), entered.end(), 5u), 1) << "b waited behind all of a";
  dispatcher->Finished(entered.back());
  for (size_t i = 4; i <= 5; ++i) {
    ASSERT_TRUE(stage.WaitEntered(i));
    dispatcher->Finished(stage.entered().back());
  }
}

TEST_F(DispatcherTest, RefusesWhatADomainsQueueCannotTake) {
  Begin(ThreadModel::kParallel, 2, 1);
  Submit(1, "nas-1");
  ASSERT_TRUE(stage.WaitEntered(1));
  for (uint64_t id = 2; id <= kDomainQueueCallsMax + 2; ++id) Submit(id, "nas-1");
  ASSERT_TRUE(stage.WaitRefused(1));
  const auto refused = stage.refused();
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused.begin()->second.code, base::Code::kUnavailable);
  EXPECT_EQ(refused.begin()->second.message, "fault domain nas-1 has 128 calls waiting");
  dispatcher->Close({base::Code::kUnavailable, "closed"});
  dispatcher->Finished(1);
}

TEST_F(DispatcherTest, RefusesWhatTheWholeQueueCannotTake) {
  Begin(ThreadModel::kParallel, 1, 1);
  for (uint64_t id = 1; id <= 2 * kQueueCallsMax; ++id)
    Submit(id, "domain " + std::to_string(id % 64));
  ASSERT_TRUE(stage.WaitRefused(kQueueCallsMax - 2));
  EXPECT_EQ(stage.refused().begin()->second.code, base::Code::kUnavailable);
  dispatcher->Close({base::Code::kUnavailable, "closed"});
  for (const uint64_t id : stage.entered()) dispatcher->Finished(id);
}

TEST_F(DispatcherTest, ACallThatWaitsBeyondItsDeadlineNeverEnters) {
  Begin(ThreadModel::kSerial, 1, 1);
  Submit(1);
  ASSERT_TRUE(stage.WaitEntered(1));
  Submit(2, "", {}, steady_clock::now() + std::chrono::milliseconds(30));
  ASSERT_TRUE(stage.WaitRefused(1));
  EXPECT_EQ(stage.refused().at(2).code, base::Code::kDeadlineExceeded);
  dispatcher->Finished(1);
  Submit(3);
  ASSERT_TRUE(stage.WaitEntered(2));
  EXPECT_EQ(stage.entered(), (std::vector<uint64_t>{1, 3}));
  dispatcher->Finished(3);
}

TEST_F(DispatcherTest, ACallWhoseDeadlineIsOverAtArrivalNeverEnters) {
  Begin(ThreadModel::kParallel, 4, 4);
  Submit(1, "", {}, steady_clock::now() - std::chrono::milliseconds(1));
  ASSERT_TRUE(stage.WaitRefused(1));
  EXPECT_EQ(stage.refused().at(1).code, base::Code::kDeadlineExceeded);
  EXPECT_TRUE(stage.entered().empty());
}

TEST_F(DispatcherTest, ACancelledCallThatWaitsNeverEnters) {
  Begin(ThreadModel::kSerial, 1, 1);
  Submit(1);
  ASSERT_TRUE(stage.WaitEntered(1));
  Submit(2);
  dispatcher->Cancel(2);
  ASSERT_TRUE(stage.WaitRefused(1));
  EXPECT_EQ(stage.refused().at(2).code, base::Code::kCancelled);
  dispatcher->Cancel(1);  // runs: the plugin's affair
  dispatcher->Finished(1);
  EXPECT_TRUE(dispatcher->WaitIdle(steady_clock::now() + kLong));
  EXPECT_EQ(stage.refused().size(), 1u);
}

// Finishes within Run, and returns only when it is told to.
class FinishesEarly : public FakeWork {
 public:
  FinishesEarly(Stage& stage, uint64_t id, Dispatcher& dispatcher, TaskThread& gate)
      : FakeWork(stage, id, {}), dispatcher_(dispatcher), gate_(gate) {}
  void Run() override {
    FakeWork::Run();
    dispatcher_.Finished(id());
    while (!returns_) (void)gate_.WaitIdle(steady_clock::now() + std::chrono::milliseconds(1));
  }
  std::atomic<bool> returns_{false};

 private:
  Dispatcher& dispatcher_;
  TaskThread& gate_;
};

TEST_F(DispatcherTest, APlaceIsFreeOnlyOnceThePluginHasReturned) {
  Begin(ThreadModel::kSerial, 1, 1);
  const auto first = std::make_shared<FinishesEarly>(stage, 1, *dispatcher, clerk);
  dispatcher->Submit(first);
  ASSERT_TRUE(stage.WaitEntered(1));
  Submit(2);
  Settle();
  EXPECT_EQ(stage.entered().size(), 1u);
  first->returns_ = true;
  ASSERT_TRUE(stage.WaitEntered(2));
  dispatcher->Finished(2);
}

// Is held while it asks the plugin for its domain.
class PreparesSlowly : public FakeWork {
 public:
  PreparesSlowly(Stage& stage, uint64_t id, TaskThread& gate)
      : FakeWork(stage, id, {}), gate_(gate) {}
  base::Result<Placement> Prepare() override {
    prepares_ = true;
    while (!goes_on_) (void)gate_.WaitIdle(steady_clock::now() + std::chrono::milliseconds(1));
    return Placement{};
  }
  std::atomic<bool> prepares_{false};
  std::atomic<bool> goes_on_{false};

 private:
  TaskThread& gate_;
};

TEST_F(DispatcherTest, IsNotIdleWhileThePluginIsAskedForADomain) {
  Begin(ThreadModel::kParallel, 2, 2);
  const auto work = std::make_shared<PreparesSlowly>(stage, 1, clerk);
  dispatcher->Submit(work);
  while (!work->prepares_) std::this_thread::yield();
  dispatcher->Close({base::Code::kUnavailable, "stopping"});
  ASSERT_TRUE(stage.WaitRefused(1));
  EXPECT_FALSE(dispatcher->WaitIdle(steady_clock::now() + std::chrono::milliseconds(20)));
  work->goes_on_ = true;
  EXPECT_TRUE(dispatcher->WaitIdle(steady_clock::now() + kLong));
  EXPECT_TRUE(stage.entered().empty());
}

TEST_F(DispatcherTest, ClosingRefusesWhatWaitsAndWhatComes) {
  Begin(ThreadModel::kSerial, 1, 1);
  Submit(1);
  ASSERT_TRUE(stage.WaitEntered(1));
  Submit(2);
  dispatcher->Close({base::Code::kUnavailable, "stopping"});
  Submit(3);
  ASSERT_TRUE(stage.WaitRefused(2));
  EXPECT_EQ(stage.refused().at(2).message, "stopping");
  EXPECT_EQ(stage.refused().at(3).message, "stopping");
  dispatcher->Finished(1);
}

TEST_F(DispatcherTest, GoesThroughThousandsOfCallsFromManyThreads) {
  Begin(ThreadModel::kPerVolume, 8, 4);
  constexpr uint64_t kCalls = 800;  // below kQueueCallsMax
  std::vector<std::thread> senders;
  for (uint64_t t = 0; t < 4; ++t)
    senders.emplace_back([&, t] {
      for (uint64_t i = 0; i < kCalls / 4; ++i)
        Submit(1 + t * kCalls / 4 + i, "domain " + std::to_string(i % 8),
               {"key " + std::to_string(i % 40)});
    });
  size_t finished = 0;
  while (finished < kCalls) {
    ASSERT_TRUE(stage.WaitEntered(finished + 1));
    const auto entered = stage.entered();
    for (; finished < entered.size(); ++finished) dispatcher->Finished(entered[finished]);
  }
  for (auto& sender : senders) sender.join();
  EXPECT_TRUE(dispatcher->WaitIdle(steady_clock::now() + kLong));
  EXPECT_TRUE(stage.refused().empty());
}

}  // namespace
}  // namespace gantry::worker
