// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/ceph_error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace gantry::cephfs {
namespace {

TEST(CephError, TakesATimeOutOfEitherSignForNoAnswer) {
  EXPECT_EQ(FromErrno(ETIMEDOUT, "x").code, plugin::code::kUnavailable);
  EXPECT_EQ(FromErrno(-ETIMEDOUT, "x").code, plugin::code::kUnavailable);
}

TEST(CephError, SaysWhoWasRefused) {
  EXPECT_EQ(FromErrno(-EACCES, "x").code, plugin::code::kUnauthenticated);
  EXPECT_EQ(FromErrno(-EPERM, "x").code, plugin::code::kPermissionDenied);
}

TEST(CephError, IsTransientWhereNothingIsKnown) {
  EXPECT_EQ(FromErrno(-EIO, "x").code, plugin::code::kUnavailable);
  EXPECT_EQ(FromErrno(-99999, "x").code, plugin::code::kUnavailable);
}

TEST(CephError, ShowsOfATracebackItsLastLineAlone) {
  EXPECT_EQ(
      ForPeople("Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'\n"),
      "KeyError: 'x'");
  EXPECT_EQ(ForPeople("subvolume 'a'\n has snapshots\n"), "subvolume 'a'  has snapshots");
  EXPECT_LE(ForPeople(std::string(5000, 'x')).size(), 200U);
}

TEST(CephError, TellsWhatWasDoneWhereCephIsSilent) {
  EXPECT_EQ(FromErrno(-ENOENT, "fs subvolume info").message,
            "fs subvolume info: No such file or directory");
}

}  // namespace
}  // namespace gantry::cephfs
