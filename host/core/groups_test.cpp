// SPDX-License-Identifier: Apache-2.0
#include "host/core/groups.hpp"

#include <gtest/gtest.h>

#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Describe;
using testing::Emits;
using testing::FakeDriver;
using testing::Refusal;
using testing::SnapshotEmit;
using testing::Soon;

channel::Emit GroupEmit(const std::string& handle) {
  channel::Emit emit;
  emit.mutable_group()->set_handle(handle);
  emit.mutable_group()->set_created_ns(2'000'000'000);
  emit.mutable_group()->set_ready(true);
  return emit;
}

channel::Emit Member(const std::string& handle) {
  auto emit = SnapshotEmit(handle, "v" + handle);
  emit.mutable_snapshot()->set_group_handle("g1");
  return emit;
}

csi::v1::CreateVolumeGroupSnapshotRequest CreateRequest() {
  csi::v1::CreateVolumeGroupSnapshotRequest request;
  request.set_name("group-1");
  request.add_source_volume_ids("fast:v1");
  request.add_source_volume_ids("fast:v2");
  return request;
}

std::vector<std::pair<std::string, channel::Description>> TwoBackends() {
  return {{"fast", Describe(testing::AllOperations())},
          {"slow", Describe(testing::AllOperations())}};
}

TEST(CreateGroup, SaysTheGroupAndItsMembers) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_GROUP, Emits{GroupEmit("g1"), Member("1"), Member("2")});
  auto request = CreateRequest();
  (*request.mutable_secrets())["password"] = "canary-7321";
  const auto made = Groups(fake.driver()).CreateVolumeGroupSnapshot(request, Soon());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->group_snapshot().group_snapshot_id(), "fast:g:g1");
  ASSERT_EQ(made->group_snapshot().snapshots_size(), 2);
  EXPECT_EQ(made->group_snapshot().snapshots(1).snapshot_id(), "fast:s:2");
  EXPECT_EQ(made->group_snapshot().snapshots(1).group_snapshot_id(), "fast:g:g1");
  EXPECT_EQ(made->group_snapshot().creation_time().seconds(), 2);
  const auto seen = fake.backend().seen().at(0);
  EXPECT_EQ(seen.message.key(), MakeKey(IdKind::kGroup, "owner", "group-1"));
  ASSERT_EQ(seen.message.member_handles_size(), 2);
  EXPECT_EQ(seen.message.member_handles(1), "v2");
  EXPECT_EQ(seen.message.request().find("canary-7321"), std::string::npos);
}

TEST(CreateGroup, NeedsANameAndVolumesOfOneBackend) {
  FakeDriver fake(TwoBackends());
  const Groups groups(fake.driver());
  auto request = CreateRequest();
  request.clear_name();
  EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot(request, Soon())), Code::kInvalidArgument);
  request = CreateRequest();
  request.clear_source_volume_ids();
  EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot(request, Soon())), Code::kInvalidArgument);
  request = CreateRequest();
  request.add_source_volume_ids("slow:v1");
  EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot(request, Soon())), Code::kInvalidArgument);
  request = CreateRequest();
  request.add_source_volume_ids("nowhere");
  EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot(request, Soon())), Code::kNotFound);
}

TEST(CreateGroup, IsAbortedWhileAnyMemberIsPending) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_GROUP, Emits{GroupEmit("g1"), Member("1")});
  const Groups groups(fake.driver());
  {
    const auto held = fake.locks.TryLock({"volume fast:v2"});
    EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot(CreateRequest(), Soon())), Code::kAborted);
  }
  EXPECT_TRUE(groups.CreateVolumeGroupSnapshot(CreateRequest(), Soon()));
}

TEST(CreateGroup, TakesAPluginsMistakeForNoFinalAnswer) {
  FakeDriver fake;
  const Groups groups(fake.driver());
  for (const auto& emits : {Emits{}, Emits{Member("1")}, Emits{GroupEmit("g1"), GroupEmit("g2")},
                            Emits{GroupEmit("g/1")}}) {
    fake.backend().Answers(channel::CREATE_GROUP, emits);
    EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot(CreateRequest(), Soon())),
              Code::kUnavailable);
  }
}

