// SPDX-License-Identifier: Apache-2.0
// The FUSE server through a real mount, over the localfs plugin; each test with operations that end
// at once and with operations that end on a later turn.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "host/base/file.hpp"
#include "host/datapath/nodes.hpp"
#include "host/datapath/slots.hpp"
#include "tests/integration/node_counts.hpp"
#include "tests/integration/volume_fixture.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

std::string Noise(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string noise(bytes, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  return noise;
}

std::string Content(const fs::path& path) {
  const auto content = base::ReadFile(path, 64 << 20);
  return content ? *content : "error: " + content.error().message;
}

class DataPathTest : public VolumeFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  fs::path Serve(std::map<std::string, std::string> parameters = {}, bool readonly = false) {
    parameters["later"] = GetParam();
    return VolumeFixture::Serve("volume", parameters, readonly);
  }
};

TEST_P(DataPathTest, ReadsBackWhatWasWritten) {
  const fs::path root = Serve();
  uint32_t seed = 1;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, size_t{12288}, size_t{70001},
                             size_t{1} << 20, (size_t{3} << 20) + 17}) {
    const std::string data = Noise(bytes, ++seed);
    const fs::path file = root / ("f" + std::to_string(bytes));
    {
      const base::UniqueFd fd(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      ASSERT_TRUE(fd);
      ASSERT_TRUE(base::WriteAll(fd.get(), data));
      ASSERT_EQ(fsync(fd.get()), 0);
    }
    EXPECT_TRUE(Content(file) == data) << bytes;
    EXPECT_TRUE(Content(backing() / file.filename()) == data) << bytes;
  }
}

// Close-to-open: another node has appended since this kernel last asked for the size.
TEST_P(DataPathTest, ShowsWhoOpensWhatWasClosedElsewhere) {
  const fs::path root = Serve();
  std::ofstream(backing() / "file") << "first ";
  EXPECT_EQ(Content(root / "file"), "first ");
  std::ofstream(backing() / "file", std::ios::app) << "and more";
  EXPECT_EQ(Content(root / "file"), "first and more");
}

TEST_P(DataPathTest, WritesAndReadsAMebibyteDirectly) {
  const fs::path file = Serve() / "direct";
  constexpr size_t kBytes = 1 << 20;
  std::unique_ptr<char, decltype(&free)> buffer(static_cast<char*>(aligned_alloc(4096, kBytes)),
                                                &free);
  const std::string data = Noise(kBytes, 7);
  std::memcpy(buffer.get(), data.data(), kBytes);
  const base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd);
  ASSERT_EQ(pwrite(fd.get(), buffer.get(), kBytes, 4096), ssize_t{kBytes});
  std::memset(buffer.get(), 0, kBytes);
  ASSERT_EQ(pread(fd.get(), buffer.get(), kBytes, 4096), ssize_t{kBytes});
  EXPECT_EQ(std::memcmp(buffer.get(), data.data(), kBytes), 0);
}

