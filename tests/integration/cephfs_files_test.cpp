// SPDX-License-Identifier: Apache-2.0
// What a pod's CephFS volume does beyond reading, writing and naming: extended attributes, holes, and
// the page cache as the buffer of writes (cache=writeback), each looked at through a second mount too.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "host/base/fd.hpp"
#include "tests/integration/ceph_node.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using std::chrono::seconds;

constexpr uint64_t kMiB = 1 << 20;
constexpr seconds kSeen{5};

class CephfsFilesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { node_ = std::make_unique<CephNode>(); }
  static void TearDownTestSuite() { node_.reset(); }
  void TearDown() override { EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty()); }

  // Of one node, with the page cache as the buffer.
  static CephVolume MakeWriteback(const std::string& name, uint64_t bytes) {
    CephVolume volume = node_->Make(name, bytes);
    volume.mode = Mode::SINGLE_NODE_MULTI_WRITER;
    volume.mount_flags = {"cache=writeback"};
    return volume;
  }
  // Another client, which asks the cluster for what it shows.
  static CephVolume Observer(const CephVolume& volume) {
    CephVolume other = node_->Again(volume, "-b");
    other.mode = Mode::MULTI_NODE_MULTI_WRITER;
    other.mount_flags.clear();
    return other;
  }

  static std::unique_ptr<CephNode> node_;
};
std::unique_ptr<CephNode> CephfsFilesTest::node_;

base::UniqueFd Open(const fs::path& path, int flags) {
  return base::UniqueFd(open(path.c_str(), flags | O_CLOEXEC, 0644));
}

struct stat StatOf(const fs::path& path) {
  struct stat found {};
  EXPECT_EQ(lstat(path.c_str(), &found), 0) << path << ": " << std::strerror(errno);
  return found;
}

// --- extended attributes --------------------------------------------------------------------

std::string ListOf(const fs::path& path) {
  std::string list(4096, '\0');
  const ssize_t length = listxattr(path.c_str(), list.data(), list.size());
  EXPECT_GE(length, 0) << std::strerror(errno);
  list.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return list;
}

std::string XattrOf(const fs::path& path, const char* name) {
  const ssize_t length = getxattr(path.c_str(), name, nullptr, 0);
  if (length < 0) return std::strerror(errno);
  std::string value(static_cast<size_t>(length), '\0');
  EXPECT_EQ(getxattr(path.c_str(), name, value.data(), value.size()), length);
  return value;
}

int SetXattr(const fs::path& path, const char* name, const std::string& value, int flags = 0) {
  return setxattr(path.c_str(), name, value.data(), value.size(), flags) == 0 ? 0 : errno;
}

