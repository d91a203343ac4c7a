// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/xattr_names.hpp"

#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

TEST(CephXattrs, OfUsersAreKeptAndCephsAreOnlyRead) {
  EXPECT_EQ(MayRead("user.x"), 0);
  EXPECT_EQ(MayChange("user.x"), 0);
  EXPECT_EQ(MayChange("trusted.overlay.opaque"), 0);
  EXPECT_EQ(MayRead("ceph.dir.rbytes"), 0);
  EXPECT_EQ(MayChange("ceph.quota.max_bytes"), EPERM);
  for (const char* name : {"security.capability", "system.posix_acl_access", "users.x", ""}) {
    EXPECT_EQ(MayRead(name), EOPNOTSUPP) << name;
    EXPECT_EQ(MayChange(name), EOPNOTSUPP) << name;
  }
}

TEST(CephXattrs, OfCephAreNotListed) {
  const std::string all("user.a\0ceph.dir.layout\0trusted.b\0security.c\0user.d\0", 50);
  EXPECT_EQ(KeptOf(all), std::string("user.a\0trusted.b\0user.d\0", 24));
  EXPECT_EQ(KeptOf(""), "");
  EXPECT_EQ(KeptOf("user.cut"), std::string("user.cut\0", 9));
}

}  // namespace
}  // namespace gantry::cephfs
