// SPDX-License-Identifier: Apache-2.0
// Servers as storage people configure them: that squash root, and that insist on client ports
// below 1024. Control plane and data path both have to get along with them, or say why not.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "host/base/fd.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uid_t kOwner = 5000;

NfsNodeOptions RootSquash() {
  NfsNodeOptions options;
  options.server.root_squash = true;
  return options;
}

NfsNodeOptions PrivilegedPorts() {
  NfsNodeOptions options;
  options.server.privileged_port = true;
  return options;
}

// The export belongs to somebody, and nobody else writes there.
void GiveToOwner(const std::filesystem::path& root) {
  ASSERT_EQ(chown(root.c_str(), kOwner, kOwner), 0);
  ASSERT_EQ(chmod(root.c_str(), 0755), 0);
}

TEST(RootSquash, WorksForTheIdentityThatOwnsTheExport) {
  auto options = RootSquash();
  options.config = "identity: {uid: 5000, gid: 5000}";
  NfsNode node(options);
  GiveToOwner(node.server().root());
  const Volume volume = node.Run("squashed");
  struct stat found {};
  ASSERT_EQ(stat(volume.backing.c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, kOwner);
  As(1000, 1000, [&] { EXPECT_EQ(WriteWhole(volume.target / "mine", "x"), 0); });
  ASSERT_EQ(stat((volume.backing / "mine").c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, 1000U);
  // Root is nobody in particular here: it may write where all may, and owns nothing.
  EXPECT_EQ(WriteWhole(volume.target / "roots", "x"), 0);
  ASSERT_EQ(stat((volume.backing / "roots").c_str(), &found), 0);
  EXPECT_NE(found.st_uid, 0U);
  EXPECT_NE(chown((volume.target / "mine").c_str(), 0, 0), 0);
  ASSERT_GRPC_OK(node.Expand(volume, 2LL << 30));
  ASSERT_GRPC_OK(node.End(volume));
  EXPECT_FALSE(std::filesystem::exists(volume.backing));
  EXPECT_THAT(node.Mounted(), IsEmpty());
}

// The kernel writes pages of a mapping without saying whose they are.
TEST(RootSquash, TakesTheDirtyPagesOfAMappingAsTheirWriters) {
  auto options = RootSquash();
  options.config = "identity: {uid: 5000, gid: 5000}";
  NfsNode node(options);
  GiveToOwner(node.server().root());
  const Volume volume = node.Run("mapped");
  As(1000, 1000, [&] {
    for (const bool made_before : {false, true}) {
      const base::UniqueFd fd(
          open((volume.target / "mine").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
      ASSERT_TRUE(fd) << errno;
      ASSERT_EQ(ftruncate(fd.get(), 4096), 0);
      auto* page =
          static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
      ASSERT_NE(page, MAP_FAILED);
      page[0] = made_before ? 'b' : 'a';
      EXPECT_EQ(msync(page, 4096, MS_SYNC), 0) << errno;
      munmap(page, 4096);
    }
  });
  const auto content = ReadWhole(volume.backing / "mine");
  ASSERT_TRUE(content);
  EXPECT_EQ(content->substr(0, 1), "b");
  ASSERT_GRPC_OK(node.End(volume));
}

TEST(RootSquash, IsNamedAsTheReasonWhyRootMayNotCreate) {
  NfsNode node(RootSquash());
  GiveToOwner(node.server().root());
  Volume volume = node.Plan("refused");
  const auto status = node.Create(volume);
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << Text(status);
  EXPECT_THAT(status.error_message(), HasSubstr("identity"));
  EXPECT_TRUE(std::filesystem::is_empty(node.server().root()));
}

TEST(PrivilegedPorts, AreRefusedWithAClearErrorWithoutTheSetting) {
  NfsNode node(PrivilegedPorts());
  Volume volume = node.Plan("refused");
  const auto status = node.Create(volume);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.error_message(), HasSubstr("reserved source port"));
}

TEST(PrivilegedPorts, AreRefusedWithAClearErrorWithoutTheGrant) {
  auto options = PrivilegedPorts();
  options.config = "reservedPorts: true";
  NfsNode node(options);
  Volume volume = node.Plan("refused");
  const auto status = node.Create(volume);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.error_message(), HasSubstr("NET_BIND_SERVICE"));
}

TEST(PrivilegedPorts, WorkWithTheGrant) {
  auto options = PrivilegedPorts();
  options.config = "reservedPorts: true";
  options.grants = "userspace: true, capabilities: [NET_BIND_SERVICE]";
  NfsNode node(options);
  const Volume volume = node.Run("granted");
  const std::string content = Random(1U << 20, 1);
  EXPECT_EQ(WriteWhole(volume.target / "file", content), 0);
  EXPECT_TRUE(ReadWhole(volume.backing / "file") == content);
  // That capability and no other.
  for (const pid_t pid : {node.host().WorkerPids("nfs").at(0), node.DataPathPids().at(0)}) {
    EXPECT_EQ(StatusOf(pid, "CapEff"), "0000000000000400");
    EXPECT_EQ(StatusOf(pid, "CapBnd"), "0000000000000400");
    EXPECT_EQ(StatusOf(pid, "NoNewPrivs"), "1");
  }
  ASSERT_GRPC_OK(node.End(volume));
  EXPECT_THAT(node.Mounted(), IsEmpty());
}

}  // namespace
}  // namespace gantry::tests
