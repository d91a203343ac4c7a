// SPDX-License-Identifier: Apache-2.0
// The iSCSI backend from CreateVolume to DeleteVolume: a real tgtd, gantry-target, a real gantryd a
// node, the initiator in user space, real filesystems.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/integration/iscsi_lab.hpp"
#include "tests/integration/iscsi_load.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Mode = csi::v1::VolumeCapability::AccessMode;
using namespace std::chrono_literals;

class IscsiLife : public ::testing::Test {
 protected:
  explicit IscsiLife(const IscsiTargetOptions& options = {}) : target_(options) {}
  // Nothing may be left on the node, nor on the target once the trash has been emptied.
  void ExpectNothingLeft(IscsiNode& node) {
    EXPECT_THAT(node.Left(), IsEmpty());
    EXPECT_TRUE(Soon([&] { return target_.Files().empty(); }, 30s))
        << ::testing::PrintToString(target_.Files());
    const auto shown = target_.tgt().Show();
    ASSERT_TRUE(shown);
    EXPECT_THAT(*shown, ::testing::Not(HasSubstr("Target ")));
  }

  IscsiTarget target_;
};

class IscsiFilesystems : public IscsiLife, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Types, IscsiFilesystems, ::testing::Values("ext4", "xfs"));

TEST_P(IscsiFilesystems, KeepDataFromPodToPodAndLeaveNothing) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("life", GetParam());
  volume.bytes = 512 * kMiB;
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  const std::string content = Pattern(5 * kMiB + 17, 1);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", content), 0);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_DONE(node.Stats(volume, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_DONE(node.Down(volume));
  EXPECT_THAT(node.Left(), IsEmpty());
  EXPECT_TRUE(node.DataPathPids().empty());

  ASSERT_DONE(node.Up(volume));
  EXPECT_TRUE(ReadAll(node.Target(volume) / "file") == content);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(node);
}

class IscsiLifeOverIpv6 : public IscsiLife {
 protected:
  IscsiLifeOverIpv6() : IscsiLife({.addresses = {"[::1]"}}) {}
};

TEST_F(IscsiLifeOverIpv6, IsTheSame) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("six");
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  EXPECT_THAT(volume.publish_context["portals"], HasSubstr("[::1]:"));
  const std::string content = Pattern(kMiB, 6);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", content), 0);
  // The data path finds its target again, too.
  ASSERT_TRUE(target_.tgt().Restart());
  ASSERT_EQ(WriteSynced(node.Target(volume) / "more", content), 0);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Up(volume));
  EXPECT_TRUE(ReadAll(node.Target(volume) / "file") == content);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, OfARawDeviceKeepsItsBytesFromNodeToNode) {
  IscsiNode one(target_, "node-a");
  IscsiNode other(target_, "node-b");
  LunVolume volume = Named("raw");
  volume.block = true;
  ASSERT_DONE(one.Create(volume));
  ASSERT_DONE(one.Up(volume));
  const std::string content = Pattern(4 * kMiB, 2);
  ASSERT_TRUE(fs::is_block_file(one.Target(volume)));
  ASSERT_EQ(WriteSynced(one.Target(volume), content), 0);
  ASSERT_DONE(one.Down(volume));

  ASSERT_DONE(one.Attach(volume, "node-b"));
  ASSERT_DONE(other.Stage(volume));
  ASSERT_DONE(other.Publish(volume));
  std::string read(content.size(), '\0');
  std::ifstream(other.Target(volume), std::ios::binary)
      .read(read.data(), static_cast<std::streamsize>(read.size()));
  EXPECT_TRUE(read == content);
  ASSERT_DONE(other.Unpublish(volume));
  ASSERT_DONE(other.Unstage(volume));
  ASSERT_DONE(one.Detach(volume, "node-b"));
  ASSERT_DONE(one.Delete(volume));
  EXPECT_THAT(other.Left(), IsEmpty());
  ExpectNothingLeft(one);
}

