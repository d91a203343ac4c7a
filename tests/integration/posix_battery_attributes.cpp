// SPDX-License-Identifier: Apache-2.0
// Attributes: modes, owners, times, extended ones, and what else there is to know of a file.
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <ctime>

#include "tests/integration/posix_battery.hpp"

namespace gantry::tests {
namespace {

constexpr int kClockTickMs = 20;  // The kernel's clock for files is a coarse one.

std::string Number(int64_t number) { return std::to_string(number); }
std::string Stamp(const timespec& time) {
  return Words() << Number(time.tv_sec) << "." << Number(time.tv_nsec);
}
std::string Times(const std::string& path) {
  const auto found = StatOf(path);
  return Words() << Stamp(found.st_atim) << " " << Stamp(found.st_mtim);
}
bool IsNow(const timespec& time) { return time.tv_sec > std::time(nullptr) - 3600; }
std::string SetTimes(const std::string& path, timespec atime, timespec mtime, int flags = 0) {
  const timespec both[] = {atime, mtime};
  return Said(utimensat(AT_FDCWD, path.c_str(), both, flags));
}
bool Earlier(const timespec& a, const timespec& b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

// Whether the ctime of the file grows by what is done.
std::string Ages(const std::string& path, const std::function<void()>& what) {
  const auto before = StatOf(path).st_ctim;
  poll(nullptr, 0, kClockTickMs);
  what();
  return Earlier(before, StatOf(path).st_ctim) ? "newer" : "kept";
}

// The mode of a set-user-ID and set-group-ID program of user 1000 after that user did something.
std::string Mode6777After(const std::string& in, const std::function<std::string()>& what) {
  AsUser(1000, [&] {
    MakeFile(in + "f");
    return std::string();
  });
  (void)chmod((in + "f").c_str(), 06777);
  const std::string said = AsUser(1000, what);
  return Words() << said << " " << Said(StatOf(in + "f"));
}

std::vector<PosixProbe> ModeProbes() {
  return {
      {"chmod-and-stat",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const std::string said = Said(chmod((in + "f").c_str(), 07751));
         return Words() << said << " " << Said(StatOf(in + "f"));
       }},
      {"chmod-of-a-strangers-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return AsUser(1000, [&] {
           return Words() << Said(chmod((in + "f").c_str(), 0777)) << " "
                          << Said(chown((in + "f").c_str(), 1000, 1000)) << " "
                          << Said(truncate((in + "f").c_str(), 0));
         });
       }},
      {"chmod-to-a-group-that-is-not-ours",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)!chown((in + "f").c_str(), 1000, 2000);
         return AsUser(1000, [&] {
           return Words() << Said(chmod((in + "f").c_str(), 02755)) << " "
                          << Said(StatOf(in + "f"));
         });
       }},
      {"chown-by-its-owner",
       [](const std::string& in) -> std::string {
         return AsUser(1000, [&] {
           MakeFile(in + "f");
           return Words() << Said(chown((in + "f").c_str(), 1001, static_cast<gid_t>(-1))) << " "
                          << Said(chown((in + "f").c_str(), static_cast<uid_t>(-1), 1001)) << " "
                          << Said(chown((in + "f").c_str(), static_cast<uid_t>(-1), 1000));
         });
       }},
      {"chown-by-root",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)chmod((in + "f").c_str(), 06755);
         const std::string said = Said(chown((in + "f").c_str(), 1234, 2345));
         const auto found = StatOf(in + "f");
         return Words() << said << " " << Number(found.st_uid) << ":" << Number(found.st_gid) << " "
                        << Said(found);
       }},
      {"chown-of-a-symbolic-link",
       [](const std::string& in) -> std::string {
         (void)symlink("x", (in + "l").c_str());
         return Words() << Said(lchown((in + "l").c_str(), 1234, 2345)) << " "
                        << Number(StatOf(in + "l").st_uid);
       }},
      {"setuid-after-a-write",
       [](const std::string& in) -> std::string {
         return Mode6777After(in, [&] {
           const auto fd = OpenFile(in + "f", O_WRONLY);
           return Said(pwrite(fd.get(), "x", 1, 0));
         });
       }},
      {"setuid-after-a-truncation",
       [](const std::string& in) -> std::string {
         return Mode6777After(in, [&] { return Said(truncate((in + "f").c_str(), 1)); });
       }},
      {"setuid-after-a-change-of-times",
       [](const std::string& in) -> std::string {
         return Mode6777After(in, [&] { return SetTimes(in + "f", {1, 0}, {1, 0}); });
       }},
      {"setuid-after-an-opening-for-nothing",
       [](const std::string& in) -> std::string {
         return Mode6777After(in, [&] { return Said(OpenFile(in + "f", O_WRONLY)); });
       }},
      {"ctime-of-changes",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         const std::string f = in + "f";
         return Words() << Ages(f, [&] { (void)chmod(f.c_str(), 0600); }) << " "
                        << Ages(f, [&] { (void)!pwrite(fd.get(), "x", 1, 0); }) << " "
                        << Ages(f, [&] { (void)link(f.c_str(), (in + "l").c_str()); }) << " "
                        << Ages(f,
                                [&] {
                                  (void)rename(f.c_str(), (in + "g").c_str());
                                  (void)rename((in + "g").c_str(), f.c_str());
                                })
                        << " " << Ages(f, [&] { (void)StatOf(f); });
       }},
      {"mtime-of-a-directory",
       [](const std::string& in) -> std::string {
         return Words() << Ages(in, [&] { MakeFile(in + "f"); }) << " "
                        << Ages(in, [&] { (void)rename((in + "f").c_str(), (in + "g").c_str()); })
                        << " " << Ages(in, [&] { (void)unlink((in + "g").c_str()); });
       }},
  };
}

