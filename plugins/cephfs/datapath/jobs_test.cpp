// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/jobs.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

namespace gantry::cephfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kEventually{20};
constexpr Handle kFile{1, 0};
constexpr Handle kOther{2, 0};

// Works wait here until they are let go.
class Gate {
 public:
  void Pass(int number) {
    std::unique_lock lock(mutex_);
    reached_.insert(number);
    changed_.notify_all();
    changed_.wait_for(lock, kEventually, [&] { return open_.contains(number) || all_; });
  }
  void Open(int number) {
    const std::lock_guard lock(mutex_);
    open_.insert(number);
    changed_.notify_all();
  }
  void OpenAll() {
    const std::lock_guard lock(mutex_);
    all_ = true;
    changed_.notify_all();
  }
  bool Reached(int number) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kEventually, [&] { return reached_.contains(number); });
  }
  bool HasReached(int number) {
    const std::lock_guard lock(mutex_);
    return reached_.contains(number);
  }
  size_t Count() {
    const std::lock_guard lock(mutex_);
    return reached_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int> reached_;
  std::set<int> open_;
  bool all_ = false;
};

// Notes the thread that its last user was on.
struct Traced {
  explicit Traced(std::vector<std::thread::id>* all, std::mutex* m) : ended_on(all), mutex(m) {}
  Traced(const Traced&) = delete;
  ~Traced() {
    const std::lock_guard lock(*mutex);
    ended_on->push_back(std::this_thread::get_id());
  }
  std::vector<std::thread::id>* const ended_on;
  std::mutex* const mutex;
};

class JobsTest : public ::testing::Test {
 protected:
  ~JobsTest() override { gate_->OpenAll(); }

  // An operation whose number is that of its gate.
  void Submit(int number, std::vector<Handle> changes, TimePoint deadline = kNever,
              Lane lane = Lane::kData, size_t bytes = 0) {
    jobs_.Submit({static_cast<gantry_op>(number), lane, std::move(changes),
                  [this, gate = gate_, number]() -> Finish {
                    gate->Pass(number);
                    return [this](gantry_op op) { ended_[op] = 0; };
                  },
                  deadline, bytes});
  }
  // Until it has ended; its errno.
  std::optional<int> Wait(int number) {
    const auto op = static_cast<gantry_op>(number);
    const auto until = steady_clock::now() + kEventually;
    while (!ended_.contains(op) && steady_clock::now() < until) Turn();
    return ended_.contains(op) ? std::optional(ended_[op]) : std::nullopt;
  }
  void Turn() {
    pollfd readable{jobs_.fd(), POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(milliseconds(10).count())) > 0) jobs_.OnReadable();
    jobs_.OnTime(steady_clock::now());
  }

  std::shared_ptr<Traced> Trace() { return std::make_shared<Traced>(&traced_, &traced_mutex_); }
  // Until so many have gone; the threads they went on.
  std::vector<std::thread::id> Gone(size_t count) {
    const auto until = steady_clock::now() + kEventually;
    for (;; Turn()) {
      const std::lock_guard lock(traced_mutex_);
      if (traced_.size() >= count || steady_clock::now() > until) return traced_;
    }
  }

  std::vector<std::thread::id> traced_;
  std::mutex traced_mutex_;
  bool has_threads_ = true;  // new ones can be made
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::map<gantry_op, int> ended_;
  Jobs jobs_{[this](gantry_op op, int error_number) { ended_[op] = error_number; },
             [this](Threads::Work work) {
               return has_threads_ && Threads::StartDetached(std::move(work));
             }};
};

TEST_F(JobsTest, EndInAnyOrder) {
  Submit(1, {kFile});
  Submit(2, {kFile});
  gate_->Open(2);
  EXPECT_EQ(Wait(2), 0);
  EXPECT_FALSE(ended_.contains(1));
  gate_->Open(1);
  EXPECT_EQ(Wait(1), 0);
}

TEST_F(JobsTest, EndAtTheirDeadlineWhateverTheThreadDoes) {
  Submit(1, {kFile}, steady_clock::now() + milliseconds(20));
  EXPECT_EQ(Wait(1), ETIMEDOUT);
  EXPECT_EQ(jobs_.Abandoned(), 1U);
  ended_.clear();
  gate_->Open(1);
  while (jobs_.Abandoned() > 0) Turn();
  EXPECT_TRUE(ended_.empty()) << "answered twice";
}

TEST_F(JobsTest, NoChangeBeginsBeforeAnAbandonedOneOfTheSameFileHasEnded) {
  Submit(1, {kFile}, steady_clock::now() + milliseconds(20));
  ASSERT_TRUE(gate_->Reached(1));
  EXPECT_EQ(Wait(1), ETIMEDOUT);
  gate_->Open(2);
  gate_->Open(3);
  gate_->Open(4);
  Submit(2, {kFile});
  Submit(3, {kOther});
  Submit(4, {});
  EXPECT_EQ(Wait(3), 0);
  EXPECT_EQ(Wait(4), 0);
  EXPECT_FALSE(gate_->HasReached(2));
  gate_->Open(1);
  EXPECT_EQ(Wait(2), 0);
}

TEST_F(JobsTest, WhatHasNotBegunByItsDeadlineNeverDoes) {
  Submit(1, {kFile}, steady_clock::now() + milliseconds(20));
  EXPECT_EQ(Wait(1), ETIMEDOUT);
  Submit(2, {kFile}, steady_clock::now() + milliseconds(20));
  EXPECT_EQ(Wait(2), ETIMEDOUT);
  gate_->OpenAll();
  Submit(3, {kFile});
  EXPECT_EQ(Wait(3), 0);
  EXPECT_FALSE(gate_->HasReached(2));
}

