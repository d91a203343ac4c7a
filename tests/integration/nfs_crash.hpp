// SPDX-License-Identifier: Apache-2.0
// A gantryd that reaches its server through a proxy, which crashes something at one exact call.
#pragma once

#include <atomic>

#include "tests/integration/nfs_lab.hpp"

namespace gantry::itest {

using lab::NfsCall;
using lab::NfsProxy;
using Stage = NfsProxy::Stage;
using Verdict = NfsProxy::Verdict;

inline constexpr int kUid = 61021;
inline constexpr uint64_t kStepsMax = 100;  // Of an operation; more would be a loop.

class NfsCrash : public testing::Test {
 protected:
  void Begin(const std::vector<std::string>& exports = {"vol"},
             const std::filesystem::path& directory = {}) {
    lab::GaneshaOptions options;
    options.directory = directory;
    options.exports = exports;
    auto server = lab::Ganesha::Start(options);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::make_unique<lab::Ganesha>(std::move(*server));
    auto proxy = NfsProxy::Start(server_->port());
    ASSERT_TRUE(proxy) << proxy.error().message;
    proxy_ = std::move(*proxy);
    std::vector<ShareAt> shares;
    for (const auto& name : exports) {
      shares.push_back({proxy_->port(), server_->mount_port(), "/" + name});
    }
    host_ = StartHost(NfsBackend("nfs", kUid, shares));
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<Controller>(*host_);
  }

  void KillWorker() { KillWorkers(*host_, "nfs"); }
  // Also clears the pause that the supervisor makes before it starts workers that keep dying.
  void RestartHost() { ASSERT_TRUE(host_->Restart()); }
  void KillHost() { EXPECT_TRUE(host_->Kill(SIGKILL)); }

  struct Trap {
    std::atomic<bool> sprung = false;
    std::atomic<bool> over = false;
  };

  // Runs `operation` with `crash` at the server's call `step`; whether it came to that call.
  template <class Operation>
  bool At(uint64_t step, Stage stage, const std::function<void()>& crash,
          const Operation& operation) {
    const auto trap = std::make_shared<Trap>();
    proxy_->Arm([=](const NfsCall& call, Stage at) {
      if (call.number != step || at != stage || trap->sprung.exchange(true)) return Verdict::kPass;
      crash();
      trap->over = true;
      return Verdict::kDrop;
    });
    const auto outcome = operation();
    proxy_->Disarm();
    const bool crashed = trap->sprung;
    // The answer comes while the crash is still being seen to.
    EXPECT_TRUE(!crashed || WaitFor([&] { return trap->over.load(); }));
    EXPECT_TRUE(outcome.ok() || outcome.code() == grpc::StatusCode::UNAVAILABLE)
        << outcome.message();
    answered_ok_ += outcome.ok() && crashed ? 1 : 0;
    crashes_ += crashed ? 1 : 0;
    return crashed;
  }

  // Runs `operation`, holds its call `step` back and kills the worker then; whether there was one.
  template <class Operation>
  bool HoldAt(uint64_t step, std::vector<uint32_t>* procedures, const Operation& operation) {
    const auto trap = std::make_shared<Trap>();
    const auto procedure = std::make_shared<std::atomic<uint32_t>>(0);
    proxy_->Arm([=, this](const NfsCall& call, Stage at) {
      if (call.number != step || at != Stage::kRequest || trap->sprung.exchange(true)) {
        return Verdict::kPass;
      }
      *procedure = call.procedure;
      KillWorker();
      trap->over = true;
      return Verdict::kHold;
    });
    const auto outcome = operation();
    proxy_->Disarm();
    EXPECT_TRUE(outcome.ok() || outcome.code() == grpc::StatusCode::UNAVAILABLE)
        << outcome.message();
    if (!trap->sprung) return false;
    EXPECT_TRUE(WaitFor([&] { return trap->over && proxy_->held() == 1; }));
    procedures->push_back(*procedure);
    return true;
  }

  // Create and delete one volume after another, with a crash at one step more each time.
  // `recover_at_once` comes before the retry, `recover_later` before the next step.
  void CrashEverywhere(Stage stage, const std::function<void()>& crash,
                       const std::function<void()>& recover_at_once,
                       const std::function<void()>& recover_later) {
    for (uint64_t step = 1;; ++step) {
      ASSERT_LE(step, kStepsMax);
      SCOPED_TRACE("step " + std::to_string(step));
      const std::string name = "pvc-" + std::to_string(step);
      const bool creating = At(step, stage, crash, [&] { return controller_->Create(name); });
      if (creating) recover_at_once();
      const auto created = controller_->Create(name);
      ASSERT_TRUE(created.ok()) << created.message();
      const std::string id = created.reply.volume().volume_id();
      ExpectExactly(server_->root(), {{name, HandleOf(id)}});

      const bool deleting = At(step, stage, crash, [&] { return controller_->Delete(id); });
      if (deleting) recover_at_once();
      const auto deleted = controller_->Delete(id);
      ASSERT_TRUE(deleted.ok()) << deleted.message();
      ExpectExactly(server_->root(), {});
      if (HasFailure()) return;
      if (!creating && !deleting) {
        RecordProperty("steps", static_cast<int>(step - 1));
        break;
      }
      recover_later();
    }
    std::cout << crashes_ << " crashes, " << answered_ok_ << " of the calls in flight were OK\n";
    ExpectNothingLeft(*server_, *host_, {server_->root()});
    ExpectExactly(server_->root(), {});
  }

  std::unique_ptr<lab::Ganesha> server_;
  std::unique_ptr<NfsProxy> proxy_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<Controller> controller_;
  int crashes_ = 0;
  int answered_ok_ = 0;
};

}  // namespace gantry::itest