std::vector<PosixProbe> TimeProbes() {
  return {
      {"utimens-to-the-nanosecond",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << SetTimes(in + "f", {1, 234567891}, {987654321, 123456789}) << " "
                        << Times(in + "f");
       }},
      {"utimens-of-one",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         SetTimes(in + "f", {11, 1}, {22, 2});
         std::string said = Words() << SetTimes(in + "f", {33, 3}, {0, UTIME_OMIT}) << " "
                                    << Times(in + "f");
         said += Words() << " " << SetTimes(in + "f", {0, UTIME_OMIT}, {44, 4}) << " "
                         << Times(in + "f");
         return Words() << said << " " << SetTimes(in + "f", {0, UTIME_OMIT}, {0, UTIME_OMIT})
                        << " " << Times(in + "f");
       }},
      {"utimens-now",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         SetTimes(in + "f", {11, 1}, {22, 2});
         const std::string said = SetTimes(in + "f", {0, UTIME_OMIT}, {0, UTIME_NOW});
         const auto found = StatOf(in + "f");
         return Words() << said << " " << Stamp(found.st_atim)
                        << (IsNow(found.st_mtim) ? " now " : " other ")
                        << Said(utimensat(AT_FDCWD, (in + "f").c_str(), nullptr, 0))
                        << (IsNow(StatOf(in + "f").st_atim) ? " now" : " other");
       }},
      {"utimens-before-1970",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << SetTimes(in + "f", {-1, 0}, {-86400, 5}) << " " << Times(in + "f");
       }},
      {"utimens-after-2038",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << SetTimes(in + "f", {0x80000000, 0}, {0xffffffff, 0}) << " "
                        << Times(in + "f");
       }},
      {"utimens-after-2106",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << SetTimes(in + "f", {0x100000000, 0}, {0x100000001, 0}) << " "
                        << Times(in + "f");
       }},
      {"utimens-of-a-symbolic-link",
       [](const std::string& in) -> std::string {
         (void)symlink("x", (in + "l").c_str());
         const std::string said = SetTimes(in + "l", {1, 0}, {2, 0}, AT_SYMLINK_NOFOLLOW);
         return said + (StatOf(in + "l").st_mtime == 2 ? " set" : " kept");
       }},
      {"utimens-of-a-directory",
       [](const std::string& in) -> std::string {
         return Words() << SetTimes(in, {1, 0}, {2, 0}) << " " << Times(in);
       }},
      {"utimens-by-a-stranger",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)chmod((in + "f").c_str(), 0666);
         return AsUser(1000, [&] {
           return Words() << SetTimes(in + "f", {1, 0}, {1, 0}) << " "
                          << Said(utimensat(AT_FDCWD, (in + "f").c_str(), nullptr, 0));
         });
       }},
      {"atime-after-a-read",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         SetTimes(in + "f", {11, 0}, {22, 0});
         (void)ContentOf(in + "f");
         return std::string(IsNow(StatOf(in + "f").st_atim) ? "now" : "old");
       }},
      {"statx-tells-the-birth",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         struct statx found {};
         const std::string said = Said(statx(AT_FDCWD, (in + "f").c_str(), 0, STATX_ALL, &found));
         return Words() << said << ((found.stx_mask & STATX_BTIME) != 0 ? " birth" : " no birth")
                        << ((found.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS ? " basic"
                                                                                      : " less");
       }},
      {"stat-counts-blocks",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", std::string(100'000, 'x'));
         (void)fsync(fd.get());
         return Words() << Number(StatOf(in + "f").st_blocks) << " "
                        << Number(StatOf(in + "f").st_blksize);
       }},
      {"statvfs",
       [](const std::string& in) -> std::string {
         struct statvfs found {};
         return Words() << Said(statvfs(in.c_str(), &found)) << " "
                        << Number(static_cast<int64_t>(found.f_namemax)) << " "
                        << Number(static_cast<int64_t>(found.f_bsize))
                        << (found.f_files > 0 ? " files" : " none");
       }},
  };
}

