// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include "plugins/common/testing/copy_actor.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

class Copies : public ::testing::Test {
 protected:
  Copies() {
    EXPECT_TRUE(Actor(world, "A").Create(Spec("s", "s")));
    FillSource(world, "s");
    whole = ContentOf(world, "s");
  }
  // Nothing but the source is there, once the trash and the tasks have had their turn.
  void ExpectNothingButTheSource() {
    ASSERT_TRUE(CopyActor(world, "T").CopyAll());
    EmptyTrash(world);
    ASSERT_TRUE(Actor(world, "D").Delete("s"));
    EmptyTrash(world);
    for (const auto& path : Tidied(world)) EXPECT_TRUE(kNothingOfCopies.contains(path)) << path;
  }

  World world;
  Content whole;
};

TEST_F(Copies, AppearWholeAndAtOnce) {
  CopyActor a(world, "A");
  const auto begun = a.Create(Of::kVolumes, "c", VolumeSource("s"));
  ASSERT_TRUE(begun) << begun.error().message;
  EXPECT_EQ(begun->state, RecordState::kCreating);
  EXPECT_FALSE(a.Get(Of::kVolumes, "c"));
  a.go_on = [&](const CopyProgress&) {
    EXPECT_FALSE(world.Has("c"));
    return true;
  };
  const auto run = a.Copy(Of::kVolumes, "c");
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->state, CopyState::kReady);
  EXPECT_EQ(ContentOf(world, "c"), whole);
  const auto again = a.Create(Of::kVolumes, "c", VolumeSource("s"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->state, RecordState::kReady);
  EXPECT_TRUE(again->created);
  EXPECT_EQ(again->fileid, world.FileId("c"));
  EXPECT_GT(again->copied_ns, 0);
  EXPECT_EQ(a.Copy(Of::kVolumes, "c")->state, CopyState::kNothing);
  ASSERT_TRUE(a.Delete(Of::kVolumes, "c"));
  ExpectNothingButTheSource();
}

TEST_F(Copies, AreSnapshotsThatOutliveTheirVolumeAndBecomeVolumes) {
  CopyActor a(world, "A");
  ASSERT_TRUE(a.Create(Of::kSnapshots, "n", VolumeSource("s")));
  ASSERT_EQ(a.Copy(Of::kSnapshots, "n")->state, CopyState::kReady);
  world.MakePath("s/later", NodeType::kFile);
  ASSERT_TRUE(a.Delete(Of::kVolumes, "s"));
  EmptyTrash(world);
  const auto same = a.Create(Of::kSnapshots, "n", VolumeSource("s"));
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_EQ(same->state, RecordState::kReady);
  const auto restored = a.Create(Of::kVolumes, "r", SnapshotSource("n"));
  ASSERT_TRUE(restored) << restored.error().message;
  ASSERT_EQ(a.Copy(Of::kVolumes, "r")->state, CopyState::kReady);
  EXPECT_EQ(ContentOf(world, "r"), whole);
  ASSERT_TRUE(a.Delete(Of::kSnapshots, "n"));
  const auto again = a.Create(Of::kVolumes, "r", SnapshotSource("n"));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->state, RecordState::kReady);
  ASSERT_TRUE(a.Delete(Of::kVolumes, "r"));
  EXPECT_FALSE(world.Has("r"));
  EmptyTrash(world);
  EXPECT_EQ(Tidied(world).size(), kNothingOfCopies.size());
}

TEST_F(Copies, GetWhatTheirParametersAskFor) {
  CopyActor a(world, "A");
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  a.ownership = {0751, 7, {}};
  ASSERT_EQ(a.Copy(Of::kVolumes, "c")->state, CopyState::kReady);
  EXPECT_EQ(world.OwnershipOf("c").mode, 0751u);
  EXPECT_EQ(world.OwnershipOf("c").uid, 7u);
}

