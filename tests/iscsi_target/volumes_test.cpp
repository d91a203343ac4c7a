// SPDX-License-Identifier: Apache-2.0
// Volumes over a real tgtd: what a controller sees of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/iscsi_target/target_fixture.hpp"

namespace gantry::iscsi::target {
namespace {

using testing::kMiB;
using testing::kSoonMs;
using testing::Soon;
namespace code = plugin::code;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VolumesTest : public testing::TargetFixture {};

TEST_F(VolumesTest, DescribesWhatItIs) {
  const auto description = Must(Describe{});
  EXPECT_EQ(description.kind, "tgt");
  EXPECT_EQ(description.program, "0-test");
  EXPECT_EQ(description.version_max, kProtocolVersion);
  EXPECT_TRUE(description.chap);
  EXPECT_TRUE(description.expand_interrupts);
  EXPECT_GT(description.total_bytes, description.available_bytes);
  EXPECT_EQ(description.portals.size(), 1U);
}

TEST_F(VolumesTest, AMadeVolumeIsThereAndCostsNothing) {
  const auto made = Must(Make("t0-1", 100 * kMiB)).volume;
  ASSERT_TRUE(made);
  EXPECT_EQ(made->size_bytes, 100 * kMiB);
  EXPECT_TRUE(made->iqn.starts_with("iqn.2026-01.test.gantry.store:t0-1.")) << made->iqn;
  EXPECT_TRUE(made->never_written);
  EXPECT_EQ(made->problem, "");
  EXPECT_EQ(Must(GetVolume{"t0-1"}), *made);
  EXPECT_EQ(Must(ListVolumes{}).volumes, std::vector<Volume>{*made});
  EXPECT_EQ(tgt_->Show().value(), "") << "a volume that nobody has needs no target";
}

TEST_F(VolumesTest, TheSameNameAgainIsTheSameVolumeWhereItFits) {
  const auto first = Must(Make("t0-1", 100 * kMiB)).volume;
  auto again = Make("t0-1", 50 * kMiB);
  again.limit_bytes = 200 * kMiB;
  again.mutable_parameters = {{"speed", "9"}};
  EXPECT_EQ(Must(again).volume, first) << "mutable parameters are not compared";
  again.limit_bytes = 99 * kMiB;
  ExpectError(again, code::kAlreadyExists, "another size");
  again = Make("t0-1", 100 * kMiB);
  again.parameters["tier"] = "slow";
  ExpectError(again, code::kAlreadyExists, "another parameters");
  again = Make("t0-1", 100 * kMiB);
  again.content = {ContentKind::kVolume, "t0-2"};
  ExpectError(again, code::kAlreadyExists, "another content");
  EXPECT_EQ(Ask(Make("t0-1"), kSoonMs, "cluster-b").error().code, code::kFailedPrecondition);
}

TEST_F(VolumesTest, SizesAreWholeUnitsWithinTheRange) {
  auto request = Make("t0-1", 1);
  EXPECT_EQ(Must(request).volume->size_bytes, 4096U);
  request = Make("t0-2", 4097);
  request.limit_bytes = 5000;
  ExpectError(request, code::kOutOfRange, "expected at least 8192");
  ExpectError(Make("t0-3", uint64_t{1} << 59), code::kOutOfRange, "expected at most");
  request = Make("t0-4", 0);
  request.limit_bytes = 10'000;
  EXPECT_EQ(Must(request).volume->size_bytes, 8192U);
  EXPECT_EQ(Must(Make("t0-5", 0)).volume->size_bytes, kDefaultSizeBytes);
}

TEST_F(VolumesTest, ListsPageByPageAndOnlyOnesOwn) {
  for (const char* handle : {"b", "a", "d", "c"}) Must(Make(handle));
  ASSERT_TRUE(Ask(Make("bb"), kSoonMs, "cluster-b"));
  ListVolumes request;
  request.max_entries = 3;
  auto page = Must(request);
  ASSERT_EQ(page.volumes.size(), 3U);
  EXPECT_EQ(page.volumes[1].handle, "b");
  EXPECT_EQ(page.volumes[2].handle, "c");
  EXPECT_TRUE(page.more);
  request.after = "c";
  page = Must(request);
  ASSERT_EQ(page.volumes.size(), 1U);
  EXPECT_EQ(page.volumes[0].handle, "d");
  EXPECT_FALSE(page.more);
}

TEST_F(VolumesTest, ADeletedVolumeLeavesNothingAfterTheTrashTask) {
  MakeWith("t0-1", "data");
  const auto deleted = Must(DeleteVolume{"t0-1", ""});
  ASSERT_TRUE(deleted.task);
  EXPECT_THAT(Files("volumes"), IsEmpty());
  EXPECT_EQ(Files("trash").size(), 1U);
  EXPECT_TRUE(Must(RunTask{*deleted.task}).finished);
  EXPECT_THAT(Files("trash"), IsEmpty());
  EXPECT_EQ(tgt_->Show().value(), "");
  EXPECT_FALSE(Must(DeleteVolume{"t0-1", ""}).task) << "what is not there is deleted";
  ExpectError(GetVolume{"t0-1"}, code::kNotFound, "t0-1");
}

TEST_F(VolumesTest, AVolumeThatANodeHasIsNotDeleted) {
  Must(Make("t0-1"));
  Must(Publish("t0-1"));
  ExpectError(DeleteVolume{"t0-1", ""}, code::kFailedPrecondition, "node node-a has it");
  EXPECT_EQ(Must(GetVolume{"t0-1"}).nodes.size(), 1U);
}

TEST_F(VolumesTest, ALateDeleteOfAnEarlierVolumeHitsNothing) {
  const auto first = Must(Make("t0-1")).volume;
  Must(DeleteVolume{"t0-1", first->incarnation});
  const auto second = Must(Make("t0-1")).volume;
  EXPECT_NE(first->incarnation, second->incarnation);
  EXPECT_NE(first->iqn, second->iqn);
  EXPECT_NE(first->identity, second->identity);
  Must(DeleteVolume{"t0-1", first->incarnation});
  EXPECT_EQ(Must(GetVolume{"t0-1"}), *second);
}

TEST_F(VolumesTest, MutableParametersChangeAndOthersStay) {
  Must(Make("t0-1"));
  ModifyVolume request;
  request.handle = "t0-1";
  request.mutable_parameters = {{"a", "1"}, {"b", "2"}};
  Must(request);
  request.mutable_parameters = {{"b", "3"}};
  EXPECT_THAT(Must(request).mutable_parameters,
              ElementsAre(std::pair("a", "1"), std::pair("b", "3")));
}

TEST_F(VolumesTest, GrowsWhenNobodyHasIt) {
  MakeWith("t0-1", "data", 8 * kMiB);
  ExpandVolume request;
  request.handle = "t0-1";
  request.required_bytes = 16 * kMiB;
  EXPECT_EQ(Must(request).size_bytes, 16 * kMiB);
  EXPECT_EQ(Must(request).size_bytes, 16 * kMiB) << "already as large";
  request.required_bytes = 0;
  request.limit_bytes = 12 * kMiB;
  ExpectError(request, code::kOutOfRange, "more than limit_bytes");
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  EXPECT_EQ(scsi::ReadCapacity(session, kLun, Soon())->size_bytes(), 16 * kMiB);
  EXPECT_EQ(ReadText(session), "data");
}

TEST_F(VolumesTest, GrowsUnderAnIdleNodeOnlyWhereThatIsAllowed) {
  Must(Make("t0-1", 8 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  WriteText(session, "data");
  ExpandVolume request;
  request.handle = "t0-1";
  request.required_bytes = 16 * kMiB;
  ExpectError(request, code::kFailedPrecondition, "node node-a has it");
  EXPECT_EQ(Must(GetVolume{"t0-1"}).size_bytes, 8 * kMiB);
  request.online = true;
  EXPECT_EQ(Must(request).size_bytes, 16 * kMiB);
  EXPECT_EQ(scsi::ReadCapacity(session, kLun, Soon())->size_bytes(), 16 * kMiB);
  EXPECT_EQ(ReadText(session), "data");
  EXPECT_THAT(scsi::ReadIdentities(session, kLun, Soon()).value(),
              ::testing::Contains(volume.identity.naa));
}

TEST_F(VolumesTest, AMissingBackingFileIsAProblemAndIsNotMadeAnew) {
  MakeWith("t0-1", "data");
  std::filesystem::remove(store_path() / "volumes" / Files("volumes")[0]);
  EXPECT_THAT(Must(GetVolume{"t0-1"}).problem, HasSubstr("No such file"));
  ExpectError(Publish("t0-1"), code::kFailedPrecondition, "backing file");
  EXPECT_EQ(Files("volumes").size(), 1U);
}

TEST_F(VolumesTest, ARecordThatCannotBeReadIsAnErrorAndNotAShortList) {
  Must(Make("t0-1"));
  std::ofstream(store_path() / "volumes/t0-2.json") << "{}";
  ExpectError(ListVolumes{}, code::kDataLoss, "t0-2");
  ExpectError(Make("t0-2"), code::kDataLoss, "t0-2");
}

// As a machine that lost its power in the middle of a create leaves it.
TEST_F(VolumesTest, ARecordThatWasNeverFinishedIsNone) {
  const auto file = store_path() / "volumes/t0-1.json";
  for (const size_t bytes : {0, 100, 8192}) {
    std::ofstream(file) << std::string(bytes, '\0');
    EXPECT_THAT(Must(ListVolumes{}).volumes, IsEmpty());
    Must(RunTask{{TaskKind::kTrash, ""}});
    EXPECT_THAT(Files("volumes"), IsEmpty());
    std::ofstream(file) << std::string(bytes, '\0');
    EXPECT_TRUE(Must(Make("t0-1")).volume);
    EXPECT_EQ(TextOf("t0-1"), "");
    Must(DeleteVolume{"t0-1", ""});
  }
}

// Data without a record are nobody's to delete.
TEST_F(VolumesTest, ARecordThatIsLostWhileThereAreDataIsAnError) {
  MakeWith("t0-1", "data");
  std::ofstream(store_path() / "volumes/t0-1.json") << std::string(8192, '\0');
  ExpectError(ListVolumes{}, code::kDataLoss, "t0-1");
  ExpectError(Make("t0-1"), code::kDataLoss, "t0-1");
  EXPECT_FALSE(Ask(RunTask{{TaskKind::kTrash, ""}}));
  EXPECT_EQ(Files("volumes").size(), 2U);
}

// Who wrote it may have died before its fsync.
TEST_F(VolumesTest, WhatIsFoundIsSettledBeforeItIsAnsweredWith) {
  std::vector<std::string> steps;
  Open([&](const char* step) { steps.emplace_back(step); });
  const auto again = [&](const auto& request) {
    Must(request);
    steps.clear();
    Must(request);
    EXPECT_THAT(steps, ::testing::Contains("settled"));
  };
  again(Make("t0-1"));
  again(Publish("t0-1"));
  again(Unpublish("t0-1"));
  ExpandVolume larger;
  larger.handle = "t0-1";
  larger.required_bytes = 128 * kMiB;
  again(larger);
  ModifyVolume other;
  other.handle = "t0-1";
  other.mutable_parameters = {{"tier", "slow"}};
  again(other);
  again(Snap("s-1", "t0-1"));
  again(DeleteSnapshot{"s-1"});
  again(DeleteVolume{"t0-1", ""});
}

TEST_F(VolumesTest, SymlinksInTheStoreAreNotFollowed) {
  std::ofstream(temp_.path() / "elsewhere") << "precious";
  std::filesystem::create_symlink(temp_.path() / "elsewhere", store_path() / "volumes/t0-1.json");
  EXPECT_FALSE(Ask(Make("t0-1")));
  const auto made = Must(Make("t0-2")).volume;
  const auto image = store_path() / ("volumes/t0-2." + made->incarnation + ".img");
  ASSERT_TRUE(std::filesystem::remove(image));
  std::filesystem::create_symlink(temp_.path() / "elsewhere", image);
  EXPECT_FALSE(Ask(Publish("t0-2")));
  std::ifstream file(temp_.path() / "elsewhere");
  std::string text;
  file >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(VolumesTest, AStoreThatOthersMayWriteIsRefused) {
  chmod(store_path().c_str(), 0777);
  const auto service = Service::Open(MakeConfig(), "0-test");
  ASSERT_FALSE(service);
  EXPECT_EQ(service.error().code, code::kFailedPrecondition);
}

TEST_F(VolumesTest, WithoutADaemonReadingWorksAndOpeningIsUnavailable) {
  Must(Make("t0-1"));
  ASSERT_TRUE(tgt_->Kill());
  EXPECT_EQ(Must(GetVolume{"t0-1"}).handle, "t0-1");
  ExpectError(Describe{}, code::kUnavailable, "tgtd");
  ExpectError(Publish("t0-1"), code::kUnavailable, "tgtd");
  EXPECT_THAT(Must(GetVolume{"t0-1"}).nodes, IsEmpty()) << "nothing has changed";
}

}  // namespace
}  // namespace gantry::iscsi::target
