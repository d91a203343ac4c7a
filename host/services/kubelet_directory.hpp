// SPDX-License-Identifier: Apache-2.0
// The one directory beneath which anything is mounted. Opened once, so that it may be a symlink
// itself, or lie elsewhere, and still nothing below it can lead out: every path is taken apart here
// and opened by the helper relative to this fd (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::services {

class KubeletDirectory {
 public:
  static base::Result<KubeletDirectory> Open(const std::filesystem::path& configured);

  int fd() const { return fd_.get(); }

  // "/var/lib/kubelet/pods//x/" -> "pods/x". INVALID_ARGUMENT for a path that is not absolute, not
  // beneath the directory (by its configured or its resolved name), or contains "..".
  base::Result<std::string> Relative(std::string_view path) const;

  // The name that mountinfo shows.
  std::string MountPoint(const std::string& relative) const { return resolved_ + "/" + relative; }

 private:
  KubeletDirectory(base::UniqueFd fd, std::string configured, std::string resolved)
      : fd_(std::move(fd)), configured_(std::move(configured)), resolved_(std::move(resolved)) {}

  base::UniqueFd fd_;
  std::string configured_;
  std::string resolved_;
};

}  // namespace gantry::services
