// SPDX-License-Identifier: Apache-2.0
#include "host/core/seen_volumes.hpp"

#include <gtest/gtest.h>

#include "host/core/controller.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using std::chrono::seconds;
using testing::CodeOf;
using testing::Emits;
using testing::FakeDriver;
using testing::Refusal;
using testing::Soon;
using testing::VolumeEmit;

csi::v1::ControllerGetVolumeResponse Volume(const std::string& id) {
  csi::v1::ControllerGetVolumeResponse volume;
  volume.mutable_volume()->set_volume_id(id);
  volume.mutable_volume()->set_capacity_bytes(7);
  return volume;
}

TEST(SeenVolumes, SaySinceWhenTheirStorageIsAway) {
  std::chrono::system_clock::time_point now{seconds(1'769'850'000)};
  SeenVolumes volumes([&] { return now; });
  EXPECT_FALSE(volumes.Away("a", "silence"));
  volumes.Saw(Volume("a"));
  ASSERT_TRUE(volumes.Away("a", "silence"));
  now += seconds(37);
  const auto away = volumes.Away("a", "silence");
  EXPECT_EQ(away->volume().capacity_bytes(), 7);
  EXPECT_TRUE(away->status().volume_condition().abnormal());
  EXPECT_EQ(away->status().volume_condition().message(),
            "the storage does not answer since 2026-01-31T09:00:00Z (37 s): silence");
  volumes.Saw(Volume("a"));
  EXPECT_NE(volumes.Away("a", "silence")->status().volume_condition().message().find("(0 s)"),
            std::string::npos);
  volumes.Forget("a");
  EXPECT_FALSE(volumes.Away("a", "silence"));
}

TEST(SeenVolumes, AreABoundedNumber) {
  SeenVolumes volumes([] { return std::chrono::system_clock::now(); });
  for (size_t i = 0; i <= kSeenVolumesMax; ++i) volumes.Saw(Volume(std::to_string(i)));
  size_t known = 0;
  for (size_t i = 0; i <= kSeenVolumesMax; ++i)
    if (volumes.Away(std::to_string(i), "")) ++known;
  EXPECT_EQ(known, kSeenVolumesMax);
}

class ControllerGetAway : public ::testing::Test {
 protected:
  ControllerGetAway() { request_.set_volume_id("fast:v1"); }
  void BeAway(Code code) {
    fake_.backend().Answers(channel::GET_VOLUME, tl::unexpected(Refusal(code, "no route")));
  }
  auto Get() { return controller_.ControllerGetVolume(request_, Soon()); }

  FakeDriver fake_;
  Controller controller_{fake_.driver()};
  csi::v1::ControllerGetVolumeRequest request_;
};

TEST_F(ControllerGetAway, AVolumeThatWasSeenCarriesTheConditionOfItsStorage) {
  fake_.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1", 9000)});
  ASSERT_TRUE(Get());
  for (const auto code : {Code::kUnavailable, Code::kDeadlineExceeded}) {
    BeAway(code);
    const auto away = Get();
    ASSERT_TRUE(away) << away.error().message;
    EXPECT_EQ(away->volume().capacity_bytes(), 9000);
    EXPECT_TRUE(away->status().volume_condition().abnormal());
    EXPECT_NE(away->status().volume_condition().message().find("no route"), std::string::npos);
  }
  fake_.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1", 9000)});
  EXPECT_FALSE(Get()->status().volume_condition().abnormal());
}

TEST_F(ControllerGetAway, AListHasSeenItsVolumes) {
  fake_.backend().Answers(channel::LIST_VOLUMES, Emits{VolumeEmit("v1", 9000)});
  ASSERT_TRUE(controller_.ListVolumes({}, Soon()));
  BeAway(Code::kUnavailable);
  EXPECT_TRUE(Get());
}

TEST_F(ControllerGetAway, OneThatWasNotSeenOrIsDeletedIsAnError) {
  BeAway(Code::kUnavailable);
  EXPECT_EQ(CodeOf(Get()), Code::kUnavailable);
  fake_.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1")});
  ASSERT_TRUE(Get());
  csi::v1::DeleteVolumeRequest gone;
  gone.set_volume_id("fast:v1");
  ASSERT_TRUE(controller_.DeleteVolume(gone, Soon()));
  BeAway(Code::kUnavailable);
  EXPECT_EQ(CodeOf(Get()), Code::kUnavailable);
  fake_.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1")});
  ASSERT_TRUE(Get());
  BeAway(Code::kNotFound);
  EXPECT_EQ(CodeOf(Get()), Code::kNotFound);
  BeAway(Code::kUnavailable);
  EXPECT_EQ(CodeOf(Get()), Code::kUnavailable);
}

}  // namespace
}  // namespace gantry::core
