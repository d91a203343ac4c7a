// SPDX-License-Identifier: Apache-2.0
// The manager, the MDS and the monitor, each frozen and killed in turn, while eight clients provision
// and a pod writes: every call ends in bounded time, all goes on when the daemon does, nothing of
// Gantry's is restarted, and in the end there is no orphan and nothing twice.
#include "tests/integration/cephfs_load.hpp"
#include "tests/integration/cephfs_pod.hpp"

namespace gantry::itest {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using tests::Text;
using tests::Writer;

constexpr int kUid = 61101;
constexpr int kRequestTimeoutSeconds = 3;
constexpr std::chrono::milliseconds kCallMax{8'000};  // of a machine with other things to do
// The least that an MDS takes for the silence of a client that has died: a killed manager is one.
constexpr std::chrono::seconds kSessionTimeout{30};
constexpr std::chrono::seconds kRecoveryMax = kSessionTimeout + 30s;
constexpr uint64_t kBlocks = 20;

int RoundsWanted() {
  const char* rounds = std::getenv("GANTRY_CEPHFS_FAULT_ROUNDS");
  return rounds == nullptr ? 1 : std::max(1, std::atoi(rounds));
}

class CephfsFaults : public testing::Test {
 protected:
  void SetUp() override {
    cluster_ = CephCluster::Start();
    ASSERT_TRUE(cluster_);
    cluster_->Order({{"prefix", "fs set"},
                     {"fs_name", cluster_->ceph().filesystem()},
                     {"var", "session_timeout"},
                     {"val", std::to_string(kSessionTimeout.count())}});
    host_ = cluster_->StartHost(CephHost{.uid = kUid,
                                         .more = ", nodeKeys: perVolume",
                                         .role = "all",
                                         .timeout_seconds = kRequestTimeoutSeconds});
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
    const auto created =
        controller_->CreateInTheEnd(CreateRequest("pvc-of-the-pod", {{"mode", "0777"}}));
    ASSERT_TRUE(created.ok()) << created.message();
    volume_ = created.reply.volume();
    const auto published = controller_->Publish(volume_, "node-1");
    ASSERT_TRUE(published.ok()) << published.message();
    pod_ = std::make_unique<CephPod>(*host_, volume_, "pod");
    const auto& context = published.reply.publish_context();
    pod_->publish_context = {context.begin(), context.end()};
    pod_->secrets = {{"sealKey", kSealKey}};
    ASSERT_GRPC_OK(pod_->Start());
    entities_ = cluster_->Entities();
    ASSERT_THAT(entities_, SizeIs(1));
  }
  void TearDown() override {
    if (HasFailure() && host_ != nullptr) std::cerr << host_->Log();
  }

  // What it did, told for people.
  void Suffer(CephDaemon daemon, bool killed, const Provisioners& clients, const Writer& writer) {
    const std::string what = std::string(lab::NameOf(daemon)) + (killed ? " killed" : " frozen");
    SCOPED_TRACE(what);
    lab::Ceph& ceph = cluster_->ceph();
    ASSERT_TRUE(killed ? ceph.Kill(daemon) : ceph.Freeze(daemon));
    EXPECT_TRUE(clients.AllRefused(kRecoveryMax));
    const auto back = killed ? ceph.Restart(daemon) : ceph.Thaw(daemon);
    ASSERT_TRUE(back) << back.error().message;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(clients.AllServed(kRecoveryMax));
    const auto served = std::chrono::steady_clock::now();
    EXPECT_TRUE(writer.Advances(kBlocks, kRecoveryMax));
    // The writer asks only OSDs; a new name needs the MDS.
    EXPECT_EQ(tests::WriteWhole(pod_->target() / what, what), 0);
    EXPECT_EQ(tests::ReadWhole(pod_->target() / what), what);
    const auto ms = [&](auto time) {
      return std::chrono::duration_cast<std::chrono::milliseconds>(time - begin).count();
    };
    std::cout << what << ": all clients served again after " << ms(served) << " ms, the pod after "
              << ms(std::chrono::steady_clock::now()) << " ms; " << clients.done()
              << " operations done, " << clients.refused() << " calls refused, the slowest call "
              << clients.slowest().count() << " ms, the slowest write " << writer.slowest().count()
              << " ms\n";
  }

  std::unique_ptr<CephCluster> cluster_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
  csi::v1::Volume volume_;
  std::unique_ptr<CephPod> pod_;
  Names entities_;
};

TEST_F(CephfsFaults, EveryDaemonFrozenAndKilledUnderLoadCostsBoundedTimeAndNoRestart) {
  const pid_t host = host_->pid();
  const auto workers = host_->WorkerPids("cephfs");
  Writer writer(pod_->target() / "file");
  ASSERT_TRUE(writer.Advances(kBlocks, kRecoveryMax));
  {
    Provisioners clients(*host_, kCallMax, kRecoveryMax);
    ASSERT_TRUE(clients.AllServed(kRecoveryMax));
    for (int round = 0; round < RoundsWanted() && !HasFailure(); ++round) {
      for (const CephDaemon daemon : {CephDaemon::kMon, CephDaemon::kMds, CephDaemon::kMgr})
        Suffer(daemon, false, clients, writer);
      for (const CephDaemon daemon : {CephDaemon::kMon, CephDaemon::kMds, CephDaemon::kMgr})
        Suffer(daemon, true, clients, writer);
    }
  }
  EXPECT_EQ(host_->pid(), host);
  EXPECT_EQ(host_->WorkerPids("cephfs"), workers);

  EXPECT_EQ(cluster_->Subvolumes(), Names{SubvolumeOf(volume_)});
  EXPECT_THAT(cluster_->Snapshots(SubvolumeOf(volume_)), IsEmpty());
  EXPECT_EQ(cluster_->Entities(), entities_);
  EXPECT_EQ(controller_->List().reply.entries_size(), 1);
  EXPECT_EQ(controller_->ListSnapshots().reply.entries_size(), 0);

  writer.Stop();
  EXPECT_EQ(writer.Fails(0ms), 0);
  ASSERT_GRPC_OK(pod_->End());
  ASSERT_GRPC_OK(pod_->Start());
  EXPECT_TRUE(writer.Matches(pod_->target() / "file"));
  ASSERT_GRPC_OK(pod_->End());
  const auto unpublished = controller_->Unpublish(volume_.volume_id(), "node-1");
  EXPECT_TRUE(unpublished.ok()) << unpublished.message();
  EXPECT_TRUE(controller_->DeleteInTheEnd(volume_.volume_id()).ok());
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
  EXPECT_THAT(cluster_->Entities(), IsEmpty());
}

}  // namespace
}  // namespace gantry::itest
