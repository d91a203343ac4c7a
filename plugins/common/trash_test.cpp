// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/trash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "plugins/common/testing/actor.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

TEST(Trash, IsEmptiedInBoundedRuns) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  for (int i = 0; i < 30; ++i) {
    world.MakePath("p/d" + std::to_string(i % 3) + "/e/f" + std::to_string(i), NodeType::kFile);
  }
  world.MakePath("p/link", NodeType::kSymlink);
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  Actor actor(world, "T");
  int runs = 0;
  for (auto state = TrashState::kMore; state == TrashState::kMore; ++runs) {
    const auto run = actor.EmptyTrash(10);
    ASSERT_TRUE(run);
    EXPECT_LE(run->removed, 10u);
    state = run->state;
  }
  EXPECT_GE(runs, 4);
  EXPECT_EQ(world.Paths(), kNothing);
  EXPECT_EQ(actor.EmptyTrash()->state, TrashState::kEmpty);
}

TEST(Trash, IsLeftToWhoeverHoldsTheLeaseUntilItIsOld) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  world.MakePath(".gantry/trash/.lease", NodeType::kFile, "somebody");
  const auto refused = Actor(world, "T").EmptyTrash();
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->leased);
  EXPECT_EQ(refused->state, TrashState::kMore);
  world.Advance(kOwnerLeaseMs + 1);
  EXPECT_EQ(Actor(world, "T").EmptyTrash()->state, TrashState::kEmptied);
  EXPECT_EQ(world.Paths(), kNothing);
}

TEST(Trash, IsEmptiedAfterADeathAtEveryStep) {
  for (const Fault fault : {Fault::kDieBefore, Fault::kDieAfter, Fault::kDieDelayed,
                            Fault::kLoseReply, Fault::kRefuse}) {
    bool reached = true;
    for (size_t step = 0; reached; ++step) {
      SCOPED_TRACE(step);
      World world;
      ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
      world.MakePath("p/d/f", NodeType::kFile);
      ASSERT_TRUE(Actor(world, "A").Delete("h"));
      Actor ended(world, "E", At(step, fault));
      (void)ended.EmptyTrash();
      reached = ended.operations() > step;
      EmptyTrash(world);
      world.RunDelayed();
      // A lease alone brings nobody; the next deleted volume does.
      ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
      ASSERT_TRUE(Actor(world, "A").Delete("h"));
      EmptyTrash(world);
      EXPECT_EQ(world.Paths(), kNothing);
      ASSERT_LT(step, kStepsMax);
    }
  }
}

TEST(Trash, StopsAtAnotherFilesystem) {
  World world;
  ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "p")));
  world.MakePath("p/mounted", NodeType::kDirectory);
  world.SetFilesystem("p/mounted", 9);
  world.MakePath("p/mounted/keep", NodeType::kFile);
  world.MakePath("p/file", NodeType::kFile);
  ASSERT_TRUE(Actor(world, "A").Delete("h"));
  const auto run = Actor(world, "T").EmptyTrash();
  ASSERT_TRUE(run);
  EXPECT_NE(run->stuck.find("mounted"), std::string::npos);
  const auto paths = world.Paths();
  EXPECT_TRUE(std::any_of(paths.begin(), paths.end(),
                          [](const auto& p) { return p.ends_with("/mounted/keep"); }));
  EXPECT_FALSE(std::any_of(paths.begin(), paths.end(),
                           [](const auto& p) { return p.ends_with("/data/file"); }));
}

}  // namespace
}  // namespace gantry::plugin
