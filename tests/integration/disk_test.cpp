// SPDX-License-Identifier: Apache-2.0
// A userspace disk as the one file of a FUSE filesystem, through a real mount, over the filedisk
// plugin.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <sstream>

#include "host/datapath/data_path.hpp"
#include "tests/integration/disk_fixture.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBytes = 64 * kMib;
constexpr std::chrono::seconds kRefusedWithin{1};

class DiskTest : public DiskFixture {
 protected:
  static base::UniqueFd OpenDirect(const fs::path& disk, int flags = O_RDWR) {
    return base::UniqueFd(open(disk.c_str(), flags | O_DIRECT | O_CLOEXEC));
  }
  base::Status StartOnce(const std::function<void(services::DataPathSpec&)>& change) {
    mounts_.clear();
    FuseMount& mount = Mount("disk");
    auto spec = DiskSpec(mount.TakeFd());
    change(spec);
    return client().Start(std::move(spec), In(kRefusedWithin));
  }
};

TEST_F(DiskTest, IsOneFileOfTheDisksSize) {
  const fs::path disk = ServeDisk(kBytes);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(disk.parent_path()))
    names.insert(entry.path().filename());
  EXPECT_EQ(names, std::set<std::string>{"disk"});
  struct stat s {};
  ASSERT_EQ(stat(disk.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode, S_IFREG | 0600U);
  EXPECT_EQ(s.st_size, off_t{kBytes});
  struct statvfs v {};
  ASSERT_EQ(statvfs(disk.c_str(), &v), 0);
  EXPECT_EQ(v.f_blocks * v.f_frsize, kBytes);
  EXPECT_EQ(v.f_bfree, 0U);
}

