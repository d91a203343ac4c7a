// SPDX-License-Identifier: Apache-2.0
// The controller's side of CephFS against a real cluster: the whole life of volumes and snapshots, two
// controllers, keys, and a manager that does not answer.
#include <barrier>

#include "tests/integration/cephfs_lab.hpp"

namespace gantry::itest {
namespace {

using cephfs::CloneState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kUid = 61061;
constexpr int kOtherUid = 61062;
constexpr int kRaceRounds = 15;
constexpr int64_t kMiB = 1 << 20;
constexpr int kFilesOfACopy = 100;
constexpr std::chrono::seconds kCloneDelay{7};  // more than a CreateVolume waits for its copy

// One cluster for all tests, and nothing of one left for the next.
class CephfsController : public testing::Test {
 protected:
  static void SetUpTestSuite() { cluster_ = CephCluster::Start().release(); }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  void SetUp() override { ASSERT_NE(cluster_, nullptr); }
  void TearDown() override {
    if (!HasFailure()) {
      EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
    }
    if (HasFailure() && host_ != nullptr) std::cerr << host_->Log();
  }

  void Begin(const std::string& more = {}) {
    host_ = cluster_->StartHost(kUid, more);
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
  }

  csi::v1::Volume Make(const csi::v1::CreateVolumeRequest& request) {
    const auto created = controller_->CreateInTheEnd(request);
    EXPECT_TRUE(created.ok()) << created.message();
    return created.reply.volume();
  }
  csi::v1::Volume Make(const std::string& name, const Parameters& parameters = {}) {
    return Make(CreateRequest(name, parameters));
  }
  void Drop(const csi::v1::Volume& volume) {
    const auto deleted = controller_->DeleteInTheEnd(volume.volume_id());
    EXPECT_TRUE(deleted.ok()) << deleted.message();
  }

  static CephCluster* cluster_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
};
CephCluster* CephfsController::cluster_ = nullptr;

TEST_F(CephfsController, AVolumeIsWhatItsClassSaysAndOneForItsName) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const Parameters parameters = {
      {"mode", "0770"}, {"uid", "7"}, {"gid", "8"}, {"namespaceIsolated", "true"}};
  const auto volume = Make("pvc-1", parameters);
  EXPECT_EQ(volume.capacity_bytes(), kVolumeBytes);
  const auto info = cluster_->Info(SubvolumeOf(volume));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->path, PathOf(volume));
  EXPECT_EQ(info->quota_bytes, static_cast<uint64_t>(kVolumeBytes));
  EXPECT_THAT(info->pool_namespace, HasSubstr(SubvolumeOf(volume)));
  {
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount("/"), 0);
    struct ceph_statx facts {};
    ASSERT_EQ(ceph_statx(admin.get(), PathOf(volume).c_str(), &facts, CEPH_STATX_ALL_STATS, 0), 0);
    EXPECT_EQ(facts.stx_mode & 07777, 0770);
    EXPECT_EQ(facts.stx_uid, 7U);
    EXPECT_EQ(facts.stx_gid, 8U);
  }
  EXPECT_EQ(Make("pvc-1", parameters).volume_id(), volume.volume_id());
  EXPECT_THAT(cluster_->Subvolumes(), SizeIs(1));
  EXPECT_EQ(controller_->Create(CreateRequest("pvc-1", parameters, 2 * kVolumeBytes)).code(),
            grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(controller_->Create("pvc-1", {{"mode", "0777"}}).code(),
            grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(cluster_->Info(SubvolumeOf(volume))->quota_bytes, static_cast<uint64_t>(kVolumeBytes));
  Drop(volume);
  Drop(volume);
}

TEST_F(CephfsController, WhatIsWrongIsNamedAndNothingIsMade) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  struct Wrong {
    const char* key;
    const char* value;
    const char* named;
  };
  for (const auto& [key, value, named] :
       {Wrong{"mode", "9", "\"9\""}, Wrong{"group", "../x", "../x"},
        Wrong{"poolLayout", "nopool", "nopool"}, Wrong{"nosuch", "1", "unknown key \"nosuch\""},
        Wrong{"backingSnapshot", "true", "parameters[\"backingSnapshot\"]"}}) {
    const auto created = controller_->Create("pvc-bad", {{key, value}});
    EXPECT_EQ(created.code(), grpc::StatusCode::INVALID_ARGUMENT) << created.message();
    EXPECT_THAT(created.message(), HasSubstr(named));
    EXPECT_THAT(created.message(), ::testing::Not(HasSubstr("Traceback")));
  }
  const auto listed = controller_->List();
  ASSERT_TRUE(listed.ok()) << listed.message();
  EXPECT_EQ(listed.reply.entries_size(), 0);
}

