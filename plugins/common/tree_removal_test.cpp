// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/tree_removal.hpp"

#include <gtest/gtest.h>

#include <string>

#include "plugins/common/testing/fake_tree.hpp"

namespace gantry::plugin {
namespace {

using testing::FakeTree;
using State = TreeRemoval::State;

void MakeSample(FakeTree& tree) {
  for (int i = 0; i < 200; ++i) {
    tree.MakePath("top/d" + std::to_string(i % 20) + "/e/f" + std::to_string(i), EntryKind::kFile);
  }
  tree.MakePath("top/link", EntryKind::kSymlink, "../beside");
  tree.MakePath("beside", EntryKind::kFile);
}

void Drive(FakeTree& tree, TreeRemoval& removal) {
  while (removal.state() == State::kRunning) {
    ASSERT_GT(tree.outstanding(), 0U) << "it stands still";
    tree.Wait(tree.Now());
    removal.Pump();
  }
}

TEST(TreeRemoval, RemovesATreeWithManyCallsInFlightButNotMoreThanAllowed) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(seed);
    tree.RepeatSome(seed * 30);
    RemovalLimits limits;
    limits.calls_in_flight_max = 16;
    limits.directories_open_max = 1 + seed % 5;
    TreeRemoval removal(
        tree, [] { return true; }, limits);
    removal.Begin(tree.root(), "top");
    Drive(tree, removal);
    EXPECT_EQ(removal.state(), State::kGone) << removal.stuck();
    EXPECT_FALSE(tree.Has("top"));
    EXPECT_TRUE(tree.Has("beside"));
    EXPECT_LE(tree.outstanding_max(), 3U * 16);  // Of a page, three may have to be looked up.
    EXPECT_GE(tree.outstanding_max(), 4U);
  }
}

TEST(TreeRemoval, RemovesWhatIsNoDirectory) {
  FakeTree tree;
  MakeSample(tree);
  TreeRemoval removal(tree, [] { return true; });
  removal.Begin(tree.IdOf("top"), "link");
  Drive(tree, removal);
  EXPECT_EQ(removal.state(), State::kGone);
  EXPECT_EQ(removal.removed(), 1U);
  EXPECT_FALSE(tree.Has("top/link"));
  EXPECT_TRUE(tree.Has("top/d1"));
}

TEST(TreeRemoval, StopsWhenItIsTold) {
  FakeTree tree;
  MakeSample(tree);
  int left = 50;
  TreeRemoval removal(tree, [&] { return left-- > 0; });
  removal.Begin(tree.root(), "top");
  Drive(tree, removal);
  EXPECT_EQ(removal.state(), State::kStopped);
  EXPECT_EQ(removal.removed(), 50U);
  EXPECT_EQ(tree.outstanding(), 0U);
}

TEST(TreeRemoval, RemovesAllElseAroundWhatIsStuck) {
  FakeTree tree;
  MakeSample(tree);
  const NodeId stuck = tree.IdOf("top/d7/e");
  tree.SetBefore([&](const FakeTree::Happening& now) -> std::optional<StoreFault> {
    if (now.what == "Remove" && now.id == stuck && now.name == "f7") return StoreFault::kRefused;
    return std::nullopt;
  });
  tree.At("top/d3/e").attributes.fsid = 9;
  TreeRemoval removal(tree, [] { return true; });
  removal.Begin(tree.root(), "top");
  Drive(tree, removal);
  EXPECT_EQ(removal.state(), State::kStuck);
  EXPECT_NE(removal.stuck(), "");
  EXPECT_TRUE(tree.Has("top/d7/e/f7"));
  EXPECT_FALSE(tree.Has("top/d7/e/f27"));
  EXPECT_TRUE(tree.Has("top/d3/e/f3"));
  EXPECT_FALSE(tree.Has("top/d1"));
}

TEST(TreeRemoval, FailsWhenTheStorageDoesNotAnswer) {
  FakeTree tree;
  MakeSample(tree);
  tree.SetBefore([&](const FakeTree::Happening& now) {
    return now.number > 100 ? std::optional(StoreFault::kUnavailable) : std::nullopt;
  });
  TreeRemoval removal(tree, [] { return true; });
  removal.Begin(tree.root(), "top");
  Drive(tree, removal);
  EXPECT_EQ(removal.state(), State::kFailed);
  EXPECT_EQ(removal.error().code, code::kUnavailable);
}

}  // namespace
}  // namespace gantry::plugin
