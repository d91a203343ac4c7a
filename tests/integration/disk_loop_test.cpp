// SPDX-License-Identifier: Apache-2.0
// A loop device with direct I/O on a userspace disk, and a filesystem on that: what a pod's volume
// of a block backend without a kernel client is made of. Needs root, e2fsprogs and fio.
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "tests/integration/disk_fixture.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBytes = 512 * kMib;
constexpr std::chrono::seconds kToolTime{60};
constexpr int kMadvCollapse = 25;  // MADV_COLLAPSE, Linux 6.1

class DiskLoopTest : public DiskFixture {
 protected:
  ~DiskLoopTest() override {
    for (const auto& at : mounted_) umount2(at.c_str(), MNT_DETACH);
  }

  std::vector<std::string> Fio(const fs::path& filename, const std::vector<std::string>& options) {
    std::vector<std::string> command{
        "fio",        "--name=disk",       "--filename=" + filename.string(),
        "--direct=1", "--ioengine=libaio", "--clocksource=clock_gettime",
        "--thread",   "--randrepeat=0",    "--group_reporting"};
    command.insert(command.end(), options.begin(), options.end());
    return command;
  }
  fs::path MakeExt4(const LoopDevice& loop, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"mkfs.ext4", "-q", "-F"};
    command.insert(command.end(), more.begin(), more.end());
    command.push_back(loop.path());
    EXPECT_EQ(Run(command, kToolTime), 0) << output();
    return MountExt4(loop);
  }
  fs::path MountExt4(const LoopDevice& loop) {
    const fs::path at = directory_.path() / "ext4";
    fs::create_directories(at);
    if (mount(loop.path().c_str(), at.c_str(), "ext4", MS_NOATIME, "") != 0)
      throw std::runtime_error("mount ext4: " + std::to_string(errno));
    mounted_.push_back(at);
    return at;
  }
  void Unmount(const fs::path& at) {
    ASSERT_EQ(umount2(at.c_str(), 0), 0) << errno;
    std::erase(mounted_, at);
  }
  std::vector<fs::path> mounted_;
};

