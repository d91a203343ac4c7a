// SPDX-License-Identifier: Apache-2.0
// Small files that must survive a crash: written whole to a temporary, fsynced, renamed, and the
// directory fsynced, so that a reader finds either the old content or the new (rename(2)).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::base {

// The whole content; RESOURCE_EXHAUSTED when the file is larger than max_bytes.
Result<std::string> ReadFile(const std::filesystem::path& path, size_t max_bytes);

// Replaces the file durably. A temporary left by a crash is "<name>.tmp" and is overwritten.
Status WriteFileDurably(const std::filesystem::path& path, std::string_view content, mode_t mode);

// Removes the file durably; a file that is not there is success.
Status RemoveFileDurably(const std::filesystem::path& path);

Status MakeDirectories(const std::filesystem::path& path, mode_t mode);
Status SyncDirectory(const std::filesystem::path& path);

// Names of the regular files in a directory, sorted; empty when the directory does not exist.
Result<std::vector<std::string>> ListFiles(const std::filesystem::path& directory);

// All of `data` to a blocking fd, or an error.
Status WriteAll(int fd, std::string_view data);

}  // namespace gantry::base