TEST_F(CephfsController, ListsPageByPageGrowsAndTellsConditionAndCapacity) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  std::vector<csi::v1::Volume> volumes;
  Names made;
  for (int i = 0; i < 5; ++i) {
    volumes.push_back(Make("pvc-list-" + std::to_string(i)));
    made.insert(volumes.back().volume_id());
  }
  Names listed;
  std::string token;
  do {
    const auto page = controller_->List(2, token);
    ASSERT_TRUE(page.ok()) << page.message();
    EXPECT_LE(page.reply.entries_size(), 2);
    for (const auto& entry : page.reply.entries())
      EXPECT_TRUE(listed.insert(entry.volume().volume_id()).second);
    token = page.reply.next_token();
  } while (!token.empty());
  EXPECT_EQ(listed, made);

  const auto& volume = volumes.front();
  const auto expanded = controller_->Expand(volume.volume_id(), 2 * kVolumeBytes);
  ASSERT_TRUE(expanded.ok()) << expanded.message();
  EXPECT_EQ(expanded.reply.capacity_bytes(), 2 * kVolumeBytes);
  EXPECT_EQ(cluster_->Info(SubvolumeOf(volume))->quota_bytes,
            static_cast<uint64_t>(2 * kVolumeBytes));
  const auto smaller = controller_->Expand(volume.volume_id(), kMiB);
  ASSERT_TRUE(smaller.ok()) << smaller.message();
  EXPECT_EQ(smaller.reply.capacity_bytes(), 2 * kVolumeBytes);

  const auto pinned = controller_->Modify(volume.volume_id(), {{"pin", "export:0"}});
  EXPECT_TRUE(pinned.ok()) << pinned.message();
  const auto hidden = controller_->Modify(volume.volume_id(), {{"snapshotsVisible", "false"}});
  EXPECT_EQ(hidden.code(), grpc::StatusCode::INVALID_ARGUMENT) << hidden.message();

  auto got = controller_->Get(volume.volume_id());
  ASSERT_TRUE(got.ok()) << got.message();
  EXPECT_FALSE(got.reply.status().volume_condition().abnormal());
  ASSERT_TRUE(cluster_->module().Remove({kGroup, SubvolumeOf(volume)}, CephCluster::Soon()));
  got = controller_->Get(volume.volume_id());
  ASSERT_TRUE(got.ok()) << got.message();
  EXPECT_TRUE(got.reply.status().volume_condition().abnormal());

  const auto capacity = controller_->FreeBytes();
  ASSERT_TRUE(capacity.ok()) << capacity.message();
  EXPECT_GT(capacity.reply.available_capacity(), 100 * kMiB);
  for (const auto& each : volumes) Drop(each);
}

