// SPDX-License-Identifier: Apache-2.0
#include "host/core/snapshots.hpp"

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

csi::v1::CreateSnapshotRequest CreateRequest() {
  csi::v1::CreateSnapshotRequest request;
  request.set_name("snap-1");
  request.set_source_volume_id("fast:v1");
  return request;
}

std::vector<channel::Operation> AllBut(channel::Operation left_out) {
  auto all = testing::AllOperations();
  std::erase(all, left_out);
  return all;
}

TEST(CreateSnapshot, SaysWhatWasCut) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_SNAPSHOT, Emits{SnapshotEmit("s1", "v1")});
  auto request = CreateRequest();
  (*request.mutable_parameters())["backend"] = "fast";
  (*request.mutable_secrets())["password"] = "canary-7321";
  const auto made = Snapshots(fake.driver()).CreateSnapshot(request, Soon());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->snapshot().snapshot_id(), "fast:s:s1");
  EXPECT_EQ(made->snapshot().source_volume_id(), "fast:v1");
  EXPECT_EQ(made->snapshot().creation_time().seconds(), 1);
  EXPECT_EQ(made->snapshot().creation_time().nanos(), 500'000'000);
  EXPECT_TRUE(made->snapshot().ready_to_use());
  const auto seen = fake.backend().seen().at(0);
  EXPECT_EQ(seen.message.handle(), "v1");
  EXPECT_EQ(seen.message.key(), MakeKey(IdKind::kSnapshot, "owner", "snap-1"));
  EXPECT_EQ(seen.message.request().find("canary-7321"), std::string::npos);
  EXPECT_EQ(seen.secrets.at("password"), "canary-7321");
  csi::v1::CreateSnapshotRequest passed;
  ASSERT_TRUE(passed.ParseFromString(seen.message.request()));
  EXPECT_TRUE(passed.parameters().empty());
}

TEST(CreateSnapshot, NeedsANameAndASource) {
  FakeDriver fake;
  const Snapshots snapshots(fake.driver());
  auto request = CreateRequest();
  request.clear_name();
  EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(request, Soon())), Code::kInvalidArgument);
  request = CreateRequest();
  request.clear_source_volume_id();
  EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(request, Soon())), Code::kInvalidArgument);
  request.set_source_volume_id("nowhere");
  EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(request, Soon())), Code::kNotFound);
  request.set_source_volume_id("gone:v1");
  EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(request, Soon())), Code::kFailedPrecondition);
}

TEST(CreateSnapshot, IsAbortedWhileItsNameOrItsSourceIsPending) {
  FakeDriver fake;
  fake.backend().Answers(channel::CREATE_SNAPSHOT, Emits{SnapshotEmit("s1", "v1")});
  const Snapshots snapshots(fake.driver());
  for (const std::string key : {"volume fast:v1", "snapshot name fast:snap-1"}) {
    const auto held = fake.locks.TryLock({key});
    EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(CreateRequest(), Soon())), Code::kAborted) << key;
  }
  EXPECT_TRUE(snapshots.CreateSnapshot(CreateRequest(), Soon()));
}

TEST(CreateSnapshot, TakesAPluginsMistakeForNoFinalAnswer) {
  FakeDriver fake;
  const Snapshots snapshots(fake.driver());
  for (const auto& emits : {Emits{}, Emits{SnapshotEmit("s1", "v1"), SnapshotEmit("s2", "v1")},
                            Emits{SnapshotEmit("s/1", "v1")}, Emits{SnapshotEmit("s1", "")}}) {
    fake.backend().Answers(channel::CREATE_SNAPSHOT, emits);
    EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(CreateRequest(), Soon())), Code::kUnavailable);
  }
}

