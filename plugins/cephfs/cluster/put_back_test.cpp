// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/put_back.hpp"

#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

TEST(PutBack, KnowsWhereASubvolumesDirectoryHasGone) {
  const auto trashed = TrashedFrom("/volumes/group/name/0a-1b");
  ASSERT_TRUE(trashed);
  EXPECT_EQ(trashed->directory, "/volumes/group/name/.trash/0a-1b");
  EXPECT_EQ(trashed->link, "/volumes/_deleting/0a-1b");
}

TEST(PutBack, TouchesNoOtherPath) {
  for (const char* path : {"", "/", "/a/b/c", "/a/b/c/d/e", "/a/b/c/", "/a//b/c", "a/b/c/d",
                           "/a/b/../d", "/a/b/.snap/d", "/a/b/c/."})
    EXPECT_FALSE(TrashedFrom(path)) << path;
  EXPECT_FALSE(DecodePutBackRequest(R"({"path": "/a/b"})"));
}

}  // namespace
}  // namespace gantry::cephfs
