// SPDX-License-Identifier: Apache-2.0
// Volumes of ceph-csi, as a cluster that changes over has them: the directories are there, and the
// objects have its ids and attributes. They are mounted and answered for, and nothing of them is ever
// made, changed or deleted.
#include <sys/stat.h>

#include "tests/integration/cephfs_lab.hpp"
#include "tests/integration/cephfs_pod.hpp"

namespace gantry::itest {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tests::Text;

constexpr int kUid = 61081;
constexpr int64_t kQuotaBytes = 32 << 20;
const std::string kClusterId = "rook-ceph";
const std::string kMadeId =
    "0001-0009-rook-ceph-0000000000000001-5d3f6a2e-0b8c-4c3a-9f52-1a2b3c4d5e6f";
const std::string kMade = "csi-vol-5d3f6a2e-0b8c-4c3a-9f52-1a2b3c4d5e6f";

class CephfsStatic : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = CephCluster::Start().release();
    if (cluster_ == nullptr) return;
    cephfs::SubvolumeSpec spec;
    spec.at = {kGroup, kMade};
    spec.size_bytes = kQuotaBytes;
    spec.mode = 0777;
    ASSERT_TRUE(cluster_->module().Create(spec, CephCluster::Soon()));
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount("/"), 0);
    ASSERT_EQ(ceph_mkdirs(admin.get(), "/team/data", 0777), 0);
    ASSERT_EQ(ceph_chmod(admin.get(), "/team/data", 0777), 0);
    ASSERT_EQ(admin.Write("/team/data/file", "theirs"), 6);
  }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  void Begin(const std::string& more) {
    ASSERT_NE(cluster_, nullptr);
    host_ = cluster_->StartHost(CephHost{.uid = kUid, .more = more, .role = "all"});
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
  }
  static csi::v1::Volume Static(const std::string& path) {
    csi::v1::Volume volume;
    volume.set_volume_id("pv-by-hand");
    auto& attributes = *volume.mutable_volume_context();
    attributes["clusterID"] = kClusterId;
    attributes["fsName"] = cluster_->ceph().filesystem();
    attributes["staticVolume"] = "true";
    attributes["rootPath"] = path;
    return volume;
  }
  static csi::v1::Volume Made() {
    csi::v1::Volume volume;
    volume.set_volume_id(kMadeId);
    auto& attributes = *volume.mutable_volume_context();
    attributes["clusterID"] = kClusterId;
    attributes["fsName"] = cluster_->ceph().filesystem();
    attributes["subvolumeName"] = kMade;
    attributes["subvolumePath"] = cluster_->Info(kMade)->path;
    attributes["storage.kubernetes.io/csiProvisionerIdentity"] = "1-8081-cephfs.csi.ceph.com";
    return volume;
  }
  CephPod Pod(const csi::v1::Volume& volume, const std::string& name) const {
    CephPod pod(*host_, volume, name);
    pod.secrets = {{"userID", "admin"}, {"userKey", cluster_->ceph().admin_key()}};
    return pod;
  }

  static CephCluster* cluster_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
};
CephCluster* CephfsStatic::cluster_ = nullptr;

TEST_F(CephfsStatic, IsMountedByItsAttributes) {
  ASSERT_NO_FATAL_FAILURE(Begin(", clusterID: " + kClusterId));
  CephPod by_hand = Pod(Static("/team/data"), "by-hand");
  CephPod made = Pod(Made(), "made");
  for (CephPod* pod : {&by_hand, &made}) {
    ASSERT_GRPC_OK(pod->Start());
    EXPECT_EQ(tests::WriteWhole(pod->target() / "more", "ours"), 0);
  }
  EXPECT_EQ(tests::ReadWhole(by_hand.target() / "file"), "theirs");
  EXPECT_EQ(tests::ReadWhole(made.target() / "more"), "ours");
  for (CephPod* pod : {&by_hand, &made}) ASSERT_GRPC_OK(pod->End());
}

