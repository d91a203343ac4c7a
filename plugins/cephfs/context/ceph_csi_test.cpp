// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/context/ceph_csi.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cephfs {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Map = std::map<std::string, std::string>;

const std::string kTail = "-0000000000000001-5d3f6a2e-0b8c-4c3a-9f52-1a2b3c4d5e6f";

TEST(CephCsi, ReadsAStaticVolume) {
  const Map attributes = {{"clusterID", "rook-ceph"},
                          {"fsName", "myfs"},
                          {"staticVolume", "true"},
                          {"rootPath", "/team/data/"}};
  EXPECT_TRUE(IsCephCsi(attributes));
  const auto volume = ParseCephCsi(attributes);
  ASSERT_TRUE(volume) << volume.error().message;
  EXPECT_EQ(volume->cluster_id, "rook-ceph");
  EXPECT_EQ(volume->fs_name, "myfs");
  EXPECT_EQ(volume->path, "/team/data");
  EXPECT_EQ(volume->mounter, std::nullopt);
}

TEST(CephCsi, ReadsAVolumeThatCephCsiHasMade) {
  const auto volume = ParseCephCsi({{"clusterID", "c"},
                                    {"subvolumeName", "csi-vol-1"},
                                    {"subvolumePath", "/volumes/csi/csi-vol-1/uuid"},
                                    {"mounter", "fuse"},
                                    {"kernelMountOptions", "ms_mode=crc"}});
  ASSERT_TRUE(volume) << volume.error().message;
  EXPECT_EQ(volume->path, "/volumes/csi/csi-vol-1/uuid");
  EXPECT_EQ(volume->mounter, Mounter::kUserspace);
  EXPECT_EQ(volume->kernel_mount_options, "ms_mode=crc");
}

TEST(CephCsi, NamesAttributeValueAndWhatWasExpected) {
  for (const auto& [attributes, key, value] :
       {std::tuple(Map{{"staticVolume", "true"}}, "rootPath", "\"\""),
        std::tuple(Map{{"staticVolume", "yes"}, {"rootPath", "/a"}}, "staticVolume", "yes"),
        std::tuple(Map{{"staticVolume", "true"}, {"rootPath", "/a/../b"}}, "rootPath", "/a/../b"),
        std::tuple(Map{{"staticVolume", "true"}, {"rootPath", "a"}}, "rootPath", "\"a\""),
        std::tuple(Map{{"rootPath", "/a"}}, "subvolumePath", "\"\""),
        std::tuple(Map{{"subvolumePath", "/a"}, {"encrypted", "true"}}, "encrypted", "true"),
        std::tuple(Map{{"subvolumePath", "/a"}, {"mounter", "nfs"}}, "mounter", "nfs")}) {
    const auto volume = ParseCephCsi(attributes);
    ASSERT_FALSE(volume) << key;
    EXPECT_EQ(volume.error().code, plugin::code::kInvalidArgument);
    EXPECT_THAT(volume.error().message, AllOf(HasSubstr(key), HasSubstr(value)));
  }
}

TEST(CephCsi, LeavesVolumesOfGantryAlone) {
  EXPECT_FALSE(IsCephCsi({{"format", "1"}, {"path", "/a"}}));
  EXPECT_FALSE(IsCephCsi({}));
}

TEST(CephCsi, FindsTheClusterInAnIdAndInNothingElse) {
  EXPECT_EQ(ClusterOfCephCsiId("0001-0009-rook-ceph" + kTail), "rook-ceph");
  EXPECT_EQ(ClusterOfCephCsiId("0001-0024-ba68226a-672f-4ba5-97bc-22840318b2ec" + kTail),
            "ba68226a-672f-4ba5-97bc-22840318b2ec");
  for (const std::string& id :
       {std::string(), std::string("0001-"), std::string("0001-0009-rook-ceph"),
        "0002-0009-rook-ceph" + kTail, "0001-0008-rook-ceph" + kTail, "0001-ffff-rook-ceph" + kTail,
        "0001-zzzz-rook-ceph" + kTail, "0001-0009-rook-ceph" + kTail + "x",
        std::string("pv-by-hand")})
    EXPECT_EQ(ClusterOfCephCsiId(id), std::nullopt) << id;
}

}  // namespace
}  // namespace gantry::cephfs