TEST_F(CephfsController, SnapshotsAreRestoredCopiedAndOutliveTheirVolume) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto volume = Make("pvc-source", {{"mode", "0777"}});
  {
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount(PathOf(volume)), 0);
    ASSERT_EQ(admin.Write("/file", "before"), 6);
  }
  const auto snapped = controller_->Snapshot("snap-1", volume.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  EXPECT_TRUE(snapped.reply.snapshot().ready_to_use());
  EXPECT_GT(snapped.reply.snapshot().creation_time().seconds(), 0);
  const std::string snapshot = snapped.reply.snapshot().snapshot_id();
  EXPECT_EQ(controller_->Snapshot("snap-1", volume.volume_id()).reply.snapshot().snapshot_id(),
            snapshot);
  {
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount(PathOf(volume)), 0);
    ASSERT_EQ(admin.Write("/file", "after!"), 6);
  }
  auto bigger = CreateFromRequest("pvc-restored", From::kSnapshot, snapshot);
  bigger.mutable_capacity_range()->set_required_bytes(2 * kVolumeBytes);
  bigger.mutable_capacity_range()->set_limit_bytes(0);
  const auto restored = Make(bigger);
  const auto cloned = Make(CreateFromRequest("pvc-cloned", From::kVolume, volume.volume_id()));
  EXPECT_EQ(cluster_->Info(SubvolumeOf(restored))->quota_bytes,
            static_cast<uint64_t>(2 * kVolumeBytes));

  auto reads =
      CreateFromRequest("pvc-backed", From::kSnapshot, snapshot, {{"backingSnapshot", "true"}});
  EXPECT_EQ(controller_->Create(reads).code(), grpc::StatusCode::INVALID_ARGUMENT);
  reads.mutable_volume_capabilities(0)->mutable_access_mode()->set_mode(
      csi::v1::VolumeCapability::AccessMode::MULTI_NODE_READER_ONLY);
  const auto backed = Make(reads);
  {
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount("/"), 0);
    EXPECT_EQ(admin.Read(PathOf(volume) + "/file"), "after!");
    EXPECT_EQ(admin.Read(PathOf(restored) + "/file"), "before");
    EXPECT_EQ(admin.Read(PathOf(cloned) + "/file"), "after!");
    EXPECT_EQ(admin.Read(PathOf(backed) + "/file"), "before");
  }
  // The clone's own snapshot is gone; the backed volume holds the other one.
  EXPECT_THAT(cluster_->Snapshots(SubvolumeOf(volume)), SizeIs(1));
  EXPECT_EQ(controller_->DeleteSnapshot(snapshot).code(), grpc::StatusCode::FAILED_PRECONDITION);
  Drop(backed);
  Drop(volume);
  const auto listed = controller_->ListSnapshots();
  ASSERT_TRUE(listed.ok()) << listed.message();
  EXPECT_EQ(listed.reply.entries_size(), 1);
  const auto again = Make(CreateFromRequest("pvc-again", From::kSnapshot, snapshot));
  for (const auto& each : {restored, cloned, again}) Drop(each);
  const auto deleted = controller_->DeleteSnapshot(snapshot);
  EXPECT_TRUE(deleted.ok()) << deleted.message();
  EXPECT_TRUE(controller_->DeleteSnapshot(snapshot).ok());
}

TEST_F(CephfsController, ACopyThatWasCancelledBeginsAnewAndOneThatIsDeletedLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  cluster_->DelayClones(kCloneDelay);
  const auto volume = Make("pvc-source", {{"mode", "0777"}});
  {
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount(PathOf(volume)), 0);
    for (int i = 0; i < kFilesOfACopy; ++i)
      ASSERT_GT(admin.Write("/file-" + std::to_string(i), std::string(4096, 'x')), 0);
  }
  const auto request = CreateFromRequest("pvc-copy", From::kVolume, volume.volume_id());
  ASSERT_EQ(controller_->Create(request).code(), grpc::StatusCode::ABORTED);
  std::string first;
  for (const auto& name : cluster_->Subvolumes())
    if (name != SubvolumeOf(volume)) first = name;
  ASSERT_NE(first, "");
  ASSERT_TRUE(cluster_->CancelClone(first));
  cluster_->DelayClones(0s);
  const auto copy = Make(request);
  const bool was_in_time = SubvolumeOf(copy) != first;
  std::cout << "the clone was " << (was_in_time ? "cancelled\n" : "finished before the cancel\n");
  EXPECT_TRUE(was_in_time);
  EXPECT_EQ(cluster_->Subvolumes(), (Names{SubvolumeOf(volume), SubvolumeOf(copy)}));
  EXPECT_THAT(cluster_->Snapshots(SubvolumeOf(volume)), IsEmpty());

  cluster_->DelayClones(kCloneDelay);
  ASSERT_EQ(
      controller_->Create(CreateFromRequest("pvc-gone", From::kVolume, volume.volume_id())).code(),
      grpc::StatusCode::ABORTED);
  cluster_->DelayClones(0s);
  Drop(volume);  // The copy goes on, from what is left of it.
  const auto gone = Make(CreateFromRequest("pvc-gone", From::kVolume, volume.volume_id()));
  Drop(gone);
  Drop(copy);
}

