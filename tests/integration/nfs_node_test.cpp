// SPDX-License-Identifier: Apache-2.0
// What a pod sees of its NFS volume and what a kubelet may ask of it, with a real gantryd and a
// real server; each file is looked at on the server as well.
#include "tests/integration/nfs_node.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;

class NfsNodeTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { node_ = std::make_unique<NfsNode>(); }
  static void TearDownTestSuite() { node_.reset(); }
  void TearDown() override { EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty()); }

  static std::unique_ptr<NfsNode> node_;
};
std::unique_ptr<NfsNode> NfsNodeTest::node_;

struct stat StatOf(const fs::path& path) {
  struct stat found {};
  EXPECT_EQ(lstat(path.c_str(), &found), 0) << path;
  return found;
}

// --- publishing -----------------------------------------------------------------------------

TEST_F(NfsNodeTest, PublishesAgainWithTheSameArgumentsAndNotWithOthers) {
  const Volume volume = node_->Run("again");
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(node_->PublishAt(volume, volume.target, true).error_code(), StatusCode::ALREADY_EXISTS);
  Volume other = volume;
  other.mode = Mode::SINGLE_NODE_WRITER;
  EXPECT_EQ(node_->Publish(other).error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(node_->Mounted().size(), 2U);
  EXPECT_EQ(WriteWhole(volume.target / "still", "writable"), 0);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, StagesAgainWithTheSameArgumentsAndNotWithOthers) {
  const Volume volume = node_->Run("staged-again");
  ASSERT_GRPC_OK(node_->Stage(volume));
  Volume other = volume;
  other.mode = Mode::MULTI_NODE_READER_ONLY;
  EXPECT_EQ(node_->Stage(other).error_code(), StatusCode::ALREADY_EXISTS);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, RefusesASecondTargetToASingleWriter) {
  const Volume volume = node_->Run("single", Mode::SINGLE_NODE_SINGLE_WRITER);
  EXPECT_EQ(node_->PublishAt(volume, node_->PodTarget("second"), false).error_code(),
            StatusCode::FAILED_PRECONDITION);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, RefusesWritesThroughAReadOnlyTargetWhileAnotherWrites) {
  const Volume volume = node_->Run("shared");
  const auto reader = node_->PodTarget("reader");
  ASSERT_GRPC_OK(node_->PublishAt(volume, reader, true));
  ASSERT_EQ(WriteWhole(volume.target / "file", "one"), 0);
  EXPECT_EQ(ReadWhole(reader / "file"), "one");
  EXPECT_EQ(WriteWhole(reader / "file", "two"), EROFS);
  EXPECT_EQ(mkdir((reader / "directory").c_str(), 0755) == 0 ? 0 : errno, EROFS);
  EXPECT_EQ(unlink((reader / "file").c_str()) == 0 ? 0 : errno, EROFS);
  EXPECT_EQ(chmod((reader / "file").c_str(), 0600) == 0 ? 0 : errno, EROFS);
  ASSERT_EQ(WriteWhole(volume.target / "file", "three"), 0);
  EXPECT_EQ(ReadWhole(reader / "file"), "three");
  EXPECT_EQ(node_->Unstage(volume).error_code(), StatusCode::FAILED_PRECONDITION);
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, reader));
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, reader));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "three");
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, MountsReadersOnlyVolumesReadOnly) {
  const Volume writer = node_->Run("readers");
  ASSERT_EQ(WriteWhole(writer.target / "file", "content"), 0);
  ASSERT_GRPC_OK(node_->Unpublish(writer));
  ASSERT_GRPC_OK(node_->Unstage(writer));
  Volume reader = writer;
  reader.mode = Mode::MULTI_NODE_READER_ONLY;
  ASSERT_GRPC_OK(node_->Stage(reader));
  ASSERT_GRPC_OK(node_->Publish(reader));
  EXPECT_EQ(ReadWhole(reader.target / "file"), "content");
  EXPECT_EQ(WriteWhole(reader.target / "file", "other"), EROFS);
  EXPECT_EQ(WriteWhole(reader.staging / "file", "other"), EROFS);
  ASSERT_GRPC_OK(node_->End(reader));
}

