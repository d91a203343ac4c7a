// SPDX-License-Identifier: Apache-2.0
// What the admin service finds out; its wire is server_test's.
#include "host/admin/service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/admin/orphans.hpp"
#include "host/admin/testing.hpp"
#include "host/admin/volumes.hpp"

namespace gantry::admin {
namespace {

using core::testing::Emits;
using core::testing::VolumeEmit;
using testing::FakeParts;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

struct AdminTest : ::testing::Test {
  static base::TimePoint Soon() { return std::chrono::steady_clock::now() + 20s; }
  std::vector<v1::Volume> List(bool controller, const std::string& backend = "") {
    v1::ListVolumesRequest request;
    request.set_controller(controller);
    request.set_backend(backend);
    std::vector<v1::Volume> all;
    const auto status = ListVolumes(fake.parts, request, Soon(), nullptr, [&](const auto& volume) {
      all.push_back(volume);
      return true;
    });
    EXPECT_TRUE(status) << status.error().message;
    return all;
  }
  v1::Orphans Orphans(bool remove = false) {
    auto found = FindOrphans(fake.parts, remove, Soon(), nullptr);
    EXPECT_TRUE(found) << found.error().message;
    return found.value_or(v1::Orphans());
  }
  FakeParts fake;
};

TEST_F(AdminTest, ListsWhatTheNodeHasAndWhatTheBackendListsOnce) {
  fake.Staged("fast:v1");
  fake.driver.backend().Answers(channel::LIST_VOLUMES, Emits{VolumeEmit("v1"), VolumeEmit("v2")});
  EXPECT_EQ(List(false).size(), 1u);
  const auto all = List(true);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id(), "fast:v1");
  EXPECT_TRUE(all[0].node().staging().is_mounted());
  EXPECT_EQ(all[1].id(), "fast:v2");
  EXPECT_TRUE(all[1].is_listed());
}

TEST_F(AdminTest, SaysWhichBackendCouldNotBeListed) {
  fake.driver.backend().Answers(
      channel::LIST_VOLUMES,
      tl::unexpected(base::Error{base::Code::kUnavailable, "the server is away"}));
  const auto all = List(true);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].error(), "UNAVAILABLE: the server is away");
}

TEST_F(AdminTest, ExplainsAVolumeFromAllSides) {
  fake.Staged("fast:v1").targets = {{"/kubelet/pods/1/mount", false, ""}};
  fake.driver.broker.faults["/kubelet/staging/v1"] = "ENOTCONN";
  fake.driver.backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1", 4096)});
  fake.log.Add({{}, "info", "backend fast generation 1: made v1", {}});
  const auto e = Explain(fake.parts, "fast:v1", Soon(), nullptr);
  ASSERT_TRUE(e) << e.error().message;
  EXPECT_EQ(e->kind(), "volume");
  EXPECT_EQ(e->backend(), "fast");
  EXPECT_EQ(e->driver(), "test.gantry");
  EXPECT_EQ(e->backend_health(), "serving");
  EXPECT_EQ(e->backend_code(), "OK");
  EXPECT_EQ(e->volume().capacity_bytes(), 4096u);
  EXPECT_EQ(e->node().staging().fault(), "ENOTCONN");
  EXPECT_FALSE(e->node().targets(0).is_mounted());
  ASSERT_EQ(e->log_lines_size(), 1);
  EXPECT_THAT(e->log_lines(0), HasSubstr("made v1"));
}

TEST_F(AdminTest, ExplainsIdsThatLeadNowhere) {
  const auto foreign = Explain(fake.parts, "pvc-of-somebody", Soon(), nullptr);
  ASSERT_TRUE(foreign);
  EXPECT_EQ(foreign->kind(), "");
  const auto other = Explain(fake.parts, "gone:s:x", Soon(), nullptr);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->kind(), "snapshot");
  EXPECT_EQ(other->backend_code(), "FAILED_PRECONDITION");
  EXPECT_EQ(Explain(fake.parts, "", Soon(), nullptr).error().code, base::Code::kInvalidArgument);
}

TEST_F(AdminTest, ShowsWhatServesAVolumeInUserSpace) {
  fake.Staged("fast:v1");
  fake.Staged("fast:v2");
  fake.parts.data_paths = [](base::TimePoint) -> base::Result<std::vector<DataPathSeen>> {
    return std::vector<DataPathSeen>{{"fast:v1", 7, true, "", 3, "abc", true}};
  };
  const auto all = List(false);
  ASSERT_EQ(all.size(), 2u);
  const auto& path = all[0].node().data_path();
  EXPECT_EQ(path.pid(), 7);
  EXPECT_EQ(path.take_overs(), 3u);
  EXPECT_EQ(path.plugin_sha256(), "abc");
  EXPECT_TRUE(path.serving() && path.standby());
  EXPECT_FALSE(all[1].node().has_data_path());
  EXPECT_TRUE(Explain(fake.parts, "fast:v1", Soon(), nullptr)->node().has_data_path());
}