TEST_F(CephfsStatic, IsAnsweredForWhereItIsThere) {
  ASSERT_NO_FATAL_FAILURE(Begin(", clusterID: " + kClusterId));
  for (const auto& volume : {Static("/team/data"), Made()}) {
    const auto valid = controller_->Validate(volume);
    ASSERT_TRUE(valid.ok()) << valid.message();
    EXPECT_TRUE(valid.reply.has_confirmed()) << valid.reply.message();
  }
  const auto missing = controller_->Validate(Static("/team/none"));
  EXPECT_EQ(missing.code(), StatusCode::NOT_FOUND) << missing.message();
  EXPECT_THAT(missing.message(), HasSubstr("/team/none"));
  // Without attributes nobody knows where it is, which must not read as "gone".
  const auto got = controller_->Get(kMadeId);
  EXPECT_EQ(got.code(), StatusCode::FAILED_PRECONDITION) << got.message();
  auto elsewhere = Static("/team/data");
  (*elsewhere.mutable_volume_context())["fsName"] = "other";
  const auto refused = controller_->Validate(elsewhere);
  EXPECT_EQ(refused.code(), StatusCode::INVALID_ARGUMENT) << refused.message();
  EXPECT_THAT(refused.message(), HasSubstr("fsName"));
}

TEST_F(CephfsStatic, IsNeverDeletedNorChanged) {
  ASSERT_NO_FATAL_FAILURE(Begin(", clusterID: " + kClusterId));
  const auto deleted = controller_->Delete(kMadeId);
  EXPECT_EQ(deleted.code(), StatusCode::FAILED_PRECONDITION) << deleted.message();
  EXPECT_THAT(deleted.message(), HasSubstr("ceph-csi"));
  (void)controller_->Delete("pv-by-hand");
  EXPECT_EQ(controller_->Expand(kMadeId, 2 * kQuotaBytes).code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(controller_->Snapshot("snap", kMadeId).code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(controller_->Create(CreateFromRequest("copy", From::kVolume, kMadeId)).code(),
            StatusCode::NOT_FOUND);
  const auto listed = controller_->List();
  ASSERT_TRUE(listed.ok()) << listed.message();
  EXPECT_EQ(listed.reply.entries_size(), 0);
  EXPECT_EQ(cluster_->Subvolumes(), Names{kMade});
  EXPECT_EQ(cluster_->Info(kMade)->quota_bytes, static_cast<uint64_t>(kQuotaBytes));
  EXPECT_THAT(cluster_->Snapshots(kMade), IsEmpty());
  CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
  ASSERT_EQ(admin.Mount("/team/data"), 0);
  EXPECT_EQ(admin.Read("/file"), "theirs");
}

TEST_F(CephfsStatic, WithKeysPerVolumeItIsPublishedWithoutOneAndReadOnlyIsKept) {
  ASSERT_NO_FATAL_FAILURE(Begin(", nodeKeys: perVolume, clusterID: " + kClusterId));
  const auto volume = Static("/team/data");
  const auto published = controller_->Publish(volume, "node-1", true, "");
  ASSERT_TRUE(published.ok()) << published.message();
  EXPECT_THAT(cluster_->Entities(), IsEmpty());
  EXPECT_EQ(controller_->Publish(Static("/team/none"), "node-1", true, "").code(),
            StatusCode::NOT_FOUND);
  CephPod pod = Pod(volume, "read-only");
  const auto& context = published.reply.publish_context();
  pod.publish_context = {context.begin(), context.end()};
  ASSERT_GRPC_OK(pod.Start());
  EXPECT_EQ(tests::ReadWhole(pod.target() / "file"), "theirs");
  EXPECT_EQ(tests::WriteWhole(pod.target() / "new", "no"), EROFS);
  ASSERT_GRPC_OK(pod.End());
  const auto unpublished = controller_->Unpublish(volume.volume_id(), "node-1");
  EXPECT_TRUE(unpublished.ok()) << unpublished.message();
  EXPECT_TRUE(controller_->Unpublish(kMadeId, "node-1").ok());
}

TEST_F(CephfsStatic, OfAnotherClusterIsNotServed) {
  ASSERT_NO_FATAL_FAILURE(Begin(", clusterID: another"));
  CephPod pod = Pod(Static("/team/data"), "foreign");
  const auto status = pod.Start();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << Text(status);
  EXPECT_THAT(status.error_message(), HasSubstr("clusterID"));
  (void)pod.End();
  (void)controller_->Delete(kMadeId);
  EXPECT_EQ(cluster_->Subvolumes(), Names{kMade});
}

}  // namespace
}  // namespace gantry::itest