TEST_F(DiskTest, NamesAndAttributesCannotBeChanged) {
  const fs::path disk = ServeDisk(kBytes);
  EXPECT_EQ(truncate(disk.c_str(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(chmod(disk.c_str(), 0644), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(unlink(disk.c_str()), -1);
  EXPECT_EQ(mkdir((disk.parent_path() / "d").c_str(), 0700), -1);
  EXPECT_EQ(open((disk.parent_path() / "f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600), -1);
  EXPECT_EQ(fs::file_size(disk), kBytes);
}

TEST_F(DiskTest, ReadsBackWhatWasWrittenUpToItsLastBlock) {
  const fs::path disk = ServeDisk(kBytes);
  const auto fd = OpenDirect(disk);
  ASSERT_TRUE(fd);
  for (const size_t bytes : {size_t{512}, size_t{4096}, size_t{131072}, size_t{kMib}}) {
    const auto at = static_cast<off_t>(kBytes - bytes);
    const Buffer out = MakeBuffer(bytes, static_cast<char>('a' + bytes % 7));
    ASSERT_EQ(pwrite(fd.get(), out.get(), bytes, at), static_cast<ssize_t>(bytes)) << errno;
    const Buffer in = MakeBuffer(bytes, 0);
    ASSERT_EQ(pread(fd.get(), in.get(), bytes, at), static_cast<ssize_t>(bytes)) << errno;
    EXPECT_EQ(std::memcmp(in.get(), out.get(), bytes), 0) << bytes;
  }
  EXPECT_EQ(control().read_bytes_max, kMib);
  EXPECT_EQ(control().write_bytes_max, kMib);
}

TEST_F(DiskTest, RefusesWhatIsNotWholeBlocksAndEndsAtItsEnd) {
  const fs::path disk = ServeDisk(kBytes, false, {{"block", "4096"}});
  const base::UniqueFd fd(open(disk.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(fd);
  const Buffer data = MakeBuffer(8192, 'x');
  EXPECT_EQ(pwrite(fd.get(), data.get(), 100, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(pwrite(fd.get(), data.get(), 4096, 512), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, 512), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(pwrite(fd.get(), data.get(), 4096, kBytes), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(pwrite(fd.get(), data.get(), 8192, kBytes - 4096), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(control().writes, 0U);
  EXPECT_EQ(pread(fd.get(), data.get(), 8192, kBytes - 4096), 4096);
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, kBytes), 0);
}

TEST_F(DiskTest, FlushesOnFsyncAndForcesOnlyWhatIsToBeSynchronous) {
  const fs::path disk = ServeDisk(kBytes);
  const Buffer data = MakeBuffer(4096, 'x');
  const auto fd = OpenDirect(disk);
  ASSERT_EQ(pwrite(fd.get(), data.get(), 4096, 0), 4096);
  EXPECT_EQ(control().forced_writes, 0U);
  EXPECT_EQ(control().flushes, 0U);
  ASSERT_EQ(fsync(fd.get()), 0);
  EXPECT_EQ(control().flushes, 1U);
  const auto synchronous = OpenDirect(disk, O_RDWR | O_DSYNC);
  ASSERT_EQ(pwrite(synchronous.get(), data.get(), 4096, 0), 4096);
  EXPECT_EQ(control().forced_writes, 1U);
}

TEST_F(DiskTest, PunchesAndZeroesAndRefusesOtherAllocations) {
  const fs::path disk = ServeDisk(kBytes);
  const auto fd = OpenDirect(disk);
  const Buffer data = MakeBuffer(kMib, 'x');
  ASSERT_EQ(pwrite(fd.get(), data.get(), kMib, 0), ssize_t{kMib});
  ASSERT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536), 0) << errno;
  EXPECT_EQ(control().discards, 1U);
  EXPECT_EQ(control().discarded_bytes, 65536U);
  ASSERT_EQ(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 65536, 65536), 0);
  EXPECT_EQ(control().zeroes, 1U);
  const Buffer back = MakeBuffer(kMib, 'y');
  ASSERT_EQ(pread(fd.get(), back.get(), kMib, 0), ssize_t{kMib});
  EXPECT_EQ(std::count(back.get(), back.get() + 131072, '\0'), 131072);
  EXPECT_EQ(std::memcmp(back.get() + 131072, data.get() + 131072, kMib - 131072), 0);

  EXPECT_EQ(fallocate(fd.get(), 0, 0, 4096), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 0, 4096), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100), -1);
  EXPECT_EQ(errno, EINVAL);
  // The kernel would ask no more, had it been told ENOSYS.
  EXPECT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  EXPECT_EQ(control().discards, 2U);
}

TEST_F(DiskTest, AReadonlyOneRefusesChanges) {
  const fs::path disk = ServeDisk(kBytes, /*readonly=*/true);
  const auto fd = OpenDirect(disk);
  const Buffer data = MakeBuffer(4096, 'x');
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, 0), 4096);
  EXPECT_EQ(pwrite(fd.get(), data.get(), 4096, 0), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(control().writes + control().discards, 0U);
}

TEST_F(DiskTest, AnotherDiskIsNotServed) {
  MakeFile(kBytes);
  auto started = StartOnce([](services::DataPathSpec& spec) {
    spec.identity = "naa.1";
    spec.parameters["disk_identity"] = "naa.2";
  });
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find(std::strerror(ENODEV)), std::string::npos)
      << started.error().message;
  started = StartOnce([](services::DataPathSpec& spec) { spec.size_bytes = kBytes + 512; });
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find(std::strerror(ENODEV)), std::string::npos)
      << started.error().message;
  started = StartOnce([](services::DataPathSpec& spec) { spec.parameters["block"] = "513"; });
  EXPECT_FALSE(started);
  started = StartOnce([](services::DataPathSpec& spec) {
    spec.identity = "naa.1";
    spec.size_bytes = kBytes;
    spec.parameters["disk_identity"] = "naa.1";
  });
  EXPECT_TRUE(started) << started.error().message;
}

// The 9th field of /proc/PID/stat (proc(5)), behind the name in parentheses.
uint64_t TaskFlags(pid_t pid) {
  const auto text = base::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  std::istringstream fields(text ? text->substr(text->rfind(')') + 2) : std::string());
  std::string field;
  for (int i = 3; i <= 9; ++i) fields >> field;
  return std::strtoull(field.c_str(), nullptr, 10);
}

uint64_t LockedKib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmLck:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  return 0;
}

// Whether a process like this may ask for it (prctl(2)); asked in a process of its own.
bool MayBecomeIoFlusher() {
  const pid_t child = fork();
  if (child == 0) _exit(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0 ? 0 : 1);
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

TEST_F(DiskTest, ItsConfinedProcessIsLockedInMemoryAndFlushesIo) {
  constexpr uint64_t kNoIo = 0x00080000;         // PF_MEMALLOC_NOIO of linux/sched.h
  constexpr uint64_t kLockedKibMin = 20 * 1024;  // 8 slots of 1 MiB, 8 MiB of replies, its code
  constexpr uint32_t kUid = 61234;
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
  const bool may_lock = limit.rlim_max >= datapath::kDiskLockedBytesMax;
  auto options = Options();
  options.worker = BuildDir() / "bin" / "gantry-worker";
  services::KeeperClient real(options);
  FuseMount& mount = Mount("disk");
  auto spec = DiskSpec(mount.TakeFd());
  spec.uid = spec.gid = kUid;
  spec.parameters = {{"memory", std::to_string(kBytes)}};
  spec.size_bytes = kBytes;
  const auto started = real.Start(std::move(spec), In(kLong));
  ASSERT_TRUE(started) << started.error().message;
  const auto states = real.List(In(kLong));
  ASSERT_TRUE(states);
  const pid_t pid = states->front().pid;
  EXPECT_EQ((TaskFlags(pid) & kNoIo) != 0, MayBecomeIoFlusher());
  if (may_lock) {
    EXPECT_GT(LockedKib(pid), kLockedKibMin);
  }
  const auto fd = OpenDirect(mount.path() / "disk");
  const Buffer data = MakeBuffer(kMib, 'x');
  EXPECT_EQ(pwrite(fd.get(), data.get(), kMib, 0), ssize_t{kMib});
  EXPECT_EQ(pread(fd.get(), data.get(), kMib, 0), ssize_t{kMib});
}

TEST_F(DiskTest, GrowthIsSeenByTheNextStatAndShrinkingIsNotBelieved) {
  const fs::path disk = ServeDisk(kBytes);
  const auto fd = OpenDirect(disk);
  struct stat s {};
  for (const uint64_t bytes : {kBytes + 512, 2 * kBytes}) {
    fs::resize_file(file(), bytes);
    ASSERT_EQ(fstat(fd.get(), &s), 0);
    EXPECT_EQ(static_cast<uint64_t>(s.st_size), bytes);
  }
  const Buffer data = MakeBuffer(4096, 'x');
  EXPECT_EQ(pwrite(fd.get(), data.get(), 4096, 2 * kBytes - 4096), 4096);
  fs::resize_file(file(), kBytes);
  ASSERT_EQ(fstat(fd.get(), &s), 0);
  EXPECT_EQ(static_cast<uint64_t>(s.st_size), 2 * kBytes);
}

TEST_F(DiskTest, ARefreshThatFailsFailsTheStatAndNothingElse) {
  const fs::path disk = ServeDisk(kBytes);
  const auto fd = OpenDirect(disk);
  control().refresh_errno = ETIMEDOUT;
  struct stat s {};
  EXPECT_EQ(fstat(fd.get(), &s), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
  const Buffer data = MakeBuffer(4096, 'x');
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, 0), 4096);
  control().refresh_errno = 0;
  EXPECT_EQ(fstat(fd.get(), &s), 0);
}

TEST_F(DiskTest, StatsThatComeDuringARefreshShareTheNextOne) {
  const fs::path disk = ServeDisk(kBytes);
  const auto fd = OpenDirect(disk);
  const uint64_t before = control().refreshes;
  std::vector<std::jthread> callers;
  auto held = std::make_unique<Held>(control());
  constexpr int kStats = 8;
  std::atomic<int> right = 0;
  const auto ask = [&] {
    callers.emplace_back([&] {
      struct stat s {};
      if (fstat(fd.get(), &s) == 0 && static_cast<uint64_t>(s.st_size) == 2 * kBytes) ++right;
    });
  };
  ask();
  ASSERT_TRUE(Eventually([&] { return control().refreshes == before + 1; }, kLong));
  for (int i = 1; i < kStats; ++i) ask();
  fs::resize_file(file(), 2 * kBytes);
  held.reset();
  callers.clear();
  EXPECT_EQ(right, kStats);
  // Those that had not reached the server when the first refresh ended may have begun one more.
  EXPECT_LE(control().refreshes, before + kStats);
}

TEST_F(DiskTest, AKilledReaderAndAKilledStatLeaveAtOnce) {
  const fs::path disk = ServeDisk(kBytes);
  const auto fd = OpenDirect(disk);
  auto held = std::make_unique<Held>(control());
  const auto leaves = [&](const std::function<void()>& call) {
    const pid_t child = fork();
    if (child == 0) {
      call();
      _exit(0);
    }
    EXPECT_TRUE(Eventually([&] { return WaitsForFuse(child, child); }, kLong));
    // What the server has not read yet, the kernel takes back by itself.
    EXPECT_TRUE(Eventually([&] { return control().in_flight_max >= 1; }, kLong));
    kill(child, SIGKILL);
    return Eventually([&] { return waitpid(child, nullptr, WNOHANG) == child; },
                      std::chrono::seconds(3));
  };
  const Buffer data = MakeBuffer(4096, 'x');
  EXPECT_TRUE(leaves([&] { (void)!pread(fd.get(), data.get(), 4096, 0); }));
  EXPECT_TRUE(Eventually([&] { return control().interrupts >= 1; }, kLong));
  struct stat s {};
  EXPECT_TRUE(leaves([&] { fstat(fd.get(), &s); }));
  // The server knows of none any more, so nothing is left when all is let go.
  held.reset();
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, 0), 4096);
  EXPECT_EQ(fstat(fd.get(), &s), 0);
}

}  // namespace
}  // namespace gantry::tests
