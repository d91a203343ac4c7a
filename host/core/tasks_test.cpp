// SPDX-License-Identifier: Apache-2.0
#include "host/core/tasks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>

namespace gantry::core {
namespace {

constexpr std::chrono::seconds kLong{20};

// A backend whose tasks are whatever the test says.
class TaskBackend final : public Backend {
 public:
  explicit TaskBackend(bool lists, std::string name = "b") : name_(std::move(name)) {
    channel::Description description;
    if (lists) description.add_slots("gantry.task/1:list_tasks");
    description.add_slots("gantry.task/1:run_task");
    capabilities_ = Capabilities(description);
  }
  const std::string& name() const override { return name_; }
  const Capabilities& capabilities() const override { return capabilities_; }
  base::Result<std::vector<channel::Emit>> Call(const BackendCall& call) override {
    channel::Task task;
    task.set_kind("found");
    call.on_task(task);
    if (list_fails) return base::Fail(base::Code::kUnavailable, "another server is away");
    return std::vector<channel::Emit>();
  }
  base::Status Stream(const BackendCall& call,
                      const std::function<bool(const channel::Emit&)>& on_emit) override {
    return run(call, on_emit);
  }
  std::function<base::Status(const BackendCall&, const std::function<bool(const channel::Emit&)>&)>
      run;
  bool list_fails = false;

 private:
  const std::string name_;
  Capabilities capabilities_;
};

class KeptCursors final : public TaskCursors {
 public:
  base::Result<std::vector<channel::TaskRun>> Load(const std::string& backend) override {
    const std::lock_guard lock(mutex_);
    std::vector<channel::TaskRun> all;
    for (const auto& [key, cursor] : kept_[backend]) {
      all.emplace_back().set_kind(key.first);
      all.back().set_key(key.second);
      all.back().set_cursor(cursor);
    }
    return all;
  }
  base::Status Save(const std::string& backend, const channel::TaskRun& task) override {
    const std::lock_guard lock(mutex_);
    kept_[backend][{task.kind(), task.key()}] = task.cursor();
    return {};
  }
  base::Status Remove(const std::string& backend, const std::string& kind,
                      const std::string& key) override {
    const std::lock_guard lock(mutex_);
    kept_[backend].erase({kind, key});
    return {};
  }
  std::map<std::pair<std::string, std::string>, std::string> Of(const std::string& backend) {
    const std::lock_guard lock(mutex_);
    return kept_[backend];
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::map<std::pair<std::string, std::string>, std::string>> kept_;
};

channel::Emit Progress(const std::string& cursor) {
  channel::Emit emit;
  emit.mutable_progress()->set_cursor(cursor);
  return emit;
}

channel::Task MakeTask(const std::string& key) {
  channel::Task task;
  task.set_kind("trash");
  task.set_key(key);
  return task;
}

TEST(Tasks, AreFoundByAskingTheBackend) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(true);
  std::promise<std::string> ran;
  backend.run = [&](const BackendCall& call, const auto&) {
    ran.set_value(call.message.task().kind());
    return base::Status();
  };
  TaskRunner runner(clock, locks);
  runner.Add(backend);
  auto future = ran.get_future();
  ASSERT_EQ(future.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(future.get(), "found");
}

TEST(Tasks, GoOnFromTheirCursorUntilTheyAreDone) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  std::promise<void> finished;
  std::vector<std::string> cursors;
  backend.run = [&](const BackendCall& call, const auto& emit) -> base::Status {
    cursors.push_back(call.message.task().cursor());
    channel::Emit progress;
    progress.mutable_progress()->set_cursor("step " + std::to_string(cursors.size()));
    emit(progress);
    if (cursors.size() < 3) return base::Fail(base::Code::kAborted, "more to do");
    finished.set_value();
    return {};
  };
  TaskRunner runner(clock, locks);
  runner.Schedule(backend, MakeTask("a"));
  ASSERT_EQ(finished.get_future().wait_for(kLong), std::future_status::ready);
  runner.Stop();
  EXPECT_EQ(cursors, (std::vector<std::string>{"", "step 1", "step 2"}));
  EXPECT_TRUE(runner.List().empty());
}

TEST(Tasks, AreTriedAgainAfterAFailureAndShowIt) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  std::promise<void> again;
  std::atomic<int> runs = 0;
  backend.run = [&](const BackendCall&, const auto&) -> base::Status {
    if (++runs == 2) again.set_value();
    return base::Fail(base::Code::kUnavailable, "server away");
  };
  TaskRunner runner(clock, locks);
  runner.Schedule(backend, MakeTask("a"));
  ASSERT_EQ(again.get_future().wait_for(kLong), std::future_status::ready);
  runner.Stop();
  ASSERT_EQ(runner.List().size(), 1U);
  EXPECT_EQ(runner.List()[0].last_error, "server away");
}

TEST(Tasks, WaitForTheLockOfTheirVolume) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  std::promise<void> ran;
  backend.run = [&](const BackendCall&, const auto&) {
    EXPECT_EQ(locks.HeldCount(), 2U);  // the volume and the task itself
    ran.set_value();
    return base::Status();
  };
  auto held = locks.TryLock({"volume b:v1"});
  TaskRunner runner(clock, locks);
  auto task = MakeTask("a");
  task.set_lock("v1");
  runner.Schedule(backend, task);
  auto future = ran.get_future();
  EXPECT_EQ(future.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  held->reset();
  EXPECT_EQ(future.wait_for(kLong), std::future_status::ready);
}

TEST(Tasks, ThatRunAreCancelledByStop) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  std::promise<void> started;
  backend.run = [&](const BackendCall& call, const auto&) -> base::Status {
    auto cancelled = std::make_shared<std::promise<void>>();
    const auto registration = call.cancellation->OnCancel([cancelled] { cancelled->set_value(); });
    started.set_value();
    cancelled->get_future().wait();
    return base::Fail(base::Code::kCancelled, "stopped");
  };
  TaskRunner runner(clock, locks);
  runner.Schedule(backend, MakeTask("a"));
  started.get_future().wait();
  runner.Stop();
  EXPECT_FALSE(runner.List().at(0).running);
}