TEST_F(Copies, AreGoneOnWithByTheirOwnerOnly) {
  CopyActor owner(world, "owner");
  ASSERT_TRUE(owner.Create(Of::kVolumes, "c", VolumeSource("s")));
  owner.go_on = [](const CopyProgress& progress) { return progress.entries < 2; };
  const auto stopped = owner.Copy(Of::kVolumes, "c");
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->state, CopyState::kMore);
  EXPECT_EQ(stopped->progress.entries, 2u);

  CopyActor other(world, "other");
  EXPECT_EQ(other.Copy(Of::kVolumes, "c")->state, CopyState::kOthers);
  world.Advance(kOwnerLeaseMs - 1);
  EXPECT_EQ(owner.Copy(Of::kVolumes, "c")->state, CopyState::kMore);  // And renews.
  world.Advance(kOwnerLeaseMs - 1);
  EXPECT_EQ(other.Copy(Of::kVolumes, "c")->state, CopyState::kOthers);
  EXPECT_TRUE(world.Has(".gantry/attempts/" + owner.mine));

  CopyActor restarted(world, "restarted");
  restarted.mine = owner.mine;
  EXPECT_EQ(restarted.Copy(Of::kVolumes, "c")->state, CopyState::kReady);
  EXPECT_EQ(restarted.mine, owner.mine);
  EXPECT_EQ(ContentOf(world, "c"), whole);
}

TEST_F(Copies, AreBegunAnewAndNeverJoinedByWhoeverTakesThemOver) {
  CopyActor owner(world, "owner");
  ASSERT_TRUE(owner.Create(Of::kVolumes, "c", VolumeSource("s")));
  CopyActor other(world, "other");
  bool taken = false;
  owner.go_on = [&](const CopyProgress& progress) {
    if (progress.entries != 1 || std::exchange(taken, true)) return true;
    world.Advance(kOwnerLeaseMs + 1);
    const std::string old = owner.mine;
    EXPECT_EQ(other.Copy(Of::kVolumes, "c")->state, CopyState::kReady);
    EXPECT_FALSE(world.Has(".gantry/attempts/" + old));
    return true;
  };
  EXPECT_EQ(owner.Copy(Of::kVolumes, "c")->state, CopyState::kNothing);
  EXPECT_TRUE(taken);
  EXPECT_EQ(ContentOf(world, "c"), whole);
  ASSERT_TRUE(owner.Delete(Of::kVolumes, "c"));
  ExpectNothingButTheSource();
}

TEST_F(Copies, FailAndLeaveNothingWhenTheirSourceIsDeleted) {
  for (const bool trashed : {false, true}) {
    World fresh;
    ASSERT_TRUE(Actor(fresh, "A").Create(Spec("s", "s")));
    FillSource(fresh, "s");
    CopyActor a(fresh, "A");
    ASSERT_TRUE(a.Create(Of::kSnapshots, "n", VolumeSource("s")));
    bool deleted = false;
    a.go_on = [&](const CopyProgress& progress) {
      if (progress.entries == 1 && !std::exchange(deleted, true)) {
        EXPECT_TRUE(Actor(fresh, "D").Delete("s"));
        if (trashed) EmptyTrash(fresh);
      }
      return true;
    };
    auto run = a.Copy(Of::kSnapshots, "n");
    if (!run) run = a.Copy(Of::kSnapshots, "n");  // The storage said that something was stale.
    ASSERT_TRUE(run) << run.error().message;
    ASSERT_EQ(run->state, CopyState::kFailed);
    EXPECT_EQ(run->failure->code, code::kNotFound);
    EmptyTrash(fresh);
    EXPECT_EQ(Tidied(fresh), kNothingOfCopies);
  }
}

