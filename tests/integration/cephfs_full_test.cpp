// SPDX-License-Identifier: Apache-2.0
// Pools that are full: what needs room says RESOURCE_EXHAUSTED and leaves nothing, what needs none
// works, deleting above all, and when there is room again all goes on without a restart.
#include "tests/integration/cephfs_lab.hpp"

namespace gantry::itest {
namespace {

using grpc::StatusCode;
using ::testing::IsEmpty;

constexpr int kUid = 61111;
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kQuotaBytes = 8 * kMiB;
constexpr std::chrono::seconds kCloneDelay{7};  // more than a CreateVolume waits for its copy
constexpr int kSmallFiles = 2;                  // of 1 MiB each, in the volume that is copied
constexpr int kLargeFiles = 12;                 // in the volume that fills the pool

class CephfsFull : public testing::Test {
 protected:
  void SetUp() override {
    cluster_ = CephCluster::Start();
    ASSERT_TRUE(cluster_);
    host_ = cluster_->StartHost(CephHost{.uid = kUid});
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
    admin_ = std::make_unique<CephClient>(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin_->Mount("/"), 0);
  }
  void TearDown() override {
    if (HasFailure() && host_ != nullptr) std::cerr << host_->Log();
  }

  csi::v1::Volume Make(const std::string& name) {
    const auto created = controller_->CreateInTheEnd(CreateRequest(name, {{"mode", "0777"}}));
    EXPECT_TRUE(created.ok()) << created.message();
    return created.reply.volume();
  }
  void Fill(const csi::v1::Volume& volume, int files) {
    for (int i = 0; i < files; ++i)
      ASSERT_EQ(
          admin_->Write(PathOf(volume) + "/file-" + std::to_string(i), std::string(kMiB, 'x')),
          kMiB);
  }
  void Quota(const std::string& pool, const std::string& field, int64_t value) {
    cluster_->Order({{"prefix", "osd pool set-quota"},
                     {"pool", pool},
                     {"field", field},
                     {"val", std::to_string(value)}});
  }
  // Whether the monitors say so; it takes them a few seconds to notice.
  bool IsFull(const std::string& pool) {
    const auto map =
        nlohmann::json::parse(cluster_->Order({{"prefix", "osd dump"}}), nullptr, false);
    for (const auto& one : map.value("pools", nlohmann::json::array()))
      if (one.value("pool_name", "") == pool)
        return one.value("flags_names", "").find("full") != std::string::npos;
    return false;
  }
  void FillUp() {
    Quota("cephfs_data", "max_bytes", kQuotaBytes);
    EXPECT_TRUE(WaitFor([&] { return IsFull("cephfs_data"); }));
  }
  // As a CO does it; what it came to.
  Controller::Created Ask(const csi::v1::CreateVolumeRequest& request) {
    return controller_->CreateInTheEnd(request);
  }
  Names Listed() {
    Names ids;
    const auto listed = controller_->List();
    EXPECT_TRUE(listed.ok()) << listed.message();
    for (const auto& entry : listed.reply.entries()) ids.insert(entry.volume().volume_id());
    return ids;
  }
  void Drop(const csi::v1::Volume& volume) {
    const auto deleted = controller_->DeleteInTheEnd(volume.volume_id());
    EXPECT_TRUE(deleted.ok()) << deleted.message();
  }

