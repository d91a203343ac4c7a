// SPDX-License-Identifier: Apache-2.0
#include "host/services/ceph_options.hpp"

#include <gtest/gtest.h>

namespace gantry::services {
namespace {

TEST(CephOptions, ThatStayWithTheClusterArePlain) {
  for (const char* option : {"name=gantry-v1", "secret=AQC8kQJrhbx7DxAAWkoAiqi2X+zHUPZc5/A7dg==",
                             "mds_namespace=cephfs", "ms_mode=prefer-crc", "recover_session=clean",
                             "rsize=1048576", "nodirstat", "wsync", "mount_timeout=30"})
    EXPECT_TRUE(IsPlainCephOption(option)) << option;
}

TEST(CephOptions, ThatLeadElsewhereOrSayNonsenseAreNot) {
  for (const char* option : {"mon_addr=10.0.0.1:6789", "ip=10.0.0.1", "key=other", "fsc", "noshare",
                             "ms_mode=none", "rsize=", "rsize=x", "name=", "secret", "", "="})
    EXPECT_FALSE(IsPlainCephOption(option)) << option;
}

}  // namespace
}  // namespace gantry::services