TEST(CreateSnapshot, IsGatedByTheBackend) {
  FakeDriver fake({{"fast", Describe(AllBut(channel::CREATE_SNAPSHOT))},
                   {"slow", Describe(testing::AllOperations())}});
  EXPECT_EQ(CodeOf(Snapshots(fake.driver()).CreateSnapshot(CreateRequest(), Soon())),
            Code::kInvalidArgument);
  FakeDriver none({{"fast", Describe({channel::CREATE_VOLUME})}});
  const Snapshots snapshots(none.driver());
  EXPECT_EQ(CodeOf(snapshots.CreateSnapshot(CreateRequest(), Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(snapshots.DeleteSnapshot({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(snapshots.GetSnapshot({}, Soon())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(snapshots.ListSnapshots({}, Soon())), Code::kUnimplemented);
}

TEST(DeleteSnapshot, FollowsTheRulesOfADelete) {
  FakeDriver fake;
  const Snapshots snapshots(fake.driver());
  csi::v1::DeleteSnapshotRequest request;
  EXPECT_EQ(CodeOf(snapshots.DeleteSnapshot(request, Soon())), Code::kInvalidArgument);
  request.set_snapshot_id("reallyfakesnapshotid");
  EXPECT_TRUE(snapshots.DeleteSnapshot(request, Soon()));
  EXPECT_TRUE(fake.backend().seen().empty());
  request.set_snapshot_id("gone:s:s1");
  EXPECT_EQ(CodeOf(snapshots.DeleteSnapshot(request, Soon())), Code::kFailedPrecondition);
  request.set_snapshot_id("fast:s:s1");
  fake.backend().Answers(channel::DELETE_SNAPSHOT, tl::unexpected(Refusal(Code::kNotFound)));
  EXPECT_TRUE(snapshots.DeleteSnapshot(request, Soon()));
  fake.backend().Answers(channel::DELETE_SNAPSHOT, tl::unexpected(Refusal(Code::kInvalidArgument)));
  EXPECT_EQ(CodeOf(snapshots.DeleteSnapshot(request, Soon())), Code::kInvalidArgument);
  const auto held = fake.locks.TryLock({"snapshot fast:s:s1"});
  EXPECT_EQ(CodeOf(snapshots.DeleteSnapshot(request, Soon())), Code::kAborted);
}

TEST(GetSnapshot, NeedsAnIdThatExists) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_SNAPSHOT, Emits{SnapshotEmit("s1", "v1")});
  const Snapshots snapshots(fake.driver());
  csi::v1::GetSnapshotRequest request;
  EXPECT_EQ(CodeOf(snapshots.GetSnapshot(request, Soon())), Code::kInvalidArgument);
  request.set_snapshot_id("nowhere");
  EXPECT_EQ(CodeOf(snapshots.GetSnapshot(request, Soon())), Code::kNotFound);
  request.set_snapshot_id("fast:s:s1");
  EXPECT_EQ(snapshots.GetSnapshot(request, Soon())->snapshot().snapshot_id(), "fast:s:s1");
}

TEST(ListSnapshots, AnswersWithNothingForWhatIsNotThere) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_SNAPSHOT, tl::unexpected(Refusal(Code::kNotFound)));
  const Snapshots snapshots(fake.driver());
  for (const std::string id : {"nowhere", "fast:s:s1"}) {
    csi::v1::ListSnapshotsRequest request;
    request.set_snapshot_id(id);
    const auto listed = snapshots.ListSnapshots(request, Soon());
    ASSERT_TRUE(listed) << id;
    EXPECT_TRUE(listed->entries().empty());
  }
  csi::v1::ListSnapshotsRequest request;
  request.set_source_volume_id("nowhere");
  ASSERT_TRUE(snapshots.ListSnapshots(request, Soon()));
}

TEST(ListSnapshots, FindsOneByIdWithOrWithoutGet) {
  for (const bool with_get : {true, false}) {
    FakeDriver fake(
        {{"fast", Describe(with_get ? testing::AllOperations() : AllBut(channel::GET_SNAPSHOT))}});
    fake.backend().Answers(channel::GET_SNAPSHOT, Emits{SnapshotEmit("s5", "v1")});
    fake.backend().On(channel::LIST_SNAPSHOTS, [](const BackendCall& call) -> testing::Answer {
      Emits emits;
      for (const std::string handle : {"s1", "s4", "s5", "s6"})
        if (handle > call.message.after()) emits.push_back(SnapshotEmit(handle, "v1"));
      return emits;
    });
    const Snapshots snapshots(fake.driver());
    csi::v1::ListSnapshotsRequest request;
    request.set_snapshot_id("fast:s:s5");
    const auto found = snapshots.ListSnapshots(request, Soon());
    ASSERT_TRUE(found);
    ASSERT_EQ(found->entries_size(), 1);
    EXPECT_EQ(found->entries(0).snapshot().snapshot_id(), "fast:s:s5");
    request.set_source_volume_id("fast:v2");
    EXPECT_EQ(snapshots.ListSnapshots(request, Soon())->entries_size(), 0);
  }
}

TEST(ListSnapshots, GoesOverAllBackendsOrToTheSourcesAlone) {
  FakeDriver fake(
      {{"fast", Describe(testing::AllOperations())}, {"slow", Describe(testing::AllOperations())}});
  fake.backend("fast").Answers(channel::LIST_SNAPSHOTS, Emits{SnapshotEmit("s1", "v1")});
  fake.backend("slow").Answers(channel::LIST_SNAPSHOTS, Emits{SnapshotEmit("s1", "v1")});
  const Snapshots snapshots(fake.driver());
  csi::v1::ListSnapshotsRequest request;
  EXPECT_EQ(snapshots.ListSnapshots(request, Soon())->entries_size(), 2);
  request.set_source_volume_id("slow:v1");
  const auto listed = snapshots.ListSnapshots(request, Soon());
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->entries_size(), 1);
  EXPECT_EQ(listed->entries(0).snapshot().snapshot_id(), "slow:s:s1");
  EXPECT_EQ(fake.backend("slow").seen().back().message.handle(), "v1");
  fake.backend("fast").Answers(channel::LIST_SNAPSHOTS,
                               tl::unexpected(Refusal(Code::kUnavailable)));
  EXPECT_EQ(CodeOf(snapshots.ListSnapshots({}, Soon())), Code::kUnavailable);
  request.set_starting_token("not a token");
  EXPECT_EQ(CodeOf(snapshots.ListSnapshots(request, Soon())), Code::kAborted);
}

}  // namespace
}  // namespace gantry::core
