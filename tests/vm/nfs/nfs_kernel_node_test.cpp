// SPDX-License-Identifier: Apache-2.0
// What happens to a node whose volumes are mounted by the kernel's NFS client: lost packets, a reboot,
// a restart of gantryd; and Linux' own server, whose ports only its portmapper knows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "host/base/file.hpp"
#include "tests/vm/nfs/nfs_kernel.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::IsEmpty;

// Everything that is sent over loopback is lost meanwhile.
class LostPackets {
 public:
  LostPackets() {
    if (Shell("modprobe sch_netem && tc qdisc add dev lo root netem loss 100%") != 0)
      throw std::runtime_error("no netem on lo");
  }
  ~LostPackets() { (void)Shell("tc qdisc del dev lo root"); }
};

class NfsKernelNode : public ::testing::Test {
 protected:
  Volume Run(const std::string& name, Mode::Mode mode = Mode::MULTI_NODE_MULTI_WRITER,
             const std::string& mounter = "kernel") {
    Volume volume = node_.Plan(name, mode);
    volume.parameters["mounter"] = mounter;
    for (const auto& status : {node_.Create(volume, kPatience), node_.Stage(volume, kPatience),
                               node_.Publish(volume, kPatience)})
      EXPECT_TRUE(status.ok()) << Text(status);
    return volume;
  }

  NfsNode node_{KernelOptions()};
};

TEST_F(NfsKernelNode, PacketsThatAreLostHoldUpNobodyForLong) {
  const Volume volume = Run("lost");
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_.Stats(volume, &stats, kPatience));
  {
    const LostPackets lost;
    ASSERT_GRPC_OK(node_.Stats(volume, &stats, kStatsMax));
    EXPECT_TRUE(stats.volume_condition().abnormal());
    EXPECT_EQ(node_.PublishAt(volume, node_.PodTarget("second"), false, kPublishMax).error_code(),
              StatusCode::UNAVAILABLE);
    const auto took = Timed([&] {
      ASSERT_GRPC_OK(node_.Unpublish(volume, kTakeDownMax));
      ASSERT_GRPC_OK(node_.Unstage(volume, kTakeDownMax));
    });
    std::cout << "  taken down in " << took.count() << " ms\n";
  }
  grpc::Status staged;
  EXPECT_TRUE(Soon([&] { return (staged = node_.Stage(volume, kPatience)).ok(); }, kBackMax))
      << Text(staged);
  ASSERT_GRPC_OK(node_.Publish(volume, kPatience));
  EXPECT_EQ(WriteWhole(volume.target / "file", "content"), 0);
  ASSERT_GRPC_OK(node_.End(volume));
}

TEST_F(NfsKernelNode, AutoIsTheKernelsUnlessSeveralNodesWrite) {
  ASSERT_EQ(Shell("modprobe fuse"), 0);
  const Volume one = Run("one-writer", Mode::SINGLE_NODE_WRITER, "auto");
  const Volume many = Run("many-writers", Mode::MULTI_NODE_MULTI_WRITER, "auto");
  EXPECT_EQ(MountAt(one.target)->fs_type, "nfs4");
  EXPECT_EQ(MountAt(many.target)->fs_type, "fuse.gantry");
  ASSERT_GRPC_OK(node_.End(one));
  ASSERT_GRPC_OK(node_.End(many));
}

