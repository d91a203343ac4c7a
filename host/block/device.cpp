// SPDX-License-Identifier: Apache-2.0
#include "host/block/device.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace gantry::block {

base::Result<uint64_t> DeviceBytes(int device) {
  uint64_t bytes = 0;
  if (ioctl(device, BLKGETSIZE64, &bytes) != 0) return base::FailErrno(errno, "BLKGETSIZE64");
  return bytes;
}

base::Result<std::string> DeviceName(int device) {
  struct stat status {};
  if (fstat(device, &status) != 0) return base::FailErrno(errno, "stat a device");
  if (!S_ISBLK(status.st_mode))
    return base::Fail(base::Code::kInvalidArgument, "expected a block device");
  const std::string number =
      std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
  std::error_code error;
  const auto directory = std::filesystem::canonical("/sys/dev/block/" + number, error);
  if (error) return base::FailErrno(error.value(), "find device " + number);
  return directory.filename().string();
}

base::Result<base::UniqueFd> Reopen(int device, int flags) {
  base::UniqueFd fd(
      open(("/proc/self/fd/" + std::to_string(device)).c_str(), flags | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open a device again");
  return fd;
}

base::Status FlushDevice(int device) {
  if (fsync(device) != 0) return base::FailErrno(errno, "flush a device");
  if (ioctl(device, BLKFLSBUF, 0) != 0) return base::FailErrno(errno, "BLKFLSBUF");
  return {};
}

}  // namespace gantry::block
