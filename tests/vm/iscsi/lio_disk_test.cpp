// SPDX-License-Identifier: Apache-2.0
// The initiator in user space against the kernel's target: another login answer, another fence and a
// target that grows under I/O, none of which tgtd shows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/statvfs.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/vm/iscsi/iscsi_kernel.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kWritesSeen = 20;  // until a writer counts as under way

class LioDisk : public KernelIscsi {
 protected:
  void StartInUserSpace(const IscsiTargetOptions& options = {.lio = true}) {
    target_ = std::make_unique<IscsiTarget>(options);
    node_ = std::make_unique<IscsiNode>(*target_, "node-a");
  }
  // A raw volume that is being written to.
  std::unique_ptr<RawWriter> Written(LunVolume& volume) {
    volume.block = true;
    EXPECT_TRUE(node_->Create(volume).ok());
    EXPECT_TRUE(node_->Up(volume).ok());
    EXPECT_THAT(Sessions(), IsEmpty()) << "the kernel's initiator is not asked";
    auto writer = std::make_unique<RawWriter>(node_->Target(volume));
    EXPECT_TRUE(Soon([&] { return writer->written() > kWritesSeen; }, kPatience));
    return writer;
  }
  void ExpectGoesOn(const RawWriter& writer) {
    const uint64_t before = writer.written();
    EXPECT_TRUE(Soon([&] { return writer.written() > before + kWritesSeen; }, kPatience));
    EXPECT_FALSE(writer.failed());
  }
};

TEST_F(LioDisk, GrowsUnderAPodsWritesAndKeepsItsData) {
  StartInUserSpace();
  LunVolume volume = Named("grows");
  volume.bytes = 384 * kMiB;
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  EXPECT_THAT(node_->DataPathPids(), SizeIs(1));
  const std::string content = Pattern(5 * kMiB + 17, 1);
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", content), 0);
  const std::string fio =
      "fio --name=v --filename=" + (node_->Target(volume) / "fio").string() +
      " --size=16m --rw=randwrite --bs=16k --direct=1 --ioengine=libaio --iodepth=8"
      " --verify=crc32c --verify_state_save=0 --do_verify=1 --loops=3 --output=/dev/null";
  std::atomic<int> status = -1;
  std::thread load([&] { status = std::system(fio.c_str()); });
  EXPECT_TRUE(Soon([&] { return fs::exists(node_->Target(volume) / "fio"); }, kPatience));
  const grpc::Status expanded = node_->Expand(volume, 768 * kMiB);
  const grpc::Status grown = node_->ExpandNode(volume);
  load.join();
  ASSERT_TRUE(expanded.ok()) << Say(expanded);
  ASSERT_TRUE(grown.ok()) << Say(grown);
  EXPECT_EQ(status, 0);
  struct statvfs space {};
  ASSERT_EQ(statvfs(node_->Target(volume).c_str(), &space), 0);
  EXPECT_GT(space.f_blocks * space.f_frsize, 600 * kMiB);

  ASSERT_DONE(node_->Down(volume));
  LunVolume clone = Named("clone");
  clone.bytes = volume.bytes;
  clone.of_volume = volume.id;
  ASSERT_DONE(node_->Create(clone));
  for (auto* each : {&volume, &clone}) {
    ASSERT_DONE(node_->Up(*each));
    EXPECT_TRUE(ReadAll(node_->Target(*each) / "file") == content);
    ASSERT_DONE(node_->Down(*each));
    ASSERT_DONE(node_->Delete(*each));
  }
  ExpectNothingLeft();
}

TEST_F(LioDisk, OfALostNodeEndsBeforeTheNextOneBegins) {
  StartInUserSpace();
  IscsiNode next(*target_, "node-next");
  LunVolume volume = Named("moves");
  const auto writer = Written(volume);
  LunVolume here = volume;
  ASSERT_DONE(next.Detach(volume, "node-a"));
  ASSERT_DONE(next.Attach(here, "node-next"));
  ASSERT_DONE(next.Stage(here));
  ASSERT_DONE(next.Publish(here));
  const std::string content(4096, 'n');
  ASSERT_EQ(WriteSynced(next.Target(here), content), 0);
  const uint64_t before = writer->written();
  EXPECT_FALSE(Soon([&] { return writer->written() > before + 1; }, 5s));
  EXPECT_EQ(ReadDirect(next.Target(here), content.size()), content);

  ASSERT_TRUE(node_->host().Kill(SIGKILL));
  for (const pid_t pid : node_->DataPathPids()) kill(pid, SIGKILL);
  ASSERT_DONE(next.Down(here));
  ASSERT_DONE(next.Delete(here));
  EXPECT_THAT(next.Left(), IsEmpty());
}

TEST_F(LioDisk, GoesOnOverItsOtherPortalWhenOneIsCutOff) {
  IscsiTargetOptions options;
  options.lio = true;
  options.addresses = {kSecondAddress, kThirdAddress};
  StartInUserSpace(options);
  LunVolume volume = Named("portals");
  const auto writer = Written(volume);
  for (const char* address : {kSecondAddress, kThirdAddress}) {
    SCOPED_TRACE(address);
    Blackhole cut(address);
    ExpectGoesOn(*writer);
  }
  writer->Stop();
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace gantry::tests
