// SPDX-License-Identifier: Apache-2.0
// Trees on the server's own filesystem, for tests of copying: one of everything in any number, and a
// comparison of all that a copy has to bring over, behind the server's back.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <utility>

namespace gantry::nfs::testing {

inline constexpr size_t kFilesPerDirectory = 150;

inline void WriteFile(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file of `bytes` with some data at its begin, middle and end.
inline void WriteSparse(const std::filesystem::path& path, size_t bytes) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  const std::string data(5'000, 's');
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
  for (const size_t at : {size_t{0}, bytes / 2, bytes - data.size()}) {
    EXPECT_EQ(pwrite(fd, data.data(), data.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(data.size()));
  }
  close(fd);
}

inline void SetTimes(const std::filesystem::path& path, int64_t seconds, int64_t nanoseconds) {
  const timespec times[2] = {{seconds - 7, nanoseconds}, {seconds, nanoseconds}};
  EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
}

// About `files` regular files and a tenth as many other things below `top`, which it makes.
inline void MakeFileTree(const std::filesystem::path& top, size_t files, unsigned seed = 1) {
  namespace fs = std::filesystem;
  std::mt19937 random(seed);
  std::vector<fs::path> directories = {top};
  fs::create_directories(top);
  fs::path last;
  for (size_t i = 0; i < files; ++i) {
    if (i % kFilesPerDirectory == 0) {
      directories.push_back(directories[random() % directories.size()] / ("d" + std::to_string(i)));
      fs::create_directory(directories.back());
    }
    const fs::path& in = directories[random() % directories.size()];
    const fs::path path = in / ("f" + std::to_string(i));
    const size_t bytes = random() % 50 == 0 ? random() % 1'000'000 : random() % 6'000;
    WriteFile(path, std::string(bytes, static_cast<char>('a' + random() % 26)) + std::to_string(i));
    const mode_t modes[] = {0644, 0600, 0400, 0, 04755, 02711, 0666, 0200};
    if (random() % 2 == 0) {
      EXPECT_EQ(lchown(path.c_str(), random() % 3'000, random() % 3'000), 0);
    }
    EXPECT_EQ(chmod(path.c_str(), modes[random() % std::size(modes)]), 0);
    SetTimes(path, 1'000'000'000 + static_cast<int64_t>(i), static_cast<int64_t>(i * 37));
    const std::string name = std::to_string(i);
    switch (random() % 60) {
      case 0:
        fs::create_symlink("../somewhere/" + name, in / ("s" + name));
        EXPECT_EQ(lchown((in / ("s" + name)).c_str(), 5, 6), 0);
        SetTimes(in / ("s" + name), 900'000'000, 123'456'789);
        break;
      case 1:
        EXPECT_EQ(mknod((in / ("p" + name)).c_str(), S_IFIFO | 0640, 0), 0);
        break;
      case 2:
        EXPECT_EQ(mknod((in / ("u" + name)).c_str(), S_IFSOCK | 0755, 0), 0);
        break;
      case 3:
        EXPECT_EQ(mknod((in / ("c" + name)).c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
        break;
      case 4:
        WriteSparse(in / ("h" + name), 3'000'000);
        break;
      case 5:
      case 6:
        if (!last.empty()) fs::create_hard_link(last, in / ("l" + name));
        break;
      default:
        break;
    }
    last = path;
  }
  for (auto directory = directories.rbegin(); directory != directories.rend(); ++directory) {
    EXPECT_EQ(lchown(directory->c_str(), random() % 100, random() % 100), 0);
    EXPECT_EQ(chmod(directory->c_str(), random() % 3 == 0 ? 0555 : 02775), 0);
    SetTimes(*directory, 1'100'000'000 + static_cast<int64_t>(random() % 1'000), 5);
  }
}

// What there is at and below `top`, by path.
inline std::map<std::string, struct stat> StatTree(const std::filesystem::path& top) {
  namespace fs = std::filesystem;
  std::map<std::string, struct stat> all;
  EXPECT_EQ(lstat(top.c_str(), &all["."]), 0);
  for (const auto& entry : fs::recursive_directory_iterator(top)) {
    EXPECT_EQ(lstat(entry.path().c_str(), &all[entry.path().lexically_relative(top)]), 0);
  }
  return all;
}

inline void ExpectSameEntry(const std::filesystem::path& path, const struct stat& from,
                            const struct stat& to) {
  EXPECT_EQ(from.st_mode, to.st_mode) << path;
  EXPECT_EQ(from.st_rdev, to.st_rdev) << path;
  EXPECT_EQ(from.st_nlink, to.st_nlink) << path;
  // This server refuses to change sockets and devices, and ignores times of symlinks.
  if (S_ISSOCK(from.st_mode) || S_ISCHR(from.st_mode)) return;
  EXPECT_EQ(from.st_uid, to.st_uid) << path;
  EXPECT_EQ(from.st_gid, to.st_gid) << path;
  if (S_ISLNK(from.st_mode)) return;
  EXPECT_EQ(from.st_mtim.tv_sec, to.st_mtim.tv_sec) << path;
  EXPECT_EQ(from.st_mtim.tv_nsec, to.st_mtim.tv_nsec) << path;
  if (!S_ISDIR(from.st_mode)) {
    EXPECT_EQ(from.st_size, to.st_size) << path;
  }
  // Holes are kept to within what is worth leaving out.
  if (S_ISREG(from.st_mode)) {
    EXPECT_LE(to.st_blocks, from.st_blocks + 3 * 128) << path;
  }
}

inline void ExpectSameTree(const std::filesystem::path& from, const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  const auto theirs = StatTree(from);
  const auto ours = StatTree(to);
  std::map<ino_t, ino_t> files;  // Hard links are those of the source.
  for (const auto& [path, is] : theirs) {
    const auto found = ours.find(path);
    if (found == ours.end()) {
      ADD_FAILURE() << path << " is missing";
      continue;
    }
    ExpectSameEntry(path, is, found->second);
    const auto [file, is_first] = files.emplace(is.st_ino, found->second.st_ino);
    EXPECT_EQ(file->second, found->second.st_ino) << path;
    if (S_ISLNK(is.st_mode)) {
      EXPECT_EQ(fs::read_symlink(from / path), fs::read_symlink(to / path)) << path;
    }
    if (S_ISREG(is.st_mode) && is_first) {
      EXPECT_TRUE(ReadFile(from / path) == ReadFile(to / path)) << path;
    }
    if (::testing::Test::HasFailure()) return;
  }
  for (const auto& [path, is] : ours) {
    EXPECT_TRUE(theirs.contains(path)) << path << " is not the source's";
  }
}

}  // namespace gantry::nfs::testing
