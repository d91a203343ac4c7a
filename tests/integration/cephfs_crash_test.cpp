// SPDX-License-Identifier: Apache-2.0
// kill -9 of the worker, and of gantryd, at one moment after the other of a create, a clone and a
// delete. A retry then makes one volume, or deletes it whole, and nothing is left over. The moments are
// times, since nobody can stand between librados and a cluster's daemons: they step through the
// operation in parts of what it took undisturbed.

#include <condition_variable>
#include <mutex>

#include "plugins/common/sha256.hpp"
#include "tests/integration/cephfs_lab.hpp"

namespace gantry::itest {
namespace {

using ::testing::IsEmpty;

constexpr int kUid = 61071;
constexpr int kMoments = 24;
constexpr int kHostMoments = 8;

class CephfsCrash : public testing::Test {
 protected:
  void SetUp() override {
    cluster_ = CephCluster::Start();
    ASSERT_TRUE(cluster_);
    host_ = cluster_->StartHost(kUid);
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
  }

  // Runs `operation` and `crash` when that time of it is over.
  template <class Operation>
  void Crash(std::chrono::microseconds after, const std::function<void()>& crash,
             const Operation& operation) {
    bool in_flight = true;
    std::thread running([&] {
      const auto outcome = operation();
      EXPECT_TRUE(outcome.ok() || outcome.code() == grpc::StatusCode::UNAVAILABLE ||
                  outcome.code() == grpc::StatusCode::ABORTED)
          << outcome.message();
      const std::lock_guard lock(mutex_);
      in_flight = false;
      ended_.notify_all();
    });
    {
      std::unique_lock lock(mutex_);
      ended_.wait_for(lock, after, [&] { return !in_flight; });
      crashes_in_flight_ += in_flight ? 1 : 0;
    }
    crash();
    running.join();
  }

  template <class Operation>
  static std::chrono::microseconds TimeOf(const Operation& operation) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(operation().ok());
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                 begin);
  }

  void KillWorkerOnce() { KillWorkers(*host_, "cephfs"); }

  void CrashEverywhere(int moments, const std::function<void()>& crash) {
    const auto request = CreateRequest("pvc-timed");
    std::string id;
    const auto create_us = TimeOf([&] {
      auto created = controller_->Create(request);
      id = created.reply.volume().volume_id();
      return created;
    });
    const auto delete_us = TimeOf([&] { return controller_->Delete(id); });
    for (int i = 0; i < moments && !HasFailure(); ++i) {
      SCOPED_TRACE("moment " + std::to_string(i) + " of " + std::to_string(moments));
      const auto wanted = CreateRequest("pvc-" + std::to_string(i));
      Crash(create_us * i / moments, crash, [&] { return controller_->Create(wanted); });
      const auto created = controller_->CreateInTheEnd(wanted);
      ASSERT_TRUE(created.ok()) << created.message();
      EXPECT_EQ(cluster_->Subvolumes(), Names{SubvolumeOf(created.reply.volume())});

      id = created.reply.volume().volume_id();
      Crash(delete_us * i / moments, crash, [&] { return controller_->Delete(id); });
      const auto deleted = controller_->DeleteInTheEnd(id);
      ASSERT_TRUE(deleted.ok()) << deleted.message();
      EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
    }
    std::cout << crashes_in_flight_ << " of " << 2 * moments << " crashes met a call in flight; "
              << create_us.count() << " us a create, " << delete_us.count() << " us a delete\n";
    EXPECT_GT(crashes_in_flight_, moments / 2);
  }

  std::unique_ptr<CephCluster> cluster_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int crashes_in_flight_ = 0;
};

TEST_F(CephfsCrash, AWorkerKilledAtAnyMomentLeavesOneVolumeAndNoOrphan) {
  int kills = 0;
  CrashEverywhere(kMoments, [&] {
    KillWorkerOnce();
    // The pause before workers that keep dying are started is not what this is about.
    if (++kills % 4 == 0) {
      EXPECT_TRUE(host_->Restart());
    }
  });
}

TEST_F(CephfsCrash, GantrydKilledAtAnyMomentLeavesOneVolumeAndNoOrphan) {
  CrashEverywhere(kHostMoments, [&] {
    EXPECT_TRUE(host_->Kill(SIGKILL));
    EXPECT_TRUE(host_->Restart());
  });
}

