// SPDX-License-Identifier: Apache-2.0
#include "host/services/mounts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::services {
namespace {

using ::testing::ElementsAre;

TEST(MountInfo, ReadsEveryFieldOfALine) {
  const auto mounts = ParseMountInfo(
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n");
  ASSERT_TRUE(mounts);
  ASSERT_EQ(mounts->size(), 1U);
  const MountEntry& mount = mounts->front();
  EXPECT_EQ(mount.mount_id, 36);
  EXPECT_EQ(mount.parent_id, 35);
  EXPECT_EQ(mount.device, "98:0");
  EXPECT_EQ(mount.root, "/mnt1");
  EXPECT_EQ(mount.mount_point, "/mnt2");
  EXPECT_THAT(mount.options, ElementsAre("rw", "noatime"));
  EXPECT_EQ(mount.fs_type, "ext3");
  EXPECT_EQ(mount.source, "/dev/root");
  EXPECT_THAT(mount.super_options, ElementsAre("rw", "errors=continue"));
}

TEST(MountInfo, UndoesOctalEscapesAndLeavesOtherBackslashesAlone) {
  const auto mounts = ParseMountInfo(
      "1 0 0:1 / /a\\040b\\011c\\012d\\134e\\9 rw - fuse.gantry nfs:\\040x\\134040 rw\n");
  ASSERT_TRUE(mounts);
  EXPECT_EQ(mounts->front().mount_point, "/a b\tc\nd\\e\\9");
  EXPECT_EQ(mounts->front().source, "nfs: x\\040");
}

TEST(MountInfo, TakesALineWithoutOptionalFields) {
  const auto mounts = ParseMountInfo("1 0 0:1 / / rw - tmpfs tmpfs rw\n");
  ASSERT_TRUE(mounts);
  EXPECT_EQ(mounts->front().fs_type, "tmpfs");
}

TEST(MountInfo, TakesAnEmptySource) {
  const auto mounts = ParseMountInfo("1 0 0:1 / /x rw shared:2 - tmpfs  rw,size=4k\n");
  ASSERT_TRUE(mounts);
  EXPECT_EQ(mounts->front().source, "");
  EXPECT_THAT(mounts->front().super_options, ElementsAre("rw", "size=4k"));
}

TEST(MountInfo, IsNotFooledByADashInAPathOrInTheRoot) {
  const auto mounts = ParseMountInfo("1 0 0:1 - - rw - tmpfs - rw\n");
  ASSERT_TRUE(mounts);
  EXPECT_EQ(mounts->front().root, "-");
  EXPECT_EQ(mounts->front().mount_point, "-");
  EXPECT_EQ(mounts->front().source, "-");
}

TEST(MountInfo, RefusesALineThatIsCutOrNotNumbered) {
  for (const char* line :
       {"1 0 0:1 / /x rw", "1 0 0:1 / /x rw - tmpfs tmpfs", "one 0 0:1 / /x rw - tmpfs tmpfs rw",
        "1 0 0:1 / /x rw shared:1 tmpfs", "1x 0 0:1 / /x rw - tmpfs tmpfs rw"}) {
    const auto mounts = ParseMountInfo(line);
    ASSERT_FALSE(mounts) << line;
    EXPECT_THAT(mounts.error().message, ::testing::HasSubstr(line));
  }
}

TEST(MountInfo, AMountIsReadOnlyByItselfOrByItsFilesystem) {
  const auto mounts = ParseMountInfo(
      "1 0 0:1 / /a ro,nosuid - tmpfs t rw\n2 0 0:1 / /b rw - tmpfs t ro\n"
      "3 0 0:1 / /c rw,errors=ro - tmpfs t rw,noro\n");
  ASSERT_TRUE(mounts);
  EXPECT_TRUE(mounts->at(0).ReadOnly());
  EXPECT_TRUE(mounts->at(1).ReadOnly());
  EXPECT_FALSE(mounts->at(2).ReadOnly());
}

TEST(MountInfo, StackedMountsAreOrderedByParentAndNeighboursAreNotTaken) {
  const auto mounts = ParseMountInfo(
      "12 11 0:3 / /k/a rw - tmpfs top rw\n"
      "11 10 0:2 / /k/a rw - tmpfs middle rw\n"
      "10 1 0:1 / /k/a rw - tmpfs bottom rw\n"
      "13 1 0:4 / /k/ab rw - tmpfs other rw\n"
      "14 12 0:5 / /k/a/b rw - tmpfs below rw\n");
  ASSERT_TRUE(mounts);
  const auto at = MountsAt(*mounts, "/k/a");
  ASSERT_EQ(at.size(), 3U);
  EXPECT_EQ(at[0].source, "bottom");
  EXPECT_EQ(at[2].source, "top");
  const auto below = MountsBelow(*mounts, "/k/a");
  ASSERT_EQ(below.size(), 1U);
  EXPECT_EQ(below[0].source, "below");
}

TEST(MountInfo, ReadsThisMachine) {
  const auto mounts = ReadMountInfo();
  ASSERT_TRUE(mounts) << mounts.error().message;
  EXPECT_FALSE(MountsAt(*mounts, "/").empty());
}

TEST(Mounts, OfTwoDirectoriesOfOneExportAreTwoVolumesThoughTheDeviceIsTheSame) {
  const auto mounts = ParseMountInfo(
      "1 0 0:53 / /a rw - nfs4 nas:/export/a rw\n"
      "2 0 0:53 / /b rw - nfs4 nas:/export/b rw\n"
      "3 0 0:53 / /pod rw - nfs4 nas:/export/a rw\n"
      "4 0 0:54 / /anew rw - nfs4 nas:/export/a rw\n"
      "5 0 0:55 / /t1 rw - tmpfs label rw\n"
      "6 0 0:56 / /t2 rw - tmpfs label rw\n");
  ASSERT_TRUE(mounts) << mounts.error().message;
  const auto& m = *mounts;
  EXPECT_FALSE(SameFilesystem(m[0], m[1]));
  EXPECT_FALSE(SameVolume(m[0], m[1]));
  EXPECT_TRUE(SameFilesystem(m[0], m[2]));
  EXPECT_FALSE(SameFilesystem(m[0], m[3]));
  EXPECT_TRUE(SameVolume(m[0], m[3]));
  EXPECT_FALSE(SameVolume(m[4], m[5]));
}

TEST(Mounts, NameWhoseFaultItIsWhenTheyHang) {
  EXPECT_EQ(FaultDomain("nfs4", "10.0.0.1:/export"), "10.0.0.1");
  EXPECT_EQ(FaultDomain("nfs", "[fd00::1]:/export"), "[fd00::1]");
  EXPECT_EQ(FaultDomain("cifs", "//nas/share"), "nas");
  EXPECT_EQ(FaultDomain("ceph", "a:6789,b:6789:/x"), "a:6789,b:6789");
  EXPECT_EQ(FaultDomain("fuse.gantry", "fast:0123-abc"), "fast");
  EXPECT_EQ(FaultDomain("tmpfs", "label"), "");
}

}  // namespace
}  // namespace gantry::services
