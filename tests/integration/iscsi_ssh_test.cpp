// SPDX-License-Identifier: Apache-2.0
// The target is another machine's: gantry-target as the forced command of a key at a real sshd, and all
// of a volume's life by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/integration/iscsi_lab.hpp"
#include "tests/lab/sshd.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr uint64_t kMiB = uint64_t{1} << 20;

class IscsiBySsh : public ::testing::Test {
 protected:
  IscsiBySsh() {
    auto sshd = lab::Sshd::Start(std::string(std::getenv("GANTRY_BUILD_DIR")) +
                                 "/bin/gantry-target " + target_.config().string());
    if (!sshd) throw std::runtime_error(sshd.error().message);
    sshd_.emplace(*std::move(sshd));
    std::ofstream(key_) << sshd_->client_key();
    fs::permissions(key_, fs::perms::owner_read);
  }
  IscsiBackend Backend(const std::string& host_key) const {
    IscsiBackend backend;
    backend.target = "{ssh: {host: 127.0.0.1, port: " + std::to_string(sshd_->port()) +
                     ", user: " + sshd_->user() + ", hostKey: \"" + host_key +
                     "\", credential: target-key}}";
    backend.credentials = "{target-key: " + key_.string() + "}";
    return backend;
  }

  IscsiTarget target_;
  base::TempDir directory_;
  fs::path key_ = directory_.path() / "key";
  std::optional<lab::Sshd> sshd_;
};

TEST_F(IscsiBySsh, AVolumeLivesWithCloneSnapshotAndGrowth) {
  IscsiNode node({Backend(sshd_->host_key())}, "node-a");
  LunVolume volume = Named("source", "xfs");
  volume.bytes = 512 * kMiB;
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  const std::string first = Pattern(3 * kMiB + 5, 1);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", first), 0);
  ASSERT_DONE(node.Expand(volume, 1024 * kMiB));
  ASSERT_DONE(node.ExpandNode(volume));
  EXPECT_GT(fs::space(node.Target(volume)).capacity, 768 * kMiB);
  ASSERT_DONE(node.Down(volume));

  std::string snapshot;
  ASSERT_DONE(node.Snapshot(volume, "snap", &snapshot));
  LunVolume clone = Named("clone", "xfs");
  clone.of_volume = volume.id;
  clone.bytes = volume.bytes;
  ASSERT_DONE(node.Create(clone));
  ASSERT_DONE(node.Up(volume));
  const std::string second = Pattern(2 * kMiB, 2);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", second), 0);
  // The way to the target is lost and comes back; the pod does not need it.
  ASSERT_TRUE(sshd_->Kill());
  LunVolume none = Named("none");
  EXPECT_EQ(node.Create(none).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(WriteSynced(node.Target(volume) / "other", second), 0);
  ASSERT_TRUE(sshd_->Restart());
  ASSERT_DONE(node.Down(volume));

  LunVolume restored = Named("restored", "xfs");
  restored.of_snapshot = snapshot;
  restored.bytes = volume.bytes;
  ASSERT_DONE(node.Create(restored));
  for (const auto& [each, content] :
       {std::pair(&volume, &second), std::pair(&clone, &first), std::pair(&restored, &first)}) {
    SCOPED_TRACE(each->name);
    ASSERT_DONE(node.Up(*each));
    EXPECT_TRUE(ReadAll(node.Target(*each) / "file") == *content);
    ASSERT_DONE(node.Down(*each));
    ASSERT_DONE(node.Delete(*each));
  }
  ASSERT_DONE(node.DeleteSnapshot(snapshot));
  EXPECT_THAT(node.Left(), IsEmpty());
  EXPECT_TRUE(Soon([&] { return target_.Files().empty(); }, 30s))
      << ::testing::PrintToString(target_.Files());
  EXPECT_THAT(node.host().Log(), ::testing::Not(HasSubstr("PRIVATE KEY")));
}

TEST_F(IscsiBySsh, AMachineWithAnotherHostKeyIsAskedForNothing) {
  auto other = lab::Sshd::Start("/bin/true");
  ASSERT_TRUE(other);
  IscsiNode node({Backend(other->host_key())}, "node-a");
  LunVolume volume = Named("none");
  const auto refused = node.Create(volume);
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.error_message(), HasSubstr("another machine answers"));
  EXPECT_THAT(target_.Files(), IsEmpty());
  EXPECT_THAT(ReadAll(sshd_->log()), ::testing::Not(HasSubstr("Accepted publickey")));
}

}  // namespace
}  // namespace gantry::tests
