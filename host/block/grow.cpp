// SPDX-License-Identifier: Apache-2.0
#include "host/block/grow.hpp"

#include <linux/btrfs.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "host/block/device.hpp"
#include "host/block/program.hpp"

namespace gantry::block {
namespace {

using base::Code;
using base::Fail;

// Of fs/ext4/ext4.h and fs/xfs/libxfs/xfs_fs.h; no header of this system has them.
constexpr unsigned long kExt4ResizeFs = _IOW('f', 16, __u64);
struct XfsGeometry {  // xfs_fsop_geom_v1
  __u32 blocksize, rtextsize, agblocks, agcount, logblocks, sectsize, inodesize, imaxpct;
  __u64 datablocks, rtblocks, rtextents, logstart;
  unsigned char uuid[16];
  __u32 sunit, swidth;
  __s32 version;
  __u32 flags, logsectsize, rtsectsize, dirblocksize;
};
static_assert(sizeof(XfsGeometry) == 112);
constexpr unsigned long kXfsGeometry = _IOR('X', 100, XfsGeometry);
struct XfsGrowData {
  __u64 newblocks;
  __u32 imaxpct;
};
constexpr unsigned long kXfsGrowData = _IOW('X', 110, XfsGrowData);

constexpr off_t kExt4SuperblockOffset = 1024;
constexpr uint16_t kExt4Magic = 0xEF53;
constexpr uint32_t kExt464Bit = 0x80;  // EXT4_FEATURE_INCOMPAT_64BIT

struct Size {
  uint64_t blocks = 0;
  uint64_t block_bytes = 0;
};

template <class Number>
Number At(const std::array<char, 1024>& bytes, size_t offset) {
  Number number;  // ext4 is little-endian, as this machine is
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

base::Result<Size> Ext4Size(int device) {
  std::array<char, 1024> superblock{};
  if (pread(device, superblock.data(), superblock.size(), kExt4SuperblockOffset) !=
      static_cast<ssize_t>(superblock.size()))
    return base::FailErrno(errno, "read the ext4 superblock");
  if (At<uint16_t>(superblock, 0x38) != kExt4Magic)
    return Fail(Code::kFailedPrecondition, "the device has no ext4 superblock");
  Size size;
  size.blocks = At<uint32_t>(superblock, 0x4);
  if ((At<uint32_t>(superblock, 0x60) & kExt464Bit) != 0)
    size.blocks |= static_cast<uint64_t>(At<uint32_t>(superblock, 0x150)) << 32;
  size.block_bytes = 1024ULL << At<uint32_t>(superblock, 0x18);
  return size;
}

base::Result<XfsGeometry> GeometryOf(int mount) {
  XfsGeometry geometry{};
  if (ioctl(mount, kXfsGeometry, &geometry) != 0)
    return base::FailErrno(errno, "XFS_IOC_FSGEOMETRY");
  return geometry;
}

base::Result<uint64_t> BtrfsBytes(int mount) {
  btrfs_ioctl_fs_info_args info{};
  if (ioctl(mount, BTRFS_IOC_FS_INFO, &info) != 0)
    return base::FailErrno(errno, "BTRFS_IOC_FS_INFO");
  if (info.num_devices != 1)
    return Fail(Code::kFailedPrecondition,
                "btrfs with " + std::to_string(info.num_devices) + " devices: expected one");
  btrfs_ioctl_dev_info_args device{};
  device.devid = info.max_id;
  if (ioctl(mount, BTRFS_IOC_DEV_INFO, &device) != 0)
    return base::FailErrno(errno, "BTRFS_IOC_DEV_INFO");
  return device.total_bytes;
}

base::Status Resize(int mount, int device, const std::string& fs_type, uint64_t device_bytes) {
  if (fs_type == "ext4") {
    GANTRY_TRY_ASSIGN(const Size size, Ext4Size(device));
    __u64 blocks = device_bytes / size.block_bytes;
    if (ioctl(mount, kExt4ResizeFs, &blocks) == 0) return {};
    return base::FailErrno(errno, "EXT4_IOC_RESIZE_FS to " + std::to_string(blocks) + " blocks" +
                                      (errno == EPERM ? " (CAP_SYS_RESOURCE is needed)" : ""));
  }
  if (fs_type == "xfs") {
    GANTRY_TRY_ASSIGN(const XfsGeometry geometry, GeometryOf(mount));
    XfsGrowData grow{device_bytes / geometry.blocksize, geometry.imaxpct};
    if (grow.newblocks == geometry.datablocks) return {};
    if (ioctl(mount, kXfsGrowData, &grow) != 0)
      return base::FailErrno(
          errno, "XFS_IOC_FSGROWFSDATA to " + std::to_string(grow.newblocks) + " blocks");
    return {};
  }
  btrfs_ioctl_vol_args arguments{};
  std::memcpy(arguments.name, "max", sizeof "max");
  if (ioctl(mount, BTRFS_IOC_RESIZE, &arguments) != 0)
    return base::FailErrno(errno, "BTRFS_IOC_RESIZE");
  return {};
}

}  // namespace

base::Result<uint64_t> FilesystemBytes(int mount, int device, const std::string& fs_type) {
  if (fs_type == "ext4") {
    GANTRY_TRY_ASSIGN(const Size size, Ext4Size(device));
    return size.blocks * size.block_bytes;
  }
  if (fs_type == "xfs") {
    GANTRY_TRY_ASSIGN(const XfsGeometry geometry, GeometryOf(mount));
    return geometry.datablocks * geometry.blocksize;
  }
  if (fs_type == "btrfs") return BtrfsBytes(mount);
  return Fail(Code::kInvalidArgument, "filesystem type \"" + fs_type + "\" cannot be measured");
}

base::Result<uint64_t> GrowFilesystem(int mount, int device, const std::string& fs_type) {
  GANTRY_TRY_ASSIGN(const uint64_t device_bytes, DeviceBytes(device));
  GANTRY_TRY_ASSIGN(const uint64_t before, FilesystemBytes(mount, device, fs_type));
  const auto complain = [&](uint64_t bytes) {
    return Fail(Code::kFailedPrecondition, "the " + fs_type + " is of " + std::to_string(bytes) +
                                               " bytes on a device of " +
                                               std::to_string(device_bytes));
  };
  if (before > device_bytes) return complain(before);
  GANTRY_TRY(Resize(mount, device, fs_type, device_bytes));
  GANTRY_TRY_ASSIGN(const uint64_t after, FilesystemBytes(mount, device, fs_type));
  if (after < before || after > device_bytes || device_bytes - after > kFilesystemSlackBytesMax)
    return complain(after);
  return after;
}

base::Status GrowMultipath(const std::string& map, base::TimePoint deadline) {
  // multipathd says "ok" or "fail" and exits with 0 in either case in older versions.
  GANTRY_TRY_ASSIGN(const ProgramEnd end,
                    RunProgram({"multipathd", "resize", "map", map}, deadline));
  if (end.exit_code == 0 && end.output.find("fail") == std::string::npos) return {};
  return Fail(Code::kFailedPrecondition, "multipathd resize map " + map + " exited with " +
                                             std::to_string(end.exit_code) + ": " + end.output);
}

}  // namespace gantry::block