TEST_F(Copies, SayWhyTheyFailedAndBeginAnewAtTheNextTry) {
  CopyActor a(world, "A");
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  a.copier = [&](const NodeId& from, const NodeId& to, const GoOn& go_on) -> Result<CopyOutcome> {
    (void)CopyByHand(a.storage(), from, to,
                     [&](const CopyProgress& p) { return p.entries < 1 && go_on(p); });
    return Fail(code::kResourceExhausted, "no space");
  };
  std::string removed;  // Before anything is written to say so.
  a.remove = [&](const NodeId&, const std::string& name) { removed = name; };
  const auto run = a.Copy(Of::kVolumes, "c");
  ASSERT_TRUE(run) << run.error().message;
  ASSERT_EQ(run->state, CopyState::kFailed);
  EXPECT_EQ(run->failure->message, "no space");
  EXPECT_EQ(removed, a.mine);
  EmptyTrash(world);
  EXPECT_FALSE(world.Has(".gantry/volumes/c"));
  EXPECT_FALSE(world.Has(".gantry/claims/c"));
  EXPECT_FALSE(world.Has(".gantry/attempts/" + a.mine));
  a.copier = nullptr;
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  EXPECT_EQ(a.Copy(Of::kVolumes, "c")->state, CopyState::kReady);
}

TEST_F(Copies, WaitForAServerThatDoesNotAnswer) {
  CopyActor a(world, "A");
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  a.copier = [](const NodeId&, const NodeId&, const GoOn&) -> Result<CopyOutcome> {
    return Fail(code::kUnavailable, "away");
  };
  EXPECT_EQ(a.Copy(Of::kVolumes, "c").error().code, code::kUnavailable);
  const std::string mine = a.mine;
  a.copier = nullptr;
  EXPECT_EQ(a.Copy(Of::kVolumes, "c")->state, CopyState::kReady);
  EXPECT_EQ(a.mine, mine);
}

TEST_F(Copies, EndWhenTheirVolumeIsDeleted) {
  CopyActor a(world, "A");
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  bool deleted = false;
  a.go_on = [&](const CopyProgress& progress) {
    if (progress.entries == 1 && !std::exchange(deleted, true)) {
      EXPECT_TRUE(CopyActor(world, "D").Delete(Of::kVolumes, "c"));
    }
    return true;
  };
  EXPECT_EQ(a.Copy(Of::kVolumes, "c")->state, CopyState::kNothing);
  EXPECT_FALSE(world.Has("c"));
  ExpectNothingButTheSource();
}

TEST_F(Copies, OfAnotherSourceOrOfNoneAreOtherVolumes) {
  CopyActor a(world, "A");
  ASSERT_TRUE(Actor(world, "A").Create(Spec("s2", "s2")));
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  const auto other = a.Create(Of::kVolumes, "c", VolumeSource("s2"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, code::kAlreadyExists);
  EXPECT_NE(other.error().message.find("made of the volume s, not made of the volume s2"),
            std::string::npos)
      << other.error().message;
  EXPECT_EQ(Actor(world, "A").Create(Spec("c", "c")).error().code, code::kAlreadyExists);
  EXPECT_EQ(a.Create(Of::kVolumes, "s2", VolumeSource("s")).error().code, code::kAlreadyExists);
}

TEST_F(Copies, NeedASourceAndItsRoom) {
  CopyActor a(world, "A");
  EXPECT_EQ(a.Create(Of::kVolumes, "c", VolumeSource("none")).error().code, code::kNotFound);
  EXPECT_EQ(a.Create(Of::kVolumes, "c", SnapshotSource("none")).error().code, code::kNotFound);
  for (const auto& [required, limit] : {std::pair(999, 0), std::pair(0, 999)}) {
    const auto small = a.Create(Of::kVolumes, "c", VolumeSource("s"), [&](VolumeSpec* spec) {
      spec->required_bytes = static_cast<uint64_t>(required);
      spec->limit_bytes = static_cast<uint64_t>(limit);
    });
    ASSERT_FALSE(small);
    EXPECT_EQ(small.error().code, code::kOutOfRange) << small.error().message;
  }
  const auto as_large = a.Create(Of::kVolumes, "c", VolumeSource("s"),
                                 [](VolumeSpec* spec) { spec->required_bytes = 0; });
  ASSERT_TRUE(as_large);
  EXPECT_EQ(as_large->capacity_bytes, 1000u);
}

TEST_F(Copies, AreNotMadeIntoADirectoryThatIsThere) {
  world.MakePath("c/foreign", NodeType::kFile, "precious");
  CopyActor a(world, "A");
  const auto refused = a.Create(Of::kVolumes, "c", VolumeSource("s"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, code::kFailedPrecondition);

  ASSERT_TRUE(a.Create(Of::kVolumes, "e", VolumeSource("s")));
  a.go_on = [&](const CopyProgress&) {  // Somebody makes it while the copy runs.
    world.MakePath("e/foreign", NodeType::kFile, "precious");
    return true;
  };
  const auto run = a.Copy(Of::kVolumes, "e");
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->state, CopyState::kFailed);
  EXPECT_EQ(ContentOf(world, "e"), (Content{{"foreign", "precious"}}));
  EXPECT_EQ(ContentOf(world, "c"), (Content{{"foreign", "precious"}}));
}

TEST_F(Copies, CrossFilesystemsWithDirectoriesBesideTheVolumes) {
  world.MakePath("other", NodeType::kDirectory);
  world.SetFilesystem("other", 2);
  CopyActor a(world, "A");
  const auto into_other = [](VolumeSpec* spec) { spec->path = ParseSubDir("other/c"); };
  ASSERT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s"), into_other));
  a.go_on = [](const CopyProgress& progress) { return progress.entries < 1; };
  ASSERT_EQ(a.Copy(Of::kVolumes, "c")->state, CopyState::kMore);
  EXPECT_TRUE(world.Has("other/.gantry-new-" + a.mine));
  world.Advance(kOwnerLeaseMs + 1);
  CopyActor other(world, "other");
  const auto run = other.Copy(Of::kVolumes, "c");
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->state, CopyState::kReady);
  EXPECT_EQ(ContentOf(world, "other/c"), whole);
  EmptyTrash(world);
  EXPECT_FALSE(world.Has("other/.gantry-new-" + a.mine));
  ASSERT_TRUE(a.Delete(Of::kVolumes, "c"));
  EmptyTrash(world);
  EXPECT_EQ(ContentOf(world, "other"), Content());
}

