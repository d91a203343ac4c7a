// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::UniqueFd;
namespace code = plugin::code;

}  // namespace

plugin::Error FromErrno(int error, const std::string& what) {
  int32_t number = code::kInternal;
  if (error == ENOENT) number = code::kNotFound;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) number = code::kResourceExhausted;
  return {number, what + ": " + std::strerror(error)};
}

Result<UniqueFd> OpenFile(int directory, const std::string& name, int flags, mode_t mode) {
  UniqueFd fd(openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode));
  if (!fd) return tl::unexpected(FromErrno(errno, name));
  return fd;
}

Result<UniqueFd> OpenDirectory(int directory, const std::string& name) {
  if (mkdirat(directory, name.c_str(), 0700) != 0 && errno != EEXIST)
    return tl::unexpected(FromErrno(errno, name));
  return OpenFile(directory, name, O_RDONLY | O_DIRECTORY);
}

Result<std::string> ReadFile(int directory, const std::string& name, size_t bytes_max) {
  GANTRY_PLUGIN_TRY_ASSIGN(const UniqueFd fd, OpenFile(directory, name, O_RDONLY));
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tl::unexpected(FromErrno(errno, name));
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
    if (text.size() > bytes_max)
      return Fail(code::kDataLoss, name + ": longer than " + std::to_string(bytes_max) + " bytes");
  }
}

plugin::Status WriteAll(int fd, std::string_view data, const std::string& what) {
  while (!data.empty()) {
    const ssize_t n = write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tl::unexpected(FromErrno(errno, what));
    data.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

plugin::Status WriteAt(int fd, std::string_view data, off_t offset, const std::string& what) {
  if (lseek(fd, offset, SEEK_SET) != offset) return tl::unexpected(FromErrno(errno, what));
  return WriteAll(fd, data, what);
}

plugin::Status Sync(int fd, const std::string& what) {
  if (fsync(fd) != 0) return tl::unexpected(FromErrno(errno, "sync " + what));
  return {};
}

plugin::Status SyncAll(const std::vector<std::pair<int, std::string>>& files) {
  std::vector<plugin::Status> ends(files.size());
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < files.size(); ++i)
      others.emplace_back([&, i] { ends[i] = Sync(files[i].first, files[i].second); });
    if (!files.empty()) ends[0] = Sync(files[0].first, files[0].second);
  }
  for (auto& end : ends)
    if (!end) return std::move(end);
  return {};
}

plugin::Status Rename(int from, const std::string& old_name, int to, const std::string& new_name) {
  if (renameat(from, old_name.c_str(), to, new_name.c_str()) != 0)
    return tl::unexpected(FromErrno(errno, "rename " + old_name + " to " + new_name));
  return {};
}

plugin::Status Unlink(int directory, const std::string& name) {
  if (unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT)
    return tl::unexpected(FromErrno(errno, "remove " + name));
  return {};
}

Result<struct stat> Status(int fd, const std::string& what) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return tl::unexpected(FromErrno(errno, what));
  return status;
}

Result<std::vector<std::string>> ListNames(int directory) {
  const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return tl::unexpected(FromErrno(errno, "list"));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(copy), closedir);
  if (!stream) {
    const int error = errno;
    close(copy);
    return tl::unexpected(FromErrno(error, "list"));
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  if (errno != 0) return tl::unexpected(FromErrno(errno, "list"));
  std::sort(names.begin(), names.end());
  return names;
}

plugin::Status CheckPrivate(int fd, const std::string& what) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto status, Status(fd, what));
  if ((status.st_uid != 0 && status.st_uid != geteuid()) ||
      (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return Fail(code::kFailedPrecondition,
                what + ": expected to be root's, and that nobody else may write it");
  return {};
}

}  // namespace gantry::iscsi::target