TEST(Tasks, GoOnFromTheirCursorAfterARestart) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  KeptCursors cursors;
  {
    std::promise<void> stuck;
    backend.run = [&](const BackendCall& call, const auto& emit) -> base::Status {
      auto cancelled = std::make_shared<std::promise<void>>();
      const auto registration =
          call.cancellation->OnCancel([cancelled] { cancelled->set_value(); });
      emit(Progress("half"));
      stuck.set_value();
      cancelled->get_future().wait();
      return base::Fail(base::Code::kCancelled, "stopped");
    };
    TaskRunner before(clock, locks, &cursors);
    before.Schedule(backend, MakeTask("a"));
    ASSERT_EQ(stuck.get_future().wait_for(kLong), std::future_status::ready);
    before.Stop();
  }
  std::promise<std::string> cursor;
  backend.run = [&](const BackendCall& call, const auto&) {
    cursor.set_value(call.message.task().cursor());
    return base::Status();
  };
  TaskRunner after(clock, locks, &cursors);
  after.Schedule(backend, MakeTask("a"));
  auto future = cursor.get_future();
  ASSERT_EQ(future.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(future.get(), "half");
  after.Stop();
  EXPECT_TRUE(cursors.Of("b").empty());
}

TEST(Tasks, ForgetTheCursorsOfWhatTheStorageNamesNoMore) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(true);
  KeptCursors cursors;
  channel::TaskRun gone;
  gone.set_kind("trash");
  gone.set_key("done elsewhere");
  gone.set_cursor("half");
  ASSERT_TRUE(cursors.Save("b", gone));
  std::promise<void> ran;
  backend.run = [&](const BackendCall&, const auto&) {
    ran.set_value();
    return base::Status();
  };
  TaskRunner runner(clock, locks, &cursors);
  runner.Add(backend);  // its list names another task, which runs after the list is taken in
  ASSERT_EQ(ran.get_future().wait_for(kLong), std::future_status::ready);
  runner.Stop();
  EXPECT_TRUE(cursors.Of("b").empty());
}

