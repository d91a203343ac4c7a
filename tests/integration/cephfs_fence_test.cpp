// SPDX-License-Identifier: Apache-2.0
// What a node's key opens, and that it is closed: with an MDS that only follows another, with one that
// has just taken a rank over, for a client that lies about who it is, and for a copy.
#include "tests/integration/cephfs_records.hpp"

namespace gantry::itest {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kUid = 61121;
const std::string kNode = "node-1";
const std::string kRecordsPool = "records";

class CephfsFence : public testing::Test {
 protected:
  void SetUp() override {
    cluster_ = CephCluster::Start();
    ASSERT_TRUE(cluster_);
    // Not in the filesystem's own, which a test stops.
    cluster_->Order({{"prefix", "osd pool create"}, {"pool", kRecordsPool}, {"pg_num", 8}});
    host_ = cluster_->StartHost(kUid, ", nodeKeys: perVolume, recordsPool: " + kRecordsPool);
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
  }
  void TearDown() override {
    if (HasFailure() && host_ != nullptr) std::cerr << host_->Log();
  }

  csi::v1::Volume Make(const csi::v1::CreateVolumeRequest& request) {
    const auto created = controller_->CreateInTheEnd(request);
    EXPECT_TRUE(created.ok()) << created.message();
    return created.reply.volume();
  }
  // A client of the node with the key that it is given.
  std::unique_ptr<CephClient> Publish(const csi::v1::Volume& volume) {
    const auto published = controller_->Publish(volume, kNode);
    EXPECT_TRUE(published.ok()) << published.message();
    const auto& given = published.reply.publish_context();
    if (!given.contains("user")) return nullptr;
    const auto key =
        cephfs::Unseal(kSealKey,
                       {HandleOf(volume.volume_id()), volume.volume_context().at("incarnation"),
                        kNode, given.at("user")},
                       given.at("sealedKey"));
    EXPECT_TRUE(key) << key.error().message;
    if (!key) return nullptr;
    user_ = given.at("user");
    return std::make_unique<CephClient>(cluster_->ceph(), user_, key->text());
  }
  void SetFilesystem(const std::string& name, const std::string& value) {
    cluster_->Order({{"prefix", "fs set"},
                     {"fs_name", cluster_->ceph().filesystem()},
                     {"var", name},
                     {"val", value}});
  }
  void SetMetadataPool(const std::string& name, const std::string& value) {
    cluster_->Order(
        {{"prefix", "osd pool set"}, {"pool", "cephfs_meta"}, {"var", name}, {"val", value}});
  }
  // "up:active" and so on of an MDS; empty: it is in no filesystem.
  std::string StateOf(const std::string& name) {
    const auto filesystem = nlohmann::json::parse(
        cluster_->Order({{"prefix", "fs get"}, {"fs_name", cluster_->ceph().filesystem()}}));
    for (const auto& mds : filesystem.at("mdsmap").at("info"))
      if (mds.at("name") == name) return mds.at("state");
    return {};
  }
  bool Stands(const std::string& name) {
    const auto all = nlohmann::json::parse(cluster_->Order({{"prefix", "fs dump"}}));
    for (const auto& mds : all.at("standbys"))
      if (mds.at("name") == name) return true;
    return false;
  }
  bool Shows(const std::string& mds, const std::string& user) {
    const auto sessions = cluster_->ceph().Cli({"tell", "mds." + mds, "session", "ls"});
    return sessions && sessions->find("\"" + user + "\"") != std::string::npos;
  }
  void ExpectFenced(const csi::v1::Volume& volume, CephClient* client) {
    const auto closed = controller_->Unpublish(volume.volume_id(), kNode);
    ASSERT_TRUE(closed.ok()) << closed.message();
    client->WasEvicted();
    EXPECT_LT(client->Write("/file", "late"), 0);
    EXPECT_THAT(cluster_->Entities(), IsEmpty());
  }