TEST_F(CephfsCrash, ACopyGoesOnWhoeverDiesMeanwhile) {
  const auto source = controller_->Create("pvc-source");
  ASSERT_TRUE(source.ok()) << source.message();
  const std::string id = source.reply.volume().volume_id();
  for (int i = 0; i < kHostMoments && !HasFailure(); ++i) {
    SCOPED_TRACE("moment " + std::to_string(i));
    const auto request = CreateFromRequest("pvc-copy", From::kVolume, id);
    Crash(
        std::chrono::milliseconds(4 * i), [&] { KillWorkerOnce(); },
        [&] { return controller_->Create(request); });
    const auto copied = controller_->CreateInTheEnd(request);
    ASSERT_TRUE(copied.ok()) << copied.message();
    EXPECT_EQ(cluster_->Subvolumes(),
              (Names{SubvolumeOf(source.reply.volume()), SubvolumeOf(copied.reply.volume())}));
    EXPECT_THAT(cluster_->Snapshots(SubvolumeOf(source.reply.volume())), IsEmpty());
    const std::string copy = copied.reply.volume().volume_id();
    ASSERT_TRUE(controller_->DeleteInTheEnd(copy).ok());
    if (i % 3 == 2) {
      ASSERT_TRUE(host_->Restart());
    }
  }
  ASSERT_TRUE(controller_->DeleteInTheEnd(id).ok());
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
}

TEST_F(CephfsCrash, ADeletionThatNobodyAsksForAgainIsFinished) {
  cephfs::Cluster records(
      {cephfs::MonHost({cluster_->ceph().monitor()}), "admin", cluster_->ceph().filesystem(), "",
       "gantry-" + plugin::Sha256Hex("lab").substr(0, 16), 30s},
      [this](cephfs::TimePoint) -> plugin::Result<cephfs::SecretText> {
        return cephfs::SecretText(cluster_->ceph().admin_key());
      });
  const auto created = controller_->Create("pvc-forgotten");
  ASSERT_TRUE(created.ok()) << created.message();
  const std::string handle = HandleOf(created.reply.volume().volume_id());
  const auto record = [&] {
    const auto text = records.Read("volumes." + handle.substr(0, 1), handle, CephCluster::Soon());
    EXPECT_TRUE(text) << text.error().message;
    return text.value_or(std::nullopt).value_or("");
  };
  ASSERT_NE(record(), "");
  ASSERT_TRUE(cluster_->ceph().Freeze(CephDaemon::kMgr));
  EXPECT_EQ(controller_->Delete(created.reply.volume().volume_id()).code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(record(), ::testing::HasSubstr("\"deleting\""));
  ASSERT_TRUE(host_->Kill(SIGKILL));
  ASSERT_TRUE(cluster_->ceph().Thaw(CephDaemon::kMgr));
  ASSERT_TRUE(host_->Restart());  // Tasks are listed then.
  EXPECT_TRUE(WaitFor([&] { return record().empty(); }));
  EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
}

TEST_F(CephfsCrash, WhatNoRecordNamesIsRemovedAndWhatIsNotOursStays) {
  const auto kept = controller_->Create("pvc-kept");
  ASSERT_TRUE(kept.ok()) << kept.message();
  const std::string name = SubvolumeOf(kept.reply.volume());
  cephfs::SubvolumeSpec spec;
  spec.size_bytes = 1 << 20;
  // As a command would have made it that came late from somebody dead.
  const std::string late = name.substr(0, name.size() - 4) + "0000";
  const std::string used = name.substr(0, name.size() - 4) + "ffff";
  for (const std::string& each : {late, used, std::string("somebody-elses")}) {
    spec.at = {kGroup, each};
    ASSERT_TRUE(cluster_->module().Create(spec, CephCluster::Soon()));
  }
  // As if the records had been lost.
  {
    CephClient admin(cluster_->ceph(), "admin", cluster_->ceph().admin_key());
    ASSERT_EQ(admin.Mount(cluster_->Info(used)->path), 0);
    ASSERT_EQ(admin.Write("/file", "precious"), 8);
  }
  ASSERT_TRUE(host_->Restart());  // Tasks are listed then.
  EXPECT_TRUE(WaitFor([&] {
    return cluster_->Subvolumes() == Names{name, used, "somebody-elses"};
  }));
  ASSERT_TRUE(controller_->DeleteInTheEnd(kept.reply.volume().volume_id()).ok());
  EXPECT_EQ(cluster_->Subvolumes(), (Names{used, "somebody-elses"}));
}

}  // namespace
}  // namespace gantry::itest
