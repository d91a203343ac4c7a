// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/volumes.hpp"

#include <gtest/gtest.h>

#include <string>

#include "plugins/common/testing/actor.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

TEST(Volumes, MakesADirectoryWithItsModeAndOwner) {
  World world;
  VolumeSpec spec = Spec("h", "a/b");
  spec.ownership = {02770, 5, 6};
  const auto record = Actor(world, "A").Create(spec);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->state, RecordState::kReady);
  EXPECT_EQ(record->capacity_bytes, 1000u);
  EXPECT_EQ(world.OwnershipOf("a/b").mode, 02770u);
  EXPECT_EQ(world.OwnershipOf("a/b").uid, 5u);
  EXPECT_EQ(world.OwnershipOf("a/b").gid, 6u);
  EXPECT_EQ(world.Paths(), With(kNothing, {"a/", "a/b/", ".gantry/claims/a/", ".gantry/claims/a/b/",
                                           ".gantry/claims/a/b/=claim", ".gantry/volumes/h/",
                                           ".gantry/volumes/h/1", ".gantry/volumes/h/2"}));
}

TEST(Volumes, GivesTheSameVolumeToTheSameRequest) {
  World world;
  const auto first = Actor(world, "A").Create(Spec("h", "p"));
  VolumeSpec again = Spec("h", "elsewhere");  // Hints may differ between retries.
  const auto second = Actor(world, "B").Create(again);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->incarnation, second->incarnation);
  EXPECT_EQ(Join(second->path), "p");
  EXPECT_FALSE(world.Has("elsewhere"));
  again.path = Fail(code::kInvalidArgument, "no hint");
  EXPECT_TRUE(Actor(world, "C").Create(again));
}

TEST(Volumes, SaysWhatDiffersFromTheVolumeThatIsThere) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  VolumeSpec larger = Spec("h", "p");
  larger.required_bytes = 1001;
  VolumeSpec smaller = Spec("h", "p");
  smaller.required_bytes = 0;
  smaller.limit_bytes = 999;
  VolumeSpec other = Spec("h", "p");
  other.parameters["share"] = "/vol2";
  VolumeSpec more = Spec("h", "p");
  more.parameters["onDelete"] = "retain";
  for (const auto& [spec, word] : {std::pair(larger, "1001"), std::pair(smaller, "999"),
                                   std::pair(other, "\"/vol2\""), std::pair(more, "onDelete")}) {
    const auto refused = Actor(world, "B").Create(spec);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, code::kAlreadyExists);
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  }
}

TEST(Volumes, WithoutAWishHasTheDefaultCapacityWithinTheLimit) {
  EXPECT_EQ(CapacityFor(0, 0), kDefaultCapacityBytes);
  EXPECT_EQ(CapacityFor(0, 500), 500u);
  EXPECT_EQ(CapacityFor(7, 500), 7u);
}

TEST(Volumes, UsesADirectoryThatWasThereAndNeverDeletesIt) {
  World world;
  world.MakePath("old/keep.txt", NodeType::kFile, "precious");
  const auto record = Actor(world, "A").Create(Spec("h", "old"));
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_FALSE(record->created);
  const auto deleted = Actor(world, "A").Delete("h");
  ASSERT_TRUE(deleted);
  EXPECT_NE(deleted->left.find("old"), std::string::npos);
  EmptyTrash(world);
  EXPECT_EQ(world.Content("old/keep.txt"), "precious");
  EXPECT_EQ(world.Paths(), With(kNothing, {"old/", "old/keep.txt"}));
}

TEST(Volumes, LeavesADirectoryThatSomebodyPutInItsPlace) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  world.MoveByHand("p", "moved");
  world.MakePath("p/other", NodeType::kFile);
  EXPECT_EQ(*Actor(world, "A").Look(*Actor(world, "A").Get("h")), Presence::kReplaced);
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  EmptyTrash(world);
  EXPECT_TRUE(world.Has("p/other"));
  EXPECT_TRUE(world.Has("moved"));
}

TEST(Volumes, RefusesSymbolicLinksAndFilesOnTheWayAndLeavesNothing) {
  for (const NodeType type : {NodeType::kSymlink, NodeType::kFile}) {
    for (const char* path : {"evil", "evil/x"}) {
      World world;
      world.MakePath("evil", type);
      const auto refused = Actor(world, "A").Create(Spec("h", path));
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, code::kInvalidArgument);
      EXPECT_NE(refused.error().message.find("'evil'"), std::string::npos);
      EmptyTrash(world);
      EXPECT_EQ(world.Paths(), With(kNothing, {"evil"}));
    }
  }
}

TEST(Volumes, RefusesADirectoryThatIsContainsOrIsWithinAnothersAndNamesIt) {
  for (const char* path : {"a/b", "a", "a/b/c"}) {
    World world;
    ASSERT_TRUE(Actor(world, "A").Create(Spec("first", "a/b")));
    const auto refused = Actor(world, "B").Create(Spec("second", path));
    ASSERT_FALSE(refused) << path;
    EXPECT_EQ(refused.error().code, code::kFailedPrecondition);
    EXPECT_NE(refused.error().message.find("first"), std::string::npos) << refused.error().message;
    ExpectVolume(world, "first", "a/b");
    EmptyTrash(world);
    EXPECT_EQ(*Actor(world, "B").List(), std::vector<std::string>{"first"});
    ASSERT_TRUE(Actor(world, "A").Delete("first"));
    EXPECT_TRUE(Actor(world, "B").Create(Spec("second", path))) << path;
  }
}

