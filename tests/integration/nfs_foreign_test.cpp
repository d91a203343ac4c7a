// SPDX-License-Identifier: Apache-2.0
// Volumes of csi-driver-nfs, as a cluster that changes over has them: the directories are there and
// the objects have its ids and attributes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/integration/nfs_lab.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::HasSubstr;

constexpr const char* kServer = "127.0.0.1";

class NfsForeign : public ::testing::Test {
 protected:
  void Start(const std::string& share = ", adopt: true") {
    NfsNodeOptions options;
    options.share = share;
    options.server.exports = {"vol", "others"};
    node_ = std::make_unique<NfsNode>(options);
  }
  void TearDown() override {
    if (!node_) return;
    EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty());
  }
  // What csi-driver-nfs had made: a directory with data in it.
  Volume Theirs(const std::string& id, const std::string& sub_dir) {
    Volume volume = node_->Plan("theirs");
    volume.id = id;
    volume.context = {{"server", kServer}, {"share", "/vol"}};
    if (!sub_dir.empty()) volume.context["subDir"] = sub_dir;
    volume.backing = node_->server().root() / sub_dir;
    fs::create_directories(volume.backing);
    fs::permissions(volume.backing, fs::perms::all);
    std::ofstream(volume.backing / "data") << "theirs";
    return volume;
  }
  void ExpectTrashEmpties() {
    const auto gantry = node_->server().root() / ".gantry";
    EXPECT_TRUE(itest::WaitFor([&] { return itest::NamesIn(gantry / "trash").empty(); }))
        << ::testing::PrintToString(itest::TreeOf(gantry));
    EXPECT_EQ(itest::NamesIn(gantry / "volumes"), itest::Names{});
    EXPECT_EQ(itest::NamesIn(gantry / "claims"), itest::Names{});
  }

  std::unique_ptr<NfsNode> node_;
};

