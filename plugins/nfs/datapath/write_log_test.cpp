// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/write_log.hpp"

#include <gtest/gtest.h>

#include "plugins/nfs/datapath/testing/fake_host.hpp"

namespace gantry::nfs {
namespace {

// The entry was free, and the head did not know it yet.
TEST(WriteLogTest, HasRoomAgainWhereAPredecessorDiedWhileItFreedItsLastEntry) {
  test::FakeHost host;
  WriteLog log;
  ASSERT_TRUE(log.Prepare(host.table()));
  WriteEntry what{};
  what.bytes = kWriteLogBytes;
  const auto number = log.Append(what);
  ASSERT_TRUE(number.has_value());
  log.At(*number).state = WriteEntry::kFree;
  WriteLog successor;
  ASSERT_TRUE(successor.Prepare(host.table()));
  EXPECT_EQ(successor.begin(), successor.end());
  EXPECT_TRUE(successor.HasRoom(kWriteLogBytes, 1));
}

TEST(WriteLogTest, RefusesALayoutThatItDoesNotKnow) {
  test::FakeHost host;
  WriteLog log;
  ASSERT_TRUE(log.Prepare(host.table()));
  std::memset(host.Region("writes"), 0x77, 8);
  WriteLog other;
  const auto prepared = other.Prepare(host.table());
  ASSERT_FALSE(prepared.has_value());
  EXPECT_EQ(prepared.error().failure, Failure::kInvalid);
  EXPECT_FALSE(other.ready());
}

}  // namespace
}  // namespace gantry::nfs