// --- files ----------------------------------------------------------------------------------

TEST_F(NfsNodeTest, KeepsFilesOfTwoVolumesApartAndOnTheServer) {
  const Volume one = node_->Run("apart-one");
  const Volume two = node_->Run("apart-two");
  for (const size_t bytes : {0UL, 1UL, 4095UL, 4096UL, 4097UL, 131072UL, 1048577UL}) {
    const std::string name = "file-" + std::to_string(bytes);
    ASSERT_EQ(WriteWhole(one.target / name, Random(bytes, bytes + 1)), 0);
    ASSERT_EQ(WriteWhole(two.target / name, Random(bytes, bytes + 2)), 0);
    EXPECT_EQ(ReadWhole(one.target / name), Random(bytes, bytes + 1));
    EXPECT_EQ(ReadWhole(one.backing / name), Random(bytes, bytes + 1));
    EXPECT_EQ(ReadWhole(two.target / name), Random(bytes, bytes + 2));
    EXPECT_EQ(ReadWhole(two.backing / name), Random(bytes, bytes + 2));
  }
  ASSERT_GRPC_OK(node_->End(one));
  EXPECT_EQ(ReadWhole(two.target / "file-4097"), Random(4097, 4099));
  ASSERT_GRPC_OK(node_->End(two));
}

