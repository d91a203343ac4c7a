// SPDX-License-Identifier: Apache-2.0
// Two controllers of one CephFS: what the other one did while this one stood still. The test is the
// other one, in the records; this one is a gantryd whose monitor or manager is frozen between two of
// its steps.
#include "plugins/cephfs/backend/volumes.hpp"
#include "tests/integration/cephfs_records.hpp"

namespace gantry::itest {
namespace {

using cephfs::RecordState;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int kUid = 61111;
constexpr int kPatientSeconds = 20;  // of a request, while a daemon is frozen on purpose
const std::string kNode = "node-1";

class CephfsRivals : public testing::Test {
 protected:
  static void SetUpTestSuite() { cluster_ = CephCluster::Start().release(); }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  void SetUp() override {
    ASSERT_NE(cluster_, nullptr);
    records_ = std::make_unique<CephRecords>(cluster_->ceph());
  }
  void TearDown() override {
    if (HasFailure() && host_ != nullptr) std::cerr << host_->Log();
  }

  void Begin(const std::string& more = {}) {
    controller_.reset();
    host_.reset();
    host_ = cluster_->StartHost(
        CephHost{.uid = kUid, .more = more, .timeout_seconds = kPatientSeconds});
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
  }
  csi::v1::Volume Make(const std::string& name, const Parameters& parameters = {}) {
    const auto created = controller_->CreateInTheEnd(CreateRequest(name, parameters));
    EXPECT_TRUE(created.ok()) << created.message();
    return created.reply.volume();
  }
  void Drop(const csi::v1::Volume& volume) {
    const auto deleted = controller_->DeleteInTheEnd(volume.volume_id());
    EXPECT_TRUE(deleted.ok()) << deleted.message();
  }
  std::map<std::string, cephfs::Publication> NodesOf(const csi::v1::Volume& volume) {
    const auto record = records_->Volume(HandleOf(volume.volume_id()));
    EXPECT_TRUE(record);
    return record ? record->nodes : std::map<std::string, cephfs::Publication>();
  }
  uint64_t QuotaOf(const csi::v1::Volume& volume) {
    const auto info = cluster_->Info(SubvolumeOf(volume));
    return info ? info->quota_bytes.value_or(0) : 0;
  }

  // Runs `operation` in another thread while the daemon is frozen, and `meanwhile` once `begun`.
  template <class Operation>
  auto Meanwhile(CephDaemon frozen, const Operation& operation, const std::function<bool()>& begun,
                 const std::function<void()>& meanwhile) {
    EXPECT_TRUE(cluster_->ceph().Freeze(frozen));
    decltype(operation()) outcome;
    std::thread running([&] { outcome = operation(); });
    EXPECT_TRUE(WaitFor(begun));
    meanwhile();
    EXPECT_TRUE(cluster_->ceph().Thaw(frozen));
    running.join();
    return outcome;
  }

