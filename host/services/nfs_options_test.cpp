// SPDX-License-Identifier: Apache-2.0
#include "host/services/nfs_options.hpp"

#include <gtest/gtest.h>

namespace gantry::services {
namespace {

TEST(NfsOptions, ThatStayWithTheServerArePlain) {
  for (const char* option : {"vers=4.2", "nfsvers=3", "v4.1", "hard", "soft", "timeo=600",
                             "rsize=1048576", "nosharecache", "proto=tcp6", "port=2049",
                             "mountport=20048", "lookupcache=pos", "local_lock=flock", "noac"})
    EXPECT_TRUE(IsPlainNfsOption(option)) << option;
}

TEST(NfsOptions, ThatLeadElsewhereOrSayNonsenseAreNot) {
  for (const char* option : {"addr=10.0.0.1", "mountaddr=10.0.0.1", "clientaddr=10.0.0.1", "fsc",
                             "sec=krb5", "udp", "proto=rdma", "vers=5", "timeo=", "timeo",
                             "timeo=1,addr=x", "port=99999999999", "hard=1", "", "="})
    EXPECT_FALSE(IsPlainNfsOption(option)) << option;
}

}  // namespace
}  // namespace gantry::services
