// SPDX-License-Identifier: Apache-2.0
// Data: sizes, holes, allocation, mappings, copies.
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "tests/integration/posix_battery.hpp"

namespace gantry::tests {
namespace {

constexpr size_t kPage = 4096;
constexpr off_t kMiB = 1 << 20;

std::string Number(int64_t number) { return std::to_string(number); }
std::string SizeOf(const std::string& path) { return Number(StatOf(path).st_size); }
std::string Got(int64_t result) { return result >= 0 ? Number(result) : Said(-1); }

class Mapped {
 public:
  Mapped(const base::UniqueFd& fd, int protection, int flags, size_t bytes = kPage)
      : bytes_(bytes), at_(mmap(nullptr, bytes, protection, flags, fd.get(), 0)) {}
  Mapped(const Mapped&) = delete;
  ~Mapped() {
    if (ok()) munmap(at_, bytes_);
  }
  bool ok() const { return at_ != MAP_FAILED; }
  std::string said() const { return Said(ok() ? 0 : -1); }
  char* data() const { return static_cast<char*>(at_); }
  int Sync() const { return msync(at_, bytes_, MS_SYNC); }

 private:
  size_t bytes_;
  void* at_;
};

constexpr int kReadWrite = PROT_READ | PROT_WRITE;

std::string Allocate(const std::string& in, int mode) {
  const auto fd = MakeFile(in + "f", std::string(4 * kPage, 'x'));
  const std::string said = Said(fallocate(fd.get(), mode, kPage, kPage));
  const std::string content = ContentOf(fd);
  return Words() << said << " " << SizeOf(in + "f")
                 << (content.size() > kPage && content[kPage] == 0 ? " zero" : " kept");
}

// 1 MiB of hole, a page of data, 1 MiB of hole.
base::UniqueFd MakeSparse(const std::string& path) {
  base::UniqueFd fd = MakeFile(path, "");
  (void)!pwrite(fd.get(), std::string(kPage, 'd').data(), kPage, kMiB);
  (void)!ftruncate(fd.get(), 2 * kMiB + ssize_t{kPage});
  (void)fsync(fd.get());
  return fd;
}

std::vector<PosixProbe> SizeProbes() {
  return {
      {"truncate-extends-with-zeroes",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "abc");
         const std::string said = Said(truncate((in + "f").c_str(), 5));
         return Words() << said << " " << SizeOf(in + "f")
                        << (ContentOf(in + "f") == std::string("abc\0\0", 5) ? " zeroes"
                                                                             : " other");
       }},
      {"truncate-shrinks-and-extends",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abcdef");
         (void)!ftruncate(fd.get(), 2);
         (void)!ftruncate(fd.get(), 4);
         return ContentOf(fd) == std::string("ab\0\0", 4) ? std::string("zeroes") : ContentOf(fd);
       }},
      {"truncate-of-what-cannot-be",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const auto fd = OpenFile(in + "f", O_RDONLY);
         return Words() << Said(ftruncate(fd.get(), 0)) << " " << Said(truncate(in.c_str(), 0))
                        << " " << Said(truncate((in + "f").c_str(), -1)) << " "
                        << Said(truncate((in + "x").c_str(), 0));
       }},
      {"truncate-to-16-tebibytes-less-a-page",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "");
         return Words() << Said(truncate((in + "f").c_str(), (int64_t{1} << 44) - ssize_t{kPage}))
                        << " " << SizeOf(in + "f");
       }},
      {"truncate-beyond-what-ext4-holds",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "");
         return Said(truncate((in + "f").c_str(), int64_t{1} << 45));
       }},
      {"write-behind-the-end",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "a");
         return Words() << Said(pwrite(fd.get(), "b", 1, 3)) << " " << SizeOf(in + "f")
                        << (ContentOf(fd) == std::string("a\0\0b", 4) ? " zeroes" : " other");
       }},
      {"write-makes-a-hole",
       [](const std::string& in) -> std::string {
         MakeSparse(in + "f");
         return Words() << SizeOf(in + "f")
                        << (StatOf(in + "f").st_blocks * 512 < kMiB ? " sparse" : " full");
       }},
      {"read-behind-the-end",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         char bytes[4];
         return Words() << Got(pread(fd.get(), bytes, 4, 3)) << " "
                        << Got(pread(fd.get(), bytes, 4, 100)) << " "
                        << Got(pread(fd.get(), bytes, 4, 1)) << " "
                        << Got(pread(fd.get(), bytes, 4, -1));
       }},
      {"read-of-a-directory",
       [](const std::string& in) -> std::string {
         char byte;
         return Got(read(OpenFile(in, O_RDONLY).get(), &byte, 1));
       }},
      {"write-of-many-parts",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "");
         std::vector<iovec> parts(1000, iovec{const_cast<char*>("abc"), 3});
         return Words() << Got(pwritev(fd.get(), parts.data(), 1000, 5)) << " " << SizeOf(in + "f");
       }},
      {"write-of-nothing",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         return Words() << Got(pwrite(fd.get(), "", 0, 100)) << " " << SizeOf(in + "f");
       }},
      {"seek-to-holes-and-data",
       [](const std::string& in) -> std::string {
         const auto fd = MakeSparse(in + "f");
         return Words() << Got(lseek(fd.get(), 0, SEEK_DATA)) << " "
                        << Got(lseek(fd.get(), 0, SEEK_HOLE)) << " "
                        << Got(lseek(fd.get(), kMiB, SEEK_HOLE)) << " "
                        << Got(lseek(fd.get(), 2 * kMiB, SEEK_DATA));
       }},
      {"seek-in-a-file-without-holes",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         return Words() << Got(lseek(fd.get(), 0, SEEK_DATA)) << " "
                        << Got(lseek(fd.get(), 0, SEEK_HOLE)) << " "
                        << Got(lseek(fd.get(), 3, SEEK_DATA)) << " "
                        << Got(lseek(fd.get(), 9, SEEK_HOLE));
       }},
      {"seek-from-the-end",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         return Words() << Got(lseek(fd.get(), -1, SEEK_END)) << " "
                        << Got(lseek(fd.get(), -9, SEEK_END));
       }},
      {"fallocate",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "");
         return Words() << Said(fallocate(fd.get(), 0, 0, kMiB)) << " " << SizeOf(in + "f");
       }},
      {"fallocate-keeping-the-size",
       [](const std::string& in) -> std::string { return Allocate(in, FALLOC_FL_KEEP_SIZE); }},
      {"fallocate-punching-a-hole",
       [](const std::string& in) -> std::string {
         return Allocate(in, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
       }},
      {"fallocate-of-zeroes",
       [](const std::string& in) -> std::string { return Allocate(in, FALLOC_FL_ZERO_RANGE); }},
      {"fallocate-collapsing",
       [](const std::string& in) -> std::string { return Allocate(in, FALLOC_FL_COLLAPSE_RANGE); }},
      {"fallocate-by-the-library",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "");
         errno = posix_fallocate(fd.get(), 0, kMiB);
         return Words() << Said(errno == 0 ? 0 : -1) << " " << SizeOf(in + "f");
       }},
  };
}