TEST_F(CephfsController, TwoGantrydCreatingOneNameMakeOneVolume) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto other_host = cluster_->StartHost(kOtherUid);
  ASSERT_TRUE(other_host);
  CephController other(*other_host);
  CephController* const controllers[] = {controller_.get(), &other};
  for (int round = 0; round < kRaceRounds && !HasFailure(); ++round) {
    const auto request = CreateRequest("pvc-" + std::to_string(round));
    Controller::Created created[2];
    std::barrier start(2);
    const auto create = [&](int i) {
      start.arrive_and_wait();
      created[i] = controllers[i]->CreateInTheEnd(request);
    };
    std::thread first([&] { create(0); });
    create(1);
    first.join();
    for (const auto& each : created) ASSERT_TRUE(each.ok()) << each.message();
    EXPECT_EQ(PathOf(created[0].reply.volume()), PathOf(created[1].reply.volume()));
    EXPECT_THAT(cluster_->Subvolumes(), ElementsAre(SubvolumeOf(created[0].reply.volume())));
    // Both delete it while one makes it again; in the end it is deleted.
    const std::string id = created[0].reply.volume().volume_id();
    std::thread deleting([&] { EXPECT_TRUE(controllers[0]->DeleteInTheEnd(id).ok()); });
    EXPECT_TRUE(controllers[1]->CreateInTheEnd(request).ok());
    deleting.join();
    EXPECT_TRUE(controllers[1]->DeleteInTheEnd(id).ok());
    EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
  }
}

TEST_F(CephfsController, AWrongKeyIsUnauthenticatedUntilItIsPutRight) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  cluster_->WriteKey("AQC8kQJrhbx7DxAAWkoAiqi2X+zHUPZc5/A7dg==");
  ASSERT_TRUE(host_->Restart());  // It has not connected, or has by the right one.
  const auto refused = controller_->Create("pvc-key");
  EXPECT_EQ(refused.code(), grpc::StatusCode::UNAUTHENTICATED) << refused.message();
  EXPECT_THAT(refused.message(), ::testing::Not(HasSubstr("AQC8")));
  cluster_->WriteKey(cluster_->ceph().admin_key());
  Drop(Make("pvc-key"));
}

TEST_F(CephfsController, AManagerThatHangsOrDiesCostsBoundedTimeAndNoRestart) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  lab::Ceph& ceph = cluster_->ceph();
  const auto before = Make("pvc-before");
  ASSERT_TRUE(ceph.Freeze(CephDaemon::kMgr));
  for (int i = 0; i < 3; ++i) {
    const auto refused = controller_->Create("pvc-frozen");
    EXPECT_EQ(refused.code(), grpc::StatusCode::UNAVAILABLE) << refused.message();
    EXPECT_LT(refused.took, kBoundMsMax);
  }
  const auto listed = controller_->List();  // Records do not need the manager.
  EXPECT_TRUE(listed.ok()) << listed.message();
  ASSERT_TRUE(ceph.Thaw(CephDaemon::kMgr));
  const auto frozen = Make("pvc-frozen");

  ASSERT_TRUE(ceph.Kill(CephDaemon::kMgr));
  const auto refused = controller_->Create("pvc-killed");
  EXPECT_EQ(refused.code(), grpc::StatusCode::UNAVAILABLE) << refused.message();
  EXPECT_LT(refused.took, kBoundMsMax);
  const auto again = ceph.Restart(CephDaemon::kMgr);
  ASSERT_TRUE(again) << again.error().message;
  const auto killed = Make("pvc-killed");
  EXPECT_EQ(cluster_->Subvolumes(),
            (Names{SubvolumeOf(before), SubvolumeOf(frozen), SubvolumeOf(killed)}));
  for (const auto& each : {before, frozen, killed}) Drop(each);
}

TEST_F(CephfsController, AMonitorOrAnMdsThatHangsCostsBoundedTimeAndNoRestart) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  lab::Ceph& ceph = cluster_->ceph();
  for (const CephDaemon daemon : {CephDaemon::kMds, CephDaemon::kOsd, CephDaemon::kMon}) {
    SCOPED_TRACE(lab::NameOf(daemon));
    const std::string name = "pvc-" + std::string(lab::NameOf(daemon));
    ASSERT_TRUE(ceph.Freeze(daemon));
    const auto during = controller_->Create(name);
    EXPECT_LT(during.took, kBoundMsMax);
    EXPECT_TRUE(during.ok() || during.code() == grpc::StatusCode::UNAVAILABLE) << during.message();
    ASSERT_TRUE(ceph.Thaw(daemon));
    Drop(Make(name));
  }
}

