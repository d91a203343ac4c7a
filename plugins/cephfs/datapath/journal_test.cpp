// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/journal.hpp"

#include <gtest/gtest.h>

#include "plugins/cephfs/datapath/testing/fake_host.hpp"

namespace gantry::cephfs {
namespace {

constexpr Begun kBegun{17, {1, 2}};

TEST(CephJournal, TellsASuccessorWhatWasBegunUntilItIsFreed) {
  test::FakeHost host;
  Journal first;
  ASSERT_TRUE(first.Prepare(host.table()));
  ASSERT_TRUE(first.Note(5, kBegun));
  ASSERT_TRUE(first.Note(6, kBegun));
  first.Free(6);
  Journal second;
  ASSERT_TRUE(second.Prepare(host.table()));
  const auto past = second.TakePast(5);
  ASSERT_TRUE(past);
  EXPECT_EQ(past->at_ns, kBegun.at_ns);
  EXPECT_EQ(past->before, kBegun.before);
  EXPECT_FALSE(second.TakePast(6));
  // It dies as well, before it has told anybody.
  Journal third;
  ASSERT_TRUE(third.Prepare(host.table()));
  EXPECT_TRUE(third.TakePast(5));
  third.Free(5);
  Journal fourth;
  ASSERT_TRUE(fourth.Prepare(host.table()));
  EXPECT_FALSE(fourth.TakePast(5));
}

TEST(CephJournal, DropsWhatNobodyAskedForAgainAndKeepsTheRest) {
  test::FakeHost host;
  Journal first;
  ASSERT_TRUE(first.Prepare(host.table()));
  ASSERT_TRUE(first.Note(5, kBegun));
  ASSERT_TRUE(first.Note(6, kBegun));
  Journal second;
  ASSERT_TRUE(second.Prepare(host.table()));
  ASSERT_TRUE(second.TakePast(5));
  second.DropPast();
  Journal third;
  ASSERT_TRUE(third.Prepare(host.table()));
  EXPECT_TRUE(third.TakePast(5));
  EXPECT_FALSE(third.TakePast(6));
}

TEST(CephJournal, IsBoundedAndForgetsAllAtTheEnd) {
  test::FakeHost host;
  Journal journal;
  ASSERT_TRUE(journal.Prepare(host.table()));
  for (gantry_op op = 1; op <= kJournalEntries; ++op) ASSERT_TRUE(journal.Note(op, kBegun));
  EXPECT_FALSE(journal.Note(kJournalEntries + 1, kBegun));
  journal.Free(7);
  EXPECT_TRUE(journal.Note(kJournalEntries + 1, kBegun));
  journal.Clear();
  EXPECT_TRUE(journal.Note(1, kBegun));
}

TEST(CephJournal, SaysThatTheHostGivesNoMemory) {
  test::FakeHost host(test::RegionBytes(1));
  Journal journal;
  EXPECT_FALSE(journal.Prepare(host.table()));
}

}  // namespace
}  // namespace gantry::cephfs
