// SPDX-License-Identifier: Apache-2.0
// The controller with the capabilities that SECURITY.md names and no more: they are read from there, so
// that it says what is true.
#include <cstdlib>
#include <sstream>

#include "tests/integration/cephfs_lab.hpp"

namespace gantry::itest {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kUid = 61091;

std::string WithSingleBlanks(const std::string& text) {
  std::istringstream words(text);
  std::string joined;
  for (std::string word; words >> word;) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

// "mon", "allow r, ...", "mgr", ...: those of the section on CephFS, in the order of the page; the
// fifth is what `nodeKeys: perVolume` adds to the monitors'.
std::vector<std::string> Documented() {
  const auto page = base::ReadFile(
      std::filesystem::path(std::getenv("GANTRY_SOURCE_DIR")) / "SECURITY.md", 1 << 20);
  EXPECT_TRUE(page);
  const size_t begin = page->find("\n## CephFS\n");
  const std::string section = page->substr(begin, page->find("\n## ", begin + 1) - begin);
  std::vector<std::string> words;
  // Of "osd 'allow rw tag cephfs data=NAME'", broken into lines anywhere.
  for (size_t open = section.find(" '"); open != std::string::npos;
       open = section.find(" '", open)) {
    const size_t close = section.find('\'', open + 2);
    if (close == std::string::npos) break;
    const std::string daemon = open < 3 ? "" : section.substr(open - 3, 3);
    if (daemon == "mon" || daemon == "mgr" || daemon == "mds" || daemon == "osd") {
      words.push_back(daemon);
      words.push_back(WithSingleBlanks(section.substr(open + 2, close - open - 2)));
      open = close;
    } else {
      open += 2;
    }
  }
  return words;
}

class CephfsCaps : public testing::Test {
 protected:
  void SetUp() override {
    cluster_ = CephCluster::Start();
    ASSERT_TRUE(cluster_);
    documented_ = Documented();
    // Four, mds 'allow *' again in a sentence or not, and the monitors' of perVolume.
    ASSERT_GE(documented_.size(), 10U);
  }
  void Begin(const std::vector<std::string>& capabilities) {
    const auto key = cluster_->ceph().NewKey("reduced", capabilities);
    ASSERT_TRUE(key) << key.error().message;
    host_ = cluster_->StartHost(
        CephHost{.uid = kUid, .more = ", nodeKeys: perVolume", .user = "reduced", .key = *key});
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<CephController>(*host_);
  }
  std::vector<std::string> Least() const { return {documented_.begin(), documented_.begin() + 8}; }
  std::vector<std::string> WithNodeKeys() const {
    auto all = Least();
    for (size_t i = 8; i + 1 < documented_.size(); i += 2)
      if (documented_[i] == "mon") all[1] += ", " + documented_[i + 1];
    return all;
  }
  void TearDown() override {
    if (HasFailure() && host_ != nullptr) std::cerr << host_->Log();
  }
  // Everything but keys.
  void LiveThrough() {
    const auto created = controller_->CreateInTheEnd(CreateRequest("pvc-1", {{"mode", "0777"}}));
    ASSERT_TRUE(created.ok()) << created.message();
    const auto& volume = created.reply.volume();
    const auto expanded = controller_->Expand(volume.volume_id(), 2 * kVolumeBytes);
    EXPECT_TRUE(expanded.ok()) << expanded.message();
    const auto modified = controller_->Modify(volume.volume_id(), {{"pin", "export:0"}});
    EXPECT_TRUE(modified.ok()) << modified.message();
    const auto snapped = controller_->Snapshot("snap-1", volume.volume_id());
    ASSERT_TRUE(snapped.ok()) << snapped.message();
    const std::string snapshot = snapped.reply.snapshot().snapshot_id();
    auto request = CreateFromRequest("pvc-2", From::kSnapshot, snapshot);
    request.clear_capacity_range();
    const auto restored = controller_->CreateInTheEnd(request);
    ASSERT_TRUE(restored.ok()) << restored.message();
    EXPECT_EQ(controller_->List().reply.entries_size(), 2);
    EXPECT_EQ(controller_->ListSnapshots().reply.entries_size(), 1);
    const auto got = controller_->Get(volume.volume_id());
    ASSERT_TRUE(got.ok()) << got.message();
    EXPECT_FALSE(got.reply.status().volume_condition().abnormal());
    const auto capacity = controller_->FreeBytes();
    ASSERT_TRUE(capacity.ok()) << capacity.message();
    EXPECT_GT(capacity.reply.available_capacity(), 0);
    for (const auto& id : {restored.reply.volume().volume_id(), volume.volume_id()}) {
      const auto deleted = controller_->DeleteInTheEnd(id);
      EXPECT_TRUE(deleted.ok()) << deleted.message();
    }
    const auto deleted = controller_->DeleteSnapshot(snapshot);
    EXPECT_TRUE(deleted.ok()) << deleted.message();
    EXPECT_THAT(cluster_->Subvolumes(), IsEmpty());
  }

  std::unique_ptr<CephCluster> cluster_;
  std::vector<std::string> documented_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<CephController> controller_;
};

TEST_F(CephfsCaps, TheDocumentedOnesAreEnoughForVolumesAndSnapshots) {
  ASSERT_NO_FATAL_FAILURE(Begin(Least()));
  LiveThrough();
  // Those for keys are missing.
  const auto created = controller_->CreateInTheEnd(CreateRequest("pvc-keyed"));
  ASSERT_TRUE(created.ok()) << created.message();
  const auto refused = controller_->Publish(created.reply.volume(), "node-1");
  EXPECT_EQ(refused.code(), StatusCode::PERMISSION_DENIED) << refused.message();
  EXPECT_THAT(refused.message(), HasSubstr("SECURITY.md"));
}

TEST_F(CephfsCaps, WithThoseForKeysANodeIsGivenAVolumeAndFenced) {
  ASSERT_NO_FATAL_FAILURE(Begin(WithNodeKeys()));
  const auto created = controller_->CreateInTheEnd(CreateRequest("pvc-keyed", {{"mode", "0777"}}));
  ASSERT_TRUE(created.ok()) << created.message();
  const auto& volume = created.reply.volume();
  const auto published = controller_->Publish(volume, "node-1");
  ASSERT_TRUE(published.ok()) << published.message();
  EXPECT_THAT(cluster_->Entities(), SizeIs(1));
  const auto& given = published.reply.publish_context();
  const auto key =
      cephfs::Unseal(kSealKey,
                     {HandleOf(volume.volume_id()), volume.volume_context().at("incarnation"),
                      "node-1", given.at("user")},
                     given.at("sealedKey"));
  ASSERT_TRUE(key) << key.error().message;
  CephClient node(cluster_->ceph(), given.at("user"), key->text());
  ASSERT_EQ(node.Mount(PathOf(volume)), 0);
  ASSERT_EQ(node.Write("/file", "mine"), 4);
  const auto closed = controller_->Unpublish(volume.volume_id(), "node-1");
  ASSERT_TRUE(closed.ok()) << closed.message();
  node.WasEvicted();
  EXPECT_LT(node.Write("/file", "late"), 0);
  EXPECT_THAT(cluster_->Entities(), IsEmpty());
  EXPECT_TRUE(controller_->DeleteInTheEnd(volume.volume_id()).ok());
}

}  // namespace
}  // namespace gantry::itest