TEST_F(CephfsFilesTest, KeepsExtendedAttributesForOtherMountsAndHidesCephsOwn) {
  const auto volume = node_->Make("xattrs", 64 * kMiB);
  const auto other = Observer(volume);
  node_->Start(volume);
  node_->Start(other);
  const fs::path file = volume.target / "file";
  ASSERT_EQ(WriteWhole(file, "x"), 0);
  const std::string large = Random(3000, 1);
  EXPECT_EQ(SetXattr(file, "user.small", std::string("a\0b", 3)), 0);
  EXPECT_EQ(SetXattr(file, "user.large", large), 0);
  EXPECT_EQ(SetXattr(file, "trusted.empty", ""), 0);
  EXPECT_EQ(SetXattr(volume.target, "user.root", "r"), 0);
  for (const auto& top : {volume.target, other.target}) {
    EXPECT_EQ(XattrOf(top / "file", "user.small"), std::string("a\0b", 3));
    EXPECT_TRUE(XattrOf(top / "file", "user.large") == large);
    EXPECT_EQ(XattrOf(top / "file", "trusted.empty"), "");
    EXPECT_EQ(XattrOf(top, "user.root"), "r");
    EXPECT_EQ(ListOf(top), std::string("user.root\0", 10));
  }
  std::array<char, 2> little{};
  EXPECT_EQ(getxattr(file.c_str(), "user.small", little.data(), little.size()), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(SetXattr(file, "user.small", "again", XATTR_CREATE), EEXIST);
  EXPECT_EQ(SetXattr(file, "user.absent", "x", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(SetXattr(file, "user.small", "replaced", XATTR_REPLACE), 0);
  EXPECT_EQ(XattrOf(file, "user.small"), "replaced");
  EXPECT_EQ(removexattr(file.c_str(), "user.large"), 0);
  EXPECT_EQ(removexattr(file.c_str(), "user.large"), -1);
  EXPECT_EQ(errno, ENODATA);
  EXPECT_EQ(XattrOf(file, "user.large"), std::strerror(ENODATA));

  EXPECT_EQ(XattrOf(volume.target, "ceph.quota.max_bytes"), std::to_string(64 * kMiB));
  EXPECT_EQ(SetXattr(volume.target, "ceph.quota.max_bytes", "0"), EPERM);
  EXPECT_EQ(SetXattr(file, "security.gantry", "x"), EOPNOTSUPP);
  EXPECT_EQ(XattrOf(file, "system.posix_acl_access"), std::strerror(EOPNOTSUPP));
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- set-ID bits ----------------------------------------------------------------------------

// The kernel leaves them to us (datapath/init.hpp), in both ways of caching.
void ExpectSetIdBitsCleared(const fs::path& top, const fs::path& elsewhere) {
  struct Change {
    const char* name;
    std::function<bool(int fd)> make;
  };
  const std::vector<Change> changes = {
      {"written", [](int fd) { return pwrite(fd, "new", 3, 0) == 3; }},
      {"truncated", [](int fd) { return ftruncate(fd, 1) == 0; }},
      {"lengthened", [](int fd) { return ftruncate(fd, 1000) == 0; }}};
  for (const auto& [name, make] : changes) {
    SCOPED_TRACE(name);
    const fs::path file = top / name;
    ASSERT_EQ(WriteWhole(file, "old content"), 0);
    ASSERT_EQ(chmod(file.c_str(), 06777), 0);
    EXPECT_EQ(StatOf(file).st_mode & 07777, 06777U);
    As(1000, 1000, [&] {
      const base::UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
      ASSERT_TRUE(fd);
      EXPECT_TRUE(make(fd.get()));
      EXPECT_EQ(fsync(fd.get()), 0);
    });
    EXPECT_TRUE(Soon([&] { return (StatOf(file).st_mode & 07777) == 0777; }, kSeen));
    EXPECT_TRUE(Soon([&] { return (StatOf(elsewhere / name).st_mode & 07777) == 0777; }, kSeen));
  }
  const fs::path given = top / "given";
  ASSERT_EQ(WriteWhole(given, "content"), 0);
  ASSERT_EQ(chmod(given.c_str(), 06777), 0);
  ASSERT_EQ(chown(given.c_str(), 1000, 1000), 0);
  EXPECT_TRUE(Soon([&] { return (StatOf(given).st_mode & 07777) == 0777; }, kSeen));
  EXPECT_TRUE(Soon([&] { return (StatOf(elsewhere / "given").st_mode & 07777) == 0777; }, kSeen));
}

TEST_F(CephfsFilesTest, ClearsSetIdBitsOfFilesThatChange) {
  for (const bool held : {false, true}) {
    SCOPED_TRACE(held ? "writeback" : "writethrough");
    const auto volume =
        held ? MakeWriteback("set-id-held", 64 * kMiB) : node_->Make("set-id", 64 * kMiB);
    const auto other = Observer(volume);
    node_->Start(volume);
    node_->Start(other);
    ExpectSetIdBitsCleared(volume.target, other.target);
    ASSERT_GRPC_OK(node_->End(other));
    ASSERT_GRPC_OK(node_->End(volume));
  }
}

// libcephfs does not tell where they are, so everything counts as data, as SEEK_DATA allows.
TEST_F(CephfsFilesTest, FindsNoHoleButTheEnd) {
  const auto volume = node_->Make("holes", 64 * kMiB);
  node_->Start(volume);
  auto file = Open(volume.target / "file", O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  ASSERT_EQ(pwrite(file.get(), "end", 3, 10 * kMiB), 3);
  EXPECT_EQ(lseek(file.get(), 0, SEEK_DATA), 0);
  EXPECT_EQ(lseek(file.get(), 4096, SEEK_HOLE), off_t{10 * kMiB + 3});
  EXPECT_EQ(lseek(file.get(), off_t{10 * kMiB + 3}, SEEK_DATA), -1);
  EXPECT_EQ(errno, ENXIO);
  file.Reset();
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- writeback ------------------------------------------------------------------------------

TEST_F(CephfsFilesTest, WritebackHoldsWritesUntilTheyAreSyncedOrClosed) {
  const auto volume = MakeWriteback("held", 64 * kMiB);
  const auto other = Observer(volume);
  node_->Start(volume);
  node_->Start(other);
  auto file = Open(volume.target / "file", O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  const std::string content = Random(64 * 1024, 1);
  ASSERT_EQ(pwrite(file.get(), content.data(), content.size(), 0), ssize_t(content.size()));
  EXPECT_TRUE(ReadWhole(other.target / "file") == "");
  ASSERT_EQ(fsync(file.get()), 0);
  EXPECT_TRUE(Soon([&] { return ReadWhole(other.target / "file") == content; }, kSeen));
  ASSERT_EQ(pwrite(file.get(), "more", 4, 0), 4);
  file.Reset();
  EXPECT_TRUE(
      Soon([&] { return ReadWhole(other.target / "file") == "more" + content.substr(4); }, kSeen));
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsFilesTest, WritebackLosesNothingThatWasSyncedWhenItsDataPathIsKilled) {
  const auto volume = MakeWriteback("synced", 64 * kMiB);
  node_->Start(volume);
  auto file = Open(volume.target / "file", O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  std::string content(4 * kMiB, '\0');
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) {
    const size_t at = random() % (content.size() - 6000);
    const std::string piece = Random(1 + random() % 5999, random());
    ASSERT_EQ(pwrite(file.get(), piece.data(), piece.size(), static_cast<off_t>(at)),
              ssize_t(piece.size()));
    content.replace(at, piece.size(), piece);
  }
  content.resize(static_cast<size_t>(fs::file_size(volume.target / "file")));
  ASSERT_EQ(fdatasync(file.get()), 0);
  ASSERT_EQ(kill(node_->DataPathOf(volume), SIGKILL), 0);
  const auto second = node_->PodTarget("second");
  ASSERT_TRUE(Soon([&] { return node_->PublishAt(volume, second).ok(); }, seconds(20)));
  EXPECT_TRUE(ReadWhole(second / "file") == content);
  file.Reset();
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, second));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsFilesTest, WritebackKeepsContentSizesAndTimes) {
  const auto volume = MakeWriteback("kept", 64 * kMiB);
  node_->Start(volume);
  const fs::path path = volume.target / "file";
  ASSERT_EQ(WriteWhole(path, Random(10'000, 1)), 0);
  std::string content = Random(10'000, 1);
  ASSERT_GRPC_OK(node_->End(volume));
  node_->Start(volume);
  {
    // In the middle of pages that are not in the cache and that this fd may not read.
    const auto file = Open(path, O_WRONLY);
    ASSERT_TRUE(file);
    ASSERT_EQ(pwrite(file.get(), "middle", 6, 5000), 6);
    content.replace(5000, 6, "middle");
    ASSERT_EQ(pwrite(file.get(), "far", 3, 20'000), 3);
    content.resize(20'000);
    content += "far";
  }
  {
    const auto file = Open(path, O_WRONLY | O_APPEND);
    ASSERT_TRUE(file);
    for (int i = 0; i < 100; ++i) {
      const std::string piece = Random(1 + static_cast<size_t>(i) * 7, static_cast<uint64_t>(i));
      ASSERT_EQ(write(file.get(), piece.data(), piece.size()), ssize_t(piece.size()));
      content += piece;
    }
    ASSERT_EQ(ftruncate(file.get(), 30'001), 0);
    content.resize(30'001);
    ASSERT_EQ(write(file.get(), "end", 3), 3);
    content += "end";
  }
  {
    const auto file = Open(path, O_RDWR);
    ASSERT_TRUE(file);
    void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 4096);
    ASSERT_NE(memory, MAP_FAILED);
    std::memcpy(static_cast<char*>(memory) + 7, "mapped", 6);
    content.replace(4096 + 7, 6, "mapped");
    ASSERT_EQ(munmap(memory, 4096), 0);
  }
  const timespec times[2] = {{1'000'000'000, 5}, {1'100'000'000, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  const auto other = Observer(volume);
  node_->Start(other);
  EXPECT_TRUE(ReadWhole(other.target / "file") == content);
  ASSERT_GRPC_OK(node_->End(volume));
  node_->Start(volume);
  for (const auto& top : {volume.target, other.target}) {
    EXPECT_TRUE(ReadWhole(top / "file") == content);
    const auto found = StatOf(top / "file");
    EXPECT_EQ(found.st_size, off_t(content.size()));
    EXPECT_EQ(found.st_mtim.tv_sec, 1'100'000'000);
    EXPECT_EQ(found.st_mtim.tv_nsec, 7);
  }
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsFilesTest, WritebackTellsOfAFullQuotaWhenItIsSynced) {
  constexpr uint64_t kQuota = 8 * kMiB;
  const auto volume = MakeWriteback("over", kQuota);
  node_->Start(volume);
  auto file = Open(volume.target / "file", O_WRONLY | O_CREAT);
  ASSERT_TRUE(file);
  const std::string block = Random(kMiB, 1);
  for (uint64_t at = 0; at < 2 * kQuota; at += block.size())
    ASSERT_EQ(pwrite(file.get(), block.data(), block.size(), static_cast<off_t>(at)),
              ssize_t(block.size()));
  EXPECT_EQ(fsync(file.get()), -1);
  EXPECT_EQ(errno, EDQUOT);
  file.Reset();
  node_->Resize(volume, 4 * kQuota);
  EXPECT_TRUE(Soon([&] { return WriteWhole(volume.target / "more", block) == 0; }, seconds(20)));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsFilesTest, RefusesWritebackWhereSeveralNodesMayUseTheVolume) {
  auto volume = MakeWriteback("several", 64 * kMiB);
  for (const auto mode : {Mode::MULTI_NODE_MULTI_WRITER, Mode::MULTI_NODE_SINGLE_WRITER,
                          Mode::MULTI_NODE_READER_ONLY}) {
    volume.mode = mode;
    const auto status = node_->Stage(volume);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << Text(status);
    EXPECT_THAT(status.error_message(), ::testing::HasSubstr("\"cache\""));
  }
  ASSERT_GRPC_OK(node_->Unstage(volume));
}

// --- directories ----------------------------------------------------------------------------

TEST_F(CephfsFilesTest, ListsWithTheAttributesThatAFileHasByItself) {
  constexpr int kFiles = 600;
  const auto volume = node_->Make("listed", 64 * kMiB);
  node_->Start(volume);
  for (int i = 0; i < kFiles; ++i)
    ASSERT_EQ(WriteWhole(volume.target / ("file-" + std::to_string(i)),
                         std::string(static_cast<size_t>(i), 'x')),
              0);
  fs::create_directory(volume.target / "directory");
  fs::create_symlink("target", volume.target / "link");
  ASSERT_EQ(chmod((volume.target / "file-7").c_str(), 0400), 0);
  const auto other = Observer(volume);
  node_->Start(other);
  int listed = 0;
  for (const auto& entry : fs::directory_iterator(other.target)) {
    ++listed;
    const auto found = StatOf(entry.path());
    const auto wanted = StatOf(volume.target / entry.path().filename());
    EXPECT_EQ(found.st_ino, wanted.st_ino) << entry.path();
    EXPECT_EQ(found.st_mode, wanted.st_mode) << entry.path();
    EXPECT_EQ(found.st_size, wanted.st_size) << entry.path();
    EXPECT_EQ(found.st_nlink, wanted.st_nlink) << entry.path();
    EXPECT_EQ(found.st_mtim.tv_nsec, wanted.st_mtim.tv_nsec) << entry.path();
  }
  EXPECT_EQ(listed, kFiles + 2);
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

// The MDS keeps a removed file, and its objects, as long as a client refers to it.
TEST_F(CephfsFilesTest, AFileThatWasRemovedWhileItWasOpenGoesWithItsLastClose) {
  const auto volume = node_->Make("strays", 64 * kMiB);
  const auto strays = [&] {
    const auto text = node_->cluster().Cli({"tell", "mds.*", "perf", "dump", "mds_cache"});
    const auto at = text ? text->find("\"num_strays\":") : std::string::npos;
    if (at == std::string::npos) throw std::runtime_error("the MDS does not say its strays");
    return std::stoi(text->substr(at + std::strlen("\"num_strays\":")));
  };
  node_->Start(volume);
  const int before = strays();
  auto file = Open(volume.target / "file", O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  const std::string data = Random(kMiB, 1);
  ASSERT_EQ(write(file.get(), data.data(), data.size()), ssize_t(data.size()));
  ASSERT_TRUE(fs::remove(volume.target / "file"));
  EXPECT_EQ(strays(), before + 1);
  std::string again(data.size(), '\0');
  ASSERT_EQ(pread(file.get(), again.data(), again.size(), 0), ssize_t(again.size()));
  EXPECT_TRUE(again == data);
  file.Reset();
  EXPECT_TRUE(Soon([&] { return strays() == before; }, seconds(20))) << strays();
  ASSERT_GRPC_OK(node_->End(volume));
}

}  // namespace
}  // namespace gantry::tests