TEST(Volumes, RefusesTheVolumesOfAnotherInstallation) {
  World world;
  FakeStorage storage(world);
  const Layout layout = *OpenLayout(storage, world.root());
  VolumeSpec spec = Spec("h", "p");
  spec.owner = "other";
  ASSERT_TRUE(Volumes(storage, layout, "other", Nonces("O")).Create(spec));
  EXPECT_EQ(Actor(world, "A").Delete("h").error().code, code::kFailedPrecondition);
  EXPECT_EQ(Actor(world, "A").Get("h").error().code, code::kNotFound);
  EXPECT_EQ(Actor(world, "A").Expand("h", 5000).error().code, code::kNotFound);
  EXPECT_TRUE(Actor(world, "A").List()->empty());
  EXPECT_TRUE(world.Has("p"));
}

TEST(Volumes, DeletesWhatIsNotThere) {
  EXPECT_TRUE(Actor(*std::make_unique<World>(), "A").Delete("h"));
}

TEST(Volumes, RetainsTheDirectory) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p", Disposal::kRetain)));
  world.MakePath("p/data", NodeType::kFile);
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  EmptyTrash(world);
  EXPECT_EQ(world.Paths(), With(kNothing, {"p/", "p/data"}));
}

TEST(Volumes, ArchivesNeverOverSomethingThatIsThere) {
  World world;
  world.MakePath("dir/archived-pvc-h", NodeType::kDirectory);
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "dir/p", Disposal::kArchive)));
  world.MakePath("dir/p/data", NodeType::kFile);
  const std::string incarnation = Actor(world, "A").Get("h")->incarnation;
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  EmptyTrash(world);
  const std::string archive = "dir/archived-pvc-h-" + incarnation.substr(0, 8);
  EXPECT_EQ(world.Paths(),
            With(kNothing, {"dir/", "dir/archived-pvc-h/", archive + "/", archive + "/data"}));
}

TEST(Volumes, GrowsButDoesNotShrink) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  EXPECT_EQ(Actor(world, "A").Expand("h", 5000)->capacity_bytes, 5000u);
  EXPECT_EQ(Actor(world, "A").Expand("h", 10)->capacity_bytes, 5000u);
  EXPECT_EQ(Actor(world, "A").Get("h")->capacity_bytes, 5000u);
  EXPECT_EQ(Actor(world, "A").Expand("none", 10).error().code, code::kNotFound);
}

TEST(Volumes, KeepsANumberButNotAFileForEachVersion) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  for (uint64_t i = 1; i <= 50; ++i) {
    ASSERT_TRUE(Actor(world, "A").Expand("h", 1000 + i));
  }
  const auto paths = world.Paths();
  EXPECT_EQ(std::count_if(paths.begin(), paths.end(),
                          [](const auto& p) { return p.starts_with(".gantry/volumes/h/"); }),
            53);  // The directory and its versions.
  EXPECT_EQ(world.Content(".gantry/volumes/h/51"), world.Content(".gantry/volumes/h/52"));
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  EmptyTrash(world);
  EXPECT_EQ(world.Paths(), kNothing);
}

// Otherwise deleters that race make each other slower until none of them comes to an end.
TEST(Volumes, AreNotMoreWorkToDeleteTheMoreOftenItWasTried) {
  const auto operations_after = [](int tries, size_t step) {
    World world;
    EXPECT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
    for (int i = 0; i < tries; ++i) {
      Actor dying(world, "D", At(step, Fault::kDieAfter));
      (void)dying.Delete("h");
    }
    Actor last(world, "L");
    EXPECT_EQ(Failure(last.Delete("h")), "");
    return last.operations();
  };
  size_t steps = 0;
  for (; steps < kStepsMax; ++steps) {
    World world;
    ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
    Actor dying(world, "D", At(steps, Fault::kDieAfter));
    (void)dying.Delete("h");
    if (!world.Has(".gantry/volumes/h")) break;  // It was as good as done.
    // One each, for the temporary that each may have left.
    EXPECT_LE(operations_after(40, steps), operations_after(3, steps) + 40) << "step " << steps;
  }
  EXPECT_GT(steps, 20u);
}

TEST(Volumes, AreListedInOrderAndInPages) {
  World world;
  for (const char* handle : {"c", "a", "d", "b"}) {
    ASSERT_TRUE(Actor(world, "A").Create(Spec(handle, std::string("p-") + handle)));
  }
  using Handles = std::vector<std::string>;
  EXPECT_EQ(*Actor(world, "A").List(), (Handles{"a", "b", "c", "d"}));
  EXPECT_EQ(*Actor(world, "A").List("", 2), (Handles{"a", "b"}));
  EXPECT_EQ(*Actor(world, "A").List("b"), (Handles{"c", "d"}));
}

TEST(Volumes, CrossFilesystemsWithDirectoriesBesideTheVolumes) {
  for (const Disposal disposal : {Disposal::kDelete, Disposal::kArchive}) {
    World world;
    world.MakePath("other", NodeType::kDirectory);
    world.SetFilesystem("other", 2);
    const auto record = Actor(world, "A").Create(Spec("h", "other/p", disposal));
    ASSERT_TRUE(record) << record.error().message;
    ExpectVolume(world, "h", "other/p");
    world.MakePath("other/p/data", NodeType::kFile);
    ASSERT_TRUE(Actor(world, "A").Delete("h"));
    EXPECT_FALSE(world.Has("other/p"));
    EmptyTrash(world);
    EXPECT_EQ(world.Paths(), disposal == Disposal::kDelete
                                 ? With(kNothing, {"other/"})
                                 : With(kNothing, {"other/", "other/archived-pvc-h/",
                                                   "other/archived-pvc-h/data"}));
  }
}

}  // namespace
}  // namespace gantry::plugin