TEST_F(IscsiLife, OfClonesSnapshotsAndRestoresHasEachItsOwnData) {
  IscsiNode node(target_, "node-a");
  LunVolume source = Named("source", "xfs");  // grows without CAP_SYS_RESOURCE
  source.bytes = 512 * kMiB;
  ASSERT_DONE(node.Create(source));
  ASSERT_DONE(node.Up(source));
  const std::string first = Pattern(3 * kMiB, 3);
  ASSERT_EQ(WriteSynced(node.Target(source) / "file", first), 0);
  ASSERT_DONE(node.Down(source));

  std::string snapshot;
  ASSERT_DONE(node.Snapshot(source, "snap", &snapshot));
  LunVolume clone = Named("clone", "xfs");
  clone.bytes = source.bytes;
  clone.of_volume = source.id;
  ASSERT_DONE(node.Create(clone));

  ASSERT_DONE(node.Up(source));
  const std::string second = Pattern(3 * kMiB, 4);
  ASSERT_EQ(WriteSynced(node.Target(source) / "file", second), 0);
  ASSERT_DONE(node.Down(source));

  LunVolume restored = Named("restored", "xfs");
  restored.of_snapshot = snapshot;
  restored.bytes = 2 * source.bytes;  // the filesystem grows to it when it is staged
  ASSERT_DONE(node.Create(restored));
  for (auto& [volume, content] :
       {std::pair(&source, &second), std::pair(&clone, &first), std::pair(&restored, &first)}) {
    SCOPED_TRACE(volume->name);
    ASSERT_DONE(node.Up(*volume));
    EXPECT_TRUE(ReadAll(node.Target(*volume) / "file") == *content);
  }
  struct statvfs space {};
  ASSERT_EQ(statvfs(node.Target(restored).c_str(), &space), 0);
  EXPECT_GT(space.f_blocks * space.f_frsize, source.bytes);
  for (auto* volume : {&source, &clone, &restored}) {
    ASSERT_DONE(node.Down(*volume));
    ASSERT_DONE(node.Delete(*volume));
  }
  ASSERT_DONE(node.DeleteSnapshot(snapshot));
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, GrowsWhileAPodHasIt) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("grows", "xfs");  // ext4 wants CAP_SYS_RESOURCE to grow in use
  volume.bytes = 512 * kMiB;
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  const std::string content = Pattern(kMiB, 5);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", content), 0);
  ASSERT_DONE(node.Expand(volume, 1024 * kMiB));
  ASSERT_DONE(node.ExpandNode(volume));
  struct statvfs space {};
  ASSERT_EQ(statvfs(node.Target(volume).c_str(), &space), 0);
  EXPECT_GT(space.f_blocks * space.f_frsize, 700 * kMiB);
  EXPECT_TRUE(ReadAll(node.Target(volume) / "file") == content);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "more", Pattern(600 * kMiB, 6)), 0);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, WithMutualChapPutsNoSecretWhereOthersCanRead) {
  IscsiNode node(target_, "node-a", "      chap: mutual\n");
  LunVolume volume = Named("chap");
  ASSERT_DONE(node.Create(volume));
  EXPECT_EQ(node.Attach(volume, "node-a").error_code(), StatusCode::INVALID_ARGUMENT);

  const std::string key = "canary-0123456789abcdef0123456789abcdef";
  node.secrets = {{"chapKey", key}};
  ASSERT_DONE(node.Up(volume));
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", "content"), 0);
  for (const auto& [name, value] : volume.publish_context) EXPECT_THAT(value, Not(HasSubstr(key)));
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string words = ReadAll(entry.path() / "cmdline");
    EXPECT_THAT(words, ::testing::Not(HasSubstr("canary-0"))) << entry.path();
  }
  EXPECT_THAT(node.host().Log(), ::testing::Not(HasSubstr(key)));
  ASSERT_DONE(node.Down(volume));

  // Another key gives other passwords than the target has been told.
  ASSERT_DONE(node.Attach(volume, "node-a"));
  node.secrets = {{"chapKey", std::string(40, 'x')}};
  const auto begin = std::chrono::steady_clock::now();
  const auto refused = node.Stage(volume);
  EXPECT_EQ(refused.error_code(), StatusCode::UNAUTHENTICATED) << Say(refused);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
  ASSERT_DONE(node.Unstage(volume));
  ASSERT_DONE(node.Detach(volume, "node-a"));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, OfASingleNodeVolumeNamesTheNodeThatHasIt) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("single");
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Attach(volume, "node-a"));
  const auto refused = node.Attach(volume, "node-b");
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("node-a"));
  csi::v1::ListVolumesResponse list;
  ASSERT_DONE(node.List(&list));
  ASSERT_EQ(list.entries_size(), 1);
  EXPECT_THAT(list.entries(0).status().published_node_ids(), ::testing::ElementsAre("node-a"));
  ASSERT_DONE(node.Detach(volume, "node-a"));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(node);
}

