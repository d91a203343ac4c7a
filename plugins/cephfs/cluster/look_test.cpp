// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/look.hpp"

#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

TEST(Look, ASnapshotsTimeHasNanoseconds) {
  EXPECT_EQ(ParseSeconds("1764469666.993422001"), 1'764'469'666'993'422'001);
  EXPECT_EQ(ParseSeconds("0.000000005"), 5);
  for (const char* text : {"", "5", "5.", "5.1", "5.-12345678", "x.000000001", "5.0000000001"})
    EXPECT_EQ(ParseSeconds(text), std::nullopt) << text;
}

TEST(Look, ComesBackFromAJobWhole) {
  LookRequest request;
  request.path = "/a";
  request.snapshot = "s";
  const auto asked = DecodeLookRequest(Encode(request));
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->path, "/a");
  EXPECT_EQ(asked->snapshot, "s");
  Look look;
  look.there = true;
  look.used_bytes = 7;
  auto seen = DecodeLook(Encode(look));
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->quota_bytes, std::nullopt);
  EXPECT_EQ(seen->snapshot_cut_ns, std::nullopt);
  look.snapshot_cut_ns = 9;
  look.quota_bytes = 8;
  seen = DecodeLook(Encode(look));
  ASSERT_TRUE(seen);
  EXPECT_TRUE(seen->there);
  EXPECT_EQ(seen->used_bytes, 7U);
  EXPECT_EQ(seen->quota_bytes, 8U);
  EXPECT_EQ(seen->snapshot_cut_ns, 9);
}

}  // namespace
}  // namespace gantry::cephfs
