// SPDX-License-Identifier: Apache-2.0
// A pod's NFS volume in user space beside ext4, call by call. Whatever differs stands in the list
// below, with why; docs/nfs-posix.md says it in a reader's words. An entry that no longer differs fails
// as well, so that list and page stay true. The server's own disk is an ext4 too, so a difference is
// the protocol's, the server's or ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mount.h>

#include <cstdlib>

#include "host/base/temp_dir.hpp"
#include "tests/integration/loop_device.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/posix_battery.hpp"
#include "tests/integration/survival_load.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

struct Difference {
  const char* ext4;
  const char* here;
  const char* why;
};

const std::map<std::string, Difference>& Differences() {
  constexpr const char* kNoAllocate = "NFSv3 has no ALLOCATE and no DEALLOCATE";
  constexpr const char* kNoXattr = "NFSv3 has no extended attributes";
  constexpr const char* kNoFlags = "RENAME of NFSv3 has no flags, and two calls are not atomic";
  constexpr const char* kTimes = "times of NFSv3 are 32 bits of seconds since 1970";
  static const std::map<std::string, Difference> kAll{
      {"directory-that-is-removed-while-it-is-open",
       {"ok ok ENOENT", "ok ESTALE ENOENT", "the server forgets it; only files are kept"}},
      {"fallocate", {"ok 1048576", "EOPNOTSUPP 0", kNoAllocate}},
      {"fallocate-collapsing", {"ok 12288 kept", "EOPNOTSUPP 16384 kept", kNoAllocate}},
      {"fallocate-keeping-the-size", {"ok 16384 kept", "EOPNOTSUPP 16384 kept", kNoAllocate}},
      {"fallocate-of-zeroes", {"ok 16384 zero", "EOPNOTSUPP 16384 kept", kNoAllocate}},
      {"fallocate-punching-a-hole", {"ok 16384 zero", "EOPNOTSUPP 16384 kept", kNoAllocate}},
      {"ioctl-of-flags", {"ok", "ENOTTY", "they belong to a filesystem of the node"}},
      {"mknod-of-a-device",
       {"ok 20644 1:3 ok", "ok 20644 1:3 EACCES", "userspace mounts are nodev"}},
      {"open-a-temporary-file", {"ok", "EOPNOTSUPP", "NFSv3 has no file without a name"}},
      {"open-direct-and-not-aligned", {"EINVAL", "ok", "no disk needs the alignment"}},
      {"permission-taken-from-an-open-file",
       {"ok ok ok xontent", "ok ok EACCES EACCES", "the server judges every READ and WRITE"}},
      {"rename-exchanging", {"ok b", "EINVAL a", kNoFlags}},
      {"rename-leaving-a-whiteout", {"ok 20000", "EINVAL 100644", kNoFlags}},
      {"rename-without-replacing", {"EEXIST ok a", "EEXIST EINVAL ENOENT", kNoFlags}},
      {"seek-to-holes-and-data",
       {"1048576 0 1052672 ENXIO", "0 2101248 2101248 2097152", "NFSv3 has no SEEK"}},
      {"statx-tells-the-birth", {"ok birth basic", "ok no birth basic", "it is not in fattr3"}},
      {"unlink-of-an-open-file-and-its-directory",
       {"ok ok content", "ok ENOTEMPTY content", "the file has another name until it is closed"}},
      {"utimens-after-2106",
       {"ok 4294967296.0 4294967297.0", "ok 4294967295.999999999 4294967295.999999999", kTimes}},
      {"utimens-before-1970", {"ok -1.0 -86400.5", "ok 0.0 0.0", kTimes}},
      {"utimens-of-a-symbolic-link",
       {"ok set", "ok kept", "Ganesha 4.3 on its VFS says success and does not"}},
      {"xattr-list", {"ok", "EOPNOTSUPP", kNoXattr}},
      {"xattr-of-a-user", {"ok ok ok", "EOPNOTSUPP EOPNOTSUPP EOPNOTSUPP", kNoXattr}},
      {"xattr-trusted", {"ok ok ok", "EOPNOTSUPP EOPNOTSUPP EOPNOTSUPP", kNoXattr}}};
  return kAll;
}

