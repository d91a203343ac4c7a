// SPDX-License-Identifier: Apache-2.0
#include "host/block/content.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/block/format.hpp"
#include "host/block/program.hpp"
#include "host/block/testing.hpp"

namespace gantry::block {
namespace {

using base::Code;
using Kind = Content::Kind;

Content Must(const TestDisk& disk) {
  const auto content = Examine(disk.Open().get());
  if (!content) throw std::runtime_error(content.error().message);
  return *content;
}

TEST(Examine, OnlyADiskOfZerosIsBlank) {
  const TestDisk disk(8 * kMiB);
  EXPECT_EQ(Must(disk).kind, Kind::kBlank);
}

TEST(Examine, OneByteAtEitherEndIsNotBlank) {
  for (const uint64_t offset : {uint64_t{0}, kHeadBytes - 1, 8 * kMiB - kTailBytes, 8 * kMiB - 1}) {
    const TestDisk disk(8 * kMiB);
    disk.Write(offset, "x");
    EXPECT_EQ(Must(disk).kind, Kind::kUnknown) << offset;
  }
}

TEST(Examine, ADiskSmallerThanHeadAndTailIsLookedAtWhole) {
  const TestDisk disk(kMiB + 4096);
  EXPECT_EQ(Must(disk).kind, Kind::kBlank);
  disk.Write(kMiB + 4095, "x");
  EXPECT_EQ(Must(disk).kind, Kind::kUnknown);
}

TEST(Examine, AReadErrorIsAnErrorAndNeverBlank) {
  const TestDisk disk(8 * kMiB);
  disk.ResizeFile(4 * kMiB);  // the device keeps its size, the end of it cannot be read any more
  const auto content = Examine(disk.Open().get());
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, Code::kUnavailable);
}

TEST(Examine, FilesystemsAreNamedWithTheirUuid) {
  const TestDisk disk(512 * kMiB);
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    const std::string uuid = NewUuid();
    const auto made = Format(disk.Open().get(), {fs_type, uuid, {}, true}, Soon());
    ASSERT_TRUE(made) << made.error().message;
    const Content content = Must(disk);
    EXPECT_EQ(content.kind, Kind::kFilesystem);
    EXPECT_EQ(content.type, fs_type);
    EXPECT_EQ(content.uuid, uuid);
  }
}

TEST(Examine, ADamagedSuperblockIsStillASignature) {
  const TestDisk disk(512 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"xfs", NewUuid(), {}, false}, Soon()));
  disk.Write(200, "damage");  // its checksum is wrong now
  EXPECT_EQ(Must(disk).kind, Kind::kFilesystem);
}

TEST(Examine, AnXfsThatWasNotFinishedIsNoFilesystem) {
  const TestDisk disk(512 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"xfs", NewUuid(), {}, false}, Soon()));
  disk.Write(126, "\1");  // sb_inprogress
  const Content content = Must(disk);
  EXPECT_EQ(content.kind, Kind::kUnknown);
  EXPECT_EQ(content.Describe(), "an unfinished xfs");
}

TEST(Examine, WhatIsNoFilesystemIsNamed) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(MustRun({"mkswap", disk.path()}, Soon()));
  EXPECT_EQ(Must(disk).kind, Kind::kOther);
  EXPECT_EQ(Must(disk).type, "swap");
  const TestDisk parted(64 * kMiB);
  parted.Write(510, "\x55\xaa");
  parted.Write(446, std::string("\0\x20\x21\0\x83\x08\x08\x08\0\x08\0\0\0\x70\0\0", 16));
  EXPECT_EQ(Must(parted).kind, Kind::kOther);
  EXPECT_EQ(Must(parted).type, "partition table dos");
}

TEST(MakeBlank, WhatAnMkfsHasBegunIsBlankAgain) {
  const TestDisk disk(8 * kMiB);
  disk.Write(0, "head");
  disk.Write(8 * kMiB - 4, "tail");
  disk.Write(4 * kMiB, "inode tables");
  EXPECT_EQ(Must(disk).kind, Kind::kUnknown);
  ASSERT_TRUE(MakeBlank(disk.Open().get()));
  EXPECT_EQ(Must(disk).kind, Kind::kBlank);
}

TEST(Examine, WhatIsNoDeviceIsRefused) {
  const base::TempDir temp;
  const base::UniqueFd fd(open((temp.path() / "x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_FALSE(Examine(fd.get()));
}

}  // namespace
}  // namespace gantry::block
