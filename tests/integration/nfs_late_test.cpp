// SPDX-License-Identifier: Apache-2.0
// What a dead worker leaves behind beside volumes: a share whose first volume it was making, a trash
// half emptied, and calls that were on their way to the server and arrive when the world has gone on.
#include <fstream>

#include "tests/integration/nfs_crash.hpp"

namespace gantry::itest {
namespace {

constexpr int kFreshShares = 30;
constexpr int kTrashShares = 40;

// The directories of .gantry are made with a share's first volume; so here each step has a share.
TEST_F(NfsCrash, AWorkerKilledAtAnyCallOfAShareSFirstVolumeLeavesOneVolume) {
  std::vector<std::string> exports;
  for (int i = 0; i < kFreshShares; ++i) exports.push_back("vol" + std::to_string(i));
  ASSERT_NO_FATAL_FAILURE(Begin(exports));
  ASSERT_TRUE(host_->Kill(SIGKILL));
  std::vector<std::filesystem::path> roots;
  bool beyond = false;
  for (uint64_t step = 1; step <= exports.size() && !beyond; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const std::string& share = exports[step - 1];
    const Parameters parameters = {{"share", "/" + share}};
    const Stage stage = step % 2 == 0 ? Stage::kRequest : Stage::kReply;
    // A gantryd of this share alone, whose tasks make few calls of their own.
    const auto host =
        StartHost(NfsBackend("nfs", kUid, {{proxy_->port(), server_->mount_port(), "/" + share}}));
    ASSERT_TRUE(host);
    Controller controller(*host);
    beyond = !At(
        step, stage, [&] { KillWorkers(*host, "nfs"); },
        [&] { return controller.Create("pvc", parameters); });
    const auto created = controller.Create("pvc", parameters);
    ASSERT_TRUE(created.ok()) << created.message();
    const std::string id = created.reply.volume().volume_id();
    roots.push_back(server_->root(share));
    ExpectExactly(roots.back(), {{"pvc", HandleOf(id)}});
    const auto deleted = controller.Delete(id);
    ASSERT_TRUE(deleted.ok()) << deleted.message();
  }
  ASSERT_TRUE(host_->Restart());
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
      // A late MKDIR of the record's or of the claim's directory is an empty one, which means nothing
      // and goes with the next volume of that name.
      const auto next = controller_->Create(name);
      EXPECT_TRUE(next.ok()) << next.message();
    }
    EXPECT_TRUE(controller_->Delete(id).ok());
    ExpectExactly(server_->root(), {});
    if (HasFailure()) return;
    if (!held) break;
    RestartHost();
  }
  EXPECT_THAT(procedures, testing::Contains(lab::kNfsRename));
  ExpectNothingLeft(*server_, *host_, {server_->root()});
}

// The renames of one operation, of which one may be held back.
class Renames {
 public:
  explicit Renames(uint64_t held = 0) : held_(held) {}
  Verdict See(const NfsCall& call, Stage at) {
    if (call.procedure != lab::kNfsRename || at != Stage::kRequest) return Verdict::kPass;
    return ++count_ == held_ ? Verdict::kHush : Verdict::kPass;
  }
  uint64_t count() const { return count_; }

 private:
  const uint64_t held_;
  std::atomic<uint64_t> count_ = 0;
};

// A server may take seconds for a RENAME beside other calls. The call that needs it goes on without,
// and the old one, when it happens after all, harms nothing.
TEST_F(NfsCrash, ARenameThatIsLeftUnansweredIsMadeAnewWithinItsCall) {
  constexpr std::chrono::milliseconds kAnsweredMsMax{5'000};  // The server's own limit is 20 s.
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto watch = [this](const std::shared_ptr<Renames>& renames) {
    proxy_->Arm([renames](const NfsCall& call, Stage at) { return renames->See(call, at); });
  };
  for (const char* on_delete : {"delete", "archive"}) {
    const Parameters parameters = {{"onDelete", on_delete}};
    // Those between two directories: the first of a creation, and the last ones of a deletion.
    const auto creation = std::make_shared<Renames>();
    watch(creation);
    const auto first = controller_->Create("first", parameters);
    ASSERT_TRUE(first.ok()) << first.message();
    ASSERT_GE(creation->count(), 1U);
    const auto deletion = std::make_shared<Renames>();
    watch(deletion);
    ASSERT_TRUE(controller_->Delete(first.reply.volume().volume_id()).ok());
    proxy_->Disarm();
    const uint64_t between = std::string(on_delete) == "delete" ? 2 : 3;
    ASSERT_GE(deletion->count(), between);

    for (uint64_t held = deletion->count() - between; held <= deletion->count(); ++held) {
      const bool creating = held == deletion->count() - between;
      SCOPED_TRACE(std::string(on_delete) + (creating ? ", creating" : ", deleting, rename ") +
                   std::to_string(held));
      const std::string name = std::string("pvc-") + on_delete + std::to_string(held);
      const auto data = server_->root() / name;
      if (creating) watch(std::make_shared<Renames>(1));
      const auto created = controller_->Create(name, parameters);
      ASSERT_TRUE(created.ok()) << created.message();
      EXPECT_LT(created.took, kAnsweredMsMax);
      const std::string id = created.reply.volume().volume_id();
      std::ofstream(data / "old") << "old";
      if (!creating) watch(std::make_shared<Renames>(held));
      const auto deleted = controller_->Delete(id);
      ASSERT_TRUE(deleted.ok()) << deleted.message();
      EXPECT_LT(deleted.took, kAnsweredMsMax);
      proxy_->Disarm();
      EXPECT_FALSE(std::filesystem::exists(data));

      const auto again = controller_->Create(name, parameters);
      ASSERT_TRUE(again.ok()) << again.message();
      std::ofstream(data / "new") << "new";
      ASSERT_EQ(proxy_->held(), 1U);
      ASSERT_TRUE(proxy_->Release());
      EXPECT_EQ(TreeOf(data), (std::map<std::string, std::string>{{"new", "file new"}}));
      EXPECT_TRUE(controller_->Delete(id).ok());
      EXPECT_FALSE(std::filesystem::exists(data));
      EXPECT_EQ(NamesIn(server_->root() / ".gantry/volumes"), Names{});
      EXPECT_EQ(NamesIn(server_->root() / ".gantry/claims"), Names{});
    }
  }
  ExpectNothingLeft(*server_, *host_, {server_->root()});
}

}  // namespace
}  // namespace gantry::itest