  static CephCluster* cluster_;
  std::unique_ptr<CephRecords> records_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
};
CephCluster* CephfsRivals::cluster_ = nullptr;

TEST_F(CephfsRivals, APublicationThatWasClosedBeforeItHadAKeyIsAbortedAndLeavesNone) {
  ASSERT_NO_FATAL_FAILURE(Begin(", nodeKeys: perVolume"));
  const auto volume = Make("pvc-closed");
  const auto published = Meanwhile(
      CephDaemon::kMon, [&] { return controller_->Publish(volume, kNode); },
      [&] { return NodesOf(volume).contains(kNode); },
      [&] {
        records_->ChangeVolume(HandleOf(volume.volume_id()),
                               [](auto* record) { record->nodes.clear(); });
      });
  EXPECT_EQ(published.code(), grpc::StatusCode::ABORTED) << published.message();
  EXPECT_THAT(NodesOf(volume), IsEmpty());
  EXPECT_THAT(cluster_->Entities(), IsEmpty());
  Drop(volume);
}

TEST_F(CephfsRivals, AnUnpublishThatComesLateLeavesWhatWasPublishedSince) {
  ASSERT_NO_FATAL_FAILURE(Begin(", nodeKeys: perVolume"));
  const auto volume = Make("pvc-late");
  const auto published = controller_->Publish(volume, kNode);
  ASSERT_TRUE(published.ok()) << published.message();
  const auto late = Meanwhile(
      CephDaemon::kMon, [&] { return controller_->Unpublish(volume.volume_id(), kNode); },
      [&] { return NodesOf(volume).at(kNode).closing; },
      [&] {
        records_->ChangeVolume(HandleOf(volume.volume_id()),
                               [](auto* record) { record->nodes.at(kNode).closing = false; });
      });
  EXPECT_TRUE(late.ok()) << late.message();
  EXPECT_THAT(NodesOf(volume), ElementsAre(Key(kNode)));
  EXPECT_TRUE(controller_->Unpublish(volume.volume_id(), kNode).ok());
  EXPECT_THAT(NodesOf(volume), IsEmpty());

  // And it is nobody's but its own key that it takes away.
  const auto again = controller_->Publish(volume, kNode);
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_NE(again.reply.publish_context().at("user"), published.reply.publish_context().at("user"));
  EXPECT_TRUE(controller_->Unpublish(volume.volume_id(), kNode).ok());
  Drop(volume);
}

TEST_F(CephfsRivals, AVolumeKeepsItsSizeWhenAnOlderResizeComesLater) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto volume = Make("pvc-grown");
  const std::string& id = volume.volume_id();
  ASSERT_TRUE(controller_->Expand(id, 2 * kVolumeBytes).ok());
  ASSERT_TRUE(
      cluster_->module().Resize({kGroup, SubvolumeOf(volume)}, kVolumeBytes, CephCluster::Soon()));
  ASSERT_EQ(QuotaOf(volume), static_cast<uint64_t>(kVolumeBytes));
  const auto repeated = controller_->Expand(id, 2 * kVolumeBytes);
  EXPECT_TRUE(repeated.ok()) << repeated.message();
  EXPECT_EQ(QuotaOf(volume), static_cast<uint64_t>(2 * kVolumeBytes));

  const auto smaller = Meanwhile(
      CephDaemon::kMgr, [&] { return controller_->Expand(id, 3 * kVolumeBytes); },
      [] { return true; },
      [&] {
        records_->ChangeVolume(HandleOf(id),
                               [](auto* record) { record->capacity_bytes = 4 * kVolumeBytes; });
      });
  ASSERT_TRUE(smaller.ok()) << smaller.message();
  EXPECT_EQ(smaller.reply.capacity_bytes(), 4 * kVolumeBytes);
  EXPECT_EQ(QuotaOf(volume), static_cast<uint64_t>(4 * kVolumeBytes));
  Drop(volume);
}

TEST_F(CephfsRivals, ASnapshotThatTheOtherOneCallsReadyAgainIsDeletedAllTheSame) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto volume = Make("pvc-snapped");
  const auto snapped = controller_->Snapshot("snap-1", volume.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const std::string& id = snapped.reply.snapshot().snapshot_id();
  const std::string handle = id.substr(id.rfind(':') + 1);
  const auto deleted = Meanwhile(
      CephDaemon::kMgr, [&] { return controller_->DeleteSnapshot(id); },
      [&] {
        const auto record = records_->Snapshot(handle);
        return record && record->state == RecordState::kDeleting;
      },
      [&] {
        records_->ChangeSnapshot(handle, [](auto* record) { record->state = RecordState::kReady; });
      });
  EXPECT_TRUE(deleted.ok()) << deleted.message();
  EXPECT_FALSE(records_->Snapshot(handle));
  EXPECT_THAT(cluster_->Snapshots(SubvolumeOf(volume)), IsEmpty());
  Drop(volume);
}

TEST_F(CephfsRivals, OfAFilesystemThatIsNotThereNothingIsTakenForGone) {
  const cephfs::Subvolumes nowhere(&records_->cluster(), "nosuch");
  const cephfs::SubvolumeAt at{kGroup, "any"};
  const auto removed = nowhere.Remove(at, CephCluster::Soon());
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, plugin::code::kFailedPrecondition);
  EXPECT_THAT(removed.error().message, HasSubstr("nosuch"));
  EXPECT_FALSE(nowhere.Info(at, CephCluster::Soon()));
  EXPECT_FALSE(nowhere.List(kGroup, CephCluster::Soon()));
  EXPECT_FALSE(nowhere.RemoveSnapshot({kGroup, "any", "any"}, CephCluster::Soon()));
}

