// SPDX-License-Identifier: Apache-2.0
// Workers that are no processes, for the tests of swap/: what a release's workers do is a script.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/swap/swapper.hpp"

namespace gantry::swap::testing {

using base::Code;
using supervise::Attempt;
using supervise::Outcome;
using supervise::PendingCall;

constexpr std::chrono::seconds kSoonMax{20};

// A call in a fake plugin.
struct FakeCall {
  const core::BackendCall& call;
  const Attempt& attempt;
  class FakeWorker& worker;
  channel::Operation operation() const { return call.message.operation(); }
  const std::string& handle() const { return call.message.handle(); }
};

// A code, or death.
struct Fate {
  Code code = Code::kOk;
  std::string message;
  bool dies = false;
  std::vector<channel::Emit> emits;
};

// What the workers of one release do; shared by them. Thread-safe where it says so.
struct FakeRelease {
  std::string name;
  channel::Description description;
  std::function<Fate(const FakeCall&)> script;  // of operations
  std::function<Fate(const FakeCall&)> life;    // of create, start, ...; null: all well
};

// What all workers of a test have lived through, in order.
class Diary {
 public:
  void Note(const std::string& line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
    changed_.notify_all();
  }
  size_t Count(const std::string& line) const {
    const std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count(lines_.begin(), lines_.end(), line));
  }
  bool Await(const std::string& line, size_t count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kSoonMax, [&] {
      return static_cast<size_t>(std::count(lines_.begin(), lines_.end(), line)) >= count;
    });
  }
  // Whether the last `earlier` stands before the first `later`.
  bool IsBefore(const std::string& earlier, const std::string& later) const {
    const std::lock_guard lock(mutex_);
    const auto first = std::find(lines_.begin(), lines_.end(), later);
    return std::find(lines_.begin(), first, earlier) != first && first != lines_.end() &&
           std::find(first, lines_.end(), earlier) == lines_.end();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

class FakeWorker final : public supervise::Worker {
 public:
  FakeWorker(uint64_t number, std::shared_ptr<FakeRelease> release, Diary& diary,
             std::function<void()> on_end)
      : number_(number), release_(std::move(release)), diary_(diary), on_end_(std::move(on_end)) {}
  ~FakeWorker() override { Die("killed by SIGKILL"); }

  Outcome Run(const core::BackendCall& call, Attempt attempt,
              const supervise::OnEmit& on_emit) override {
    {
      const std::lock_guard lock(mutex_);
      if (!end_.empty()) return {};
    }
    Outcome outcome;
    outcome.sent = true;
    const bool is_life = call.message.operation() <= channel::STOP;
    const std::string step =
        release_->name + " " + channel::Operation_Name(call.message.operation());
    diary_.Note(step);
    Fate fate;
    const auto& script = is_life ? release_->life : release_->script;
    if (script) fate = script({call, attempt, *this});
    diary_.Note(step + " ended");
    attempt.hold.reset();
    if (fate.dies) Die("killed by SIGSEGV");
    if (dead()) return outcome;  // kDied
    if (call.message.operation() == channel::CREATE_INSTANCE && fate.code == Code::kOk) {
      fate.emits.emplace_back();
      *fate.emits.back().mutable_description() = release_->description;
    }
    for (const auto& emit : fate.emits) {
      outcome.delivered = true;
      if (!on_emit(emit)) break;
    }
    outcome.event = PendingCall::Event::kFinished;
    if (attempt.cancellation != nullptr && attempt.cancellation->cancelled())
      outcome.event = PendingCall::Event::kCancelled;
    outcome.finish.set_code(static_cast<int>(fate.code));
    outcome.finish.set_message(fate.message);
    if (call.message.operation() == channel::STOP) Die("exited with 0");
    return outcome;
  }
  void End() override { Die("killed by SIGKILL"); }
  bool AwaitEnd(base::TimePoint deadline) override {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] { return !end_.empty(); });
  }
  std::string end() const override {
    const std::lock_guard lock(mutex_);
    return end_;
  }
  uint64_t number() const override { return number_; }
  pid_t pid() const override { return static_cast<pid_t>(1'000'000 + number_); }
  supervise::WorkerReport Report() const override { return {}; }

  bool dead() const { return !end().empty(); }
  // For scripts: holds the call until it is cancelled or the worker is dead.
  void Hang(const FakeCall& call) {
    std::shared_ptr<void> registration;
    if (call.attempt.cancellation != nullptr)
      registration = call.attempt.cancellation->OnCancel([this] {
        const std::lock_guard lock(mutex_);
        changed_.notify_all();
      });
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kSoonMax, [&] {
      return !end_.empty() ||
             (call.attempt.cancellation != nullptr && call.attempt.cancellation->cancelled());
    });
  }
  // The same, deaf to cancellation.
  void HangUntilDeath() { AwaitEnd(base::Now() + kSoonMax); }

 private:
  void Die(const std::string& how) {
    {
      const std::lock_guard lock(mutex_);
      if (!end_.empty()) return;
      end_ = how;
      changed_.notify_all();
    }
    diary_.Note(release_->name + " " + how);
    on_end_();
  }

  const uint64_t number_;
  const std::shared_ptr<FakeRelease> release_;
  Diary& diary_;
  const std::function<void()> on_end_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string end_;
};