std::string Xattr(const std::string& in, const char* name) {
  MakeFile(in + "f");
  const std::string f = in + "f";
  char value[16] = {};
  const std::string set = Said(setxattr(f.c_str(), name, "v", 1, 0));
  return Words() << set << " " << Said(getxattr(f.c_str(), name, value, sizeof value)) << " "
                 << Said(removexattr(f.c_str(), name));
}

std::vector<PosixProbe> OtherProbes() {
  return {
      {"xattr-of-a-user", [](const std::string& in) -> std::string { return Xattr(in, "user.x"); }},
      {"xattr-trusted",
       [](const std::string& in) -> std::string { return Xattr(in, "trusted.x"); }},
      {"xattr-of-an-acl",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         char value[64];
         return Said(getxattr((in + "f").c_str(), "system.posix_acl_access", value, sizeof value));
       }},
      {"xattr-list",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Said(listxattr((in + "f").c_str(), nullptr, 0));
       }},
      {"ioctl-of-flags",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         int flags = 0;
         return Said(ioctl(fd.get(), FS_IOC_GETFLAGS, &flags));
       }},
      {"ioctl-of-the-bytes-to-read",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         int bytes = 0;
         return Words() << Said(ioctl(fd.get(), FIONREAD, &bytes)) << " " << Number(bytes);
       }},
      {"handle-of-a-name",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         union {
           file_handle handle;
           char bytes[sizeof(file_handle) + MAX_HANDLE_SZ];
         } room{};
         room.handle.handle_bytes = MAX_HANDLE_SZ;
         int mount_id = 0;
         return Said(name_to_handle_at(AT_FDCWD, (in + "f").c_str(), &room.handle, &mount_id, 0));
       }},
      {"access-by-a-stranger",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)chmod((in + "f").c_str(), 0640);
         return AsUser(1000, [&] {
           return Words() << Said(faccessat(AT_FDCWD, (in + "f").c_str(), R_OK, AT_EACCESS)) << " "
                          << Said(faccessat(AT_FDCWD, (in + "f").c_str(), F_OK, AT_EACCESS));
         });
       }},
  };
}

}  // namespace

std::vector<PosixProbe> AttributeProbes() {
  std::vector<PosixProbe> all = ModeProbes();
  for (const auto& more : {TimeProbes(), OtherProbes()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace gantry::tests
