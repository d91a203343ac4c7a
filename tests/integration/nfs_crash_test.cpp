// SPDX-License-Identifier: Apache-2.0
// kill -9 of the worker, and of gantryd, at every call that the record protocol makes to the server:
// once before the call gets there, and once after it was executed and before its reply is seen. A
// retry then makes one volume, or deletes it whole, and nothing is left over. Also what was on its
// way to the server when its sender died, and arrives when the world has gone on.
#include <atomic>
#include <fstream>

#include "tests/integration/nfs_lab.hpp"

namespace gantry::itest {
namespace {

using lab::NfsCall;
using lab::NfsProxy;
using Stage = NfsProxy::Stage;
using Verdict = NfsProxy::Verdict;

constexpr int kUid = 61021;
constexpr uint64_t kStepsMax = 100;  // Of an operation; more would be a loop.
constexpr int kFreshShares = 30;
constexpr int kTrashShares = 40;

class NfsCrash : public testing::Test {
 protected:
  void Begin(const std::vector<std::string>& exports = {"vol"}) {
    lab::GaneshaOptions options;
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

TEST_F(NfsCrash, AWorkerKilledBeforeAnyCallLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kRequest, [this] { KillWorker(); }, [] {}, [this] { RestartHost(); });
}

TEST_F(NfsCrash, AWorkerKilledBeforeAnyReplyLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kReply, [this] { KillWorker(); }, [] {}, [this] { RestartHost(); });
}

TEST_F(NfsCrash, GantrydKilledBeforeAnyCallLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kRequest, [this] { KillHost(); }, [this] { RestartHost(); }, [] {});
}

TEST_F(NfsCrash, GantrydKilledBeforeAnyReplyLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kReply, [this] { KillHost(); }, [this] { RestartHost(); }, [] {});
}

// The directories of .gantry are made with a share's first volume; so here each step has a share.
TEST_F(NfsCrash, AWorkerKilledAtAnyCallOfAShareSFirstVolumeLeavesOneVolume) {
  std::vector<std::string> exports;
  for (int i = 0; i < kFreshShares; ++i) exports.push_back("vol" + std::to_string(i));
  ASSERT_NO_FATAL_FAILURE(Begin(exports));
  std::vector<std::filesystem::path> roots;
  bool beyond = false;
  for (uint64_t step = 1; step <= exports.size() && !beyond; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const std::string& share = exports[step - 1];
    const Parameters parameters = {{"share", "/" + share}};
    const Stage stage = step % 2 == 0 ? Stage::kRequest : Stage::kReply;
    beyond = !At(
        step, stage, [this] { KillWorker(); },
        [&] { return controller_->Create("pvc", parameters); });
    const auto created = controller_->Create("pvc", parameters);
    ASSERT_TRUE(created.ok()) << created.message();
    const std::string id = created.reply.volume().volume_id();
    roots.push_back(server_->root(share));
    ExpectExactly(roots.back(), {{"pvc", HandleOf(id)}});
    const auto deleted = controller_->Delete(id);
    ASSERT_TRUE(deleted.ok()) << deleted.message();
    RestartHost();
  }
  EXPECT_TRUE(beyond) << "a first volume takes more than " << kFreshShares << " calls";
  ExpectNothingLeft(*server_, *host_, roots);
  for (const auto& root : roots) ExpectExactly(root, {});
}

// The trash task is no call that somebody repeats, but it is run again. Each step has a share and a
// gantryd, whose first run it is.
TEST_F(NfsCrash, AWorkerKilledAtAnyCallOfTheTrashTaskLeavesNothing) {
  std::vector<std::string> exports;
  for (int i = 0; i < kTrashShares; ++i) exports.push_back("vol" + std::to_string(i));
  ASSERT_NO_FATAL_FAILURE(Begin(exports));
  ASSERT_TRUE(host_->Kill(SIGKILL));
  std::vector<std::filesystem::path> roots;
  bool beyond = false;
  for (uint64_t step = 1; step <= exports.size() && !beyond; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const auto top = server_->root(exports[step - 1]) / ".gantry";
    for (const char* part : {"volumes", "claims", "attempts", "trash"}) {
      std::filesystem::create_directories(top / part);
    }
    const auto item = top / "trash" / std::string(32, 'a');
    std::filesystem::create_directories(item / "data/below");
    std::filesystem::create_directories(item / "record");
    std::ofstream(item / "data/below/file") << "data";
    std::ofstream(item / "record/1") << "{}";
    roots.push_back(server_->root(exports[step - 1]));

    const auto trap = std::make_shared<Trap>();
    const Stage stage = step % 2 == 0 ? Stage::kRequest : Stage::kReply;
    const auto host = StartHost(NfsBackend(
        "nfs", kUid, {{proxy_->port(), server_->mount_port(), "/" + exports[step - 1]}}));
    ASSERT_TRUE(host);
    proxy_->Arm([&host = *host, trap, step, stage](const NfsCall& call, Stage at) {
      if (call.number != step || at != stage || trap->sprung.exchange(true)) return Verdict::kPass;
      KillWorkers(host, "nfs");
      trap->over = true;
      return Verdict::kDrop;
    });
    EXPECT_TRUE(WaitFor([&] { return trap->over || NamesIn(top / "trash").empty(); }));
    EXPECT_TRUE(!trap->sprung || WaitFor([&] { return trap->over.load(); }));
    beyond = !trap->sprung;
    proxy_->Disarm();
    ASSERT_TRUE(host->Kill(SIGKILL));
  }
  EXPECT_TRUE(beyond) << "a run of the task takes more than " << kTrashShares << " calls";
  ASSERT_TRUE(host_->Restart());
  ExpectNothingLeft(*server_, *host_, roots);
}

