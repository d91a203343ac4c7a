// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/records.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace gantry::cephfs {
namespace {

using ::testing::HasSubstr;

VolumeRecord SomeVolume() {
  VolumeRecord record;
  record.handle = "0123456789abcdef0123456789abcdef";
  record.name = "pvc-\"1\"";
  record.incarnation = "i";
  record.state = RecordState::kReady;
  record.required_bytes = 1;
  record.limit_bytes = 3;
  record.capacity_bytes = 2;
  record.parameters = {{"group", "g"}};
  record.mutable_parameters = {{"pin", "export:1"}};
  record.group = "g";
  record.subvolume = "s";
  record.replaced = {"old"};
  record.path = "/volumes/g/s/u";
  record.data_pool = "pool";
  record.pool_namespace = "ns";
  record.content = ContentKind::kSnapshot;
  record.content_handle = "c";
  record.copy_of = SnapshotAt{"g2", "s2", "snap"};
  record.copy_is_ours = true;
  record.nodes = {{"node-1", {"gantry.user", true, false}}};
  return record;
}

TEST(VolumeRecord, IsReadAsItWasWritten) {
  const VolumeRecord record = SomeVolume();
  const std::string text = Encode(record, "n");
  const auto read = DecodeVolume(text);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(Encode(*read, "n"), text);
  EXPECT_EQ(read->copy_of, record.copy_of);
  EXPECT_EQ(read->nodes.at("node-1").user, "gantry.user");
}

TEST(SnapshotRecord, IsReadAsItWasWritten) {
  SnapshotRecord record;
  record.handle = "f";
  record.state = RecordState::kDeleting;
  record.at = {"g", "s", "n"};
  record.created_ns = 5;
  record.users = {{"volume", "incarnation"}};
  const std::string text = Encode(record, "n");
  const auto read = DecodeSnapshot(text);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(Encode(*read, "n"), text);
}

TEST(VolumeRecord, ThatIsDamagedOrNewerIsNotGuessedAt) {
  for (const char* text : {"", "{}", "[]", R"({"format": 1})", R"({"format": "1"})"}) {
    const auto read = DecodeVolume(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, plugin::code::kDataLoss);
  }
  const auto newer = DecodeVolume(R"({"format": 2})");
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, plugin::code::kFailedPrecondition);
  EXPECT_THAT(newer.error().message, HasSubstr("format 2"));
}

TEST(Nonce, IsNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string nonce = MakeNonce();
    EXPECT_EQ(nonce.size(), kNonceDigits);
    EXPECT_TRUE(seen.insert(nonce).second);
  }
}

}  // namespace
}  // namespace gantry::cephfs
