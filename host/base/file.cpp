// SPDX-License-Identifier: Apache-2.0
#include "host/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "host/base/fd.hpp"

namespace gantry::base {

Result<std::string> ReadFile(const std::filesystem::path& path, size_t max_bytes) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno(errno, "open " + path.string());
  std::string content;
  constexpr size_t kReadBytes = 16384;
  for (;;) {
    const size_t have = content.size();
    content.resize(have + kReadBytes);
    const ssize_t n = read(fd.get(), content.data() + have, kReadBytes);
    if (n < 0 && errno == EINTR) {
      content.resize(have);
      continue;
    }
    if (n < 0) return FailErrno(errno, "read " + path.string());
    content.resize(have + static_cast<size_t>(n));
    if (content.size() > max_bytes)
      return Fail(Code::kResourceExhausted,
                  path.string() + " is larger than " + std::to_string(max_bytes) + " bytes");
    if (n == 0) return content;
  }
}

Status WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "write");
    data.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Status SyncDirectory(const std::filesystem::path& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailErrno(errno, "open " + path.string());
  if (fsync(fd.get()) != 0) return FailErrno(errno, "fsync " + path.string());
  return {};
}

Status WriteFileDurably(const std::filesystem::path& path, std::string_view content, mode_t mode) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  {
    UniqueFd fd(
        open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd) return FailErrno(errno, "create " + temporary.string());
    if (auto written = WriteAll(fd.get(), content); !written)
      return tl::unexpected(Wrap(written.error(), temporary.string()));
    if (fsync(fd.get()) != 0) return FailErrno(errno, "fsync " + temporary.string());
  }
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return FailErrno(errno, "rename " + temporary.string() + " to " + path.string());
  return SyncDirectory(path.parent_path());
}

Status RemoveFileDurably(const std::filesystem::path& path) {
  if (unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return FailErrno(errno, "unlink " + path.string());
  }
  return SyncDirectory(path.parent_path());
}

Status MakeDirectories(const std::filesystem::path& path, mode_t mode) {
  std::filesystem::path partial;
  for (const auto& part : path) {
    partial /= part;
    if (partial == "/") continue;
    if (mkdir(partial.c_str(), mode) != 0 && errno != EEXIST)
      return FailErrno(errno, "mkdir " + partial.string());
  }
  return {};
}

Result<std::vector<std::string>> ListFiles(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error))
    if (it->is_regular_file(error)) names.push_back(it->path().filename());
  if (error && error != std::errc::no_such_file_or_directory)
    return FailErrno(error.value(), "list " + directory.string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace gantry::base
