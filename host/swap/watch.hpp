// SPDX-License-Identifier: Apache-2.0
// Says which files are renamed into a directory (inotify(7), IN_MOVED_TO). Only renames: a file
// that is being written is not whole, and nobody says when it is.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/sync.hpp"

namespace gantry::swap {

class DirectoryWatch {
 public:
  // on_moved is called on a thread of the watch's own, with the file's name.
  static base::Result<std::unique_ptr<DirectoryWatch>> Start(
      const std::filesystem::path& directory, std::function<void(const std::string&)> on_moved);
  ~DirectoryWatch();  // waits for on_moved to return

 private:
  DirectoryWatch(base::UniqueFd fd, std::function<void(const std::string&)> on_moved)
      : fd_(std::move(fd)), on_moved_(std::move(on_moved)) {}
  void Run();

  const base::UniqueFd fd_;
  const std::function<void(const std::string&)> on_moved_;
  base::Event stop_;
  base::Thread thread_;
};

}  // namespace gantry::swap