TEST_F(CephfsController, ANodesKeyOpensItsVolumeAloneAndUnpublishingFencesTheNode) {
  ASSERT_NO_FATAL_FAILURE(Begin(", nodeKeys: perVolume"));
  lab::Ceph& ceph = cluster_->ceph();
  const auto volume = Make("pvc-keyed", {{"mode", "0777"}});
  const auto other = Make("pvc-other", {{"mode", "0777"}});
  EXPECT_EQ(controller_->Publish(volume, "node-1", false, "").code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  const auto published = controller_->Publish(volume, "node-1");
  ASSERT_TRUE(published.ok()) << published.message();
  const auto repeated = controller_->Publish(volume, "node-1");
  ASSERT_TRUE(repeated.ok()) << repeated.message();
  const auto& given = published.reply.publish_context();
  EXPECT_EQ(given.at("sealedKey"), repeated.reply.publish_context().at("sealedKey"));
  EXPECT_EQ(controller_->Publish(volume, "node-1", true).code(), grpc::StatusCode::ALREADY_EXISTS);
  const cephfs::KeyOwner owner{HandleOf(volume.volume_id()),
                               volume.volume_context().at("incarnation"), "node-1",
                               given.at("user")};
  const auto key = cephfs::Unseal(kSealKey, owner, given.at("sealedKey"));
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(host_->Log().find(key->text()), std::string::npos);

  for (const std::string& path : {PathOf(other), std::string("/")}) {
    CephClient stranger(ceph, owner.user, key->text());
    EXPECT_LT(stranger.Mount(path), 0) << path;
  }
  CephClient node(ceph, owner.user, key->text());
  ASSERT_EQ(node.Mount(PathOf(volume)), 0);
  EXPECT_EQ(node.Write("/file", "mine"), 4);
  EXPECT_EQ(controller_->Delete(volume.volume_id()).code(), grpc::StatusCode::FAILED_PRECONDITION);

  const auto closed = controller_->Unpublish(volume.volume_id(), "node-1");
  ASSERT_TRUE(closed.ok()) << closed.message();
  std::cout << "fenced in " << closed.took.count() << " ms\n";
  node.WasEvicted();
  EXPECT_LT(node.Write("/file", "late"), 0);
  {
    CephClient again(ceph, owner.user, key->text());
    EXPECT_LT(again.Mount(PathOf(volume)), 0);
  }
  const auto second = controller_->Publish(volume, "node-2", true);
  ASSERT_TRUE(second.ok()) << second.message();
  const auto& theirs = second.reply.publish_context();
  const auto their_key =
      cephfs::Unseal(kSealKey, {owner.handle, owner.incarnation, "node-2", theirs.at("user")},
                     theirs.at("sealedKey"));
  ASSERT_TRUE(their_key) << their_key.error().message;
  {
    CephClient reader(ceph, theirs.at("user"), their_key->text());
    ASSERT_EQ(reader.Mount(PathOf(volume)), 0);
    EXPECT_EQ(reader.Read("/file"), "mine");
    EXPECT_LT(reader.Write("/file", "no"), 0);
  }
  const auto everywhere = controller_->Unpublish(volume.volume_id(), "");
  ASSERT_TRUE(everywhere.ok()) << everywhere.message();
  EXPECT_TRUE(controller_->Unpublish(volume.volume_id(), "node-1").ok());
  Drop(volume);
  Drop(other);
}

// The manager's module tells a time in the manager's zone, and not which that is.
TEST(CephfsZone, ASnapshotsTimeIsTheTimeWhateverTheManagersZone) {
  const auto cluster = CephCluster::Start({.time_zone = "NPT-5:45"});
  ASSERT_TRUE(cluster);
  const auto host = cluster->StartHost(kUid);
  ASSERT_TRUE(host);
  CephController controller(*host);
  const auto volume = controller.CreateInTheEnd(CreateRequest("pvc-source"));
  ASSERT_TRUE(volume.ok()) << volume.message();
  const auto seconds_now = [] { return std::chrono::system_clock::now().time_since_epoch() / 1s; };
  const auto before = seconds_now();
  const auto snapped = controller.Snapshot("snap", volume.reply.volume().volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const auto& time = snapped.reply.snapshot().creation_time();
  EXPECT_GE(time.seconds(), before);
  EXPECT_LE(time.seconds(), seconds_now());
  EXPECT_GT(time.nanos(), 0);
  const auto listed = controller.ListSnapshots();
  ASSERT_EQ(listed.reply.entries_size(), 1) << listed.message();
  EXPECT_EQ(listed.reply.entries(0).snapshot().creation_time().nanos(), time.nanos());
}

}  // namespace
}  // namespace gantry::itest