  std::unique_ptr<CephCluster> cluster_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
  std::string user_;
};

TEST_F(CephfsFence, IsDoneThoughAnMdsFollowsTheActiveOne) {
  SetFilesystem("allow_standby_replay", "true");
  ASSERT_TRUE(cluster_->ceph().Restart(CephDaemon::kStandby));
  ASSERT_TRUE(WaitFor([&] { return StateOf("b") == "up:standby-replay"; }));
  const auto volume = Make(CreateRequest("pvc-1", {{"mode", "0777"}}));
  const auto client = Publish(volume);
  ASSERT_TRUE(client);
  ASSERT_EQ(client->Mount(PathOf(volume)), 0);
  ASSERT_EQ(client->Write("/file", "mine"), 4);
  ASSERT_TRUE(WaitFor([&] { return Shows("b", user_); }));
  ExpectFenced(volume, client.get());
}

TEST_F(CephfsFence, WaitsForARanksNewHolderUntilItKnowsItsSessions) {
  lab::Ceph& ceph = cluster_->ceph();
  ASSERT_TRUE(ceph.Restart(CephDaemon::kStandby));
  ASSERT_TRUE(WaitFor([&] { return Stands("b"); }));
  const auto volume = Make(CreateRequest("pvc-1", {{"mode", "0777"}}));
  const auto client = Publish(volume);
  ASSERT_TRUE(client);
  ASSERT_EQ(client->Mount(PathOf(volume)), 0);
  ASSERT_EQ(client->Write("/file", "mine"), 4);
  // Nobody reads that pool until there are two of its only copy: so the new holder stays before its
  // journal and its sessions.
  SetMetadataPool("size", "2");
  SetMetadataPool("min_size", "2");
  cluster_->Order({{"prefix", "mds fail"}, {"role_or_gid", "a"}});
  ASSERT_TRUE(WaitFor([&] { return StateOf("b") == "up:replay"; }));
  const auto refused = controller_->Unpublish(volume.volume_id(), kNode);
  EXPECT_EQ(refused.code(), StatusCode::UNAVAILABLE) << refused.message();
  EXPECT_THAT(refused.message(), HasSubstr("rank 0"));
  ASSERT_EQ(StateOf("b"), "up:replay");
  SetMetadataPool("min_size", "1");
  ASSERT_TRUE(WaitFor([&] { return StateOf("b") == "up:active"; }, kEndMax));
  ASSERT_TRUE(WaitFor([&] { return Shows("b", user_); }));
  ExpectFenced(volume, client.get());
}

TEST_F(CephfsFence, FindsAClientThatReportsAnotherName) {
  const auto volume = Make(CreateRequest("pvc-1", {{"mode", "0777"}}));
  const auto client = Publish(volume);
  ASSERT_TRUE(client);
  ASSERT_EQ(ceph_conf_set(client->get(), "client_metadata", "entity_id=somebody"), 0);
  ASSERT_EQ(client->Mount(PathOf(volume)), 0);
  ASSERT_EQ(client->Write("/file", "mine"), 4);
  ASSERT_FALSE(Shows("a", user_));
  ExpectFenced(volume, client.get());
}

TEST_F(CephfsFence, ThatCannotBeDoneIsNotTakenForDone) {
  const auto volume = Make(CreateRequest("pvc-1"));
  ASSERT_TRUE(Publish(volume));
  const std::string name = cluster_->ceph().filesystem();
  cluster_->Order({{"prefix", "fs fail"}, {"fs_name", name}});
  cluster_->Order({{"prefix", "fs rm"}, {"fs_name", name}, {"yes_i_really_mean_it", true}});
  const auto refused = controller_->Unpublish(volume.volume_id(), kNode);
  EXPECT_EQ(refused.code(), StatusCode::UNAVAILABLE) << refused.message();
}

TEST_F(CephfsFence, ACopysKeyOpensNoMoreThanItsSources) {
  const Parameters here = {{"poolLayout", "cephfs_data"}};
  const auto source = Make(CreateRequest("pvc-source", here));
  const auto space = cluster_->Info(SubvolumeOf(source))->pool_namespace;
  ASSERT_THAT(space, Not(IsEmpty()));
  const auto copy = Make(CreateFromRequest("pvc-copy", From::kVolume, source.volume_id(), here));
  EXPECT_EQ(cluster_->Info(SubvolumeOf(copy))->pool_namespace, space);
  ASSERT_TRUE(Publish(copy));
  const auto entity =
      cluster_->Order({{"prefix", "auth get"}, {"entity", "client." + user_}, {"format", "json"}});
  EXPECT_THAT(entity, HasSubstr("pool=cephfs_data namespace=" + space));

  // In another pool the module makes it without a namespace.
  cluster_->Order({{"prefix", "osd pool create"}, {"pool", "other"}, {"pg_num", 8}});
  cluster_->Order({{"prefix", "fs add_data_pool"},
                   {"fs_name", cluster_->ceph().filesystem()},
                   {"pool", "other"}});
  Parameters there = {{"poolLayout", "other"}};
  const auto refused =
      controller_->Create(CreateFromRequest("pvc-there", From::kVolume, source.volume_id(), there));
  EXPECT_EQ(refused.code(), StatusCode::INVALID_ARGUMENT) << refused.message();
  EXPECT_THAT(refused.message(), HasSubstr("parameters[\"namespaceIsolated\"]"));
  there["namespaceIsolated"] = "false";
  const auto shared =
      Make(CreateFromRequest("pvc-there", From::kVolume, source.volume_id(), there));
  EXPECT_EQ(cluster_->Info(SubvolumeOf(shared))->data_pool, "other");
  EXPECT_TRUE(controller_->Publish(shared, kNode).ok());

  // One that was made before is not opened.
  CephRecords(cluster_->ceph(), kRecordsPool)
      .ChangeVolume(HandleOf(source.volume_id()),
                    [](auto* record) { record->pool_namespace = ""; });
  const auto closed = controller_->Publish(source, kNode);
  EXPECT_EQ(closed.code(), StatusCode::FAILED_PRECONDITION) << closed.message();
}

}  // namespace
}  // namespace gantry::itest
