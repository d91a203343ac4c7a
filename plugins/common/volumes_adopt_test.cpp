// SPDX-License-Identifier: Apache-2.0
// Directories that others made, adopted and deleted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugins/common/testing/actor.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.
using ::testing::HasSubstr;

class Adopt : public ::testing::Test {
 protected:
  Adopt() {
    world_.MakePath("a/p/file", NodeType::kFile, "theirs");
    world_.MakePath("a/other/file", NodeType::kFile, "precious");
  }
  World world_;
};

TEST_F(Adopt, ADirectoryIsClaimedByARecordAndGoesToTheTrash) {
  const auto deleted = Actor(world_, "A").DeleteForeign(Spec("f", "a/p"));
  ASSERT_TRUE(deleted) << deleted.error().message;
  ASSERT_TRUE(*deleted);
  EXPECT_EQ((*deleted)->left, "");
  EXPECT_FALSE(world_.Has("a/p"));
  EmptyTrash(world_);
  EXPECT_EQ(Tidied(world_), With(kNothing, {"a/", "a/other/", "a/other/file"}));
}

TEST_F(Adopt, ADirectoryIsArchivedBesideItsPlace) {
  VolumeSpec spec = Spec("f", "a/p", Disposal::kArchive);
  spec.name = "p";
  ASSERT_TRUE(Actor(world_, "A").DeleteForeign(spec));
  EXPECT_EQ(world_.Content("a/archived-p/file"), "theirs");
  EmptyTrash(world_);
  EXPECT_EQ(Tidied(world_), With(kNothing, {"a/", "a/other/", "a/other/file", "a/archived-p/",
                                            "a/archived-p/file"}));
}

TEST_F(Adopt, WhatIsNotThereIsNothingAndLeavesNoRecord) {
  for (const char* path : {"a/none", "none/p"}) {
    const auto deleted = Actor(world_, "A").DeleteForeign(Spec("f", path));
    ASSERT_TRUE(deleted) << deleted.error().message;
    EXPECT_FALSE(*deleted);
  }
  EXPECT_EQ(Tidied(world_), With(kNothing, {"a/", "a/p/", "a/p/file", "a/other/", "a/other/file"}));
}

TEST_F(Adopt, WhatIsNoDirectoryIsRefused) {
  world_.MakePath("a/link", NodeType::kSymlink, "p");
  for (const char* path : {"a/link", "a/other/file"}) {
    const auto deleted = Actor(world_, "A").DeleteForeign(Spec("f", path));
    ASSERT_FALSE(deleted);
    EXPECT_EQ(deleted.error().code, code::kFailedPrecondition);
    EXPECT_THAT(deleted.error().message, HasSubstr("\"" + std::string(path) + "\""));
  }
  EXPECT_TRUE(world_.Has("a/link"));
  EXPECT_TRUE(world_.Has("a/other/file"));
}

TEST_F(Adopt, ADirectoryOfAVolumeOrAboveOrBeneathOneIsRefusedAndStays) {
  ASSERT_TRUE(Actor(world_, "V").Create(Spec("v", "a/p/volume")));
  world_.MakePath("a/p/volume/inside/data", NodeType::kFile, "volume's");
  for (const char* path : {"a", "a/p", "a/p/volume", "a/p/volume/inside"}) {
    const auto deleted = Actor(world_, "A").DeleteForeign(Spec("f", path));
    ASSERT_FALSE(deleted) << path;
    EXPECT_EQ(deleted.error().code, code::kFailedPrecondition);
    EXPECT_THAT(deleted.error().message, HasSubstr("of volume v"));
    EXPECT_EQ(world_.Content("a/p/volume/inside/data"), "volume's");
    EXPECT_EQ(world_.Content("a/p/file"), "theirs");
  }
  EmptyTrash(world_);
  EXPECT_EQ(world_.Content("a/p/volume/inside/data"), "volume's");
  ASSERT_EQ(Failure(Actor(world_, "D").Delete("v")), "");
}

TEST_F(Adopt, ADirectoryThatHoldsRecordsOfItsOwnIsRefusedAndStays) {
  world_.MakePath("a/p/.gantry/volumes/x", NodeType::kFile, "another share's");
  const auto deleted = Actor(world_, "A").DeleteForeign(Spec("f", "a/p"));
  ASSERT_FALSE(deleted);
  EXPECT_EQ(deleted.error().code, code::kFailedPrecondition);
  EXPECT_EQ(world_.Content("a/p/.gantry/volumes/x"), "another share's");
  EXPECT_EQ(world_.Content("a/p/file"), "theirs");
}

// Whoever ends where: the next one finishes, and what arrives late harms nothing made in its place.
TEST_F(Adopt, IsFinishedWhereverAnActorEnds) {
  for (const Disposal disposal : {Disposal::kDelete, Disposal::kArchive}) {
    for (const Fault fault : {Fault::kDieBefore, Fault::kDieAfter, Fault::kDieDelayed,
                              Fault::kLoseReply, Fault::kRefuse, Fault::kAnswerLate}) {
      bool reached = true;
      for (size_t step = 0; reached; ++step) {
        SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " step " +
                     std::to_string(step));
        ASSERT_LT(step, kStepsMax);
        World world;
        world.MakePath("a/p/file", NodeType::kFile, "theirs");
        world.MakePath("a/other/file", NodeType::kFile, "precious");
        VolumeSpec spec = Spec("f", "a/p", disposal);
        spec.name = "p";
        Actor ended(world, "E", At(step, fault));
        (void)ended.DeleteForeign(spec);
        reached = ended.operations() > step;
        const auto deleted = Actor(world, "S").DeleteForeign(spec);
        ASSERT_TRUE(deleted) << deleted.error().message;
        ASSERT_FALSE(world.Has("a/p"));
        ASSERT_EQ(world.Has("a/archived-p/file"), disposal == Disposal::kArchive);
        // A volume in its place.
        ASSERT_EQ(Failure(Actor(world, "V").Create(Spec("v", "a/p"))), "");
        world.MakePath("a/p/new", NodeType::kFile, "new");
        world.RunDelayed();
        ExpectVolume(world, "v", "a/p");
        ASSERT_TRUE(world.Has("a/p/new"));
        ASSERT_EQ(Failure(Actor(world, "D").Delete("v")), "");
        EmptyTrash(world);
        auto expected = With(kNothing, {"a/", "a/other/", "a/other/file"});
        if (disposal == Disposal::kArchive)
          expected = With(std::move(expected), {"a/archived-p/", "a/archived-p/file"});
        ASSERT_EQ(Tidied(world), expected);
      }
    }
  }
}

}  // namespace
}  // namespace gantry::plugin
