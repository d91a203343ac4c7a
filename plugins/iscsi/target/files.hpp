// SPDX-License-Identifier: Apache-2.0
// Files beneath the store, by directory fd and a single name each: no symlink is followed, nothing
// outside is reached. Errors say the name and errno's words.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/common/unique_fd.hpp"

namespace gantry::iscsi::target {

// RESOURCE_EXHAUSTED for a full file system, NOT_FOUND for ENOENT, else INTERNAL.
plugin::Error FromErrno(int error, const std::string& what);

plugin::Result<plugin::UniqueFd> OpenFile(int directory, const std::string& name, int flags,
                                          mode_t mode = 0600);
// Made when it is missing; only its owner may enter.
plugin::Result<plugin::UniqueFd> OpenDirectory(int directory, const std::string& name);
// NOT_FOUND; DATA_LOSS when it is larger than `bytes_max`.
plugin::Result<std::string> ReadFile(int directory, const std::string& name, size_t bytes_max);
plugin::Status WriteAll(int fd, std::string_view data, const std::string& what);
plugin::Status WriteAt(int fd, std::string_view data, off_t offset, const std::string& what);
// What it costs to be sure: data and size; of a directory, its names.
plugin::Status Sync(int fd, const std::string& what);
// All of them at once, because a file system settles in one commit what waits for it together; the
// first error.
plugin::Status SyncAll(const std::vector<std::pair<int, std::string>>& files);
plugin::Status Rename(int from, const std::string& old_name, int to, const std::string& new_name);
// Not there: OK.
plugin::Status Unlink(int directory, const std::string& name);
plugin::Result<struct stat> Status(int fd, const std::string& what);
// Sorted; without names that begin with a dot.
plugin::Result<std::vector<std::string>> ListNames(int directory);
// The file must be root's or ours, and nobody else may write it.
plugin::Status CheckPrivate(int fd, const std::string& what);

}  // namespace gantry::iscsi::target
