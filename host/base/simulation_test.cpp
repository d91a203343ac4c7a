// SPDX-License-Identifier: Apache-2.0
#include "host/base/simulation.hpp"

#include <gtest/gtest.h>

#include "host/base/sync.hpp"

namespace gantry::base {
namespace {

using namespace std::chrono_literals;

// Two threads that count without a lock, in the way that loses an update.
int CountTogether(uint64_t seed, bool with_lock, uint64_t* digest = nullptr) {
  Simulation simulation(seed);
  int counter = 0;
  simulation.Run([&] {
    Mutex mutex;
    const auto count = [&] {
      for (int i = 0; i < 5; ++i) {
        std::unique_lock<Mutex> lock(mutex, std::defer_lock);
        if (with_lock) lock.lock();
        const int seen = counter;
        Simulation::Current().Point();
        counter = seen + 1;
      }
    };
    Thread one(count);
    Thread other(count);
    one.join();
    other.join();
  });
  if (digest != nullptr) *digest = simulation.digest();
  return counter;
}

TEST(Simulation, FindsAnUpdateThatIsLostWithoutALock) {
  int lost = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) lost += CountTogether(seed, false) < 10 ? 1 : 0;
  EXPECT_GT(lost, 10);
}

TEST(Simulation, LosesNoUpdateUnderALock) {
  for (uint64_t seed = 1; seed <= 100; ++seed) EXPECT_EQ(CountTogether(seed, true), 10) << seed;
}

TEST(Simulation, RepeatsARunByItsSeed) {
  uint64_t first = 0;
  uint64_t again = 0;
  uint64_t other = 0;
  CountTogether(7, true, &first);
  CountTogether(7, true, &again);
  CountTogether(8, true, &other);
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST(Simulation, JumpsToTheNextDeadlineWhenNobodyCanRun) {
  Simulation simulation(1);
  const auto begin = simulation.now();
  simulation.Run([&] {
    Mutex mutex;
    Condition never;
    std::unique_lock lock(mutex);
    EXPECT_FALSE(never.wait_for(lock, 10min, [] { return false; }));
  });
  EXPECT_GE(simulation.now() - begin, 10min);
  EXPECT_LT(simulation.now() - begin, 11min);
}

TEST(Simulation, WakesWhoWaitsForACondition) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Simulation simulation(seed);
    const auto begin = simulation.now();
    simulation.Run([&] {
      Mutex mutex;
      Condition changed;
      bool said = false;
      Thread waiting([&] {
        std::unique_lock lock(mutex);
        EXPECT_TRUE(changed.wait_for(lock, 10min, [&] { return said; }));
      });
      {
        const std::lock_guard lock(mutex);
        said = true;
        changed.notify_one();
      }
      waiting.join();
    });
    EXPECT_LT(simulation.now() - begin, 1min);
  }
}

TEST(Simulation, PollsAnEventUntilItIsSet) {
  Simulation simulation(3);
  simulation.Run([&] {
    Event event;
    pollfd fd{event.fd(), POLLIN, 0};
    EXPECT_EQ(Poll(&fd, 1, 50), 0);
    Thread setting([&] { event.Set(); });
    EXPECT_EQ(Poll(&fd, 1, -1), 1);
    EXPECT_EQ(fd.revents, POLLIN);
    setting.join();
  });
}

TEST(SimulationDeathTest, CallsADeadlockAFailureAndPrintsItsSeed) {
  const auto lock_in_two_orders = [] {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      Simulation simulation(seed);
      simulation.Run([] {
        Mutex first;
        Mutex second;
        const auto hold = [](Mutex& one, Mutex& other) {
          const std::lock_guard outer(one);
          const std::lock_guard inner(other);
        };
        Thread thread([&] { hold(first, second); });
        hold(second, first);
        thread.join();
      });
    }
  };
  EXPECT_EXIT(lock_in_two_orders(), testing::ExitedWithCode(1), "seed [0-9]+: deadlock");
}

}  // namespace
}  // namespace gantry::base
