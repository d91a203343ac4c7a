// SPDX-License-Identifier: Apache-2.0
// A file system for one test, on a loop device.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace gantry::iscsi::target::testing {

// Gone with the object. Needs root.
class OwnFilesystem {
 public:
  OwnFilesystem(const std::filesystem::path& directory, const std::string& mkfs)
      : image_(directory / "filesystem.img"), mount_(directory / "filesystem") {
    std::filesystem::create_directory(mount_);
    Run("truncate -s 400M " + image_.string());
    Run(mkfs + " " + image_.string() + " >/dev/null");
    Run("mount -o loop " + image_.string() + " " + mount_.string());
  }
  OwnFilesystem(const OwnFilesystem&) = delete;
  OwnFilesystem& operator=(const OwnFilesystem&) = delete;
  ~OwnFilesystem() { (void)std::system(("umount -l " + mount_.string()).c_str()); }
  const std::filesystem::path& path() const { return mount_; }

 private:
  static void Run(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error(command + " failed");
  }
  std::filesystem::path image_;
  std::filesystem::path mount_;
};

}  // namespace gantry::iscsi::target::testing