// A loop device's request has 128 segments: 512 KiB of scattered pages, or more where they lie side by
// side, as in a huge page or a large folio of the page cache.
TEST_F(DiskLoopTest, LargeTransfersReachThePluginWhole) {
  const LoopDevice loop(ServeDisk(kBytes));
  ASSERT_TRUE(loop.IsDirect());
  EXPECT_EQ(loop.SizeBytes(), kBytes);
  const base::UniqueFd fd(open(loop.path().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  constexpr size_t kHugePage = 2 * kMib;
  const Buffer data(static_cast<char*>(aligned_alloc(kHugePage, kHugePage)));
  std::memset(data.get(), 'm', kHugePage);
  const bool contiguous = madvise(data.get(), kHugePage, kMadvCollapse) == 0;
  const uint64_t whole = contiguous ? kMib : kMib / 2;
  ASSERT_EQ(pwrite(fd.get(), data.get(), kMib, kMib), ssize_t{kMib});
  ASSERT_EQ(pread(fd.get(), data.get() + kMib, kMib, kMib), ssize_t{kMib});
  EXPECT_EQ(std::memcmp(data.get(), data.get() + kMib, kMib), 0);
  EXPECT_GE(control().write_bytes_max, whole);
  EXPECT_GE(control().read_bytes_max, whole);
}

TEST_F(DiskLoopTest, Keeps32CommandsInFlight) {
  const LoopDevice loop(ServeDisk(kBytes));
  control().delay_us = 2000;
  for (const char* work : {"--rw=randread", "--rw=randwrite"}) {
    for (const char* bytes : {"--bs=4k", "--bs=1m"}) {
      control().in_flight_max = 0;
      ASSERT_EQ(Run(Fio(loop.path(), {work, bytes, "--iodepth=32", "--size=64m", "--runtime=2"}),
                    kToolTime),
                0)
          << output();
      // Replies of 1 MiB have 8 MiB of memory (reply_arena.hpp).
      const bool large_reads =
          work == std::string("--rw=randread") && bytes == std::string("--bs=1m");
      EXPECT_GE(control().in_flight_max, large_reads ? 8U : 32U) << work << " " << bytes;
    }
  }
}

TEST_F(DiskLoopTest, AFilesystemOnItVerifiesAndIsCleanAfterwards) {
  const LoopDevice loop(ServeDisk(kBytes));
  const fs::path at = MakeExt4(loop);
  const uint64_t flushes = control().flushes;
  const auto verify =
      Fio(at / "f", {"--rw=randwrite", "--bsrange=4k-256k", "--iodepth=32", "--size=128m",
                     "--verify=crc32c", "--verify_fatal=1", "--serialize_overlap=1", "--fsync=64"});
  ASSERT_EQ(Run(verify, kToolTime), 0) << output();
  EXPECT_GT(control().flushes, flushes);
  std::vector<std::string> buffered = Fio(at / "g", {"--rw=randwrite", "--bs=16k", "--size=64m",
                                                     "--verify=crc32c", "--verify_fatal=1"});
  buffered.push_back("--direct=0");
  ASSERT_EQ(Run(buffered, kToolTime), 0) << output();

  ASSERT_EQ(unlink((at / "f").c_str()), 0);
  sync();  // what a transaction has freed is trimmed once it is committed
  const uint64_t discarded = control().discarded_bytes;
  ASSERT_EQ(Run({"fstrim", at.string()}, kToolTime), 0) << output();
  EXPECT_GE(control().discarded_bytes, discarded + 128 * kMib);
  struct stat backing {};
  ASSERT_EQ(stat(file().c_str(), &backing), 0);
  EXPECT_LT(static_cast<uint64_t>(backing.st_blocks) * 512, 192 * kMib);
  Unmount(at);
  EXPECT_EQ(Run({"e2fsck", "-f", "-n", loop.path().string()}, kToolTime), 0) << output();
}

TEST_F(DiskLoopTest, DiscardAndBothKindsOfZeroingLeaveZeroes) {
  const LoopDevice loop(ServeDisk(kBytes));
  const base::UniqueFd fd(open(loop.path().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  const Buffer ones = MakeBuffer(kMib, '1');
  const auto leaves_zeroes = [&](const std::function<int()>& change) {
    if (pwrite(fd.get(), ones.get(), kMib, 0) != ssize_t{kMib} || change() != 0) return false;
    const Buffer back = MakeBuffer(kMib, '?');
    return pread(fd.get(), back.get(), kMib, 0) == ssize_t{kMib} &&
           std::count(back.get(), back.get() + kMib, '\0') == ssize_t{kMib};
  };
  uint64_t range[] = {0, kMib};
  EXPECT_TRUE(leaves_zeroes([&] { return ioctl(fd.get(), BLKDISCARD, &range); })) << errno;
  EXPECT_EQ(control().discards, 1U);
  // With REQ_NOUNMAP.
  EXPECT_TRUE(leaves_zeroes([&] { return ioctl(fd.get(), BLKZEROOUT, &range); })) << errno;
  EXPECT_EQ(control().zeroes, 1U);
  // Without it: the loop device punches.
  EXPECT_TRUE(leaves_zeroes([&] {
    return fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kMib);
  })) << errno;
  EXPECT_EQ(control().discards, 2U);
}

TEST_F(DiskLoopTest, FollowsADiskThatHasGrown) {
  const fs::path disk = ServeDisk(kBytes);
  const LoopDevice loop(disk);
  const fs::path at = MakeExt4(loop);
  std::ofstream(at / "kept") << "kept";
  fs::resize_file(file(), 2 * kBytes);
  struct stat s {};
  ASSERT_EQ(stat(disk.c_str(), &s), 0);
  ASSERT_EQ(s.st_size, off_t{2 * kBytes});
  ASSERT_EQ(ioctl(loop.fd(), LOOP_SET_CAPACITY, 0), 0) << errno;
  EXPECT_EQ(loop.SizeBytes(), 2 * kBytes);
  // Not mounted: that needs CAP_SYS_RESOURCE, which root in a container may lack.
  Unmount(at);
  ASSERT_EQ(Run({"e2fsck", "-f", "-p", loop.path().string()}, kToolTime), 0) << output();
  ASSERT_EQ(Run({"resize2fs", loop.path().string()}, kToolTime), 0) << output();
  MountExt4(loop);
  EXPECT_GT(fs::space(at).capacity, kBytes);
  EXPECT_EQ(*base::ReadFile(at / "kept", 16), "kept");
  ASSERT_EQ(Run(Fio(at / "f", {"--rw=write", "--bs=1m", "--size=600m", "--iodepth=8"}), kToolTime),
            0)
      << output();
  Unmount(at);
  EXPECT_EQ(Run({"e2fsck", "-f", "-n", loop.path().string()}, kToolTime), 0) << output();
}

TEST_F(DiskLoopTest, ErrorsOfTheStoragePassUp) {
  const LoopDevice loop(ServeDisk(kBytes));
  const base::UniqueFd fd(open(loop.path().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  const Buffer data = MakeBuffer(4096, 'x');
  control().read_errno = EIO;
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, 0), -1);
  EXPECT_EQ(errno, EIO);
  control().read_errno = 0;
  control().write_errno = EIO;
  EXPECT_EQ(pwrite(fd.get(), data.get(), 4096, 0), -1);
  EXPECT_EQ(errno, EIO);
  control().write_errno = 0;
  control().flush_errno = EIO;
  EXPECT_EQ(pwrite(fd.get(), data.get(), 4096, 0), 4096);
  EXPECT_EQ(fsync(fd.get()), -1);
  EXPECT_EQ(errno, EIO);
  control().flush_errno = 0;
  EXPECT_EQ(pread(fd.get(), data.get(), 4096, 0), 4096);
  EXPECT_EQ(fsync(fd.get()), 0);
}

TEST_F(DiskLoopTest, AReadonlyOneIsMountedReadonly) {
  {
    const LoopDevice loop(ServeDisk(kBytes));
    const fs::path at = MakeExt4(loop);
    std::ofstream(at / "kept") << "kept";
    Unmount(at);
  }
  mounts_.clear();
  ASSERT_TRUE(client().Stop("disk", In(kLong)));
  FuseMount& fuse = Mount("disk");
  auto spec = DiskSpec(fuse.TakeFd());
  spec.readonly = true;
  ASSERT_TRUE(client().Start(std::move(spec), In(kLong)));
  const LoopDevice loop(fuse.path() / "disk", /*readonly=*/true);
  const fs::path at = directory_.path() / "ext4";
  ASSERT_EQ(mount(loop.path().c_str(), at.c_str(), "ext4", MS_RDONLY, ""), 0) << errno;
  mounted_.push_back(at);
  EXPECT_EQ(*base::ReadFile(at / "kept", 16), "kept");
  EXPECT_EQ(open((at / "new").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600), -1);
  EXPECT_EQ(errno, EROFS);
  Unmount(at);
}

TEST_F(DiskLoopTest, ADiskThatIsAwayForAWhileCostsTimeOnly) {
  const LoopDevice loop(ServeDisk(kBytes));
  const fs::path at = MakeExt4(loop);
  base::SpawnOptions options;
  options.arguments = {"dd",        "if=/dev/zero", "of=" + (at / "f").string(),
                       "bs=1M",     "count=64",     "oflag=direct",
                       "conv=fsync"};
  control().delay_us = 5000;  // so that it does not end before it is held up
  const uint64_t begun = control().writes;
  auto writer = base::SpawnProgram("/bin/dd", options);
  ASSERT_TRUE(writer);
  {
    ASSERT_TRUE(Eventually([&] { return control().writes > begun; }, kLong));
    const Held held(control());
    // It waits: neither an error nor an end.
    const auto waits = writer->Wait(std::chrono::milliseconds(500));
    ASSERT_TRUE(waits);
    EXPECT_FALSE(waits->has_value());
  }
  const auto ended = writer->Wait(kToolTime);
  ASSERT_TRUE(ended && ended->has_value());
  EXPECT_EQ((*ended)->code, 0);
  Unmount(at);
}

}  // namespace
}  // namespace gantry::tests