  std::unique_ptr<CephCluster> cluster_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
  std::unique_ptr<CephClient> admin_;
};

TEST_F(CephfsFull, ACopyThatFindsNoRoomIsResourceExhaustedAndLeavesNothing) {
  const auto small = Make("pvc-small");
  const auto large = Make("pvc-large");
  ASSERT_NO_FATAL_FAILURE(Fill(small, kSmallFiles));
  ASSERT_NO_FATAL_FAILURE(Fill(large, kLargeFiles));
  const auto snapped = controller_->Snapshot("snap-small", small.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const std::string snapshot = snapped.reply.snapshot().snapshot_id();
  Quota("cephfs_data", "max_bytes", kQuotaBytes);
  ASSERT_TRUE(WaitFor([&] { return IsFull("cephfs_data"); }));
  const int written = admin_->Write(PathOf(large) + "/more", std::string(4096, 'x'));
  EXPECT_TRUE(written == -ENOSPC || written == -EDQUOT) << written;

  const auto capacity = controller_->FreeBytes();
  ASSERT_TRUE(capacity.ok()) << capacity.message();
  EXPECT_EQ(capacity.reply.available_capacity(), 0);
  for (const auto& request :
       {CreateRequest("pvc-empty"), CreateFromRequest("pvc-restored", From::kSnapshot, snapshot),
        CreateFromRequest("pvc-cloned", From::kVolume, small.volume_id())}) {
    const auto refused = Ask(request);
    EXPECT_EQ(refused.code(), StatusCode::RESOURCE_EXHAUSTED)
        << request.name() << ": " << refused.message();
  }
  EXPECT_EQ(Listed(), (Names{small.volume_id(), large.volume_id()}));
  EXPECT_EQ(cluster_->Subvolumes(), (Names{SubvolumeOf(small), SubvolumeOf(large)}));
  EXPECT_EQ(cluster_->Snapshots(SubvolumeOf(small)).size(), 1U);

  // What needs no room there.
  const auto more = controller_->Snapshot("snap-more", small.volume_id());
  ASSERT_TRUE(more.ok()) << more.message();
  const auto unsnapped = controller_->DeleteSnapshot(more.reply.snapshot().snapshot_id());
  EXPECT_TRUE(unsnapped.ok()) << unsnapped.message();

  Drop(large);
  ASSERT_TRUE(WaitFor([&] { return !IsFull("cephfs_data"); }));
  const auto restored = Ask(CreateFromRequest("pvc-restored", From::kSnapshot, snapshot));
  ASSERT_TRUE(restored.ok()) << restored.message();
  EXPECT_EQ(admin_->Read(PathOf(restored.reply.volume()) + "/file-1").size(), 4096U);
  Drop(restored.reply.volume());
  EXPECT_TRUE(controller_->DeleteSnapshot(snapshot).ok());
  Drop(small);
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
}

// The manager has been told, and cannot even write down how far it is.
TEST_F(CephfsFull, ACopyThatFindsNoRoomOnItsWayGoesOnWhenThereIsSome) {
  const auto small = Make("pvc-small");
  const auto large = Make("pvc-large");
  ASSERT_NO_FATAL_FAILURE(Fill(small, kSmallFiles));
  ASSERT_NO_FATAL_FAILURE(Fill(large, kLargeFiles));
  cluster_->DelayClones(kCloneDelay);
  const auto request = CreateFromRequest("pvc-cloned", From::kVolume, small.volume_id());
  ASSERT_EQ(controller_->Create(request).code(), StatusCode::ABORTED);
  Quota("cephfs_data", "max_bytes", kQuotaBytes);
  ASSERT_TRUE(WaitFor([&] { return IsFull("cephfs_data"); }));
  const auto during = controller_->Create(request);
  EXPECT_TRUE(during.code() == StatusCode::ABORTED ||
              during.code() == StatusCode::RESOURCE_EXHAUSTED)
      << during.message();
  cluster_->DelayClones(0s);
  Drop(large);
  ASSERT_TRUE(WaitFor([&] { return !IsFull("cephfs_data"); }));
  const auto cloned = Ask(request);
  ASSERT_TRUE(cloned.ok()) << cloned.message();
  EXPECT_EQ(admin_->Read(PathOf(cloned.reply.volume()) + "/file-1").size(), 4096U);
  EXPECT_THAT(cluster_->Snapshots(SubvolumeOf(small)), IsEmpty());
  Drop(cloned.reply.volume());
  Drop(small);
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
}

// The module moves what it held into the trash, and cannot write down that it did: without more it knows
// neither the volume nor its snapshots then.
TEST_F(CephfsFull, AVolumeWithSnapshotsIsDeletedWhenThereIsRoomAndTheyOutliveIt) {
  const auto volume = Make("pvc-large");
  ASSERT_NO_FATAL_FAILURE(Fill(volume, kLargeFiles));
  const auto snapped = controller_->Snapshot("snap", volume.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const std::string snapshot = snapped.reply.snapshot().snapshot_id();
  FillUp();
  for (int i = 0; i < 3; ++i) {
    const auto refused = controller_->Delete(volume.volume_id());
    EXPECT_TRUE(refused.code() == StatusCode::RESOURCE_EXHAUSTED ||
                refused.code() == StatusCode::ABORTED)
        << refused.message();
    EXPECT_EQ(cluster_->Snapshots(SubvolumeOf(volume)).size(), 1U);
  }
  Quota("cephfs_data", "max_bytes", 0);
  ASSERT_TRUE(WaitFor([&] { return !IsFull("cephfs_data"); }));
  Drop(volume);
  EXPECT_THAT(Listed(), IsEmpty());
  const auto restored = Ask(CreateFromRequest("pvc-restored", From::kSnapshot, snapshot));
  ASSERT_TRUE(restored.ok()) << restored.message();
  EXPECT_EQ(admin_->Read(PathOf(restored.reply.volume()) + "/file-1").size(), 4096U);
  Drop(restored.reply.volume());
  const auto unsnapped = controller_->DeleteSnapshot(snapshot);
  EXPECT_TRUE(unsnapped.ok()) << unsnapped.message();
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
}

TEST_F(CephfsFull, WhatMakesRoomIsDeletingTheSnapshotsOfAVolumeThatIsBeingDeleted) {
  const auto volume = Make("pvc-large");
  ASSERT_NO_FATAL_FAILURE(Fill(volume, kLargeFiles));
  const auto snapped = controller_->Snapshot("snap", volume.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  FillUp();
  EXPECT_FALSE(controller_->Delete(volume.volume_id()).ok());
  const auto unsnapped = controller_->DeleteSnapshot(snapped.reply.snapshot().snapshot_id());
  EXPECT_TRUE(unsnapped.ok()) << unsnapped.message();
  Drop(volume);
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
  ASSERT_TRUE(WaitFor([&] { return !IsFull("cephfs_data"); }));
}

// The records' pool too: a write to it would else wait for room.
TEST_F(CephfsFull, WithTheMetadataPoolFullVolumesAreStillDeleted) {
  const auto first = Make("pvc-first");
  const auto second = Make("pvc-second");
  ASSERT_NO_FATAL_FAILURE(Fill(first, 1));
  const auto snapped = controller_->Snapshot("snap", first.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  Quota("cephfs_meta", "max_objects", 1);
  ASSERT_TRUE(WaitFor([&] { return IsFull("cephfs_meta"); }));

  const auto created = controller_->Create("pvc-more");
  EXPECT_LT(created.took, kBoundMsMax);
  EXPECT_TRUE(created.ok() || created.code() == StatusCode::RESOURCE_EXHAUSTED)
      << created.message();
  const auto unsnapped = controller_->DeleteSnapshot(snapped.reply.snapshot().snapshot_id());
  EXPECT_TRUE(unsnapped.ok()) << unsnapped.message();
  for (const auto& volume : {first, second}) {
    const auto deleted = controller_->Delete(volume.volume_id());
    EXPECT_TRUE(deleted.ok()) << deleted.message();
    EXPECT_LT(deleted.took, kBoundMsMax);
  }

  Quota("cephfs_meta", "max_objects", 0);
  ASSERT_TRUE(WaitFor([&] { return !IsFull("cephfs_meta"); }));
  Drop(Make("pvc-more"));
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
}

}  // namespace
}  // namespace gantry::itest