TEST(Tasks, ThatAnIncompleteListNamesAreRunAndTheOthersKeepTheirCursors) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(true);
  backend.list_fails = true;
  KeptCursors cursors;
  channel::TaskRun other;
  other.set_kind("copy");
  other.set_key("of the other server");
  other.set_cursor("half");
  ASSERT_TRUE(cursors.Save("b", other));
  std::promise<std::string> ran;
  backend.run = [&](const BackendCall& call, const auto&) {
    ran.set_value(call.message.task().kind());
    return base::Status();
  };
  TaskRunner runner(clock, locks, &cursors);
  runner.Add(backend);
  auto future = ran.get_future();
  ASSERT_EQ(future.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(future.get(), "found");
  runner.Stop();
  EXPECT_FALSE(cursors.Of("b").empty());
}

TEST(Tasks, ThatTakeLongHoldUpEachOtherAndNothingElse) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  std::mutex mutex;
  std::condition_variable changed;
  size_t long_running = 0;
  size_t long_most = 0;
  base::Duration long_time{};
  bool is_short_done = false;
  backend.run = [&](const BackendCall& call, const auto&) -> base::Status {
    std::unique_lock lock(mutex);
    if (call.message.task().key() == "short") {
      // Until as many as may run at once do; then all the others are waiting for this.
      changed.wait_for(lock, kLong, [&] { return long_running == kLongTasksRunningMax; });
      is_short_done = true;
    } else {
      long_most = std::max(long_most, ++long_running);
      long_time = call.deadline - clock.Now();
      changed.notify_all();
      changed.wait_for(lock, kLong, [&] { return is_short_done; });
      --long_running;
    }
    changed.notify_all();
    return {};
  };
  TaskRunner runner(clock, locks);
  for (size_t i = 0; i < kLongTasksRunningMax + 3; ++i) {
    auto task = MakeTask("long " + std::to_string(i));
    task.set_run_s_max(3600);
    runner.Schedule(backend, task);
  }
  runner.Schedule(backend, MakeTask("short"));
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, kLong, [&] { return is_short_done; }));
  }
  runner.Stop();
  EXPECT_EQ(long_most, kLongTasksRunningMax);
  EXPECT_GT(long_time, std::chrono::minutes(59));
}

TEST(Tasks, HaveTheirFirstCursorSavedAtOnce) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend backend(false);
  KeptCursors cursors;
  std::promise<bool> saved;
  backend.run = [&](const BackendCall&, const auto& emit) -> base::Status {
    emit(Progress("mine"));
    saved.set_value(!cursors.Of("b").empty());
    return {};
  };
  TaskRunner runner(clock, locks, &cursors);
  runner.Schedule(backend, MakeTask("a"));
  auto future = saved.get_future();
  ASSERT_EQ(future.wait_for(kLong), std::future_status::ready);
  EXPECT_TRUE(future.get());
}

TEST(Tasks, OfABackendThatHangsDelayNoOthers) {
  base::SystemClock clock;
  KeyLocks locks;
  TaskBackend dead(false, "dead");
  TaskBackend sound(false, "sound");
  std::promise<void> let_go;
  const auto released = let_go.get_future().share();
  std::atomic<int> hanging = 0;
  dead.run = [&](const BackendCall&, const auto&) -> base::Status {
    ++hanging;
    released.wait();
    return base::Fail(base::Code::kUnavailable, "server away");
  };
  std::promise<void> ran;
  sound.run = [&](const BackendCall&, const auto&) {
    ran.set_value();
    return base::Status();
  };
  TaskRunner runner(clock, locks);
  for (int i = 0; i < 20; ++i) runner.Schedule(dead, MakeTask(std::to_string(i)));
  runner.Schedule(sound, MakeTask("a"));
  EXPECT_EQ(ran.get_future().wait_for(kLong), std::future_status::ready);
  EXPECT_LE(hanging, static_cast<int>(kTasksRunningMax));
  let_go.set_value();
}

}  // namespace
}  // namespace gantry::core
