// SPDX-License-Identifier: Apache-2.0
#include "host/worker/convert.hpp"

#include <csi_lite.pb.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "host/worker/plugin_text.hpp"

namespace gantry::worker {
namespace {

namespace csi = ::gantry::lite::csi::v1;

std::string Join(const gantry_map& map) {
  std::string joined;
  for (size_t i = 0; i < map.count; ++i) {
    joined +=
        std::string(ToView(map.items[i].key)) + "=" + std::string(ToView(map.items[i].value)) + ";";
    EXPECT_EQ(map.items[i].key.ptr[map.items[i].key.len], '\0');
  }
  return joined;
}
std::string Join(const gantry_list& list) {
  std::string joined;
  for (size_t i = 0; i < list.count; ++i) joined += std::string(ToView(list.items[i])) + ";";
  return joined;
}

void SetMount(csi::VolumeCapability* capability) {
  capability->mutable_mount()->set_fs_type("ext4");
  capability->mutable_mount()->add_mount_flags("noatime");
  capability->mutable_mount()->add_mount_flags("ro");
  capability->mutable_mount()->set_volume_mount_group("1000");
  capability->mutable_access_mode()->set_mode(
      csi::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
}
void SetBlock(csi::VolumeCapability* capability) {
  capability->mutable_block();
  capability->mutable_access_mode()->set_mode(
      csi::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
}

template <class Csi>
channel::Call CallOf(const Csi& request, channel::Operation operation = channel::CREATE_VOLUME) {
  channel::Call call;
  call.set_operation(operation);
  call.set_request(request.SerializeAsString());
  call.set_handle("vol-1");
  return call;
}

class ConvertTest : public testing::Test {
 protected:
  template <class Struct>
  const Struct& Convert(const channel::Call& call) {
    auto converted = ConvertTo<Struct>(call, arena);
    EXPECT_TRUE(converted) << converted.error().message;
    if (!converted) std::abort();
    request = *converted;
    const auto& body = *static_cast<const Struct*>(converted->body);
    EXPECT_EQ(body.size, sizeof(Struct));
    const char* behind = reinterpret_cast<const char*>(&body) + sizeof(Struct);
    EXPECT_TRUE(std::all_of(behind, behind + kRequestSlackBytes, [](char c) { return c == 0; }));
    return body;
  }
  template <class Struct>
  base::Error Refused(const channel::Call& call) {
    auto converted = ConvertTo<Struct>(call, arena);
    return converted ? base::Error{base::Code::kOk, "accepted"} : converted.error();
  }

  Arena arena{SIZE_MAX};
  Request request;
};

TEST_F(ConvertTest, CreateVolumeCarriesEverything) {
  csi::CreateVolumeRequest from;
  from.set_name("pvc-\xc3\xbc");
  from.mutable_capacity_range()->set_required_bytes(100);
  from.mutable_capacity_range()->set_limit_bytes(200);
  SetMount(from.add_volume_capabilities());
  SetBlock(from.add_volume_capabilities());
  auto& parameters = *from.mutable_parameters();
  parameters["server"] = "nas";
  parameters["share"] = "/x";
  parameters["csi.storage.k8s.io/pvc/name"] = "data";
  parameters["csi.storage.k8s.io/pvc/namespace"] = "default";
  (*from.mutable_mutable_parameters())["iops"] = "10";
  from.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id("nfs:s:snap");
  auto* topology = from.mutable_accessibility_requirements();
  (*topology->add_requisite()->mutable_segments())["zone"] = "a";
  (*topology->add_requisite()->mutable_segments())["zone"] = "b";
  (*topology->add_preferred()->mutable_segments())["zone"] = "b";
  channel::Call call = CallOf(from);
  call.set_key("0123");
  call.set_content_handle("snap");

  const auto& to = Convert<gantry_create_volume>(call);
  EXPECT_STREQ(to.name.ptr, "pvc-\xc3\xbc");
  EXPECT_STREQ(to.key.ptr, "0123");
  EXPECT_EQ(to.required_bytes, 100u);
  EXPECT_EQ(to.limit_bytes, 200u);
  ASSERT_EQ(to.capability_count, 2u);
  EXPECT_EQ(to.capabilities[0].access_type, GANTRY_ACCESS_MOUNT);
  EXPECT_EQ(to.capabilities[0].access_mode, GANTRY_MULTI_NODE_MULTI_WRITER);
  EXPECT_STREQ(to.capabilities[0].fs_type.ptr, "ext4");
  EXPECT_EQ(Join(to.capabilities[0].mount_flags), "noatime;ro;");
  EXPECT_STREQ(to.capabilities[0].volume_mount_group.ptr, "1000");
  EXPECT_EQ(to.capabilities[1].access_type, GANTRY_ACCESS_BLOCK);
  EXPECT_EQ(to.capabilities[1].access_mode, GANTRY_SINGLE_NODE_WRITER);
  EXPECT_EQ(Join(to.parameters), "server=nas;share=/x;");
  EXPECT_EQ(Join(to.hints), "pvc/name=data;pvc/namespace=default;");
  EXPECT_EQ(Join(to.mutable_parameters), "iops=10;");
  EXPECT_EQ(to.content_kind, GANTRY_CONTENT_SNAPSHOT);
  EXPECT_STREQ(to.content_handle.ptr, "snap");
  ASSERT_EQ(to.requisite_count, 2u);
  EXPECT_EQ(Join(to.requisite[1]), "zone=b;");
  ASSERT_EQ(to.preferred_count, 1u);
  EXPECT_EQ(Join(to.preferred[0]), "zone=b;");
  EXPECT_EQ(Join(request.domain_parameters), "server=nas;share=/x;");
  EXPECT_EQ(request.domain_handle.len, 0u);
}

TEST_F(ConvertTest, WhatIsAbsentIsZero) {
  const auto& to = Convert<gantry_create_volume>(CallOf(csi::CreateVolumeRequest()));
  EXPECT_EQ(to.name.ptr, nullptr);
  EXPECT_EQ(to.capability_count, 0u);
  EXPECT_EQ(to.parameters.items, nullptr);
  EXPECT_EQ(to.content_kind, GANTRY_CONTENT_EMPTY);
  EXPECT_EQ(to.requisite, nullptr);
}

TEST_F(ConvertTest, RefusesAnUnknownAccessMode) {
  csi::CreateVolumeRequest from;
  SetMount(from.add_volume_capabilities());
  SetMount(from.add_volume_capabilities());
  from.mutable_volume_capabilities(1)->mutable_access_mode()->set_mode(
      static_cast<csi::VolumeCapability::AccessMode::Mode>(99));
  const base::Error error = Refused<gantry_create_volume>(CallOf(from));
  EXPECT_EQ(error.code, base::Code::kInvalidArgument);
  EXPECT_EQ(error.message, "volume_capabilities[1].access_mode.mode is 99, expected 1 to 7");
}

TEST_F(ConvertTest, RefusesACapabilityWithoutAccessTypeAndASourceWithoutType) {
  csi::CreateVolumeRequest from;
  from.add_volume_capabilities()->mutable_access_mode()->set_mode(
      csi::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
  EXPECT_EQ(Refused<gantry_create_volume>(CallOf(from)).message,
            "volume_capabilities[0].access_type is not set, expected block or mount");
  from.clear_volume_capabilities();
  from.mutable_volume_content_source();
  EXPECT_EQ(Refused<gantry_create_volume>(CallOf(from)).message,
            "volume_content_source.type is not set, expected snapshot or volume");
}

TEST_F(ConvertTest, RefusesNegativeNumbers) {
  csi::CreateVolumeRequest from;
  from.mutable_capacity_range()->set_limit_bytes(-1);
  EXPECT_EQ(Refused<gantry_create_volume>(CallOf(from)).message,
            "capacity_range.limit_bytes is -1, expected 0 or more");
  csi::GetMetadataDeltaRequest delta;
  delta.set_starting_offset(-5);
  EXPECT_EQ(Refused<gantry_block_query>(CallOf(delta, channel::GET_DELTA)).message,
            "starting_offset is -5, expected 0 or more");
}

TEST_F(ConvertTest, RefusesBytesThatAreNoRequest) {
  channel::Call call;
  call.set_request("\xff\xff");
  EXPECT_EQ(Refused<gantry_create_volume>(call).code, base::Code::kInternal);
}

TEST_F(ConvertTest, GetVolumeTakesContextAndParametersOfAValidation) {
  csi::ValidateVolumeCapabilitiesRequest from;
  from.set_volume_id("nfs:vol-1");
  (*from.mutable_volume_context())["a"] = "b";
  (*from.mutable_parameters())["server"] = "nas";
  const auto& to = Convert<gantry_volume_ref>(CallOf(from, channel::GET_VOLUME));
  EXPECT_STREQ(to.handle.ptr, "vol-1");
  EXPECT_EQ(Join(to.context), "a=b;");
  EXPECT_EQ(Join(to.parameters), "server=nas;");

  csi::ControllerGetVolumeRequest get;
  get.set_volume_id("nfs:vol-1");
  EXPECT_EQ(Convert<gantry_volume_ref>(CallOf(get, channel::GET_VOLUME)).context.count, 0u);
  csi::DeleteVolumeRequest remove;
  EXPECT_STREQ(Convert<gantry_volume_ref>(CallOf(remove, channel::DELETE_VOLUME)).handle.ptr,
               "vol-1");
  EXPECT_STREQ(request.domain_handle.ptr, "vol-1");
}

TEST_F(ConvertTest, ListsCarryThePage) {
  channel::Call call;
  call.set_after("vol-9");
  call.set_max_entries(50);
  EXPECT_STREQ(Convert<gantry_list_volumes>(call).after.ptr, "vol-9");
  EXPECT_EQ(Convert<gantry_list_volumes>(call).max_entries, 50u);
  call.set_handle("vol-1");
  EXPECT_STREQ(Convert<gantry_list_snapshots>(call).source_volume_handle.ptr, "vol-1");
}

TEST_F(ConvertTest, GetCapacityCarriesItsFilters) {
  csi::GetCapacityRequest from;
  SetBlock(from.add_volume_capabilities());
  (*from.mutable_parameters())["server"] = "nas";
  (*from.mutable_accessible_topology()->mutable_segments())["zone"] = "a";
  const auto& to = Convert<gantry_get_capacity>(CallOf(from));
  EXPECT_EQ(to.capability_count, 1u);
  EXPECT_EQ(Join(to.parameters), "server=nas;");
  EXPECT_EQ(Join(to.topology), "zone=a;");
  EXPECT_EQ(Join(request.domain_parameters), "server=nas;");
}

TEST_F(ConvertTest, ExpandVolumeSaysWhetherThereIsACapability) {
  csi::ControllerExpandVolumeRequest from;
  from.mutable_capacity_range()->set_required_bytes(7);
  EXPECT_EQ(Convert<gantry_expand_volume>(CallOf(from)).capability.access_type, 0);
  SetBlock(from.mutable_volume_capability());
  const auto& to = Convert<gantry_expand_volume>(CallOf(from));
  EXPECT_EQ(to.capability.access_type, GANTRY_ACCESS_BLOCK);
  EXPECT_EQ(to.required_bytes, 7u);
}

TEST_F(ConvertTest, ModifyVolumeCarriesTheMutableParameters) {
  csi::ControllerModifyVolumeRequest from;
  (*from.mutable_mutable_parameters())["iops"] = "5";
  EXPECT_EQ(Join(Convert<gantry_modify_volume>(CallOf(from)).mutable_parameters), "iops=5;");
}

TEST_F(ConvertTest, PublishAndUnpublishReadTheirOwnFields) {
  csi::ControllerPublishVolumeRequest publish;
  publish.set_node_id("node-1");
  SetMount(publish.mutable_volume_capability());
  publish.set_readonly(true);
  (*publish.mutable_volume_context())["a"] = "b";
  const auto& to = Convert<gantry_publish_volume>(CallOf(publish, channel::PUBLISH_VOLUME));
  EXPECT_STREQ(to.node_id.ptr, "node-1");
  EXPECT_EQ(to.readonly, 1);
  EXPECT_EQ(to.capability.access_type, GANTRY_ACCESS_MOUNT);
  EXPECT_EQ(Join(to.context), "a=b;");

  csi::ControllerUnpublishVolumeRequest unpublish;
  unpublish.set_node_id("node-2");
  EXPECT_STREQ(
      Convert<gantry_publish_volume>(CallOf(unpublish, channel::UNPUBLISH_VOLUME)).node_id.ptr,
      "node-2");
}

TEST_F(ConvertTest, SnapshotsAndGroupsTakeTheirHandlesFromTheCall) {
  csi::CreateSnapshotRequest snapshot;
  snapshot.set_name("snap");
  (*snapshot.mutable_parameters())["csi.storage.k8s.io/volumesnapshot/name"] = "x";
  (*snapshot.mutable_parameters())["p"] = "q";
  channel::Call call = CallOf(snapshot);
  call.set_key("key");
  const auto& to = Convert<gantry_create_snapshot>(call);
  EXPECT_STREQ(to.name.ptr, "snap");
  EXPECT_STREQ(to.key.ptr, "key");
  EXPECT_STREQ(to.source_volume_handle.ptr, "vol-1");
  EXPECT_EQ(Join(to.parameters), "p=q;");
  EXPECT_STREQ(Convert<gantry_snapshot_ref>(call).handle.ptr, "vol-1");

  csi::CreateVolumeGroupSnapshotRequest group;
  group.set_name("grp");
  call = CallOf(group);
  call.add_member_handles("a");
  call.add_member_handles("b");
  EXPECT_EQ(Join(Convert<gantry_create_group>(call).source_volume_handles), "a;b;");
  EXPECT_STREQ(request.domain_handle.ptr, "a");
  EXPECT_EQ(Join(Convert<gantry_group_ref>(call).snapshot_handles), "a;b;");
}

TEST_F(ConvertTest, BlockQueriesReadTheirOwnFields) {
  csi::GetMetadataDeltaRequest delta;
  delta.set_starting_offset(4096);
  delta.set_max_results(10);
  channel::Call call = CallOf(delta, channel::GET_DELTA);
  call.set_content_handle("base");
  const auto& to = Convert<gantry_block_query>(call);
  EXPECT_STREQ(to.base_handle.ptr, "base");
  EXPECT_STREQ(to.handle.ptr, "vol-1");
  EXPECT_EQ(to.starting_offset, 4096u);
  EXPECT_EQ(to.max_results, 10u);
  csi::GetMetadataAllocatedRequest allocated;
  allocated.set_starting_offset(512);
  EXPECT_EQ(Convert<gantry_block_query>(CallOf(allocated, channel::GET_ALLOCATED)).starting_offset,
            512u);
}

TEST_F(ConvertTest, AttachIsReadOnlyWhereTheAccessModeIs) {
  csi::NodeStageVolumeRequest from;
  SetMount(from.mutable_volume_capability());
  (*from.mutable_publish_context())["p"] = "1";
  (*from.mutable_volume_context())["csi.storage.k8s.io/x"] = "2";
  channel::Call call = CallOf(from, channel::ATTACH);
  call.set_node_id("node-1");
  const auto& to = Convert<gantry_attach>(call);
  EXPECT_EQ(to.readonly, 0);
  EXPECT_STREQ(to.node_id.ptr, "node-1");
  EXPECT_EQ(Join(to.publish_context), "p=1;");
  EXPECT_EQ(Join(to.context), "csi.storage.k8s.io/x=2;") << "contexts come as they are";
  from.mutable_volume_capability()->mutable_access_mode()->set_mode(
      csi::VolumeCapability::AccessMode::MULTI_NODE_READER_ONLY);
  EXPECT_EQ(Convert<gantry_attach>(CallOf(from, channel::ATTACH)).readonly, 1);
}

TEST_F(ConvertTest, TasksCarryTheirCursorWithItsNuls) {
  channel::Call call;
  call.mutable_task()->set_kind("trash");
  call.mutable_task()->set_key("x");
  call.mutable_task()->set_cursor(std::string("a\0b", 3));
  const auto& to = Convert<gantry_task_run>(call);
  EXPECT_STREQ(to.kind.ptr, "trash");
  EXPECT_EQ(std::string(static_cast<const char*>(to.cursor.ptr), to.cursor.len),
            std::string("a\0b", 3));
}

}  // namespace
}  // namespace gantry::worker
