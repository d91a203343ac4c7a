// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/nodes.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>

#include "host/base/fd.hpp"

namespace gantry::datapath {
namespace {

class NodesTest : public ::testing::Test {
 protected:
  NodesTest()
      : memory_(memfd_create("nodes", MFD_CLOEXEC)),
        table_(NodeTable::Attach(memory_.get(), kPageBytes).value()) {
    EXPECT_TRUE(table_.SetRoot("root"));
  }
  uint32_t Lookup(std::string_view handle) {
    const uint32_t node = table_.Intern(handle).value();
    Redo redo{};
    EXPECT_TRUE(table_.Adjust(redo, node, 1, 0));
    return node;
  }
  bool Forget(uint32_t node, int64_t count) {
    Redo redo{};
    const bool right = table_.Adjust(redo, node, -count, 0);
    table_.DropIfUnused(node);
    return right;
  }
  base::UniqueFd memory_;
  NodeTable table_;
};

TEST_F(NodesTest, GiveOneIdToOneHandle) {
  const uint32_t a = Lookup("a");
  EXPECT_NE(a, kRootNode);
  EXPECT_EQ(Lookup("a"), a);
  EXPECT_NE(Lookup("b"), a);
  EXPECT_EQ(table_.Handle(a), "a");
  EXPECT_EQ(table_.Intern("root").value(), kRootNode);
}

TEST_F(NodesTest, CountWhatIsLookedUpAndForgotten) {
  const uint32_t node = Lookup("a");
  Lookup("a");
  EXPECT_EQ(table_.Count().lookups, 2U);
  EXPECT_TRUE(Forget(node, 1));
  EXPECT_TRUE(table_.Has(node));
  EXPECT_TRUE(Forget(node, 1));
  EXPECT_FALSE(table_.Has(node));
  EXPECT_EQ(table_.Count().nodes, 0U);
}

TEST_F(NodesTest, KeepANodeThatIsOpen) {
  const uint32_t node = Lookup("a");
  Redo open{};
  table_.Adjust(open, node, 0, 1);
  EXPECT_TRUE(Forget(node, 1));
  EXPECT_TRUE(table_.Has(node));
  Redo release{};
  EXPECT_TRUE(table_.Adjust(release, node, 0, -1));
  table_.DropIfUnused(node);
  EXPECT_FALSE(table_.Has(node));
}

TEST_F(NodesTest, ChangeTheGenerationWithTheFile) {
  const uint32_t node = Lookup("a");
  const uint32_t generation = table_.Generation(node);
  EXPECT_TRUE(Forget(node, 1));
  ASSERT_EQ(Lookup("b"), node);
  EXPECT_NE(table_.Generation(node), generation);
}

TEST_F(NodesTest, NeverCountBelowZero) {
  const uint32_t node = Lookup("a");
  Lookup("a");
  EXPECT_FALSE(Forget(node, 3));
  EXPECT_FALSE(table_.Has(node));
}

TEST_F(NodesTest, ApplyARedoRecordOnce) {
  const uint32_t node = table_.Intern("a").value();
  Redo redo{};
  EXPECT_TRUE(table_.Adjust(redo, node, 1, 1));
  EXPECT_TRUE(table_.Adjust(redo, node, 1, 1));
  EXPECT_EQ(table_.Count().lookups, 1U);
  EXPECT_EQ(table_.Count().opens, 1U);
  EXPECT_EQ(redo.state, RedoState::kApplied);
  EXPECT_EQ(redo.lookups, 1U);
  EXPECT_TRUE(table_.Adjust(redo, node, 1, 0, /*item=*/1));
  EXPECT_EQ(table_.Count().lookups, 2U);
}

TEST_F(NodesTest, AreFoundAgainByASuccessor) {
  const uint32_t a = Lookup("a");
  const uint32_t b = Lookup("b");
  const uint32_t c = Lookup("c");
  EXPECT_TRUE(Forget(b, 1));
  NodeTable next = NodeTable::Attach(memory_.get(), kPageBytes).value();
  EXPECT_TRUE(next.SetRoot("root"));
  EXPECT_FALSE(next.SetRoot("another"));
  EXPECT_EQ(next.Intern("a").value(), a);
  EXPECT_EQ(next.Intern("c").value(), c);
  EXPECT_EQ(next.Intern("d").value(), b);
  EXPECT_EQ(next.Count().lookups, 2U);
}

TEST_F(NodesTest, KeepAHiddenNodeWhateverCountsOnIt) {
  const uint32_t directory = Lookup("d");
  const uint32_t node = Lookup("a");
  EXPECT_FALSE(table_.HiddenOf(node));
  table_.Hide(node, {directory, 1000, 1001, 4711});
  EXPECT_TRUE(Forget(node, 1));
  EXPECT_TRUE(table_.Has(node));
  NodeTable next = NodeTable::Attach(memory_.get(), kPageBytes).value();
  next.DropAllUnused();
  EXPECT_EQ(next.AnyHidden(), node);
  const auto hidden = next.HiddenOf(node);
  ASSERT_TRUE(hidden);
  EXPECT_EQ(hidden->directory, directory);
  EXPECT_EQ(hidden->uid, 1000U);
  EXPECT_EQ(hidden->gid, 1001U);
  EXPECT_EQ(hidden->number, 4711U);
  next.Unhide(node);
  next.DropIfUnused(node);
  EXPECT_FALSE(next.Has(node));
  EXPECT_FALSE(next.AnyHidden());
  EXPECT_FALSE(next.HiddenOf(next.Intern("b").value()));
}

TEST_F(NodesTest, FindOnlyWhatIsThere) {
  const uint32_t node = Lookup("a");
  EXPECT_EQ(table_.Find("a"), node);
  EXPECT_FALSE(table_.Find("b"));
  EXPECT_EQ(table_.Count().nodes, 1U);
}

TEST_F(NodesTest, GrowBeyondWhatIsPresentAtFirst) {
  for (uint32_t i = 0; i < 3 * kNodesStep; ++i) Lookup("handle " + std::to_string(i));
  EXPECT_EQ(table_.Count().nodes, 3U * kNodesStep);
  EXPECT_EQ(table_.Handle(table_.Intern("handle 2500").value()), "handle 2500");
}

TEST_F(NodesTest, TakeNoMoreThanTheyMay) {
  const base::UniqueFd memory(memfd_create("few", MFD_CLOEXEC));
  NodeTable few = NodeTable::Attach(memory.get(), 0, 4).value();
  EXPECT_TRUE(few.Intern("a"));
  EXPECT_TRUE(few.Intern("b"));
  const auto refused = few.Intern("c");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, base::Code::kResourceExhausted);
}

TEST_F(NodesTest, RememberTheLastWriterAsLongAsTheFile) {
  const uint32_t node = Lookup("a");
  EXPECT_FALSE(table_.WriterOf(node));
  table_.SetWriter(node, {7, 8});
  NodeTable next = NodeTable::Attach(memory_.get(), kPageBytes).value();
  ASSERT_TRUE(next.WriterOf(node));
  EXPECT_EQ(next.WriterOf(node)->uid, 7U);
  EXPECT_EQ(next.WriterOf(node)->gid, 8U);
  EXPECT_TRUE(Forget(node, 1));
  EXPECT_EQ(Lookup("b"), node);
  EXPECT_FALSE(table_.WriterOf(node));
}

TEST_F(NodesTest, RefuseHandlesOfAWrongSize) {
  EXPECT_FALSE(table_.Intern(""));
  EXPECT_TRUE(table_.Intern(std::string(kHandleBytesMax, 'x')));
  EXPECT_FALSE(table_.Intern(std::string(kHandleBytesMax + 1, 'x')));
}

TEST_F(NodesTest, KnowNoNodeThatWasNeverGiven) {
  EXPECT_FALSE(table_.Has(0));
  EXPECT_TRUE(table_.Has(kRootNode));
  EXPECT_FALSE(table_.Has(2));
  EXPECT_FALSE(table_.Has(UINT64_MAX));
}

}  // namespace
}  // namespace gantry::datapath
