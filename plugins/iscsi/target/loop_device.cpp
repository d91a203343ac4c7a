// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/loop_device.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "plugins/iscsi/target/files.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr int kTriesMax = 16;
constexpr size_t kPathBytesMax = 4096;

Result<plugin::UniqueFd> OpenLoop(const std::string& device) {
  return OpenFile(AT_FDCWD, device, O_RDWR);
}

}  // namespace

std::optional<std::string> FindLoop(const std::string& file) {
  const auto block = OpenFile(AT_FDCWD, "/sys/block", O_RDONLY | O_DIRECTORY);
  if (!block) return std::nullopt;
  const auto names = ListNames(block->get());
  if (!names) return std::nullopt;
  for (const auto& name : *names) {
    if (!name.starts_with("loop")) continue;
    auto backing = ReadFile(AT_FDCWD, "/sys/block/" + name + "/loop/backing_file", kPathBytesMax);
    if (backing && *backing == file + "\n") return "/dev/" + name;
  }
  return std::nullopt;
}

Result<std::string> AttachLoop(const std::string& file) {
  if (auto there = FindLoop(file)) return std::move(*there);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto control, OpenFile(AT_FDCWD, "/dev/loop-control", O_RDWR));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto backing, OpenFile(AT_FDCWD, file, O_RDWR | O_DIRECT));
  for (int i = 0; i < kTriesMax; ++i) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return tl::unexpected(FromErrno(errno, "find a free loop device"));
    const std::string device = "/dev/loop" + std::to_string(number);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto loop, OpenLoop(device));
    loop_config setup{};
    setup.fd = static_cast<uint32_t>(backing.get());
    setup.block_size = kBlockBytes;
    setup.info.lo_flags = LO_FLAGS_DIRECT_IO;
    if (ioctl(loop.get(), LOOP_CONFIGURE, &setup) == 0) return device;
    // Somebody else was faster.
    if (errno != EBUSY) return tl::unexpected(FromErrno(errno, "attach " + file + " to " + device));
  }
  return Fail(code::kUnavailable,
              "attach " + file + ": every free loop device was taken meanwhile");
}

plugin::Status ResizeLoop(const std::string& device) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto loop, OpenLoop(device));
  if (ioctl(loop.get(), LOOP_SET_CAPACITY, 0) != 0)
    return tl::unexpected(FromErrno(errno, "resize " + device));
  return {};
}

plugin::Status DetachLoop(const std::string& device) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto loop, OpenLoop(device));
  if (ioctl(loop.get(), LOOP_CLR_FD, 0) != 0 && errno != ENXIO)
    return tl::unexpected(FromErrno(errno, "detach " + device));
  return {};
}

}  // namespace gantry::iscsi::target