TEST_F(NfsForeign, AVolumeIsMountedAndAnsweredForByItsIdAndAttributes) {
  Start();
  for (const char* id : {"127.0.0.1#vol#team/pvc-1#pvc-1#", "127.0.0.1#vol#team/pvc-1",
                         "127.0.0.1/vol/pvc-1", "written-by-hand"}) {
    SCOPED_TRACE(id);
    const Volume volume = Theirs(id, "team/pvc-1");
    ASSERT_GRPC_OK(node_->Stage(volume));
    ASSERT_GRPC_OK(node_->Publish(volume));
    EXPECT_EQ(ReadWhole(volume.target / "data"), "theirs");
    EXPECT_EQ(WriteWhole(volume.target / "more", "ours"), 0);
    EXPECT_EQ(ReadWhole(volume.backing / "more"), "ours");
    csi::v1::NodeGetVolumeStatsResponse stats;
    ASSERT_GRPC_OK(node_->Stats(volume, &stats));
    ASSERT_GRPC_OK(node_->Validate(volume));
    ASSERT_GRPC_OK(node_->Unpublish(volume));
    ASSERT_GRPC_OK(node_->Unstage(volume));
  }
  const Volume volume = Theirs("127.0.0.1#vol#team/pvc-1#pvc-1#", "team/pvc-1");
  csi::v1::ControllerGetVolumeResponse got;
  ASSERT_GRPC_OK(node_->Get(volume, &got));
  EXPECT_EQ(got.volume().volume_id(), volume.id);
  EXPECT_FALSE(got.status().volume_condition().abnormal());
  ASSERT_GRPC_OK(node_->Expand(volume, 4 << 20));
  csi::v1::ListVolumesResponse listed;
  ASSERT_GRPC_OK(node_->List(0, &listed));
  EXPECT_EQ(listed.entries_size(), 0);
  EXPECT_FALSE(fs::exists(node_->server().root() / ".gantry/volumes"));

  Volume none = volume;
  none.id = "127.0.0.1#vol#team/none#none#";
  EXPECT_EQ(node_->Get(none, &got).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(NfsForeign, AStaticVolumeWithoutASubDirIsTheShareItself) {
  Start();
  const Volume volume = Theirs("share-by-hand", "");
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(ReadWhole(volume.target / "data"), "theirs");
  ASSERT_GRPC_OK(node_->Unpublish(volume));
  ASSERT_GRPC_OK(node_->Unstage(volume));
  const Volume whole = Theirs("127.0.0.1#vol###", "");
  const auto deleted = node_->Delete(whole);
  EXPECT_EQ(deleted.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(deleted.error_message(), HasSubstr("the whole share"));
  EXPECT_TRUE(fs::exists(whole.backing / "data"));
}

// Of the same server, where the backend's client could reach it.
TEST_F(NfsForeign, OnAShareOfAnotherBackendIsNotMounted) {
  Start();
  for (const auto& [id, code] :
       {std::pair("127.0.0.1#others#pvc-1##", StatusCode::FAILED_PRECONDITION),
        std::pair("by-hand", StatusCode::INVALID_ARGUMENT)}) {
    Volume volume = Theirs(id, "pvc-1");
    volume.context["share"] = "/others";
    const auto staged = node_->Stage(volume);
    EXPECT_EQ(staged.error_code(), code) << id;
    EXPECT_THAT(staged.error_message(), HasSubstr("others"));
    EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty());
    ASSERT_GRPC_OK(node_->Unstage(volume));
  }
}

TEST_F(NfsForeign, IsDeletedOnlyWhereTheShareIsAdopted) {
  Start("");
  const Volume volume = Theirs("127.0.0.1#vol#pvc-1##", "pvc-1");
  const auto deleted = node_->Delete(volume);
  EXPECT_EQ(deleted.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(deleted.error_message(), HasSubstr("adopt: true at the share 127.0.0.1:/vol"));
  EXPECT_EQ(ReadWhole(volume.backing / "data"), "theirs");
}

TEST_F(NfsForeign, IsDeletedThroughARecordAndTheTrash) {
  Start();
  const Volume volume = Theirs("127.0.0.1#vol#team/pvc-1#pvc-1#", "team/pvc-1");
  const Volume other = Theirs("127.0.0.1#vol#team/pvc-2#pvc-2#", "team/pvc-2");
  ASSERT_GRPC_OK(node_->Delete(volume));
  EXPECT_FALSE(fs::exists(volume.backing));
  EXPECT_EQ(ReadWhole(other.backing / "data"), "theirs");
  ASSERT_GRPC_OK(node_->Delete(volume));  // Again is success.
  ExpectTrashEmpties();
  const Volume old = Theirs("127.0.0.1/vol/pvc-3", "pvc-3");
  ASSERT_GRPC_OK(node_->Delete(old));
  EXPECT_FALSE(fs::exists(old.backing));
  ExpectTrashEmpties();
}

TEST_F(NfsForeign, ItsIdSaysWhetherItIsKeptOrArchived) {
  Start(", adopt: true, adoptOnDelete: retain");
  const Volume archived = Theirs("127.0.0.1#vol#team/pvc-1#pvc-1#archive", "team/pvc-1");
  ASSERT_GRPC_OK(node_->Delete(archived));
  EXPECT_FALSE(fs::exists(archived.backing));
  EXPECT_EQ(ReadWhole(node_->server().root() / "team/archived-pvc-1/data"), "theirs");
  const Volume kept = Theirs("127.0.0.1#vol#pvc-2##retain", "pvc-2");
  ASSERT_GRPC_OK(node_->Delete(kept));
  EXPECT_EQ(ReadWhole(kept.backing / "data"), "theirs");
  const Volume by_default = Theirs("127.0.0.1#vol#pvc-3##", "pvc-3");
  ASSERT_GRPC_OK(node_->Delete(by_default));
  EXPECT_EQ(ReadWhole(by_default.backing / "data"), "theirs");
  ExpectTrashEmpties();
}

TEST_F(NfsForeign, ADirectoryOfAVolumeOfOursAndAWayOutAreRefused) {
  Start();
  Volume ours = node_->Plan("ours");
  ASSERT_GRPC_OK(node_->Create(ours));
  for (const char* id : {"127.0.0.1#vol#ours##", "127.0.0.1#vol#ours/below#x#"}) {
    if (std::string(id).find("below") != std::string::npos)
      fs::create_directories(ours.backing / "below");
    const auto deleted = node_->Delete(Theirs(id, "unused"));
    EXPECT_EQ(deleted.error_code(), StatusCode::FAILED_PRECONDITION) << deleted.error_message();
    EXPECT_TRUE(fs::exists(ours.backing));
  }
  for (const char* id :
       {"127.0.0.1#vol#../vol##", "127.0.0.1#vol#a/../../x##", "127.0.0.1#vol#.gantry/volumes##"}) {
    EXPECT_EQ(node_->Delete(Theirs(id, "unused")).error_code(), StatusCode::INVALID_ARGUMENT) << id;
  }
  csi::v1::ControllerGetVolumeResponse got;
  ASSERT_GRPC_OK(node_->Get(ours, &got));
  ASSERT_GRPC_OK(node_->Delete(ours));
}

// Two backends of one driver: who has the share has the volume, and of an id that is nobody's
// nothing is deleted.
TEST(NfsForeignRouting, GoesByServerAndShare) {
  lab::GaneshaOptions server_options;
  server_options.exports = {"one", "two"};
  auto server = lab::Ganesha::Start(server_options);
  ASSERT_TRUE(server) << server.error().message;
  std::string backends;
  for (const auto& [share, uid] : {std::pair("one", 61081), std::pair("two", 61082)}) {
    backends += "  " + std::string(share) +
                ":\n    plugin: nfs\n    owner: lab\n    uid: " + std::to_string(uid) +
                "\n    config:\n      shares: [{server: 127.0.0.1, share: /" + share +
                ", port: " + std::to_string(server->port()) +
                ", mountPort: " + std::to_string(server->mount_port()) + ", adopt: true}]\n" +
                "    grants: {userspace: true}\n";
    fs::create_directories(server->root(share) / "pvc-1");
  }
  const auto host = itest::StartHost(backends, "[one, two]");
  ASSERT_TRUE(host);
  itest::Controller controller(*host);
  const auto deleted = controller.Delete("127.0.0.1#two#pvc-1##");
  EXPECT_TRUE(deleted.ok()) << deleted.message();
  EXPECT_TRUE(fs::exists(server->root("one") / "pvc-1"));
  EXPECT_FALSE(fs::exists(server->root("two") / "pvc-1"));
  EXPECT_TRUE(controller.Delete("nothing").ok());
  for (const char* id : {"127.0.0.1#three#pvc-1##", "10.0.0.1#one#pvc-1##"})
    EXPECT_EQ(controller.Delete(id).code(), StatusCode::FAILED_PRECONDITION) << id;
  EXPECT_TRUE(fs::exists(server->root("one") / "pvc-1"));
}

}  // namespace
}  // namespace gantry::tests