inline channel::Description Describe(uint32_t format_max = 1, uint32_t format_min = 1) {
  channel::Description description;
  description.set_name("fake");
  description.set_version("1");
  for (const char* slot : {"gantry.controller/1:get_volume", "gantry.controller/1:get_capacity",
                           "gantry.task/1:list_tasks", "gantry.task/1:run_task"})
    description.add_slots(slot);
  description.set_record_format_min(format_min);
  description.set_record_format_max(format_max);
  description.set_context_format_min(1);
  description.set_context_format_max(1);
  return description;
}

inline channel::Emit VolumeEmit(const std::string& handle) {
  channel::Emit emit;
  emit.mutable_volume()->set_handle(handle);
  return emit;
}

// A backend "fake" whose plugins are the entries of `releases`; the plugin directory holds `file`.
class SwapTest : public ::testing::Test {
 protected:
  SwapTest() {
    pace.standby = std::chrono::hours(1);
    pace.drain = std::chrono::seconds(10);
    pace.recall = std::chrono::milliseconds(200);
    pace.tasks_end = std::chrono::seconds(10);
    pace.restart = {std::chrono::milliseconds(1), std::chrono::milliseconds(20),
                    std::chrono::hours(1)};
    Add("v1");
    Add("v2");
    Add("v3");
  }
  ~SwapTest() override { swapper.reset(); }

  // Answers get_volume with its own name.
  FakeRelease& Add(const std::string& name, channel::Description description = Describe()) {
    auto release = std::make_shared<FakeRelease>();
    release->name = name;
    release->description = std::move(description);
    release->script = [name](const FakeCall& call) {
      Fate fate;
      if (call.operation() == channel::GET_VOLUME) fate.emits = {VolumeEmit(name)};
      return fate;
    };
    releases_[name] = release;
    return *release;
  }
  FakeRelease& release(const std::string& name) { return *releases_.at(name); }

  void Make() {
    SwapperParts parts;
    parts.backend.name = "fake";
    parts.backend.plugin = "plugin";
    parts.backend.config_json = config;
    parts.journal_directory = directory.path();
    parts.pace = pace;
    parts.stage = [this](
                      const std::string&,
                      const std::optional<std::filesystem::path>& path) -> base::Result<Release> {
      Release staged;
      staged.plugin = "plugin";
      staged.sha256 = path ? path->string() : file;
      if (!releases_.contains(staged.sha256))
        return base::Fail(Code::kNotFound, staged.sha256 + " is not there");
      return staged;
    };
    parts.verify = [this](const Release& wanted) -> base::Status {
      if (releases_.contains(wanted.sha256)) return {};
      return base::Fail(Code::kNotFound, wanted.sha256 + " is gone");
    };
    parts.spawner = [this](const Release& wanted, uint32_t slot) -> supervise::Spawner {
      return [this, wanted, slot](
                 uint64_t number,
                 std::function<void()> on_end) -> base::Result<std::shared_ptr<supervise::Worker>> {
        {
          const std::lock_guard lock(mutex_);
          slots_seen.insert(slot);
        }
        return std::shared_ptr<supervise::Worker>(std::make_shared<FakeWorker>(
            number, releases_.at(wanted.sha256), diary, std::move(on_end)));
      };
    };
    swapper = std::make_unique<Swapper>(std::move(parts));
  }
  void Start() {
    Make();
    const auto started = swapper->Start();
    ASSERT_TRUE(started) << started.error().message;
  }
  base::Result<core::SwapStatus> Swap(const std::string& plugin) {
    core::SwapRequest request;
    request.backend = "fake";
    request.plugin_file = plugin;
    return swapper->Swap(request, {}, nullptr);
  }
  // The error's message, or "".
  std::string SwapError(const std::string& plugin) {
    const auto swapped = Swap(plugin);
    return swapped
               ? ""
               : std::string(base::CodeName(swapped.error().code)) + ": " + swapped.error().message;
  }
  // Who answered, or the code's name.
  std::string Answer(const std::string& handle = "a",
                     std::chrono::milliseconds timeout = kSoonMax) {
    core::BackendCall call;
    call.message.set_operation(channel::GET_VOLUME);
    call.message.set_handle(handle);
    call.deadline = base::Now() + timeout;
    const auto emits = swapper->backend().Call(call);
    if (!emits) return base::CodeName(emits.error().code);
    return emits->empty() ? "nothing" : emits->at(0).volume().handle();
  }
  bool AwaitStep(const std::string& name) {
    return Eventually([&] {
      const auto swap = swapper->Status().swap;
      return swap && !swap->steps.empty() && swap->steps.back().name == name;
    });
  }
  static bool Eventually(const std::function<bool()>& holds) {
    const auto end = base::Now() + kSoonMax;
    while (!holds()) {
      if (base::Now() >= end) return false;
      poll(nullptr, 0, 1);
    }
    return true;
  }

  base::TempDir directory;
  std::string file = "v1";
  std::string config = "{}";
  Pace pace;
  Diary diary;
  std::set<uint32_t> slots_seen;
  std::unique_ptr<Swapper> swapper;

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<FakeRelease>> releases_;
};

}  // namespace gantry::swap::testing