TEST_F(NfsNodeTest, ListsAThousandSmallFiles) {
  const Volume volume = node_->Run("thousand");
  const fs::path directory = volume.target / "many";
  ASSERT_TRUE(fs::create_directory(directory));
  std::set<std::string> made;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "a file with a longer name, number " + std::to_string(i);
    const int fd = open((directory / name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0) << name << ": " << errno;
    EXPECT_EQ(write(fd, name.data(), name.size()), static_cast<ssize_t>(name.size()));
    close(fd);
    made.insert(name);
  }
  const auto names = [](const fs::path& where) {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(where)) found.insert(entry.path().filename());
    return found;
  };
  EXPECT_EQ(names(directory), made);
  EXPECT_EQ(names(volume.backing / "many"), made);
  for (const auto& name : made) EXPECT_EQ(ReadWhole(directory / name), name);
  EXPECT_EQ(fs::remove_all(directory), 1001U);
  EXPECT_FALSE(fs::exists(volume.backing / "many"));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, CarriesABigFileWithoutAWrongByte) {
  const Volume volume = node_->Run("big");
  const std::string content = Random(64U << 20, 64);
  ASSERT_EQ(WriteWhole(volume.target / "big", content), 0);
  EXPECT_TRUE(ReadWhole(volume.backing / "big") == content);
  // The page cache has it: read past it.
  ASSERT_GRPC_OK(node_->Unpublish(volume));
  ASSERT_GRPC_OK(node_->Unstage(volume));
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_TRUE(ReadWhole(volume.target / "big") == content);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, RenamesTruncatesAndRemoves) {
  const Volume volume = node_->Run("changes");
  const fs::path top = volume.target;
  ASSERT_TRUE(fs::create_directory(top / "from"));
  ASSERT_TRUE(fs::create_directory(top / "to"));
  ASSERT_EQ(WriteWhole(top / "from/file", "first"), 0);
  ASSERT_EQ(WriteWhole(top / "to/file", "replaced"), 0);
  fs::rename(top / "from/file", top / "to/file");
  EXPECT_FALSE(fs::exists(volume.backing / "from/file"));
  EXPECT_EQ(ReadWhole(volume.backing / "to/file"), "first");
  EXPECT_EQ(ReadWhole(top / "to/file"), "first");
  fs::rename(top / "to", top / "moved");
  EXPECT_EQ(ReadWhole(top / "moved/file"), "first");

  fs::resize_file(top / "moved/file", 3);
  EXPECT_EQ(ReadWhole(volume.backing / "moved/file"), "fir");
  fs::resize_file(top / "moved/file", 6);
  EXPECT_EQ(ReadWhole(top / "moved/file"), std::string("fir\0\0\0", 6));
  EXPECT_EQ(ReadWhole(volume.backing / "moved/file"), std::string("fir\0\0\0", 6));

  EXPECT_EQ(rmdir((top / "moved").c_str()) == 0 ? 0 : errno, ENOTEMPTY);
  EXPECT_EQ(unlink((top / "absent").c_str()) == 0 ? 0 : errno, ENOENT);
  EXPECT_TRUE(fs::remove(top / "moved/file"));
  EXPECT_TRUE(fs::remove(top / "moved"));
  EXPECT_FALSE(fs::exists(volume.backing / "moved"));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, ShowsTheServersSpace) {
  const Volume volume = node_->Run("space");
  struct statvfs here {};
  struct statvfs there {};
  ASSERT_EQ(statvfs(volume.target.c_str(), &here), 0);
  ASSERT_EQ(statvfs(volume.backing.c_str(), &there), 0);
  EXPECT_EQ(here.f_blocks * here.f_frsize, there.f_blocks * there.f_frsize);
  EXPECT_GT(here.f_bavail, 0U);
  EXPECT_GE(here.f_namemax, 255U);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_GE(stats.usage_size(), 1);
  EXPECT_EQ(static_cast<uint64_t>(stats.usage(0).total()), there.f_blocks * there.f_frsize);
  EXPECT_GT(stats.usage(0).available(), 0);
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- identity -------------------------------------------------------------------------------

TEST_F(NfsNodeTest, ShowsOwnersAndModesOnTheServer) {
  const Volume volume = node_->Run("owners");
  ASSERT_EQ(WriteWhole(volume.target / "file", "x"), 0);
  ASSERT_EQ(chmod((volume.target / "file").c_str(), 0640), 0);
  ASSERT_EQ(chown((volume.target / "file").c_str(), 1234, 2345), 0);
  for (const auto& path : {volume.target / "file", volume.backing / "file"}) {
    const auto found = StatOf(path);
    EXPECT_EQ(found.st_mode & 07777, 0640U) << path;
    EXPECT_EQ(found.st_uid, 1234U) << path;
    EXPECT_EQ(found.st_gid, 2345U) << path;
  }
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, ActsForTheCallersUid) {
  const Volume volume = node_->Run("callers");
  ASSERT_EQ(WriteWhole(volume.target / "roots", "x"), 0);
  ASSERT_EQ(chmod((volume.target / "roots").c_str(), 0600), 0);
  As(1000, 1001, [&] {
    EXPECT_EQ(WriteWhole(volume.target / "mine", "x"), 0);
    EXPECT_EQ(mkdir((volume.target / "mine too").c_str(), 0700) == 0 ? 0 : errno, 0);
    EXPECT_EQ(WriteWhole(volume.target / "roots", "y"), EACCES);
  });
  for (const auto* name : {"mine", "mine too"}) {
    const auto found = StatOf(volume.backing / name);
    EXPECT_EQ(found.st_uid, 1000U) << name;
    EXPECT_EQ(found.st_gid, 1001U) << name;
  }
  As(1002, 1002, [&] {
    EXPECT_EQ(WriteWhole(volume.target / "mine too" / "other", "x"), EACCES);
    EXPECT_EQ(WriteWhole(volume.target / "mine", "x"), EACCES);
  });
  EXPECT_EQ(ReadWhole(volume.backing / "roots"), "x");
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, GivesEveryCallerTheMountGroup) {
  Volume volume = node_->Plan("grouped");
  ASSERT_GRPC_OK(node_->Create(volume));
  ASSERT_TRUE(fs::create_directory(volume.backing / "group"));
  ASSERT_EQ(chown((volume.backing / "group").c_str(), 0, 2000), 0);
  ASSERT_EQ(chmod((volume.backing / "group").c_str(), 0770), 0);
  const auto write_as_member = [&] {
    int error = 0;
    As(1000, 1000, [&] { error = WriteWhole(volume.target / "group/file", "x"); }, {2000});
    return error;
  };
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(write_as_member(), EACCES);  // the server does not know of the member's groups
  ASSERT_GRPC_OK(node_->Unpublish(volume));
  ASSERT_GRPC_OK(node_->Unstage(volume));
  volume.mount_group = "2000";
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(write_as_member(), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "group/file"), "x");
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, MountsWithTheFlagsAskedForAndNeverWithDevicesOrSetuid) {
  Volume volume = node_->Plan("flags");
  volume.mount_flags = {"noexec", "hard,nfsvers=3"};
  ASSERT_GRPC_OK(node_->Create(volume));
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  for (const auto& path : {volume.staging, volume.target}) {
    struct statvfs found {};
    ASSERT_EQ(statvfs(path.c_str(), &found), 0);
    constexpr unsigned long kWanted = ST_NOEXEC | ST_NOSUID | ST_NODEV;
    EXPECT_EQ(found.f_flag & kWanted, kWanted) << path;
  }
  ASSERT_GRPC_OK(node_->End(volume));
  volume = node_->Plan("bad-flags");
  ASSERT_GRPC_OK(node_->Create(volume));
  for (const char* flag : {"suid", "nfsvers=4.1", "sec=krb5"}) {
    volume.mount_flags = {"hard", flag};
    const auto refused = node_->Stage(volume);
    EXPECT_EQ(refused.error_code(), StatusCode::INVALID_ARGUMENT);
    const std::string name(flag, std::strcspn(flag, "="));
    EXPECT_THAT(refused.error_message(), ::testing::HasSubstr("\"" + name + "\""));
  }
  EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty());
  ASSERT_GRPC_OK(node_->Unstage(volume));
  ASSERT_GRPC_OK(node_->Delete(volume));
}

