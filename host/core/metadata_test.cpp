// SPDX-License-Identifier: Apache-2.0
#include "host/core/metadata.hpp"

#include <gtest/gtest.h>

#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Describe;
using testing::Emits;
using testing::FakeDriver;
using testing::RangeEmit;
using testing::Refusal;
using testing::Soon;

using Allocated = csi::v1::GetMetadataAllocatedResponse;
using Delta = csi::v1::GetMetadataDeltaResponse;

csi::v1::GetMetadataAllocatedRequest AllocatedRequest() {
  csi::v1::GetMetadataAllocatedRequest request;
  request.set_snapshot_id("fast:s:s1");
  return request;
}

csi::v1::GetMetadataDeltaRequest DeltaRequest() {
  csi::v1::GetMetadataDeltaRequest request;
  request.set_base_snapshot_id("fast:s:s1");
  request.set_target_snapshot_id("fast:s:s2");
  return request;
}

Emits Ranges(size_t count) {
  Emits emits;
  for (size_t i = 0; i < count; ++i) emits.push_back(RangeEmit(i * 8192, 4096));
  return emits;
}

base::Status RunAllocated(FakeDriver& fake, const csi::v1::GetMetadataAllocatedRequest& request,
                          std::vector<Allocated>* responses = nullptr) {
  return Metadata(fake.driver()).GetMetadataAllocated(request, Soon(), [&](const Allocated& r) {
    if (responses != nullptr) responses->push_back(r);
    return true;
  });
}

base::Status RunDelta(FakeDriver& fake, const csi::v1::GetMetadataDeltaRequest& request) {
  return Metadata(fake.driver()).GetMetadataDelta(request, Soon(), [](const Delta&) {
    return true;
  });
}

// A worker that dies after three ranges, whatever offset it is asked for.
class BreakingOff {
 public:
  explicit BreakingOff(FakeDriver& fake, bool with_progress = true) {
    fake.backend().streams = [this, with_progress](const BackendCall& call, const auto& on_emit) {
      csi::v1::GetMetadataAllocatedRequest request;
      EXPECT_TRUE(request.ParseFromString(call.message.request()));
      offsets.push_back(request.starting_offset());
      const auto first = static_cast<size_t>(request.starting_offset() + 4096) / 8192;
      for (size_t i = first; i < first + 3 && i < 8 && (with_progress || offsets.size() == 1); ++i)
        on_emit(RangeEmit(i * 8192, 4096));
      if (first + 3 >= 8 && with_progress) return base::Status{};
      return base::Status(tl::unexpected(Refusal(Code::kUnavailable)));
    };
  }
  std::vector<int64_t> offsets;
};

TEST(Allocated, GoesOnFromWhereItHadComeWhenThePluginBreaksOff) {
  FakeDriver fake;
  BreakingOff plugin(fake);
  std::vector<Allocated> responses;
  ASSERT_TRUE(RunAllocated(fake, AllocatedRequest(), &responses));
  EXPECT_EQ(plugin.offsets, (std::vector<int64_t>{0, 2 * 8192 + 4096, 5 * 8192 + 4096}));
  ASSERT_EQ(responses.size(), 1U);
  ASSERT_EQ(responses[0].block_metadata_size(), 8);
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(responses[0].block_metadata(i).byte_offset(), i * 8192) << "each once, in order";
}

TEST(Allocated, IsUnavailableWhenThePluginBreaksOffWithoutGettingOn) {
  FakeDriver fake;
  BreakingOff plugin(fake, false);
  EXPECT_EQ(CodeOf(RunAllocated(fake, AllocatedRequest())), Code::kUnavailable);
  EXPECT_EQ(plugin.offsets.size(), 2U);
}

TEST(Allocated, ComesInMessagesOfTheAskedSize) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_ALLOCATED, Ranges(5));
  auto request = AllocatedRequest();
  request.set_max_results(2);
  std::vector<Allocated> responses;
  ASSERT_TRUE(RunAllocated(fake, request, &responses));
  ASSERT_EQ(responses.size(), 3U);
  EXPECT_EQ(responses[0].block_metadata_size(), 2);
  EXPECT_EQ(responses[2].block_metadata_size(), 1);
  EXPECT_EQ(responses[2].block_metadata(0).byte_offset(), 4 * 8192);
  EXPECT_EQ(responses[0].block_metadata_type(), csi::v1::VARIABLE_LENGTH);
  EXPECT_EQ(responses[0].volume_capacity_bytes(), 1 << 30);
}

TEST(Allocated, LimitsAMessageWhenTheCallerDoesNot) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_ALLOCATED, Ranges(kMetadataRangesMax + 1));
  std::vector<Allocated> responses;
  ASSERT_TRUE(RunAllocated(fake, AllocatedRequest(), &responses));
  EXPECT_EQ(responses.size(), 2U);
}

