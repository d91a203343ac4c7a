// SPDX-License-Identifier: Apache-2.0
// The file system beneath the store is full: nothing half made is left, and what is there stays whole.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "plugins/common/unique_fd.hpp"
#include "tests/iscsi_target/own_filesystem.hpp"
#include "tests/iscsi_target/target_fixture.hpp"

namespace gantry::iscsi::target {
namespace {

using testing::kMiB;
namespace code = plugin::code;
namespace fs = std::filesystem;
using ::testing::IsEmpty;

class FullStore : public testing::TargetFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  FullStore() {
    filesystem_.emplace(temp_.path(), GetParam());
    store_path_ = filesystem_->path() / "store";
    fs::create_directory(store_path());
    fs::permissions(store_path(), fs::perms::owner_all);
    Open();
  }
  ~FullStore() override {
    service_.reset();
    tgt_.reset();
  }
  uint64_t FreeBytes() const {
    struct statvfs space {};
    if (statvfs(filesystem_->path().c_str(), &space) != 0) throw std::runtime_error("statvfs");
    return uint64_t{space.f_bavail} * space.f_frsize;
  }
  // All but so much.
  void Fill(uint64_t left_bytes) {
    const plugin::UniqueFd fd(open(Filler().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string block(64 << 10, 'f');
    for (off_t at = 0; FreeBytes() > left_bytes; at += static_cast<off_t>(block.size()))
      if (pwrite(fd.get(), block.data(), block.size(), at) <= 0) return;
  }
  void MakeRoom() { fs::remove(Filler()); }
  fs::path Filler() const { return filesystem_->path() / "filler"; }

  std::optional<testing::OwnFilesystem> filesystem_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, FullStore,
                         ::testing::Values("mkfs.ext4 -q -F -m 1", "mkfs.xfs -q -m reflink=1"));

TEST_P(FullStore, TakesNoNewVolumesUntilThereIsRoom) {
  MakeWith("t0-1", "data", 8 * kMiB);
  Fill(0);
  const auto volumes = Files("volumes");
  ExpectError(Make("t0-2"), code::kResourceExhausted, "");
  ExpectError(MakeFrom("t0-3", ContentKind::kVolume, "t0-1"), code::kResourceExhausted, "");
  ExpectError(Snap("s-1", "t0-1"), code::kResourceExhausted, "");
  EXPECT_EQ(Files("volumes"), volumes);
  EXPECT_THAT(Files("snapshots"), IsEmpty());
  EXPECT_EQ(TextOf("t0-1"), "data") << "a volume that is there can be published";
  MakeRoom();
  EXPECT_TRUE(Must(Make("t0-2")).volume);
  EXPECT_TRUE(Must(MakeFrom("t0-3", ContentKind::kVolume, "t0-1")).volume);
  EXPECT_EQ(TextOf("t0-3"), "data");
}

// It is noticed in the middle, which the caller is told as a final error: it may never ask again.
TEST_P(FullStore, ACopyThatDoesNotFitLeavesNothing) {
  if (Must(Describe{}).reflink) return;  // shares its blocks, so it always fits
  Must(Make("t0-1", 32 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  {
    auto session = Login(volume);
    const std::vector<std::byte> data(kMiB, std::byte{'d'});
    for (uint64_t at = 0; at < 32 * kMiB; at += kMiB)
      ASSERT_TRUE(
          scsi::Write(session, kLun, at / kBlockBytes, kBlockBytes, data, false, testing::Soon()));
  }
  Must(Unpublish("t0-1"));
  Fill(8 * kMiB);
  const auto volumes = Files("volumes");
  ExpectError(MakeFrom("t0-2", ContentKind::kVolume, "t0-1"), code::kResourceExhausted, "");
  ExpectError(Snap("s-1", "t0-1"), code::kResourceExhausted, "");
  EXPECT_EQ(Files("volumes"), volumes);
  EXPECT_THAT(Files("snapshots"), IsEmpty());
  while (!Must(RunTask{{TaskKind::kTrash, ""}}).finished) {
  }
  EXPECT_THAT(Files("trash"), IsEmpty());
  EXPECT_GE(FreeBytes(), 4 * kMiB) << "what it had copied is given back";
  MakeRoom();
  EXPECT_TRUE(Must(MakeFrom("t0-2", ContentKind::kVolume, "t0-1")).volume);
  EXPECT_TRUE(Must(Snap("s-1", "t0-1")).snapshot);
}

TEST_P(FullStore, WhatIsThereCanBeDeleted) {
  MakeWith("t0-1", "data", 8 * kMiB);
  Fill(0);
  Must(DeleteVolume{"t0-1", ""});
  while (!Must(RunTask{{TaskKind::kTrash, ""}}).finished) {
  }
  EXPECT_THAT(Files("volumes"), IsEmpty());
  EXPECT_THAT(Files("trash"), IsEmpty());
}

}  // namespace
}  // namespace gantry::iscsi::target