// Whatever this kernel has: another node's may not.
TEST_F(NfsNodeTest, ServesInUserSpaceWhatSeveralNodesWriteAndTheClassLeavesOpen) {
  Volume volume = node_->Plan("auto", Mode::MULTI_NODE_MULTI_WRITER);
  volume.parameters["mounter"] = "auto";
  ASSERT_GRPC_OK(node_->Create(volume));
  EXPECT_EQ(volume.context.at("mounter"), "auto");
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(WriteWhole(volume.target / "file", "x"), 0);
  EXPECT_EQ(ReadWhole(volume.backing / "file"), "x");
  EXPECT_FALSE(node_->DataPathPids().empty());
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsNodeTest, SaysWhichGrantAKernelMountLacks) {
  Volume volume = node_->Plan("kernel");
  volume.parameters["mounter"] = "kernel";
  ASSERT_GRPC_OK(node_->Create(volume));
  const auto refused = node_->Stage(volume);
  EXPECT_EQ(refused.error_code(), StatusCode::PERMISSION_DENIED) << Text(refused);
  EXPECT_THAT(refused.error_message(), ::testing::HasSubstr("backends.nfs.grants.fs_types"));
  ASSERT_GRPC_OK(node_->Unstage(volume));
  ASSERT_GRPC_OK(node_->Delete(volume));
}

// --- isolation ------------------------------------------------------------------------------

void ExpectUnprivileged(pid_t pid) {
  const std::string uid = std::to_string(kBackendUid);
  EXPECT_EQ(StatusOf(pid, "Uid"), uid + "\t" + uid + "\t" + uid + "\t" + uid);
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(StatusOf(pid, set), "0000000000000000") << set;
  EXPECT_EQ(StatusOf(pid, "NoNewPrivs"), "1");
  EXPECT_EQ(StatusOf(pid, "Seccomp"), "2");
  EXPECT_EQ(StatusOf(pid, "Groups"), "");
  std::ifstream limits("/proc/" + std::to_string(pid) + "/limits");
  const std::string text((std::istreambuf_iterator<char>(limits)), {});
  EXPECT_NE(text.find("Max core file size        0                    0"), std::string::npos)
      << text;
}

TEST_F(NfsNodeTest, RunsVendorCodeWithoutPrivileges) {
  const Volume volume = node_->Run("isolated");
  const auto workers = node_->host().WorkerPids("nfs");
  ASSERT_EQ(workers.size(), 1U);
  ExpectUnprivileged(workers.front());
  const auto paths = node_->DataPathPids();
  ASSERT_EQ(paths.size(), 1U);
  ExpectUnprivileged(paths.front());
  ASSERT_GRPC_OK(node_->End(volume));
  EXPECT_TRUE(node_->DataPathPids().empty());
}

}  // namespace
}  // namespace gantry::tests
