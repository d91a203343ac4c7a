// SPDX-License-Identifier: Apache-2.0
// A CephFS volume mounted by the kernel's client through gantryd, and what becomes of it when the
// cluster throws the client out. Limits are those of an emulated machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "host/services/mounts.hpp"
#include "tests/integration/ceph_node.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kQuota = (10 << 20) + 4096;  // no multiple of the kernel's 4 MiB
constexpr seconds kPatience{120};

class CephKernelTest : public ::testing::Test {
 protected:
  CephVolume Make(const std::string& name) {
    auto volume = node_.Make(name, kQuota);
    volume.context["mounter"] = "kernel";
    return volume;
  }
  std::string MountTable() {
    std::ifstream file("/proc/self/mountinfo");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  CephNode node_{{"ceph"}, "fs_types: [ceph], servers: [\"192.0.2.10\"]"};
};

TEST_F(CephKernelTest, MountsWithTheKeyInNoTableAndTheQuotaToTheByte) {
  const auto volume = Make("kernel");
  ASSERT_GRPC_OK(node_.Stage(volume, kPatience));
  ASSERT_GRPC_OK(node_.Publish(volume, kPatience));
  const auto mounts = services::ReadMountInfo();
  ASSERT_TRUE(mounts);
  const auto at = services::MountsAt(*mounts, volume.staging.string());
  ASSERT_EQ(at.size(), 1U);
  EXPECT_EQ(at[0].fs_type, "ceph");
  EXPECT_EQ(at[0].Unsafe(), "");
  EXPECT_THAT(MountTable(), Not(HasSubstr(volume.key)));
  EXPECT_THAT(node_.host().Log(), Not(HasSubstr(volume.key)));

  ASSERT_EQ(WriteWhole(volume.target / "file", Random(1 << 20, 1)), 0);
  EXPECT_TRUE(ReadWhole(volume.target / "file") == Random(1 << 20, 1));
  As(1000, 1001, [&] { EXPECT_EQ(WriteWhole(volume.target / "mine", "x"), 0); });
  struct stat found {};
  ASSERT_EQ(stat((volume.target / "mine").c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, 1000U);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_.Stats(volume, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_GE(stats.usage_size(), 1);
  EXPECT_EQ(stats.usage(0).total(), int64_t{kQuota});
  ASSERT_GRPC_OK(node_.End(volume));
  EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
}

TEST_F(CephKernelTest, ReportsAClientThatWasThrownOutAndHealsItAtThePublish) {
  const auto volume = Make("evicted");
  ASSERT_GRPC_OK(node_.Stage(volume, kPatience));
  ASSERT_GRPC_OK(node_.Publish(volume, kPatience));
  ASSERT_EQ(WriteWhole(volume.target / "file", "before"), 0);
  node_.Evict(volume);
  csi::v1::NodeGetVolumeStatsResponse stats;
  EXPECT_TRUE(Soon(
      [&] {
        stats.Clear();
        return node_.Stats(volume, &stats).ok() && stats.volume_condition().abnormal();
      },
      kPatience));
  std::printf("condition: %s\n", stats.volume_condition().message().c_str());
  const auto second = node_.PodTarget("second");
  ASSERT_GRPC_OK(node_.PublishAt(volume, second, false, kPatience));
  EXPECT_EQ(ReadWhole(second / "file"), "before");
  EXPECT_EQ(WriteWhole(second / "file", "after"), 0);
  ASSERT_GRPC_OK(node_.UnpublishAt(volume, second));
  ASSERT_GRPC_OK(node_.End(volume));
  EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace gantry::tests