TEST_F(Copies, AndMutableParametersWaitUntilTheirFormatMayBeWritten) {
  CopyActor a(world, "A");
  a.record_format = 1;
  EXPECT_EQ(a.Create(Of::kVolumes, "c", VolumeSource("s")).error().code, code::kFailedPrecondition);
  Modification change;
  change.mutable_parameters = {{"onDelete", "retain"}};
  EXPECT_EQ(a.Modify("s", change).error().code, code::kFailedPrecondition);
  EXPECT_EQ(world.Content(".gantry/volumes/s/2").find("\"format\": 2"), std::string::npos);
  a.record_format = 2;
  EXPECT_TRUE(a.Create(Of::kVolumes, "c", VolumeSource("s")));
  EXPECT_NE(world.Content(".gantry/volumes/c/1").find("\"format\": 2"), std::string::npos);
}

TEST(Modify, ChangesTheRecordAndTheDirectoryAndKeepsWhatIsCompared) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  CopyActor a(world, "A");
  Modification change;
  change.mutable_parameters = {{"onDelete", "retain"}, {"mountPermissions", "0700"}};
  change.disposal = Disposal::kRetain;
  change.directory.mode = 0700;
  const auto record = a.Modify("h", change);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->disposal, Disposal::kRetain);
  EXPECT_EQ(world.OwnershipOf("p").mode, 0700u);
  EXPECT_EQ(a.Get(Of::kVolumes, "h")->mutable_parameters, change.mutable_parameters);
  EXPECT_TRUE(Actor(world, "A").Create(Spec("h", "p")));  // The same request as before.
  EXPECT_EQ(a.Modify("none", change).error().code, code::kNotFound);
  // Repeated: no further version, but the directory again, since the first try may have died.
  const auto paths = world.Paths();
  FakeStorage hand(world);
  ASSERT_TRUE(hand.Change(std::to_string(world.FileId("p")), {0777, {}, {}}));
  ASSERT_TRUE(a.Modify("h", change));
  EXPECT_EQ(world.OwnershipOf("p").mode, 0700u);
  EXPECT_EQ(world.Paths(), paths);
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  EXPECT_TRUE(world.Has("p"));
}

}  // namespace
}  // namespace gantry::plugin