TEST_P(DataPathTest, CreatesRenamesTruncatesAndRemoves) {
  const fs::path root = Serve();
  ASSERT_EQ(mkdir((root / "d").c_str(), 0751), 0);
  EXPECT_EQ(mkdir((root / "d").c_str(), 0751), -1);
  EXPECT_EQ(errno, EEXIST);
  std::ofstream(root / "d" / "a") << "0123456789";
  ASSERT_EQ(rename((root / "d" / "a").c_str(), (root / "b").c_str()), 0);
  EXPECT_FALSE(fs::exists(root / "d" / "a"));
  ASSERT_EQ(truncate((root / "b").c_str(), 4), 0);
  EXPECT_EQ(Content(root / "b"), "0123");
  ASSERT_EQ(link((root / "b").c_str(), (root / "d" / "hard").c_str()), 0);
  struct stat one {};
  struct stat two {};
  ASSERT_EQ(stat((root / "b").c_str(), &one), 0);
  ASSERT_EQ(stat((root / "d" / "hard").c_str(), &two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(two.st_nlink, 2U);
  ASSERT_EQ(symlink("b", (root / "soft").c_str()), 0);
  EXPECT_EQ(fs::read_symlink(root / "soft"), "b");
  EXPECT_EQ(Content(root / "soft"), "0123");
  ASSERT_EQ(mkfifo((root / "fifo").c_str(), 0640), 0);
  EXPECT_TRUE(fs::is_fifo(root / "fifo"));
  EXPECT_EQ(rmdir((root / "d").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  for (const char* name : {"b", "d/hard", "soft", "fifo"})
    EXPECT_EQ(unlink((root / name).c_str()), 0) << name;
  EXPECT_EQ(rmdir((root / "d").c_str()), 0);
  EXPECT_TRUE(fs::is_empty(backing()));
}

TEST_P(DataPathTest, SetsModeOwnerAndTimes) {
  const fs::path file = Serve() / "f";
  std::ofstream(file) << "x";
  ASSERT_EQ(chmod(file.c_str(), 0604), 0);
  ASSERT_EQ(chown(file.c_str(), 123, 456), 0);
  const timespec times[] = {{-1, 500}, {1234567890, 123456789}};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  struct stat s {};
  ASSERT_EQ(stat((backing() / "f").c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 07777, 0604U);
  EXPECT_EQ(s.st_uid, 123U);
  EXPECT_EQ(s.st_gid, 456U);
  EXPECT_EQ(s.st_mtim.tv_nsec, 123456789);
  ASSERT_EQ(stat(file.c_str(), &s), 0);
  EXPECT_EQ(s.st_mtim.tv_sec, 1234567890);
  EXPECT_EQ(s.st_atim.tv_sec, -1);
}

TEST_P(DataPathTest, ListsADirectoryOf2000Entries) {
  const fs::path root = Serve();
  std::set<std::string> made;
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "entry-with-a-name-of-some-length-" + std::to_string(i);
    std::ofstream(backing() / name).flush();
    made.insert(name);
  }
  std::multiset<std::string> seen;
  for (const auto& entry : fs::directory_iterator(root)) seen.insert(entry.path().filename());
  EXPECT_TRUE(std::equal(made.begin(), made.end(), seen.begin(), seen.end())) << seen.size();
}

TEST_P(DataPathTest, ReportsTheStoragesCapacity) {
  const fs::path root = Serve();
  struct statvfs volume {};
  struct statvfs storage {};
  ASSERT_EQ(statvfs(root.c_str(), &volume), 0);
  ASSERT_EQ(statvfs(backing().c_str(), &storage), 0);
  EXPECT_EQ(volume.f_blocks * volume.f_frsize, storage.f_blocks * storage.f_frsize);
  EXPECT_EQ(volume.f_files, storage.f_files);
}

TEST_P(DataPathTest, Serves64ReadersAtOnce) {
  const fs::path root = Serve();
  constexpr int kReaders = 64;
  constexpr size_t kBytes = 1 << 20;
  for (int i = 0; i < kReaders; ++i)
    std::ofstream(backing() / std::to_string(i)) << Noise(kBytes, static_cast<uint32_t>(i));
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < kReaders; ++i)
      readers.emplace_back([&, i] {
        if (Content(root / std::to_string(i)) == Noise(kBytes, static_cast<uint32_t>(i))) ++right;
      });
  }
  EXPECT_EQ(right, kReaders);
}

TEST_P(DataPathTest, WritesOf16CallersAtOnceMixNowhere) {
  const fs::path root = Serve();
  constexpr int kWriters = 16;
  constexpr size_t kBytes = 4 << 20;
  {
    std::vector<std::jthread> writers;
    for (int i = 0; i < kWriters; ++i)
      writers.emplace_back([&, i] {
        std::ofstream(root / std::to_string(i)) << Noise(kBytes, static_cast<uint32_t>(i));
      });
  }
  for (int i = 0; i < kWriters; ++i)
    EXPECT_TRUE(Content(backing() / std::to_string(i)) == Noise(kBytes, static_cast<uint32_t>(i)));
}

TEST_P(DataPathTest, TruncatesWhatAppearedBehindTheKernelsBack) {
  const fs::path root = Serve();
  ASSERT_FALSE(fs::exists(root / "late"));
  std::ofstream(backing() / "late") << "old and long content";
  std::ofstream(root / "late") << "new";
  EXPECT_EQ(Content(root / "late"), "new");
  EXPECT_EQ(Content(backing() / "late"), "new");
}

TEST_P(DataPathTest, MakesFilesAsTheFixedIdentity) {
  fs::permissions(backing(), fs::perms::all);
  const fs::path root = Serve({{"identity", "fixed(1234,5678)"}});
  std::ofstream(root / "f") << "x";
  struct stat s {};
  ASSERT_EQ(stat((backing() / "f").c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, 1234U);
  EXPECT_EQ(s.st_gid, 5678U);
}

TEST_P(DataPathTest, AReadonlyVolumeRefusesChanges) {
  std::ofstream(backing() / "f") << "x";
  const fs::path root = Serve({}, /*readonly=*/true);
  EXPECT_EQ(Content(root / "f"), "x");
  EXPECT_EQ(mkdir((root / "d").c_str(), 0755), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(unlink((root / "f").c_str()), -1);
  EXPECT_EQ(errno, EROFS);
}

TEST_P(DataPathTest, AnOperationMayEndByATimer) {
  const fs::path root = Serve();
  struct stat s {};
  EXPECT_EQ(stat((root / ".slow").c_str(), &s), -1);
  EXPECT_EQ(errno, ENOENT);
}

// Runs `call` in a process, kills it once the operation hangs, and says whether it was gone in
// time.
bool LeavesWhenKilled(const std::function<void()>& call, const std::function<void()>& meanwhile) {
  const pid_t child = fork();
  if (child == 0) {
    call();
    _exit(0);
  }
  const bool hung = Eventually([&] { return WaitsForFuse(child, child); }, kLong);
  meanwhile();
  kill(child, SIGKILL);
  const bool gone = Eventually([&] { return waitpid(child, nullptr, WNOHANG) == child; },
                               std::chrono::seconds(3));
  return hung && gone;
}

TEST_P(DataPathTest, AKilledCallerLeavesAHungOperation) {
  const fs::path root = Serve();
  struct stat s {};
  const auto others_go_on = [&] { EXPECT_EQ(stat(root.c_str(), &s), 0); };
  EXPECT_TRUE(LeavesWhenKilled([&] { stat((root / ".hang").c_str(), &s); }, others_go_on));
  EXPECT_TRUE(LeavesWhenKilled([&] { mkdir((root / ".hang-made").c_str(), 0755); }, others_go_on));
}

TEST_P(DataPathTest, CountsOfNodesReturnToZero) {
  const fs::path root = Serve();
  for (int i = 0; i < 1500; ++i) std::ofstream(root / ("f" + std::to_string(i))) << i;
  std::vector<base::UniqueFd> open_files;
  for (int i = 0; i < 50; ++i)
    open_files.emplace_back(open((root / ("f" + std::to_string(i))).c_str(), O_RDONLY | O_CLOEXEC));
  base::UniqueFd memory;
  {
    auto fds = client().Fds("volume", In(kLong));
    ASSERT_TRUE(fds) << fds.error().message;
    memory = std::move(fds->memory);
  }
  auto nodes = datapath::NodeTable::Attach(memory.get(), datapath::kSlotsBytes);
  ASSERT_TRUE(nodes) << nodes.error().message;
  // Of the others the kernel may have let go: whoever drops the caches does it for the machine.
  EXPECT_GE(nodes->Count().nodes, 50U);
  EXPECT_EQ(nodes->Count().opens, 50U);
  for (int i = 0; i < 1500; i += 2) unlink((root / ("f" + std::to_string(i))).c_str());
  open_files.clear();
  ExpectAllIsForgotten(*nodes);
}

INSTANTIATE_TEST_SUITE_P(Ends, DataPathTest, ::testing::Values("0", "1"),
                         [](const auto& test) { return *test.param == '0' ? "AtOnce" : "Later"; });

}  // namespace
}  // namespace gantry::tests