TEST_F(AdminTest, UpgradesWhatThisNodeHasStagedToAFileThatIsNamedInFull) {
  const auto upgrade = [&](const std::string& id, const std::string& file) {
    v1::UpgradeVolumeRequest request;
    request.set_id(id);
    request.set_plugin_file(file);
    return UpgradeVolume(fake.parts, request, Soon());
  };
  fake.Staged("fast:v1");
  EXPECT_EQ(upgrade("fast:v1", "").error().code, base::Code::kFailedPrecondition);
  std::vector<std::string> upgraded;
  fake.parts.upgrade_volume = [&](const core::NodeVolume& volume, const std::filesystem::path& file,
                                  base::TimePoint) -> base::Result<std::string> {
    upgraded.push_back(volume.volume_id + " " + file.string());
    return "abc";
  };
  EXPECT_EQ(upgrade("fast:v1", "/new/nfs.so"), "abc");
  EXPECT_EQ(upgrade("fast:v1", "nfs.so").error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(upgrade("fast:v2", "").error().code, base::Code::kNotFound);
  EXPECT_THAT(upgraded, ::testing::ElementsAre("fast:v1 /new/nfs.so"));
}

TEST_F(AdminTest, FindsNoOrphanInOrder) {
  fake.Staged("fast:v1").targets = {{"/kubelet/pods/1/mount", false, ""}};
  fake.Mount("/kubelet/pods/1/mount");
  fake.Mount("/kubelet/pods/2/foreign", "nfs4");
  EXPECT_EQ(Orphans().orphans_size(), 0);
}

TEST_F(AdminTest, DeletesNodeStateWithNothingMountedOnlyWhenTold) {
  fake.Staged("fast:v1", false);
  const auto found = Orphans();
  ASSERT_EQ(found.orphans_size(), 1);
  EXPECT_EQ(found.orphans(0).kind(), "state-without-mount");
  EXPECT_TRUE(found.orphans(0).deletable());
  EXPECT_FALSE(found.orphans(0).deleted());
  EXPECT_EQ(fake.driver.node_state.volumes.size(), 1u);
  const auto removed = Orphans(true);
  EXPECT_TRUE(removed.orphans(0).deleted()) << removed.orphans(0).error();
  EXPECT_THAT(fake.driver.node_state.volumes, IsEmpty());
  EXPECT_EQ(fake.driver.backend().seen(channel::DETACH).size(), 1u);
}

TEST_F(AdminTest, LeavesNodeStateWhoseVolumeIsLocked) {
  fake.Staged("fast:v1", false);
  const auto held = fake.driver.locks.TryLock({"node volume fast:v1"});
  ASSERT_TRUE(held);
  const auto found = Orphans(true);
  EXPECT_FALSE(found.orphans(0).deleted());
  EXPECT_THAT(found.orphans(0).error(), HasSubstr("ABORTED"));
  EXPECT_EQ(fake.driver.node_state.volumes.size(), 1u);
}

TEST_F(AdminTest, DeletesADeadMountOfOursAndNeverALiveOrForeignOne) {
  fake.Mount("/kubelet/pods/1/dead");
  fake.driver.broker.faults["/kubelet/pods/1/dead"] = "Transport endpoint is not connected";
  fake.Mount("/kubelet/pods/2/alive");
  fake.Mount("/kubelet/plugins/kubernetes.io/csi/test.gantry/x/globalmount", "nfs4");
  fake.driver.broker.faults["/kubelet/plugins/kubernetes.io/csi/test.gantry/x/globalmount"] =
      "dead";
  EXPECT_EQ(Orphans().orphans_size(), 3);
  EXPECT_EQ(fake.driver.broker.mounts.size(), 3u);
  const auto removed = Orphans(true);
  std::set<std::string> deleted;
  for (const auto& orphan : removed.orphans())
    if (orphan.deleted()) deleted.insert(orphan.path());
  EXPECT_EQ(deleted, std::set<std::string>{"/kubelet/pods/1/dead"});
  EXPECT_EQ(fake.driver.broker.mounts.size(), 2u);
}

TEST_F(AdminTest, ShowsRecordsThatTheirBackendCallsAbnormalAndDeletesNone) {
  auto broken = VolumeEmit("v9");
  broken.mutable_volume()->set_condition(GANTRY_CONDITION_ABNORMAL);
  broken.mutable_volume()->set_condition_message("its directory is gone");
  fake.driver.backend().Answers(channel::LIST_VOLUMES, Emits{VolumeEmit("v1"), broken});
  const auto found = Orphans(true);
  ASSERT_EQ(found.orphans_size(), 1);
  EXPECT_EQ(found.orphans(0).kind(), "record-without-volume");
  EXPECT_EQ(found.orphans(0).volume_id(), "fast:v9");
  EXPECT_FALSE(found.orphans(0).deletable());
  EXPECT_THAT(fake.driver.backend().seen(channel::DELETE_VOLUME), IsEmpty());
}

}  // namespace
}  // namespace gantry::admin