TEST(Allocated, NeedsAnIdThatExistsAndSaneNumbers) {
  FakeDriver fake;
  EXPECT_EQ(CodeOf(RunAllocated(fake, {})), Code::kInvalidArgument);
  auto request = AllocatedRequest();
  request.set_starting_offset(-1);
  EXPECT_EQ(CodeOf(RunAllocated(fake, request)), Code::kInvalidArgument);
  request = AllocatedRequest();
  request.set_max_results(-1);
  EXPECT_EQ(CodeOf(RunAllocated(fake, request)), Code::kInvalidArgument);
  request.set_max_results(0);
  request.set_snapshot_id("nowhere");
  EXPECT_EQ(CodeOf(RunAllocated(fake, request)), Code::kNotFound);
  EXPECT_TRUE(fake.backend().seen().empty());
}

TEST(Allocated, StopsWhenTheCallerStopsReading) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_ALLOCATED, Ranges(6));
  auto request = AllocatedRequest();
  request.set_max_results(2);
  int sent = 0;
  const auto status =
      Metadata(fake.driver()).GetMetadataAllocated(request, Soon(), [&](const Allocated&) {
        return ++sent < 2;
      });
  EXPECT_EQ(CodeOf(status), Code::kCancelled);
  EXPECT_EQ(sent, 2);
}

TEST(Allocated, RefusesRangesThatDoNotRise) {
  FakeDriver fake;
  for (const auto& emits : {Emits{RangeEmit(8192, 4096), RangeEmit(0, 4096)},
                            Emits{RangeEmit(0, 8192), RangeEmit(4096, 8192)},
                            Emits{RangeEmit(0, 0)}, Emits{RangeEmit(4096, ~uint64_t{0})}}) {
    fake.backend().Answers(channel::GET_ALLOCATED, emits);
    EXPECT_EQ(CodeOf(RunAllocated(fake, AllocatedRequest())), Code::kUnavailable);
  }
}

TEST(Allocated, KeepsSecretsOutOfRequestAndError) {
  FakeDriver fake;
  fake.backend().Answers(channel::GET_ALLOCATED,
                         tl::unexpected(Refusal(Code::kOutOfRange, "canary-7321 refused")));
  auto request = AllocatedRequest();
  (*request.mutable_secrets())["password"] = "canary-7321";
  const auto status = RunAllocated(fake, request);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kOutOfRange);
  EXPECT_EQ(status.error().message, "(secret) refused");
  EXPECT_EQ(fake.backend().seen().at(0).message.request().find("canary-7321"), std::string::npos);
  EXPECT_EQ(fake.backend().seen().at(0).secrets.at("password"), "canary-7321");
}

TEST(Delta, NeedsTwoSnapshotsOfOneBackend) {
  FakeDriver fake(
      {{"fast", Describe(testing::AllOperations())}, {"slow", Describe(testing::AllOperations())}});
  auto request = DeltaRequest();
  request.clear_base_snapshot_id();
  EXPECT_EQ(CodeOf(RunDelta(fake, request)), Code::kInvalidArgument);
  request = DeltaRequest();
  request.clear_target_snapshot_id();
  EXPECT_EQ(CodeOf(RunDelta(fake, request)), Code::kInvalidArgument);
  request.set_target_snapshot_id("slow:s:s2");
  EXPECT_EQ(CodeOf(RunDelta(fake, request)), Code::kInvalidArgument);
  request.set_target_snapshot_id("nowhere");
  EXPECT_EQ(CodeOf(RunDelta(fake, request)), Code::kNotFound);
  EXPECT_TRUE(RunDelta(fake, DeltaRequest()));
  EXPECT_EQ(fake.backend().seen().at(0).message.handle(), "s2");
  EXPECT_EQ(fake.backend().seen().at(0).message.content_handle(), "s1");
}

TEST(Metadata, IsGatedByBackendAndDriver) {
  FakeDriver mixed(
      {{"fast", Describe({channel::CREATE_VOLUME})}, {"slow", Describe(testing::AllOperations())}});
  EXPECT_EQ(CodeOf(RunAllocated(mixed, AllocatedRequest())), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(RunDelta(mixed, DeltaRequest())), Code::kInvalidArgument);
  FakeDriver none({{"fast", Describe({channel::CREATE_VOLUME})}});
  EXPECT_EQ(CodeOf(RunAllocated(none, AllocatedRequest())), Code::kUnimplemented);
  EXPECT_EQ(CodeOf(RunDelta(none, DeltaRequest())), Code::kUnimplemented);
}

}  // namespace
}  // namespace gantry::core
