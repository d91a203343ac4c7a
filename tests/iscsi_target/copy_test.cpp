// SPDX-License-Identifier: Apache-2.0
// Copies of real volumes: on a file system that shares blocks (XFS on a loop device) and on one that
// does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/iscsi_target/own_filesystem.hpp"
#include "tests/iscsi_target/target_fixture.hpp"

namespace gantry::iscsi::target {
namespace {

using testing::kMiB;
using testing::Soon;
namespace code = plugin::code;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CopyTest : public testing::TargetFixture {
 protected:
  void Use(const std::string& mkfs) {
    filesystem_.emplace(temp_.path(), mkfs);
    store_path_ = filesystem_->path() / "store";
    std::filesystem::create_directory(store_path());
    Open();
  }
  void UseExt4() { Use("mkfs.ext4 -q -F"); }
  ~CopyTest() override {
    service_.reset();
    tgt_.reset();
  }
  std::optional<testing::OwnFilesystem> filesystem_;
};

TEST_F(CopyTest, OnXfsASnapshotOfAVolumeInUseIsThereAtOnce) {
  Use("mkfs.xfs -q -m reflink=1");
  EXPECT_TRUE(Must(Describe{}).reflink);
  EXPECT_EQ(Must(Describe{}).filesystem, "xfs");
  Must(Make("t0-1"));
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  WriteText(session, "before");
  const auto snapshot = Must(Snap("s-1", "t0-1")).snapshot;
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->source, "t0-1");
  EXPECT_EQ(snapshot->size_bytes, volume.size_bytes);
  WriteText(session, "after");
  EXPECT_EQ(Must(Snap("s-1", "t0-1")).snapshot, snapshot);
  Must(MakeFrom("t0-2", ContentKind::kSnapshot, "s-1"));
  Must(MakeFrom("t0-3", ContentKind::kVolume, "t0-1"));
  EXPECT_EQ(TextOf("t0-2"), "before");
  EXPECT_EQ(TextOf("t0-3"), "after");
  EXPECT_EQ(ReadText(session), "after");
}

TEST_F(CopyTest, OnExt4AVolumeInUseForWritingIsNotCopied) {
  UseExt4();
  EXPECT_FALSE(Must(Describe{}).reflink);
  Must(Make("t0-1"));
  Must(Publish("t0-1"));
  ExpectError(Snap("s-1", "t0-1"), code::kFailedPrecondition, "cannot reflink");
  EXPECT_THAT(Files("snapshots"), IsEmpty());
  Must(Unpublish("t0-1"));
  auto reading = Publish("t0-1");
  reading.readonly = true;
  Must(reading);
  EXPECT_TRUE(Must(Snap("s-1", "t0-1")).snapshot) << "who only reads changes nothing";
}

TEST_F(CopyTest, ACopyOutlivesItsSourceAndMayBeLarger) {
  UseExt4();
  MakeWith("t0-1", "data", 8 * kMiB);
  Must(Snap("s-1", "t0-1"));
  Must(DeleteVolume{"t0-1", ""});
  auto request = MakeFrom("t0-2", ContentKind::kSnapshot, "s-1");
  request.required_bytes = 32 * kMiB;
  const auto volume = Must(request).volume;
  EXPECT_EQ(volume->size_bytes, 32 * kMiB);
  EXPECT_FALSE(volume->never_written);
  Must(DeleteSnapshot{"s-1"});
  EXPECT_EQ(TextOf("t0-2"), "data");
  request = MakeFrom("t0-3", ContentKind::kVolume, "t0-2");
  request.limit_bytes = 8 * kMiB;
  ExpectError(request, code::kOutOfRange, "the size of the source");
}

TEST_F(CopyTest, HolesAreNotFilled) {
  UseExt4();
  constexpr uint64_t kFarLba = 200 * kMiB / kBlockBytes;
  Must(Make("t0-1", 300 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  {
    auto session = Login(volume);
    WriteText(session, "far", kFarLba);
  }
  Must(Unpublish("t0-1"));
  const auto before = Must(GetCapacity{}).available_bytes;
  EXPECT_TRUE(Must(MakeFrom("t0-2", ContentKind::kVolume, "t0-1")).volume);
  EXPECT_LT(before - Must(GetCapacity{}).available_bytes, kMiB);
  const auto copy = Must(Publish("t0-2"));
  auto session = Login(copy);
  EXPECT_EQ(ReadText(session, kFarLba), "far");
}

TEST_F(CopyTest, ABlankVolumesCopyIsBlank) {
  UseExt4();
  Must(Make("t0-1"));
  EXPECT_TRUE(Must(MakeFrom("t0-2", ContentKind::kVolume, "t0-1")).volume->never_written);
  EXPECT_EQ(TextOf("t0-2"), "");
}

TEST_F(CopyTest, WithoutItsSourceThereIsNoCopy) {
  ExpectError(MakeFrom("t0-2", ContentKind::kVolume, "t0-1"), code::kNotFound, "volume t0-1");
  ExpectError(MakeFrom("t0-2", ContentKind::kSnapshot, "s-1"), code::kNotFound, "snapshot s-1");
  ExpectError(Snap("s-1", "t0-1"), code::kNotFound, "volume t0-1");
  EXPECT_THAT(Files("volumes"), IsEmpty());
}

// With no time at all in the call, the work is the task's.
TEST_F(CopyTest, ALongCopyIsATaskThatGoesOnWhereItWas) {
  UseExt4();
  MakeWith("t0-1", "data", 32 * kMiB);
  const auto request = MakeFrom("t0-2", ContentKind::kVolume, "t0-1");
  const auto pending = Ask(request, milliseconds(400));
  ASSERT_TRUE(pending) << pending.error().message;
  ASSERT_FALSE(pending->volume);
  EXPECT_EQ(pending->task, (Task{TaskKind::kCopy, "volume/t0-2"}));
  ExpectError(GetVolume{"t0-2"}, code::kNotFound, "still being copied");
  EXPECT_EQ(Must(ListVolumes{}).volumes.size(), 1U);
  const RunTask run{*pending->task};
  EXPECT_FALSE(Ask(run, milliseconds(100))->finished);
  const auto done = Must(run);
  EXPECT_TRUE(done.finished);
  EXPECT_EQ(done.done, done.total);
  EXPECT_EQ(TextOf("t0-2"), "data");
  EXPECT_TRUE(Must(run).finished) << "nothing is left to copy";
}

TEST_F(CopyTest, WhatItsSourceWasGivenOutForInBetweenIsCopiedAnew) {
  UseExt4();
  MakeWith("t0-1", "old", 32 * kMiB);
  const auto request = MakeFrom("t0-2", ContentKind::kVolume, "t0-1");
  const auto pending = Ask(request, milliseconds(400));
  ASSERT_TRUE(pending);
  ASSERT_TRUE(pending->task);
  const auto volume = Must(Publish("t0-1"));
  ExpectError(RunTask{*pending->task}, code::kFailedPrecondition, "node node-a has it for writing");
  {
    auto session = Login(volume);
    WriteText(session, "new");
  }
  Must(Unpublish("t0-1"));
  EXPECT_TRUE(Must(RunTask{*pending->task}).finished);
  EXPECT_EQ(TextOf("t0-2"), "new");
}

TEST_F(CopyTest, ACopyWhoseSourceIsDeletedFailsAndLeavesNothing) {
  UseExt4();
  MakeWith("t0-1", "old", 32 * kMiB);
  const auto pending = Ask(MakeFrom("t0-2", ContentKind::kVolume, "t0-1"), milliseconds(400));
  ASSERT_TRUE(pending);
  ASSERT_TRUE(pending->task);
  Must(DeleteVolume{"t0-1", ""});
  ExpectError(RunTask{*pending->task}, code::kNotFound, "source t0-1");
  EXPECT_TRUE(Must(RunTask{*pending->task}).finished);
  EXPECT_THAT(Files("volumes"), IsEmpty());
}

TEST_F(CopyTest, AFullDiskIsSaidAndTheRestGoesOn) {
  UseExt4();
  Must(Make("t0-1", 300 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  {
    auto session = Login(volume);
    const std::vector<std::byte> data(kMiB, std::byte{7});
    for (uint64_t i = 0; i < 250; ++i)
      ASSERT_TRUE(
          scsi::Write(session, kLun, i * kMiB / kBlockBytes, kBlockBytes, data, false, Soon()));
  }
  Must(Unpublish("t0-1"));
  ExpectError(MakeFrom("t0-2", ContentKind::kVolume, "t0-1"), code::kResourceExhausted, "No space");
  Must(DeleteVolume{"t0-2", ""});
  Must(RunTask{{TaskKind::kTrash, ""}});
  EXPECT_TRUE(Must(Make("t0-3", 8 * kMiB)).volume);
  Must(DeleteVolume{"t0-1", ""});
}

}  // namespace
}  // namespace gantry::iscsi::target