TEST_F(JobsTest, AnInterruptedOneIsAnsweredAtOnce) {
  Submit(1, {kFile});
  ASSERT_TRUE(gate_->Reached(1));
  jobs_.Interrupt(1);
  EXPECT_EQ(ended_.at(1), EINTR);
  jobs_.Interrupt(1);
  gate_->Open(1);
  while (jobs_.Abandoned() > 0) Turn();
}

TEST_F(JobsTest, MoveABoundedNumberOfBytesAtOnceAndCountNoneThatWasGivenUp) {
  Submit(1, {}, kNever, Lane::kData, 2 * kDataBytesMax);  // alone it may be larger
  Submit(2, {}, kNever, Lane::kData, 1);
  ASSERT_TRUE(gate_->Reached(1));
  Turn();
  EXPECT_FALSE(gate_->HasReached(2));
  jobs_.Interrupt(1);
  Turn();
  EXPECT_TRUE(gate_->Reached(2));
  Submit(3, {}, kNever, Lane::kData, kDataBytesMax);
  Turn();
  EXPECT_FALSE(gate_->HasReached(3));
  gate_->OpenAll();
  EXPECT_EQ(Wait(3), 0);
  while (jobs_.Abandoned() > 0) Turn();
  Submit(4, {}, kNever, Lane::kData, kDataBytesMax);
  EXPECT_EQ(Wait(4), 0);
}

TEST_F(JobsTest, OneThatIsToBeAloneWaitsForAllOthersAndForTheirDeadlineIfTheyAreStuck) {
  const auto alone = [&](int number, TimePoint deadline) {
    Order order{static_cast<gantry_op>(number),
                Lane::kNames,
                {},
                [this, gate = gate_, number]() -> Finish {
                  gate->Pass(number);
                  return [this](gantry_op op) { ended_[op] = 0; };
                },
                deadline};
    order.alone = true;
    jobs_.Submit(std::move(order));
  };
  jobs_.Submit(Background([gate = gate_]() -> Finish {
    gate->Pass(1);
    return [](gantry_op) {};
  }));
  Submit(2, {}, kNever, Lane::kData, 2 * kDataBytesMax);
  Submit(3, {}, kNever, Lane::kData, 1);  // waits for room
  ASSERT_TRUE(gate_->Reached(1));
  gate_->Open(4);
  gate_->Open(5);
  alone(4, steady_clock::now() + milliseconds(20));
  EXPECT_EQ(Wait(4), ETIMEDOUT);
  alone(5, kNever);
  gate_->Open(1);
  gate_->Open(2);
  EXPECT_EQ(Wait(2), 0);
  ASSERT_TRUE(gate_->Reached(3));
  EXPECT_FALSE(gate_->HasReached(5));
  gate_->Open(3);
  EXPECT_EQ(Wait(5), 0);
  EXPECT_FALSE(gate_->HasReached(4));
}

TEST_F(JobsTest, StuckNamesLeaveThreadsForData) {
  const int stuck = static_cast<int>(2 * kNameThreadsMax);
  for (int i = 0; i < stuck; ++i) Submit(100 + i, {}, kNever, Lane::kNames);
  gate_->Open(1);
  Submit(1, {}, kNever, Lane::kData);
  EXPECT_EQ(Wait(1), 0);
  EXPECT_LE(gate_->Count(), kNameThreadsMax + 1);
  gate_->OpenAll();
  for (int i = 0; i < stuck; ++i) EXPECT_EQ(Wait(100 + i), 0);
}

TEST_F(JobsTest, WhatAnEndHoldsThatNobodyWaitsForGoesOnAThread) {
  jobs_.Submit({1,
                Lane::kNames,
                {},
                [this, gate = gate_]() -> Finish {
                  gate->Pass(1);
                  return [this, held = Trace()](gantry_op op) { ended_[op] = 0; };
                },
                kNever});
  ASSERT_TRUE(gate_->Reached(1));
  jobs_.Interrupt(1);
  ended_.clear();
  gate_->Open(1);
  const auto gone = Gone(1);
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_NE(gone[0], std::this_thread::get_id());
  EXPECT_TRUE(ended_.empty()) << "answered twice";
}

TEST_F(JobsTest, WhatIsLetGoOfGoesOnAThread) {
  for (int i = 0; i < 3; ++i) jobs_.LetGo(Trace());
  jobs_.LetGo(nullptr);
  const auto gone = Gone(3);
  EXPECT_EQ(gone.size(), 3U);
  for (const auto& thread : gone) EXPECT_NE(thread, std::this_thread::get_id());
}

TEST_F(JobsTest, WithoutAThreadAnOperationIsRefusedAndWhatNobodyWaitsForIsDoneLater) {
  has_threads_ = false;
  bool is_done = false;
  jobs_.Submit(
      Background([&is_done]() -> Finish { return [&is_done](gantry_op) { is_done = true; }; }));
  jobs_.LetGo(Trace());
  Submit(1, {kFile});
  EXPECT_EQ(Wait(1), EAGAIN);
  ASSERT_NE(jobs_.NextAt(), kNever);
  jobs_.OnTime(jobs_.NextAt());
  ASSERT_NE(jobs_.NextAt(), kNever) << "not tried again";
  jobs_.LetGo(Trace());
  EXPECT_FALSE(is_done);
  has_threads_ = true;
  ASSERT_EQ(Gone(2).size(), 2U);
  for (const auto until = steady_clock::now() + kEventually;
       !is_done && steady_clock::now() < until;)
    Turn();
  EXPECT_TRUE(is_done);
  EXPECT_EQ(jobs_.NextAt(), kNever);
  jobs_.LetGo(Trace());
  EXPECT_EQ(Gone(3).size(), 3U);
}

}  // namespace
}  // namespace gantry::cephfs
