// SPDX-License-Identifier: Apache-2.0
// For tests: a router over one lane whose workers are processes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/supervise/generation.hpp"
#include "host/supervise/lease.hpp"
#include "host/swap/router.hpp"

namespace gantry::swap {

using supervise::HostCallPool;
using supervise::RestartPace;
using supervise::WorkerSpec;

using base::Code;
using namespace std::chrono_literals;

class NoServices final : public core::HostServices {
 public:
  channel::HostReply Serve(const std::string&, const channel::HostCall&, base::TimePoint,
                           core::Cancellation*) override {
    return {};
  }
};

// A backend as it is between swaps.
class OneLane {
 public:
  OneLane(const WorkerSpec& worker, HostCallPool& host_calls, RestartPace pace) {
    supervise::RunnerSpec spec;
    spec.backend = worker.backend;
    spec.pace = pace;
    spec.next_number = [this] { return ++last_number_; };
    spec.on_change = [this] { router_.Wake(); };
    lane_ = std::make_shared<Lane>(Release{}, 0, std::move(spec),
                                   supervise::MakeSpawner(worker, host_calls));
  }
  ~OneLane() { Stop(); }
  base::Status Start() {
    GANTRY_TRY(lane_->runner.Start());
    GANTRY_TRY(lane_->runner.Activate());
    router_.Open(lane_);
    return {};
  }
  void KeepTrying() {
    (void)lane_->runner.Activate();  // the first worker, as soon as there is one
    router_.Open(lane_);
    lane_->runner.KeepTrying();
  }
  void Stop() {
    router_.Close("it is stopping");
    lane_->runner.Stop();
  }
  Router* operator->() { return &router_; }
  supervise::Runner::State state() const { return lane_->runner.state(); }

 private:
  std::atomic<uint64_t> last_number_{0};
  Router router_{"fake"};
  std::shared_ptr<Lane> lane_;
};

// A lane over fake_worker; `words` say how the worker behaves (see fake_worker.cpp).
class RouterTest : public ::testing::Test {
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
    spec.verify_plugin = [this](const std::filesystem::path& plugin) -> base::Status {
      verified.push_back(plugin);
      if (tampered) return base::Fail(Code::kDataLoss, plugin.string() + " was tampered with");
      return {};
    };
    backend = std::make_unique<OneLane>(spec, host_calls, pace);
  }
  void Start(const std::string& words = {}, RestartPace pace = {1ms, 20ms, 60s}) {
    Make(words, pace);
    const auto started = backend->Start();
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
    const auto emits = (*backend)->Call(MakeCall(handle, timeout));
    if (!emits) return base::CodeName(emits.error().code);
    return emits->size() == 1 ? emits->at(0).volume().handle() : std::to_string(emits->size());
  }
  void KillWorker() {
    const pid_t pid = backend->state().pid;
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
    backend.reset();
    EXPECT_EQ(Logged("NOT ALONE"), 0U) << "two workers lived at once:\n" << Log();
  }

  base::TempDir dir_;
  base::Result<base::PinnedBinary> worker_ = base::PinnedBinary::Open(GANTRY_FAKE_WORKER);
  base::SystemClock clock;
  NoServices services;
  HostCallPool host_calls{services, clock};
  std::chrono::milliseconds ping_period = supervise::kPingPeriodMs;
  core::StuckLimits stuck;
  std::vector<std::filesystem::path> verified;  // the runner's thread's, or ours before Start
  std::atomic<bool> tampered = false;
  std::unique_ptr<OneLane> backend;
};

}  // namespace gantry::swap