std::vector<PosixProbe> MappingProbes() {
  return {
      {"mmap-shared-is-seen-by-read",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         const Mapped map(fd, kReadWrite, MAP_SHARED);
         if (!map.ok()) return map.said();
         map.data()[1] = 'X';
         return Words() << ContentOf(fd) << " " << Said(map.Sync()) << " " << ContentOf(in + "f");
       }},
      {"mmap-shared-sees-writes",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         const Mapped map(fd, PROT_READ, MAP_SHARED);
         if (!map.ok()) return map.said();
         std::string seen(1, map.data()[0]);
         (void)!pwrite(fd.get(), "X", 1, 0);
         return Words() << seen << map.data()[0];
       }},
      {"mmap-shared-stays-after-close",
       [](const std::string& in) -> std::string {
         auto fd = MakeFile(in + "f", "abc");
         {
           const Mapped map(fd, kReadWrite, MAP_SHARED);
           if (!map.ok()) return map.said();
           fd.Reset();
           map.data()[2] = 'Z';
         }
         return ContentOf(in + "f");
       }},
      {"mmap-private-changes-nothing",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         const Mapped map(fd, kReadWrite, MAP_PRIVATE);
         if (!map.ok()) return map.said();
         map.data()[0] = 'X';
         return Words() << map.data()[0] << ContentOf(fd);
       }},
      {"mmap-shared-needs-the-right-to-write",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "abc");
         const auto fd = OpenFile(in + "f", O_RDONLY);
         return Words() << Mapped(fd, kReadWrite, MAP_SHARED).said() << " "
                        << Mapped(fd, kReadWrite, MAP_PRIVATE).said();
       }},
      {"mmap-behind-the-end",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         return InChild([&] {
           const Mapped map(fd, PROT_READ, MAP_SHARED, 2 * kPage);
           const volatile char* const at = map.data();
           return std::string(at[3] == 0 && at[kPage] == 0 ? "zeroes" : "other");
         });
       }},
      {"mmap-of-an-unlinked-file",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         const Mapped map(fd, kReadWrite, MAP_SHARED);
         if (!map.ok()) return map.said();
         (void)unlink((in + "f").c_str());
         map.data()[0] = 'X';
         return Words() << Said(map.Sync()) << " " << ContentOf(fd);
       }},
      {"mmap-changes-the-time",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         const timespec old[] = {{1000, 0}, {1000, 0}};
         (void)futimens(fd.get(), old);
         const Mapped map(fd, kReadWrite, MAP_SHARED);
         if (!map.ok()) return map.said();
         map.data()[0] = 'X';
         (void)map.Sync();
         return std::string(StatOf(in + "f").st_mtime > 1000 ? "newer" : "kept");
       }},
      {"copy-within-the-filesystem",
       [](const std::string& in) -> std::string {
         const auto from = MakeFile(in + "a", "abcdef");
         const auto to = MakeFile(in + "b", "");
         return Words() << Got(copy_file_range(from.get(), nullptr, to.get(), nullptr, 6, 0)) << " "
                        << ContentOf(to);
       }},
      {"copy-by-sharing-blocks",
       [](const std::string& in) -> std::string {
         const auto from = MakeFile(in + "a", "abcdef");
         const auto to = MakeFile(in + "b", "");
         return Said(ioctl(to.get(), FICLONE, from.get()));
       }},
      {"copy-by-sendfile",
       [](const std::string& in) -> std::string {
         const auto from = MakeFile(in + "a", "abcdef");
         const auto to = MakeFile(in + "b", "");
         return Words() << Got(sendfile(to.get(), from.get(), nullptr, 6)) << " " << ContentOf(to);
       }},
      {"sync-in-every-way",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         const auto directory = OpenFile(in, O_RDONLY);
         return Words() << Said(fsync(fd.get())) << " " << Said(fdatasync(fd.get())) << " "
                        << Said(syncfs(fd.get())) << " " << Said(fsync(directory.get())) << " "
                        << Said(sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE));
       }},
      {"sync-of-a-readers-fd",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Said(fsync(OpenFile(in + "f", O_RDONLY).get()));
       }},
      {"advise-and-read-ahead",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         errno = posix_fadvise(fd.get(), 0, 0, POSIX_FADV_WILLNEED);
         return Words() << Said(errno == 0 ? 0 : -1) << " " << Said(readahead(fd.get(), 0, kPage));
       }},
  };
}

}  // namespace

std::vector<PosixProbe> DataProbes() {
  std::vector<PosixProbe> all = SizeProbes();
  const auto more = MappingProbes();
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace gantry::tests
