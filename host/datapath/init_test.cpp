// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/init.hpp"

#include <gtest/gtest.h>

namespace gantry::datapath {
namespace {

TEST(Locks, AreChosenByTheNameOfAPolicy) {
  EXPECT_EQ(ParseLocks("").value(), Locks::kLocal);
  EXPECT_EQ(ParseLocks("local").value(), Locks::kLocal);
  EXPECT_EQ(ParseLocks("none").value(), Locks::kNone);
  const auto wrong = ParseLocks("server");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "locks is \"server\"; expected local or none");
}

TEST(PageCache, IsChosenByTheNameOfAPolicy) {
  EXPECT_EQ(ParsePageCache("").value(), PageCache::kWritethrough);
  EXPECT_EQ(ParsePageCache("writethrough").value(), PageCache::kWritethrough);
  EXPECT_EQ(ParsePageCache("writeback").value(), PageCache::kWriteback);
  const auto wrong = ParsePageCache("none");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(wrong.error().message, "cache is \"none\"; expected writethrough or writeback");
}

}  // namespace
}  // namespace gantry::datapath
