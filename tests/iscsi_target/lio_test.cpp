// SPDX-License-Identifier: Apache-2.0
// The kernel's target, in the guest of tests/vm: volumes on XFS, served over loop devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "plugins/iscsi/target/lio_kind.hpp"
#include "tests/iscsi_target/own_filesystem.hpp"
#include "tests/iscsi_target/target_fixture.hpp"

namespace gantry::iscsi::target {
namespace {

using testing::kMiB;
using testing::kNodeA;
using testing::kNodeB;
using testing::Soon;

namespace code = plugin::code;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LioTest : public testing::TargetFixture {
 protected:
  LioTest() : TargetFixture(Kind::kLio), filesystem_(temp_.path(), "mkfs.xfs -q -m reflink=1") {
    Run("modprobe -a target_core_mod target_core_iblock iscsi_target_mod loop");
    Run("mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config");
    store_path_ = filesystem_.path() / "store";
    std::filesystem::create_directory(store_path_);
    std::filesystem::permissions(store_path_, std::filesystem::perms::owner_all);
    Open();
  }
  ~LioTest() override {
    const auto page = Ask(ListVolumes{});
    for (const auto& volume : page ? page->volumes : std::vector<Volume>())
      (void)Ask(Unpublish(volume.handle, ""));
  }
  static void Run(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error(command + " failed");
  }
  static std::vector<std::string> Targets() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/kernel/config/target/iscsi"))
      if (entry.path().filename().string().starts_with("iqn."))
        names.push_back(entry.path().filename());
    return names;
  }
  testing::OwnFilesystem filesystem_;
};

TEST_F(LioTest, DescribesWhatItIs) {
  const auto description = Must(Describe{});
  EXPECT_EQ(description.kind, "lio");
  EXPECT_TRUE(description.reflink);
  EXPECT_FALSE(description.expand_interrupts);
}

TEST_F(LioTest, OnlyThePublishedInitiatorGetsInAndFindsWhatItWasTold) {
  Must(Make("t0-1", 64 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  EXPECT_EQ(Must(Publish("t0-1")), volume);
  auto session = Login(volume);
  EXPECT_THAT(scsi::ReadIdentities(session, kLun, Soon()).value(), Contains(volume.identity.naa));
  EXPECT_THAT(scsi::ReadSerial(session, kLun, Soon()).value(), HasSubstr(volume.identity.serial));
  EXPECT_EQ(scsi::ReadCapacity(session, kLun, Soon())->size_bytes(), volume.size_bytes);
  EXPECT_TRUE(Must(GetVolume{"t0-1"}).never_written);
  WriteText(session, "data");
  EXPECT_EQ(ReadText(session), "data");
  EXPECT_FALSE(Must(GetVolume{"t0-1"}).never_written);
  EXPECT_FALSE(TryLogin(volume, kNodeB));
}

TEST_F(LioTest, WithChapTheSecretIsAskedForBothWays) {
  Must(Make("t0-1"));
  auto request = Publish("t0-1");
  request.chap = Chap{"t0-1.user", "geheim-geheim-1", "t0-1.target", "anders-anders-1"};
  const auto volume = Must(request);
  EXPECT_FALSE(TryLogin(volume, kNodeA));
  Chap wrong = *request.chap;
  wrong.password = "falsch-falsch-1";
  EXPECT_FALSE(TryLogin(volume, kNodeA, wrong));
  wrong = *request.chap;
  wrong.password_in = "falsch-falsch-1";
  EXPECT_FALSE(TryLogin(volume, kNodeA, wrong));
  EXPECT_TRUE(TryLogin(volume, kNodeA, request.chap));
}

TEST_F(LioTest, UnpublishEndsTheSessionAndLeavesNothing) {
  Must(Make("t0-1"));
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  WriteText(session, "old");
  Must(Unpublish("t0-1"));
  EXPECT_FALSE(scsi::Flush(session, kLun, Soon()));
  EXPECT_THAT(Targets(), IsEmpty());
  const auto next = Must(Publish("t0-1", "node-b", kNodeB));
  auto other = Login(next, kNodeB);
  EXPECT_EQ(ReadText(other), "old");
  Must(Unpublish("t0-1", ""));
  Must(DeleteVolume{"t0-1", ""});
  EXPECT_THAT(Targets(), IsEmpty());
  EXPECT_NE(std::system("losetup -a | grep -q t0-1"), 0);
}

TEST_F(LioTest, OneNodeOfTwoLeavesAndTheOtherGoesOn) {
  Must(Make("t0-1"));
  auto a = Publish("t0-1");
  auto b = Publish("t0-1", "node-b", kNodeB);
  a.single_node = b.single_node = false;
  a.readonly = true;
  Must(a);
  const auto volume = Must(b);
  auto reader = Login(volume, kNodeA);
  auto writer = Login(volume, kNodeB);
  WriteText(writer, "from b");
  EXPECT_EQ(ReadText(reader), "from b");
  const auto data = Block("late");
  EXPECT_FALSE(scsi::Write(reader, kLun, 0, kBlockBytes, data, false, Soon()))
      << "read-only is an initiator's here";
  Must(Unpublish("t0-1", "node-a"));
  EXPECT_FALSE(TryLogin(volume, kNodeA));
  WriteText(writer, "again");
  EXPECT_EQ(ReadText(writer), "again");
}

TEST_F(LioTest, GrowsUnderANode) {
  Must(Make("t0-1", 8 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  WriteText(session, "data");
  ExpandVolume request;
  request.handle = "t0-1";
  request.required_bytes = 16 * kMiB;
  EXPECT_EQ(Must(request).size_bytes, 16 * kMiB);
  EXPECT_EQ(scsi::ReadCapacity(session, kLun, Soon())->size_bytes(), 16 * kMiB);
  EXPECT_EQ(ReadText(session), "data");
}

TEST_F(LioTest, WhatIsMissingIsMadeAgainAndWhatNobodyWantsRemoved) {
  Must(Make("t0-1"));
  const auto volume = Must(Publish("t0-1"));
  EXPECT_EQ(Must(Rebuild{}), (Progress{0, 0, true}));
  const std::string stray = std::string(testing::kPrefix) + ":t0-9.aaaaaaaaaaaa";
  std::filesystem::create_directory("/sys/kernel/config/target/iscsi/" + stray);
  LioKind kind(MakeConfig().lio, MakeConfig().portals);
  ASSERT_TRUE(kind.Remove(volume.iqn, std::chrono::steady_clock::now()));
  EXPECT_EQ(Must(Rebuild{}), (Progress{2, 2, true}));
  EXPECT_EQ(Targets(), std::vector<std::string>{volume.iqn});
  auto session = Login(volume);
  EXPECT_EQ(ReadText(session), "");
}

}  // namespace
}  // namespace gantry::iscsi::target