// The disk at the end of the path is not the one that was published: nothing is formatted.
TEST_F(IscsiLife, RefusesAnotherVolumesDisk) {
  IscsiNode node(target_, "node-a");
  LunVolume mine = Named("mine");
  LunVolume others = Named("others");
  ASSERT_DONE(node.Create(mine));
  ASSERT_DONE(node.Create(others));
  ASSERT_DONE(node.Attach(mine, "node-a"));
  ASSERT_DONE(node.Attach(others, "node-a"));
  const auto published = mine.publish_context;
  for (const char* key : {"iqn", "lun", "portals"})
    mine.publish_context[key] = others.publish_context[key];
  const auto refused = node.Stage(mine);
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION) << Say(refused);
  ASSERT_DONE(node.Unstage(mine));
  mine.publish_context = published;
  for (auto* volume : {&mine, &others}) {
    ASSERT_DONE(node.Stage(*volume));
    ASSERT_DONE(node.Publish(*volume));
    ASSERT_DONE(node.Down(*volume));
    ASSERT_DONE(node.Delete(*volume));
  }
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, OfALostNodeEndsBeforeTheNextOneBegins) {
  IscsiNode lost(target_, "node-lost", "      ioTimeoutSeconds: 3\n");
  IscsiNode next(target_, "node-next");
  LunVolume volume = Named("moves");
  volume.block = true;
  ASSERT_DONE(lost.Create(volume));
  ASSERT_DONE(lost.Up(volume));
  LunVolume here = volume;
  RawWriter writer(lost.Target(volume));
  ASSERT_TRUE(Soon([&] { return writer.written() > 20; }, 20s));

  ASSERT_DONE(next.Detach(volume, "node-lost"));
  ASSERT_DONE(next.Attach(here, "node-next"));
  ASSERT_DONE(next.Stage(here));
  ASSERT_DONE(next.Publish(here));
  const std::string content(4096, 'n');
  ASSERT_EQ(WriteSynced(next.Target(here), content), 0);
  EXPECT_TRUE(Soon([&] { return writer.failed(); }, 30s)) << "the lost node still writes";
  writer.Stop();
  std::string read(content.size(), '\0');
  std::ifstream(next.Target(here), std::ios::binary).read(read.data(), 4096);
  EXPECT_TRUE(read == content);

  ASSERT_DONE(lost.Unpublish(volume));
  ASSERT_DONE(lost.Unstage(volume));
  ASSERT_DONE(next.Down(here));
  ASSERT_DONE(next.Delete(here));
  EXPECT_THAT(lost.Left(), IsEmpty());
  ExpectNothingLeft(next);
}

TEST_F(IscsiLife, GoesOnWhenTheDaemonHasForgottenEverything) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("forgotten");
  LunVolume deleted = Named("deleted");
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Create(deleted));
  ASSERT_DONE(node.Up(deleted));
  ASSERT_DONE(node.Down(deleted));
  ASSERT_DONE(node.Delete(deleted));
  ASSERT_DONE(node.Up(volume));
  const fs::path file = node.Target(volume) / "fio";
  const std::string fio =
      "fio --name=v --filename=" + file.string() +
      " --size=64m --rw=randwrite --bs=16k --direct=1 --ioengine=libaio --iodepth=8 --fsync=64"
      " --verify=crc32c --verify_state_save=0 --do_verify=1 --time_based=0 --loops=3"
      " --rate=6m --output=/dev/null";
  std::atomic<int> status = -1;
  std::thread load([&] { status = std::system(fio.c_str()); });
  ASSERT_TRUE(Soon([&] { return fs::exists(file); }, 20s));
  ASSERT_TRUE(target_.tgt().Kill());
  poll(nullptr, 0, 10'000);
  ASSERT_TRUE(target_.tgt().Restart());
  const auto back = std::chrono::steady_clock::now();
  EXPECT_EQ(WriteSynced(node.Target(volume) / "after", "it goes on"), 0);
  std::printf("a write went through %.2f s after the daemon was back, empty\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - back).count());
  load.join();
  EXPECT_EQ(status, 0);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, OfOneVolumeIsNotEndedByAnothersDetach) {
  IscsiNode node(target_, "node-a");
  LunVolume stays = Named("stays");
  stays.block = true;
  LunVolume leaves = Named("leaves");
  ASSERT_DONE(node.Create(stays));
  ASSERT_DONE(node.Create(leaves));
  ASSERT_DONE(node.Up(stays));
  RawWriter writer(node.Target(stays));
  for (int i = 0; i < 3; ++i) {
    ASSERT_DONE(node.Up(leaves));
    ASSERT_DONE(node.Down(leaves));
  }
  const uint64_t before = writer.written();
  EXPECT_TRUE(Soon([&] { return writer.written() > before + 5; }, 10s));
  EXPECT_FALSE(writer.failed());
  writer.Stop();
  ASSERT_DONE(node.Down(stays));
  for (auto* volume : {&stays, &leaves}) ASSERT_DONE(node.Delete(*volume));
  ExpectNothingLeft(node);
}

TEST_F(IscsiLife, OfAHundredVolumesByEightClientsLeavesNothing) {
  constexpr int kClients = 8;
  constexpr int kVolumes = 100;
  IscsiNode node(target_, "node-a");
  std::atomic<int> next = 0;
  std::atomic<int> failures = 0;
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c)
    clients.emplace_back([&] {
      for (int i = next++; i < kVolumes; i = next++) {
        LunVolume volume = Named("many-" + std::to_string(i));
        volume.block = i % 2 == 0;
        volume.bytes = 64 * kMiB;
        for (const auto& call : std::vector<std::function<grpc::Status()>>{
                 [&] { return node.Create(volume); }, [&] { return node.Up(volume); },
                 [&] { return node.Down(volume); }, [&] { return node.Delete(volume); }}) {
          const auto status = call();
          if (status.ok()) continue;
          ++failures;
          ADD_FAILURE() << volume.name << ": " << Say(status);
          break;
        }
      }
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(failures, 0);
  ExpectNothingLeft(node);
}

}  // namespace
}  // namespace gantry::tests
