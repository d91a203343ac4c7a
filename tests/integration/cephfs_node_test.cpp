// SPDX-License-Identifier: Apache-2.0
// What a pod sees of its CephFS volume and what a kubelet may ask of it, through the userspace mount of
// a real gantryd on a real cluster; each file is looked at through a second mount as well.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <future>
#include <set>

#include "host/base/fd.hpp"
#include "tests/integration/ceph_node.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr uint64_t kMiB = 1 << 20;
constexpr seconds kSeen{5};

class CephfsNodeTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { node_ = std::make_unique<CephNode>(); }
  static void TearDownTestSuite() { node_.reset(); }
  void TearDown() override { EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty()); }

  static std::unique_ptr<CephNode> node_;
};
std::unique_ptr<CephNode> CephfsNodeTest::node_;

struct stat StatOf(const fs::path& path) {
  struct stat found {};
  EXPECT_EQ(lstat(path.c_str(), &found), 0) << path << ": " << std::strerror(errno);
  return found;
}

template <class Call>
int ErrnoOf(Call&& call) {
  return call() == 0 ? 0 : errno;
}

milliseconds Since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

// --- files ----------------------------------------------------------------------------------

TEST_F(CephfsNodeTest, CarriesFilesOfAllSizesToAnotherMountAndBack) {
  const auto volume = node_->Make("sizes", 256 * kMiB);
  const auto other = node_->Again(volume, "-b");
  node_->Start(volume);
  node_->Start(other);
  for (const size_t bytes : {0UL, 1UL, 4095UL, 4097UL, 131072UL, 1048577UL, 32UL << 20}) {
    const std::string name = "file-" + std::to_string(bytes);
    ASSERT_EQ(WriteWhole(volume.target / name, Random(bytes, bytes + 1)), 0);
    EXPECT_TRUE(ReadWhole(volume.target / name) == Random(bytes, bytes + 1)) << bytes;
    EXPECT_TRUE(ReadWhole(other.target / name) == Random(bytes, bytes + 1)) << bytes;
  }
  // Past the page cache.
  ASSERT_GRPC_OK(node_->End(volume));
  node_->Start(volume);
  EXPECT_TRUE(ReadWhole(volume.target / "file-33554432") == Random(32UL << 20, (32UL << 20) + 1));
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsNodeTest, ChangesNamesAndAttributes) {
  const auto volume = node_->Make("names", 64 * kMiB);
  const auto other = node_->Again(volume, "-b");
  node_->Start(volume);
  node_->Start(other);
  const fs::path top = volume.target;
  ASSERT_TRUE(fs::create_directory(top / "from"));
  ASSERT_TRUE(fs::create_directory(top / "to"));
  ASSERT_EQ(WriteWhole(top / "from/file", "first"), 0);
  ASSERT_EQ(WriteWhole(top / "to/file", "replaced"), 0);
  fs::rename(top / "from/file", top / "to/file");
  EXPECT_EQ(ReadWhole(other.target / "to/file"), "first");
  EXPECT_FALSE(fs::exists(other.target / "from/file"));
  fs::create_hard_link(top / "to/file", top / "linked");
  EXPECT_EQ(StatOf(top / "linked").st_nlink, 2U);
  EXPECT_EQ(StatOf(top / "linked").st_ino, StatOf(top / "to/file").st_ino);
  fs::create_symlink("to/file", top / "symbolic");
  EXPECT_EQ(fs::read_symlink(other.target / "symbolic"), "to/file");
  EXPECT_EQ(ReadWhole(top / "symbolic"), "first");
  ASSERT_EQ(mkfifo((top / "fifo").c_str(), 0640), 0);
  EXPECT_TRUE(S_ISFIFO(StatOf(other.target / "fifo").st_mode));

  fs::resize_file(top / "to/file", 3);
  EXPECT_EQ(ReadWhole(top / "to/file"), "fir");
  fs::resize_file(top / "to/file", 6);
  // The other kernel believes what it has seen of names and sizes for a second.
  EXPECT_TRUE(Soon(
      [&] { return ReadWhole(other.target / "to/file") == std::string("fir\0\0\0", 6); }, kSeen));
  const timespec times[2] = {{1'000'000'000, 5}, {1'100'000'000, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, (top / "to/file").c_str(), times, 0), 0);
  EXPECT_TRUE(Soon([&] { return StatOf(other.target / "to/file").st_mtim.tv_sec == 1'100'000'000; },
                   kSeen));
  EXPECT_EQ(StatOf(other.target / "to/file").st_mtim.tv_nsec, 7);

  EXPECT_EQ(ErrnoOf([&] { return rmdir((top / "to").c_str()); }), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf([&] { return unlink((top / "absent").c_str()); }), ENOENT);
  EXPECT_EQ(ErrnoOf([&] { return mkdir((top / "to").c_str(), 0755); }), EEXIST);
  const base::UniqueFd exclusive(
      open((top / "linked").c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
  EXPECT_FALSE(exclusive);
  EXPECT_EQ(errno, EEXIST);
  fs::remove_all(top / "to");
  EXPECT_TRUE(Soon([&] { return !fs::exists(other.target / "to"); }, kSeen));
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsNodeTest, KeepsAFileThatIsRemovedWhileItIsOpen) {
  const auto volume = node_->Make("unlinked", 64 * kMiB);
  node_->Start(volume);
  base::UniqueFd file(open((volume.target / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  ASSERT_EQ(pwrite(file.get(), "before", 6, 0), 6);
  ASSERT_TRUE(fs::remove(volume.target / "file"));
  ASSERT_EQ(pwrite(file.get(), "after.", 6, 6), 6);
  // What is idle is closed after two seconds, which must make no difference.
  std::array<char, 12> content{};
  const auto begin = steady_clock::now();
  ASSERT_TRUE(Soon([&] { return Since(begin) > seconds(4); }, seconds(10)));
  ASSERT_EQ(pread(file.get(), content.data(), content.size(), 0), 12);
  EXPECT_EQ(std::string(content.data(), content.size()), "beforeafter.");
  ASSERT_EQ(pwrite(file.get(), "again!", 6, 0), 6);
  ASSERT_EQ(fsync(file.get()), 0);
  file.Reset();
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsNodeTest, ListsTwoThousandFiles) {
  const auto volume = node_->Make("many", 64 * kMiB);
  const auto other = node_->Again(volume, "-b");
  node_->Start(volume);
  node_->Start(other);
  ASSERT_TRUE(fs::create_directory(volume.target / "many"));
  std::set<std::string> made;
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "a file with a longer name, number " + std::to_string(i);
    const base::UniqueFd fd(open((volume.target / "many" / name).c_str(),
                                 O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    ASSERT_TRUE(fd) << name << ": " << std::strerror(errno);
    made.insert(name);
  }
  for (const auto& top : {volume.target, other.target}) {
    std::multiset<std::string> found;
    for (const auto& entry : fs::directory_iterator(top / "many"))
      found.insert(entry.path().filename());
    EXPECT_TRUE(std::equal(found.begin(), found.end(), made.begin(), made.end()))
        << found.size() << " of " << made.size();
  }
  EXPECT_EQ(fs::remove_all(volume.target / "many"), 2001U);
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsNodeTest, ActsForTheCallerAndKeepsOwnersAndModes) {
  const auto volume = node_->Make("owners", 64 * kMiB);
  const auto other = node_->Again(volume, "-b");
  node_->Start(volume);
  node_->Start(other);
  ASSERT_EQ(WriteWhole(volume.target / "roots", "x"), 0);
  ASSERT_EQ(chmod((volume.target / "roots").c_str(), 0640), 0);
  ASSERT_EQ(chown((volume.target / "roots").c_str(), 1234, 2345), 0);
  As(1000, 1001, [&] {
    EXPECT_EQ(WriteWhole(volume.target / "mine", "x"), 0);
    EXPECT_EQ(ErrnoOf([&] { return mkdir((volume.target / "mine too").c_str(), 0700); }), 0);
    EXPECT_EQ(WriteWhole(volume.target / "roots", "y"), EACCES);
    EXPECT_EQ(ErrnoOf([&] { return chmod((volume.target / "roots").c_str(), 0777); }), EPERM);
  });
  // A group that is only a supplementary one of the caller's.
  As(1002, 1002, [&] { EXPECT_EQ(ReadWhole(volume.target / "roots"), "x"); }, {2345});
  As(1002, 1002, [&] { EXPECT_EQ(WriteWhole(volume.target / "mine too/other", "x"), EACCES); });
  for (const auto& top : {volume.target, other.target}) {
    EXPECT_EQ(StatOf(top / "roots").st_mode & 07777, 0640U);
    EXPECT_EQ(StatOf(top / "roots").st_uid, 1234U);
    EXPECT_EQ(StatOf(top / "roots").st_gid, 2345U);
    EXPECT_EQ(StatOf(top / "mine").st_uid, 1000U);
    EXPECT_EQ(StatOf(top / "mine").st_gid, 1001U);
    EXPECT_EQ(StatOf(top / "mine too").st_uid, 1000U);
    EXPECT_EQ(StatOf(top / "mine too").st_mode & 07777, 0700U);
  }
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- quota ----------------------------------------------------------------------------------

uint64_t TotalOf(const fs::path& path) {
  struct statvfs found {};
  EXPECT_EQ(statvfs(path.c_str(), &found), 0) << std::strerror(errno);
  return found.f_blocks * found.f_frsize;
}

uint64_t UsedOf(const fs::path& path) {
  struct statvfs found {};
  EXPECT_EQ(statvfs(path.c_str(), &found), 0) << std::strerror(errno);
  return (found.f_blocks - found.f_bfree) * found.f_frsize;
}

TEST_F(CephfsNodeTest, ShowsTheQuotaToTheByteAndItsExpansionWithoutAMountAnew) {
  // No multiple of 4 MiB, in which libcephfs counts.
  constexpr uint64_t kFirst = 10 * kMiB + 4096;
  constexpr uint64_t kSecond = 37 * kMiB + 512;
  const auto volume = node_->Make("quota", kFirst);
  node_->Start(volume);
  EXPECT_EQ(TotalOf(volume.target), kFirst);
  ASSERT_EQ(WriteWhole(volume.target / "file", Random(3 * kMiB, 1)), 0);
  EXPECT_TRUE(Soon([&] { return UsedOf(volume.target) == 3 * kMiB; }, seconds(20)))
      << UsedOf(volume.target);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats));
  ASSERT_GE(stats.usage_size(), 1);
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  EXPECT_EQ(stats.usage(0).total(), int64_t{kFirst});
  EXPECT_EQ(stats.usage(0).used(), int64_t{3 * kMiB});
  EXPECT_EQ(stats.usage(0).available(), int64_t{kFirst - 3 * kMiB});
  node_->Resize(volume, kSecond);
  EXPECT_TRUE(Soon([&] { return TotalOf(volume.target) == kSecond; }, seconds(20)))
      << TotalOf(volume.target);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsNodeTest, RefusesWritesBeyondTheQuotaAndTakesThemAfterAnExpansion) {
  constexpr uint64_t kQuota = 8 * kMiB;
  const auto volume = node_->Make("full", kQuota);
  node_->Start(volume);
  base::UniqueFd file(open((volume.target / "file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  const std::string block = Random(65536, 1);
  uint64_t written = 0;
  int error = 0;
  while (error == 0 && written < 4 * kQuota) {
    const ssize_t wrote =
        pwrite(file.get(), block.data(), block.size(), static_cast<off_t>(written));
    if (wrote < 0) error = errno;
    if (wrote > 0) written += static_cast<uint64_t>(wrote);
  }
  EXPECT_EQ(error, EDQUOT);
  EXPECT_GE(written, kQuota - block.size());
  // How late a client hears of its own usage is the MDS's matter; what this has cost is in the README.
  EXPECT_LE(written, kQuota + kQuota / 2);
  RecordProperty("overshoot_bytes", std::to_string(int64_t(written) - int64_t{kQuota}));
  std::printf("quota %lu, written %lu before EDQUOT\n", kQuota, written);
  file.Reset();
  node_->Resize(volume, 4 * kQuota);
  EXPECT_TRUE(Soon([&] { return WriteWhole(volume.target / "more", block) == 0; }, seconds(20)));
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- keys -----------------------------------------------------------------------------------

TEST_F(CephfsNodeTest, OpensAVolumeWithItsOwnKeyAndNoOther) {
  auto one = node_->Make("one", 64 * kMiB);
  const auto two = node_->Make("two", 64 * kMiB);
  auto bad = node_->Again(one, "-bad");
  bad.context = two.context;  // one's key, two's directory
  auto status = node_->Stage(bad);
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << Text(status);
  ASSERT_GRPC_OK(node_->Unstage(bad));

  bad = node_->Again(one, "-wrong");
  bad.secrets.at("userKey") = "AQC8kQJrhbx7DxAAWkoAiqi2X+zHUPZc5/A7dg==";
  status = node_->Stage(bad);
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << Text(status);
  EXPECT_THAT(status.error_message(), ::testing::Not(::testing::HasSubstr("AQC8")));
  ASSERT_GRPC_OK(node_->Unstage(bad));

  one.publish_context = two.publish_context;
  status = node_->Stage(one);
  EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << Text(status);
  one.secrets.clear();
  status = node_->Stage(one);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << Text(status);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("sealKey"));
  ASSERT_GRPC_OK(node_->Unstage(one));
}

TEST_F(CephfsNodeTest, WritesNoKeyAnywhere) {
  const auto volume = node_->Again(node_->Make("secret", 64 * kMiB), "-b");
  node_->Start(volume);
  const std::string key = volume.key;
  for (const auto& entry : fs::recursive_directory_iterator(node_->host().directory() / "state")) {
    if (!entry.is_regular_file()) continue;
    const std::string content = ReadWhole(entry.path()).value_or("");
    EXPECT_EQ(content.find(key), std::string::npos) << entry.path();
  }
  EXPECT_EQ(node_->host().Log().find(key), std::string::npos);
  const auto command = ReadWhole("/proc/" + std::to_string(node_->DataPathOf(volume)) + "/cmdline");
  ASSERT_TRUE(command);
  EXPECT_EQ(command->find(key), std::string::npos);
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- faults ---------------------------------------------------------------------------------

TEST_F(CephfsNodeTest, ReportsAClientThatWasThrownOutAndHealsItAtThePublish) {
  const auto volume = node_->Make("evicted", 64 * kMiB);
  node_->Start(volume);
  ASSERT_EQ(WriteWhole(volume.target / "file", "before"), 0);
  node_->Evict(volume);
  csi::v1::NodeGetVolumeStatsResponse stats;
  EXPECT_TRUE(Soon(
      [&] {
        stats.Clear();
        return node_->Stats(volume, &stats).ok() && stats.volume_condition().abnormal();
      },
      seconds(20)));
  EXPECT_NE(WriteWhole(volume.target / "file", "lost"), 0);
  const auto second = node_->PodTarget("second");
  ASSERT_GRPC_OK(node_->PublishAt(volume, second));
  EXPECT_EQ(ReadWhole(second / "file"), "before");
  EXPECT_EQ(WriteWhole(second / "file", "after"), 0);
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, second));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsNodeTest, ReadersDoNotWaitForAKilledDataPathWhoseVolumeIsStagedAgain) {
  const auto volume = node_->Make("killed", 64 * kMiB);
  const auto reader = node_->Again(volume, "-b");
  node_->Start(volume);
  node_->Start(reader);
  base::UniqueFd file(open((volume.target / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  const std::string content = Random(kMiB, 5);
  ASSERT_EQ(pwrite(file.get(), content.data(), content.size(), 0), ssize_t(content.size()));
  ASSERT_EQ(fchmod(file.get(), 0640), 0);
  ASSERT_EQ(fchown(file.get(), 1234, 2345), 0);
  // Nobody has synced it; the writer holds the right to it.
  ASSERT_EQ(kill(node_->DataPathOf(volume), SIGKILL), 0);
  const auto begin = steady_clock::now();
  auto read = std::async(std::launch::async, [&] { return ReadWhole(reader.target / "file"); });
  const auto second = node_->PodTarget("second");
  EXPECT_TRUE(Soon([&] { return node_->PublishAt(volume, second).ok(); }, seconds(20)));
  const auto staged = Since(begin);
  EXPECT_TRUE(read.get() == content);
  const auto waited = Since(begin);
  std::printf("staged again after %ld ms, read after %ld ms\n", staged.count(), waited.count());
  EXPECT_LT(waited, seconds(15));
  EXPECT_TRUE(ReadWhole(second / "file") == content);
  EXPECT_EQ(StatOf(second / "file").st_mode & 07777, 0640U);
  EXPECT_EQ(StatOf(second / "file").st_uid, 1234U);
  EXPECT_EQ(StatOf(second / "file").st_gid, 2345U);
  file.Reset();
  ASSERT_GRPC_OK(node_->UnpublishAt(volume, second));
  ASSERT_GRPC_OK(node_->End(reader));
  ASSERT_GRPC_OK(node_->End(volume));
}

// Two clusters, one of which stops answering.
TEST(CephfsNodeFaults, AFrozenMdsCostsItsOwnVolumesABoundedErrorAndNobodyElseAnything) {
  CephNode node({"ceph", "other"});
  auto volume = node.Make("frozen", 64 * kMiB);
  volume.mount_flags = {"timeout=3"};
  const auto other = node.Make("lively", 64 * kMiB, "other");
  const auto late = node.Make("late", 64 * kMiB);
  node.Start(volume);
  node.Start(other);
  ASSERT_EQ(WriteWhole(volume.target / "file", "before"), 0);
  ASSERT_TRUE(node.cluster().Freeze(lab::CephDaemon::kMds));
  const auto begin = steady_clock::now();
  EXPECT_EQ(ErrnoOf([&] { return mkdir((volume.target / "late").c_str(), 0755); }), ETIMEDOUT);
  EXPECT_LT(Since(begin), seconds(8));
  EXPECT_GE(Since(begin), seconds(3));
  EXPECT_FALSE(node.Stage(late, seconds(5)).ok());
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node.Stats(volume, &stats));
  EXPECT_TRUE(stats.volume_condition().abnormal());

  const auto busy = steady_clock::now();
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(WriteWhole(other.target / ("file" + std::to_string(i)), Random(65536, 7)), 0);
  EXPECT_LT(Since(busy), seconds(10));
  ASSERT_GRPC_OK(node.Stats(other, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();

  ASSERT_TRUE(node.cluster().Thaw(lab::CephDaemon::kMds));
  EXPECT_TRUE(Soon([&] { return WriteWhole(volume.target / "file", "after") == 0; }, seconds(30)));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "after");
  EXPECT_TRUE(Soon([&] { return node.Stage(late).ok(); }, seconds(60)));
  ASSERT_GRPC_OK(node.Unstage(late));
  ASSERT_GRPC_OK(node.End(other));
  ASSERT_GRPC_OK(node.End(volume));
}

}  // namespace
}  // namespace gantry::tests