// An ext4 in a file, mounted and, for whoever asks for a temporary directory meanwhile, the place of
// all of them.
class Ext4 {
 public:
  explicit Ext4(const fs::path& directory) : path_(directory / "ext4") {
    const fs::path image = directory / "image";
    const base::UniqueFd file(open(image.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file || ftruncate(file.get(), kImageBytes) != 0) throw std::runtime_error("no image");
    // The mount keeps it, and it goes with the mount.
    const LoopDevice loop(image);
    const std::string error = RunProgram({"mkfs.ext4", "-q", "-F", loop.path().string()},
                                         directory / "mkfs.out", kMkfsMax);
    if (!error.empty()) throw std::runtime_error(error);
    fs::create_directory(path_);
    if (mount(loop.path().c_str(), path_.c_str(), "ext4", 0, nullptr) != 0)
      throw std::runtime_error("mount ext4: " + Said(-1));
    fs::permissions(path_, fs::perms::all);
    setenv("TMPDIR", path_.c_str(), 1);
  }
  Ext4(const Ext4&) = delete;
  ~Ext4() {
    unsetenv("TMPDIR");
    umount2(path_.c_str(), MNT_DETACH);
  }
  const fs::path& path() const { return path_; }

 private:
  static constexpr off_t kImageBytes = off_t{2} << 30;
  static constexpr std::chrono::seconds kMkfsMax{60};
  fs::path path_;
};

TEST(NfsPosix, DiffersFromExt4AsItIsWrittenDown) {
  const base::TempDir directory;
  fs::permissions(directory.path(), fs::perms(0755));
  const Ext4 ext4(directory.path());
  fs::create_directory(ext4.path() / "beside");
  const auto there = AskAll(ext4.path() / "beside");
  NfsNode node;
  const Volume volume = node.Run("posix", Mode::SINGLE_NODE_MULTI_WRITER);
  const auto here = AskAll(volume.target);
  size_t same = 0;
  for (const auto& [name, answer] : there) {
    const std::string& other = here.at(name);
    const auto listed = Differences().find(name);
    if (listed == Differences().end()) {
      EXPECT_EQ(other, answer) << name;
      if (other == answer) ++same;
      continue;
    }
    EXPECT_EQ(answer, listed->second.ext4) << name << ", on ext4";
    EXPECT_EQ(other, listed->second.here) << name << ": " << listed->second.why;
    EXPECT_NE(other, answer) << name << " does not differ any more";
  }
  for (const auto& [name, difference] : Differences())
    EXPECT_TRUE(there.contains(name)) << name << " is no probe";
  std::printf("  %zu answers are ext4's, %zu differ as expected\n", same, Differences().size());
  ASSERT_GRPC_OK(node.End(volume));
}

// A lock that another node does not see would be believed.
TEST(NfsPosix, LocksNothingThatSeveralNodesWriteUnlessItIsAskedTo) {
  NfsNode node;
  Volume volume = node.Run("shared");
  const auto locked = [&] {
    const auto fd = OpenFile(volume.target / "file", O_RDWR | O_CREAT);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    return Said(fd) + " " + Said(fcntl(fd.get(), F_SETLK, &lock)) + " " +
           Said(fcntl(fd.get(), F_SETLKW, &lock)) + " " + Said(fcntl(fd.get(), F_GETLK, &lock)) +
           " " + Said(flock(fd.get(), LOCK_SH));
  };
  EXPECT_EQ(locked(), "ok ENOLCK ENOLCK ENOLCK ENOLCK");
  ASSERT_GRPC_OK(node.End(volume));
  volume = node.Plan("shared");
  volume.mount_flags = {"local_lock=all"};
  ASSERT_GRPC_OK(node.Create(volume));
  ASSERT_GRPC_OK(node.Stage(volume));
  ASSERT_GRPC_OK(node.Publish(volume));
  EXPECT_EQ(locked(), "ok ok ok ok ok");
  ASSERT_GRPC_OK(node.End(volume));
}

}  // namespace
}  // namespace gantry::tests
