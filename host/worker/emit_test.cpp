// SPDX-License-Identifier: Apache-2.0
#include "host/worker/emit.hpp"

#include <gtest/gtest.h>

#include "host/worker/operations.hpp"

namespace gantry::worker {
namespace {

gantry_str Str(std::string_view text) { return {text.data(), text.size()}; }

gantry_volume GoodVolume() {
  gantry_volume volume{};
  volume.size = sizeof(volume);
  volume.handle = Str("vol-1");
  return volume;
}
template <class Item>
std::string Message(const Item& item) {
  const auto emit = ToEmit(item);
  return emit ? "accepted" : emit.error().message;
}

TEST(Emit, CarriesAVolume) {
  const gantry_pair pairs[] = {{Str("a"), Str("1")}, {Str("b"), Str("")}};
  const gantry_pair zone[] = {{Str("zone"), Str("x")}};
  const gantry_map topologies[] = {{zone, 1}};
  const gantry_str nodes[] = {Str("n1"), Str("n2")};
  gantry_volume volume = GoodVolume();
  volume.flags = GANTRY_VOLUME_NODE_EXPANSION;
  volume.capacity_bytes = 1 << 20;
  volume.context = {pairs, 2};
  volume.content_kind = GANTRY_CONTENT_VOLUME;
  volume.content_handle = Str("vol-0");
  volume.condition = GANTRY_CONDITION_ABNORMAL;
  volume.condition_message = Str("away since noon");
  volume.topologies = topologies;
  volume.topology_count = 1;
  volume.published_node_ids = {nodes, 2};
  const auto emit = ToEmit(volume);
  ASSERT_TRUE(emit) << emit.error().message;
  const channel::Volume& to = emit->volume();
  EXPECT_EQ(to.handle(), "vol-1");
  EXPECT_EQ(to.capacity_bytes(), 1u << 20);
  EXPECT_EQ(to.context().at("a"), "1");
  EXPECT_EQ(to.context().at("b"), "");
  EXPECT_EQ(to.content_kind(), GANTRY_CONTENT_VOLUME);
  EXPECT_EQ(to.content_handle(), "vol-0");
  EXPECT_EQ(to.condition(), GANTRY_CONDITION_ABNORMAL);
  EXPECT_EQ(to.condition_message(), "away since noon");
  EXPECT_EQ(to.topologies(0).values().at("zone"), "x");
  EXPECT_EQ(to.published_node_ids(1), "n2");
  EXPECT_TRUE(to.node_expansion_required());
}

TEST(Emit, RefusesBadHandles) {
  gantry_volume volume = GoodVolume();
  volume.handle = Str("a/b");
  EXPECT_EQ(Message(volume),
            "volume.handle is \"a/b\" of 3 bytes, expected 1 to 80 of [A-Za-z0-9._-]");
  volume.handle = {};
  EXPECT_NE(Message(volume), "accepted");
  const std::string longer(81, 'x');
  volume.handle = Str(longer);
  EXPECT_NE(Message(volume), "accepted");
  volume.handle = {nullptr, 5};
  EXPECT_NE(Message(volume), "accepted");
}

TEST(Emit, RefusesWhatTheHostCouldNotStore) {
  gantry_volume volume = GoodVolume();
  volume.condition_message = Str("\xff");
  EXPECT_EQ(Message(volume), "volume.condition_message is not UTF-8 at byte 0");
  volume = GoodVolume();
  volume.condition = 7;
  EXPECT_EQ(Message(volume), "volume.condition is 7, expected 0 to 2");
  volume = GoodVolume();
  volume.capacity_bytes = UINT64_MAX;
  EXPECT_EQ(Message(volume),
            "volume.capacity_bytes is 18446744073709551615, which CSI cannot carry");
  volume = GoodVolume();
  volume.topology_count = 3;
  EXPECT_EQ(Message(volume), "volume.topologies is NULL with a count of 3");
  const gantry_pair twice[] = {{Str("k"), Str("1")}, {Str("k"), Str("2")}};
  volume = GoodVolume();
  volume.context = {twice, 2};
  EXPECT_EQ(Message(volume), "volume.context has the key \"k\" twice");
  const std::string big(5000, 'x');
  const gantry_pair large[] = {{Str("k"), Str(big)}};
  volume.context = {large, 1};
  EXPECT_EQ(Message(volume), "volume.context has 5001 bytes, at most 4096 are allowed");
}

TEST(Emit, ChecksTheOtherItemsToo) {
  gantry_source source{};
  source.kind = 9;
  EXPECT_EQ(Message(source), "source.kind is 9, expected 1 to 5");
  gantry_task task{};
  task.kind = Str("no spaces");
  EXPECT_EQ(Message(task), "task.kind is \"no spaces\", expected 1 to 32 of [a-z0-9-]");
  task.kind = Str("trash");
  EXPECT_EQ(Message(task), "accepted");
  gantry_task_progress progress{};
  progress.cursor = {nullptr, 3};
  EXPECT_NE(Message(progress), "accepted");
  gantry_snapshot snapshot{};
  snapshot.handle = Str("s1");
  EXPECT_EQ(Message(snapshot), "accepted");
  snapshot.group_handle = Str("a b");
  EXPECT_NE(Message(snapshot), "accepted");
  EXPECT_EQ(Message(gantry_map{}), "accepted");
  EXPECT_EQ(Message(gantry_capacity{}), "accepted");
  EXPECT_EQ(Message(gantry_block_range{}), "accepted");
}

TEST(Emit, ReadsOfAStructOnlyWhatThePluginKnew) {
  gantry_volume volume = GoodVolume();
  volume.capacity_bytes = 5;
  volume.size = offsetof(gantry_volume, capacity_bytes);
  EXPECT_EQ(CopyStruct(&volume).capacity_bytes, 0u);
  EXPECT_EQ(CopyStruct(&volume).handle.len, 5u);
  volume.size = 100'000;
  EXPECT_EQ(CopyStruct(&volume).capacity_bytes, 5u);
}

TEST(Operations, KnowWhatMayBeEmitted) {
  EXPECT_TRUE(MayEmit(channel::CREATE_VOLUME, channel::Emit::kVolume));
  EXPECT_TRUE(MayEmit(channel::DELETE_VOLUME, channel::Emit::kTask));
  EXPECT_TRUE(MayEmit(channel::START, channel::Emit::kTask));
  EXPECT_FALSE(MayEmit(channel::DELETE_VOLUME, channel::Emit::kVolume));
  EXPECT_FALSE(MayEmit(channel::START, channel::Emit::kVolume));
}

TEST(Operations, NameEverySlotOnce) {
  Extensions extensions{};
  EXPECT_TRUE(SlotNames(extensions).empty());
  extensions.controller.create_volume = [](gantry_instance*, gantry_call,
                                           const gantry_create_volume*) {};
  extensions.datapath.open = [](gantry_instance*, gantry_op, const gantry_datapath_open*) {};
  EXPECT_EQ(SlotNames(extensions), (std::vector<std::string>{"gantry.controller/1:create_volume",
                                                             "gantry.datapath/1:open"}));
}

}  // namespace
}  // namespace gantry::worker