TEST_F(CephfsRivals, ABackendWithItsRecordsElsewhereTakesNothingForItsOrphans) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto volume = Make("pvc-here");
  cluster_->Order({{"prefix", "osd pool create"}, {"pool", "elsewhere"}, {"pg_num", 8}});
  CephRecords elsewhere(cluster_->ceph(), "elsewhere");
  const auto seen = [&](CephRecords& records) {
    const cephfs::Volumes volumes(&records.cluster(), cluster_->ceph().filesystem(), "lab",
                                  1 << 30);
    const auto names = volumes.MarkedNames(kGroup, CephCluster::Soon());
    EXPECT_TRUE(names) << names.error().message;
    return names.value_or(std::vector<std::string>());
  };
  EXPECT_THAT(seen(*records_), ElementsAre(SubvolumeOf(volume)));
  EXPECT_THAT(seen(elsewhere), IsEmpty());
  Drop(volume);
}

TEST_F(CephfsRivals, OrphansAreFoundBehindADamagedOneAndInGroupsThatNoRecordNames) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  const auto kept = Make("pvc-kept");
  const auto gone = Make("pvc-gone", {{"group", "past"}});
  const auto named = [](const csi::v1::Volume& volume, const std::string& end) {
    const std::string name = SubvolumeOf(volume);
    return name.substr(0, name.size() - 4) + end;
  };
  const std::string damaged = named(kept, "0000");
  const std::string late = named(kept, "ffff");
  const std::string past = named(gone, "ffff");
  Drop(gone);
  cephfs::SubvolumeSpec spec;
  spec.size_bytes = 1 << 20;
  for (const cephfs::SubvolumeAt& at :
       {cephfs::SubvolumeAt{kGroup, damaged}, {kGroup, late}, {"past", past}}) {
    spec.at = at;
    ASSERT_TRUE(cluster_->module().Create(spec, CephCluster::Soon()));
  }
  const std::string notes = "/volumes/" + kGroup + "/" + damaged + "/.meta";
  CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
  ASSERT_EQ(admin.Mount("/"), 0);
  ASSERT_EQ(ceph_unlink(admin.get(), notes.c_str()), 0);
  ASSERT_EQ(admin.Write(notes, "damaged"), 7);
  ASSERT_FALSE(cluster_->module().Info({kGroup, damaged}, CephCluster::Soon()));
  ASSERT_TRUE(host_->Restart());  // Tasks are listed then.
  EXPECT_TRUE(WaitFor([&] { return !cluster_->Subvolumes().contains(late); }));
  EXPECT_TRUE(WaitFor([&] { return cluster_->Subvolumes("past").empty(); }));
  EXPECT_THAT(cluster_->Subvolumes(), Contains(damaged));
  Drop(kept);
}

TEST_F(CephfsRivals, AVolumeWithNodesIsClosedAndDeletedOnceKeysAreShared) {
  ASSERT_NO_FATAL_FAILURE(Begin(", nodeKeys: perVolume"));
  const auto volume = Make("pvc-keyed");
  ASSERT_TRUE(controller_->Publish(volume, kNode).ok());
  EXPECT_EQ(controller_->Delete(volume.volume_id()).code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(cluster_->Entities(), SizeIs(1));
  ASSERT_NO_FATAL_FAILURE(Begin());
  Drop(volume);
  EXPECT_THAT(cluster_->Entities(), IsEmpty());
  EXPECT_THAT(cluster_->Subvolumes(), Not(Contains(SubvolumeOf(volume))));
}

}  // namespace
}  // namespace gantry::itest