// What a dead worker had sent may arrive at any later time. Every call of a deletion is held back
// in turn until the volume was deleted by another and made again with data in it.
TEST_F(NfsCrash, ALateCallOfADeleteDoesNotHarmTheVolumeMadeAgain) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  std::vector<uint32_t> procedures;
  for (uint64_t step = 1;; ++step) {
    ASSERT_LE(step, kStepsMax);
    SCOPED_TRACE("step " + std::to_string(step));
    const std::string name = "pvc-" + std::to_string(step);
    const auto first = controller_->Create(name);
    ASSERT_TRUE(first.ok()) << first.message();
    const std::string id = first.reply.volume().volume_id();
    const auto data = server_->root() / name;
    std::ofstream(data / "old") << "old";

    const bool held = HoldAt(step, &procedures, [&] { return controller_->Delete(id); });
    const auto deleted = controller_->Delete(id);
    ASSERT_TRUE(deleted.ok()) << deleted.message();
    EXPECT_FALSE(std::filesystem::exists(data));

    const auto again = controller_->Create(name);
    ASSERT_TRUE(again.ok()) << again.message();
    EXPECT_EQ(again.reply.volume().volume_id(), id);
    std::ofstream(data / "new") << "new";
    ASSERT_EQ(proxy_->held(), held ? 1U : 0U);
    ASSERT_TRUE(proxy_->Release());

    EXPECT_EQ(TreeOf(data), (std::map<std::string, std::string>{{"new", "file new"}}));
    ExpectExactly(server_->root(), {{name, HandleOf(id)}});
    const auto same = controller_->Create(name);
    EXPECT_TRUE(same.ok()) << same.message();
    EXPECT_TRUE(controller_->Delete(id).ok());
    ExpectExactly(server_->root(), {});
    if (HasFailure()) return;
    if (!held) break;
    RestartHost();
  }
  // Else the step that this is about was not among them.
  EXPECT_THAT(procedures, testing::Contains(lab::kNfsRename));
  ExpectNothingLeft(*server_, *host_, {server_->root()});
}

// The same for the calls of a creation, against a volume that was deleted meanwhile and one made
// again.
TEST_F(NfsCrash, ALateCallOfACreateMakesNoSecondVolumeAndHarmsNone) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  std::vector<uint32_t> procedures;
  for (uint64_t step = 1;; ++step) {
    ASSERT_LE(step, kStepsMax);
    SCOPED_TRACE("step " + std::to_string(step));
    const std::string name = "pvc-" + std::to_string(step);
    const bool make_again = step % 2 == 0;
    const auto data = server_->root() / name;

    const bool held = HoldAt(step, &procedures, [&] { return controller_->Create(name); });
    const auto created = controller_->Create(name);
    ASSERT_TRUE(created.ok()) << created.message();
    const std::string id = created.reply.volume().volume_id();
    const auto deleted = controller_->Delete(id);
    ASSERT_TRUE(deleted.ok()) << deleted.message();
    if (make_again) {
      const auto again = controller_->Create(name);
      ASSERT_TRUE(again.ok()) << again.message();
      std::ofstream(data / "new") << "new";
    }
    ASSERT_EQ(proxy_->held(), held ? 1U : 0U);
    ASSERT_TRUE(proxy_->Release());

    if (make_again) {
      EXPECT_EQ(TreeOf(data), (std::map<std::string, std::string>{{"new", "file new"}}));
      ExpectExactly(server_->root(), {{name, HandleOf(id)}});
    } else {
      EXPECT_FALSE(std::filesystem::exists(data));
    }
    // A late MKDIR of the record's directory is an empty one, which the next call removes.
    EXPECT_TRUE(controller_->Delete(id).ok());
    ExpectExactly(server_->root(), {});
    if (HasFailure()) return;
    if (!held) break;
    RestartHost();
  }
  EXPECT_THAT(procedures, testing::Contains(lab::kNfsRename));
  ExpectNothingLeft(*server_, *host_, {server_->root()});
}

}  // namespace
}  // namespace gantry::itest