TEST(Groups, AreUnimplementedWhereNoBackendHasThem) {
  FakeDriver fake({{"fast", Describe({channel::CREATE_VOLUME})}});
  const Groups groups(fake.driver());
  EXPECT_TRUE(groups.GroupControllerGetCapabilities({}, Soon())->capabilities().empty());
  EXPECT_EQ(CodeOf(groups.CreateVolumeGroupSnapshot({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(groups.DeleteVolumeGroupSnapshot({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(groups.GetVolumeGroupSnapshot({}, Soon())), Code::kUnimplemented);
  FakeDriver all;
  EXPECT_EQ(Groups(all.driver()).GroupControllerGetCapabilities({}, Soon())->capabilities_size(),
            1);
}

TEST(DeleteGroup, FollowsTheRulesOfADelete) {
  FakeDriver fake(TwoBackends());
  const Groups groups(fake.driver());
  csi::v1::DeleteVolumeGroupSnapshotRequest request;
  EXPECT_EQ(CodeOf(groups.DeleteVolumeGroupSnapshot(request, Soon())), Code::kInvalidArgument);
  request.set_group_snapshot_id("reallyfakegroupid");
  EXPECT_TRUE(groups.DeleteVolumeGroupSnapshot(request, Soon()));
  request.set_group_snapshot_id("gone:g:g1");
  EXPECT_EQ(CodeOf(groups.DeleteVolumeGroupSnapshot(request, Soon())), Code::kFailedPrecondition);
  request.set_group_snapshot_id("fast:g:g1");
  request.add_snapshot_ids("fast:s:1");
  EXPECT_TRUE(groups.DeleteVolumeGroupSnapshot(request, Soon()));
  EXPECT_EQ(fake.backend().seen().at(0).message.member_handles(0), "1");
  {
    const auto held = fake.locks.TryLock({"snapshot fast:s:1"});
    EXPECT_EQ(CodeOf(groups.DeleteVolumeGroupSnapshot(request, Soon())), Code::kAborted);
  }
  fake.backend().Answers(channel::DELETE_GROUP, tl::unexpected(Refusal(Code::kNotFound)));
  EXPECT_TRUE(groups.DeleteVolumeGroupSnapshot(request, Soon()));
}

TEST(DeleteGroup, RefusesMembersThatCannotBeOfTheGroup) {
  FakeDriver fake(TwoBackends());
  const Groups groups(fake.driver());
  for (const std::string id : {"slow:s:1", "nowhere"}) {
    csi::v1::DeleteVolumeGroupSnapshotRequest request;
    request.set_group_snapshot_id("fast:g:g1");
    request.add_snapshot_ids(id);
    EXPECT_EQ(CodeOf(groups.DeleteVolumeGroupSnapshot(request, Soon())), Code::kInvalidArgument);
    csi::v1::GetVolumeGroupSnapshotRequest get;
    get.set_group_snapshot_id("fast:g:g1");
    get.add_snapshot_ids(id);
    EXPECT_EQ(CodeOf(groups.GetVolumeGroupSnapshot(get, Soon())), Code::kInvalidArgument);
  }
  EXPECT_TRUE(fake.backend().seen().empty());
}

TEST(GetGroup, NeedsAnIdThatExists) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_GROUP, Emits{GroupEmit("g1"), Member("1")});
  const Groups groups(fake.driver());
  csi::v1::GetVolumeGroupSnapshotRequest request;
  EXPECT_EQ(CodeOf(groups.GetVolumeGroupSnapshot(request, Soon())), Code::kInvalidArgument);
  request.set_group_snapshot_id("nowhere");
  EXPECT_EQ(CodeOf(groups.GetVolumeGroupSnapshot(request, Soon())), Code::kNotFound);
  request.set_group_snapshot_id("fast:g:g1");
  EXPECT_EQ(groups.GetVolumeGroupSnapshot(request, Soon())->group_snapshot().snapshots_size(), 1);
}

}  // namespace
}  // namespace gantry::core
