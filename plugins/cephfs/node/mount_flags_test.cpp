// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/node/mount_flags.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(CephMountFlags, ThatTheClientKeepsAreTaken) {
  const auto flags =
      JudgeMountFlags({"ro,noatime", "ms_mode=secure,rsize=65536", "timeout=7", "cache=writeback",
                       "context=\"a:b:c:s0,c1\"", "recover_session=no"});
  ASSERT_TRUE(flags) << flags.error().message;
  EXPECT_EQ(flags->ms_mode, "secure");
  EXPECT_EQ(flags->timeout_seconds, 7U);
  EXPECT_TRUE(flags->writeback);
}

TEST(CephMountFlags, ThatItDoesNotKeepAreRefusedByNameAlone) {
  for (const char* flag : {"secret=hunter2", "recover_session=clean", "ms_mode=legacy", "acl",
                           "timeout=0", "rsize=x", "cache=none", "name=hunter2"}) {
    const auto flags = JudgeMountFlags({flag});
    ASSERT_FALSE(flags) << flag;
    const std::string_view whole = flag;
    EXPECT_THAT(flags.error().message,
                HasSubstr("\"" + std::string(whole.substr(0, whole.find('='))) + "\""));
    EXPECT_THAT(flags.error().message, Not(HasSubstr("hunter2")));
  }
}

}  // namespace
}  // namespace gantry::cephfs
