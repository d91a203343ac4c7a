// SPDX-License-Identifier: Apache-2.0
// The place of a listening unix socket in the file system: taken by a rename once it listens, so that
// a stale socket of an earlier process is replaced in one step, and given up only while it is still
// ours. Apart from the socket itself, because gRPC makes its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "host/base/error.hpp"

namespace gantry::base {

// sun_path (unix(7)) with its NUL, less what the temporary name adds.
constexpr size_t kSocketPathBytesMax = 100;

// Where to bind first. A name of its own, beside the path: gRPC removes the path it was given when
// it stops, which must not be the one that a successor is about to rename.
std::string TemporarySocketName(const std::filesystem::path& path);

class SocketFile {
 public:
  SocketFile() = default;
  // Renames the socket that listens at `temporary` to `path`. The temporary file stays after an
  // error.
  static Result<SocketFile> Put(const std::filesystem::path& temporary, std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  // Removes the file if it is still this socket's. To be called while the socket lives, which keeps
  // its inode number from being given to a successor's.
  void Remove() const;

 private:
  SocketFile(std::filesystem::path path, uint64_t inode) : path_(std::move(path)), inode_(inode) {}
  std::filesystem::path path_;
  uint64_t inode_ = 0;  // 0: none was put
};

}  // namespace gantry::base