// State of a boot that is over, and none of its mounts.
TEST_F(NfsKernelNode, ARebootLeavesNothingInTheWay) {
  const Volume stayed = Run("stayed");
  const Volume moved = Run("moved");
  ASSERT_EQ(WriteWhole(stayed.target / "file", "content"), 0);
  ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
  for (const auto& point : node_.Mounted()) ASSERT_EQ(umount2(point.c_str(), MNT_DETACH), 0);
  const fs::path state = node_.host().directory() / "state/node";
  const auto records = [&] {
    return std::distance(fs::directory_iterator(state), fs::directory_iterator());
  };
  ASSERT_EQ(records(), 2);
  for (const auto& entry : fs::directory_iterator(state)) {
    auto record = nlohmann::json::parse(base::ReadFile(entry.path(), 1 << 20).value());
    record["boot_id"] = "00000000-0000-0000-0000-000000000000";
    std::ofstream(entry.path()) << record;
  }
  ASSERT_TRUE(node_.host().Restart().has_value());
  ASSERT_GRPC_OK(node_.Stage(stayed, kPatience));
  ASSERT_GRPC_OK(node_.Publish(stayed, kPatience));
  EXPECT_EQ(ReadWhole(stayed.target / "file"), "content");
  // The pod of the other one is elsewhere now: nobody will ever ask for it here again.
  EXPECT_TRUE(Soon([&] { return records() == 1; }, kBackMax)) << records();
  ASSERT_GRPC_OK(node_.End(stayed));
  ASSERT_GRPC_OK(node_.Delete(moved, kPatience));
}

TEST_F(NfsKernelNode, ARestartedGantrydGoesOnWithWhatIsMounted) {
  const Volume volume = Run("restarted");
  ASSERT_EQ(WriteWhole(volume.target / "file", "content"), 0);
  ASSERT_TRUE(node_.host().Restart().has_value());
  ASSERT_GRPC_OK(node_.Stage(volume, kPatience));
  ASSERT_GRPC_OK(node_.Publish(volume, kPatience));
  EXPECT_EQ(node_.Mounted().size(), 2U);
  EXPECT_EQ(ReadWhole(volume.target / "file"), "content");
  ASSERT_GRPC_OK(node_.End(volume));
}

// Linux' own server, of this guest's kernel.
class KernelServer {
 public:
  KernelServer() {
    if (Run("start") != 0) throw std::runtime_error("no knfsd");
  }
  ~KernelServer() { (void)Run("stop"); }
  static int Run(const std::string& verb) {
    const fs::path tree = std::getenv("GANTRY_SOURCE_DIR");
    return Shell((tree / "tests/vm/nfs/knfsd").string() + " " + verb + " " + root.string());
  }
  static inline const fs::path root = "/tmp/knfsd";
};

class NfsKernelServer : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Versions, NfsKernelServer, ::testing::Values("3", "4.2"),
                         [](const auto& version) { return "V" + version.param.substr(0, 1); });

TEST_P(NfsKernelServer, ServesAVolumesWholeLifeAndItIsHealedWhenTheExportWasMadeAnew) {
  const KernelServer server;
  NfsNodeOptions options = KernelOptions();
  options.own_server = false;
  options.shares = {"{server: localhost, share: /vol}"};
  options.grants = "fs_types: [nfs, nfs4], servers: [localhost]";
  NfsNode node(options);
  Volume volume = node.Plan("volume");
  volume.backing = KernelServer::root / "vol/volume";
  volume.mount_flags = {"nfsvers=" + GetParam()};
  ASSERT_GRPC_OK(node.Create(volume, kPatience));
  ASSERT_GRPC_OK(node.Stage(volume, kPatience));
  ASSERT_GRPC_OK(node.Publish(volume, kPatience));
  EXPECT_EQ(MountAt(volume.target)->fs_type, GetParam() == "3" ? "nfs" : "nfs4");
  ASSERT_EQ(WriteWhole(volume.target / "file", "content"), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "file"), "content");

  ASSERT_EQ(KernelServer::Run("renew"), 0);
  csi::v1::NodeGetVolumeStatsResponse stats;
  EXPECT_TRUE(Soon(
      [&] {
        return node.Stats(volume, &stats, kPatience).ok() && stats.volume_condition().abnormal();
      },
      kBackMax));
  std::cout << "  stats: " << stats.volume_condition().message() << "\n";
  ASSERT_GRPC_OK(node.Publish(volume, kPatience));
  EXPECT_EQ(WriteWhole(volume.target / "file", "anew"), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "file"), "anew");
  ASSERT_GRPC_OK(node.Unpublish(volume, kPatience));
  ASSERT_GRPC_OK(node.Unstage(volume, kPatience));
  EXPECT_THAT(node.Mounted(), IsEmpty());
}

}  // namespace
}  // namespace gantry::tests
