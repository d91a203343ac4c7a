// SPDX-License-Identifier: Apache-2.0
#include "host/services/device_operations.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "host/base/file.hpp"
#include "host/base/secret.hpp"
#include "host/block/check.hpp"
#include "host/block/content.hpp"
#include "host/block/device.hpp"
#include "host/block/format.hpp"
#include "host/block/grow.hpp"
#include "host/block/loop.hpp"
#include "host/block/luks.hpp"
#include "host/services/claimed_device.hpp"
#include "host/services/detached_mount.hpp"
#include "host/services/device_origin.hpp"

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;
using base::Status;
using base::UniqueFd;
using block::Content;
using Kind = Content::Kind;

constexpr const char* kDiskFile = "disk";
// Where a filesystem's size is rounded down to: nothing is to be gained below it.
constexpr uint64_t kGrainBytes = 64U << 10;
constexpr std::chrono::milliseconds kDetachMsMax{20000};

base::TimePoint ProgramDeadline() {
  return std::chrono::steady_clock::now() + kDeviceProgramMinutesMax;
}

template <class T>
base::Result<T> ToResult(Outcome<T> outcome) {
  if (outcome) return std::move(*outcome);
  return base::FailErrno(outcome.error().error_number, outcome.error().what);
}
Status ToResult(Outcome<void> outcome) {
  if (outcome) return {};
  return base::FailErrno(outcome.error().error_number, outcome.error().what);
}

// The passphrase: read once, and given to each program by a pipe of its own.
class Key {
 public:
  static base::Result<Key> Read(int from) {
    if (from < 0)
      return Fail(Code::kInvalidArgument,
                  "secrets.encryptionPassphrase: expected the passphrase of an encrypted volume");
    Key key;
    key.bytes_.Resize(kPassphraseBytesMax);
    size_t size = 0;
    while (size < key.bytes_.size()) {
      const ssize_t got = read(from, key.bytes_.data() + size, key.bytes_.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return base::FailErrno(errno, "read the passphrase");
      if (got == 0) break;
      size += static_cast<size_t>(got);
    }
    key.bytes_.Resize(size);
    return key;
  }
  // A pipe holds more than kPassphraseBytesMax (pipe(7)).
  base::Result<UniqueFd> Pipe() const {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return base::FailErrno(errno, "pipe for the passphrase");
    UniqueFd from(fds[0]);
    const UniqueFd to(fds[1]);
    if (write(to.get(), bytes_.view().data(), bytes_.size()) != static_cast<ssize_t>(bytes_.size()))
      return base::FailErrno(errno, "write the passphrase to a pipe");
    return from;
  }

 private:
  base::SecretBytes bytes_;
};

void Say(const ClaimedDevice& device, const Content& content, HelperReply* reply) {
  reply->device.name = device.name;
  reply->device.top = device.top;
  reply->device.is_open = device.is_open;
  reply->device.content = static_cast<int>(content.kind);
  reply->device.type = content.type;
  reply->device.uuid = content.uuid;
}

// From the LUKS device to its mapping.
base::Result<ClaimedDevice> OpenMapping(const DeviceRequest& request, ClaimedDevice device,
                                        const Key& key) {
  GANTRY_TRY_ASSIGN(const UniqueFd kept, LetGo(std::move(device)));
  GANTRY_TRY_ASSIGN(const UniqueFd pipe, key.Pipe());
  GANTRY_TRY(block::OpenLuks(kept.get(), MappingName(request.volume), request.readonly, pipe.get(),
                             ProgramDeadline()));
  return ClaimDevice(request);
}

struct Seen {
  ClaimedDevice device;
  Content content;
};

// The claimed device and what is on it; below its encryption, once there is one.
base::Result<Seen> Look(const HelperRequest& request) {
  Seen seen;
  GANTRY_TRY_ASSIGN(seen.device, ClaimDevice(request.device));
  GANTRY_TRY_ASSIGN(seen.content, block::Examine(seen.device.fd.get()));
  if (!request.device.encrypted || seen.device.is_open || seen.content.type != "crypto_LUKS")
    return seen;
  GANTRY_TRY_ASSIGN(const Key key, Key::Read(request.fd));
  GANTRY_TRY_ASSIGN(seen.device, OpenMapping(request.device, std::move(seen.device), key));
  GANTRY_TRY_ASSIGN(seen.content, block::Examine(seen.device.fd.get()));
  return seen;
}

Status ExamineDevice(const HelperRequest& request, HelperReply* reply) {
  GANTRY_TRY_ASSIGN(const Seen seen, Look(request));
  Say(seen.device, seen.content, reply);
  GANTRY_TRY_ASSIGN(reply->device.bytes, block::DeviceBytes(seen.device.fd.get()));
  return {};
}

Status RefuseUnlessFormattable(const ClaimedDevice& device, const Content& content, bool again) {
  if (content.kind == Kind::kBlank || (again && content.kind == Kind::kUnknown)) return {};
  return Fail(Code::kFailedPrecondition,
              device.top + " holds " + content.Describe() + ", so it is not formatted");
}

Status FormatDevice(const HelperRequest& request, HelperReply* reply) {
  const DeviceRequest& wish = request.device;
  ClaimedDevice device;
  GANTRY_TRY_ASSIGN(device, ClaimDevice(wish));
  Content content;
  GANTRY_TRY_ASSIGN(content, block::Examine(device.fd.get()));
  if (wish.encrypted) {
    GANTRY_TRY_ASSIGN(const Key key, Key::Read(request.fd));
    if (!device.is_open && content.type != "crypto_LUKS") {
      GANTRY_TRY(RefuseUnlessFormattable(device, content, wish.again));
      GANTRY_TRY_ASSIGN(const UniqueFd kept, LetGo(std::move(device)));
      GANTRY_TRY_ASSIGN(const UniqueFd pipe, key.Pipe());
      GANTRY_TRY(block::FormatLuks(kept.get(), wish.uuid, pipe.get(), ProgramDeadline()));
      GANTRY_TRY_ASSIGN(device, ClaimDevice(wish));
    } else if (!wish.again) {
      return RefuseUnlessFormattable(device, content, false);
    }
    if (!device.is_open) {
      GANTRY_TRY_ASSIGN(device, OpenMapping(wish, std::move(device), key));
    }
    GANTRY_TRY_ASSIGN(content, block::Examine(device.fd.get()));
    // Through a new key everything looks like data.
    if (content.kind == Kind::kFilesystem || content.kind == Kind::kOther)
      return RefuseUnlessFormattable(device, content, false);
  } else {
    GANTRY_TRY(RefuseUnlessFormattable(device, content, wish.again));
  }
  Say(device, content, reply);
  if (request.fs_type.empty()) return {};  // a raw device, which LUKS is all for
  GANTRY_TRY_ASSIGN(const UniqueFd kept, LetGo(std::move(device)));
  return block::Format(kept.get(), {request.fs_type, wish.uuid, wish.mkfs_options, wish.again},
                       ProgramDeadline());
}

Status GrowTo(int mount, int device, const std::string& fs_type) {
  const UniqueFd directory(openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::FailErrno(errno, "open the mounted filesystem");
  GANTRY_TRY_ASSIGN(const uint64_t device_bytes, block::DeviceBytes(device));
  GANTRY_TRY_ASSIGN(const uint64_t bytes, block::FilesystemBytes(directory.get(), device, fs_type));
  if (bytes <= device_bytes && device_bytes - bytes < kGrainBytes) return {};
  GANTRY_TRY(block::GrowFilesystem(directory.get(), device, fs_type));
  return {};
}

Status MountDevice(const HelperRequest& request, int root, HelperReply* reply) {
  GANTRY_TRY_ASSIGN(const UniqueFd target,
                    ToResult(OpenTarget(root, request.path, /*file=*/false)));
  GANTRY_TRY_ASSIGN(Seen seen, Look(request));
  Say(seen.device, seen.content, reply);
  if (seen.content.kind != Kind::kFilesystem || seen.content.type != request.fs_type)
    return Fail(Code::kFailedPrecondition, seen.device.top + " holds " + seen.content.Describe() +
                                               ": expected " + request.fs_type);
  const std::string top = seen.device.top;
  GANTRY_TRY_ASSIGN(const UniqueFd device, LetGo(std::move(seen.device)));
  GANTRY_TRY_ASSIGN(reply->device.bytes, block::DeviceBytes(device.get()));
  if (!request.device.readonly)
    GANTRY_TRY(block::Check(device.get(), request.fs_type, ProgramDeadline()));
  GANTRY_TRY_ASSIGN(
      const UniqueFd mount,
      ToResult(MakeDetached(request.fs_type, "/dev/" + top, request.options, request.attributes)));
  if (!request.device.readonly) {
    GANTRY_TRY(GrowTo(mount.get(), device.get(), request.fs_type));
    if (request.group) GANTRY_TRY(ToResult(GiveToGroup(mount.get(), *request.group)));
  }
  return ToResult(Attach(mount.get(), target.get(), request.path));
}

base::TimePoint DetachDeadline() { return std::chrono::steady_clock::now() + kDetachMsMax; }

// The read-only loop device above a device, where one is wanted.
base::Result<std::string> ReadOnlyAbove(const DeviceRequest& request, const std::string& top) {
  block::LoopOptions options;
  options.name = ReadOnlyLoopName(request.volume, request.tag);
  GANTRY_TRY_ASSIGN(const auto there, block::FindLoops(ReadOnlyLoops(options.name)));
  for (const auto& loop : there) {
    if (loop.backing_file == "/dev/" + top) return "loop" + std::to_string(loop.number);
    GANTRY_TRY(
        block::DetachLoop(loop, DetachDeadline()));  // of what the volume's device was before
  }
  const UniqueFd backing(open(("/dev/" + top).c_str(), O_RDONLY | O_CLOEXEC));
  if (!backing) return base::FailErrno(errno, "open " + top);
  options.readonly = true;
  GANTRY_TRY_ASSIGN(const block::Loop loop, block::AttachLoop(backing.get(), options));
  return "loop" + std::to_string(loop.number);
}

base::Result<UniqueFd> OpenNode(const std::string& name) {
  UniqueFd node(open(("/dev/" + name).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!node) return base::FailErrno(errno, "open /dev/" + name);
  struct stat status {};
  if (fstat(node.get(), &status) != 0) return base::FailErrno(errno, "stat /dev/" + name);
  std::error_code ignored;
  GANTRY_TRY_ASSIGN(const std::string number, base::ReadFile("/sys/block/" + name + "/dev", 64));
  const std::string expected =
      std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev)) + "\n";
  if (!S_ISBLK(status.st_mode) || number != expected)
    return Fail(Code::kFailedPrecondition, "/dev/" + name + " is not the device " + name);
  return node;
}

Status BindDevice(const HelperRequest& request, int root, HelperReply* reply) {
  GANTRY_TRY_ASSIGN(const ClaimedDevice device, LocateDevice(request.device));
  reply->device.name = device.name;
  reply->device.top = device.top;
  if (request.device.readonly) {
    GANTRY_TRY_ASSIGN(reply->device.top, ReadOnlyAbove(request.device, device.top));
  }
  GANTRY_TRY_ASSIGN(const UniqueFd node, OpenNode(reply->device.top));
  GANTRY_TRY_ASSIGN(const UniqueFd target, ToResult(OpenTarget(root, request.path, /*file=*/true)));
  const UniqueFd tree(
      open_tree(node.get(), "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return base::FailErrno(errno, "clone the mount of /dev/" + reply->device.top);
  return ToResult(Attach(tree.get(), target.get(), request.path));
}

Status LocateForReply(const HelperRequest& request, HelperReply* reply) {
  GANTRY_TRY_ASSIGN(const ClaimedDevice device, LocateDevice(request.device));
  reply->device.name = device.name;
  reply->device.top = device.top;
  reply->device.is_open = device.is_open;
  if (request.device.readonly && !request.device.tag.empty()) {
    const std::string name = ReadOnlyLoopName(request.device.volume, request.device.tag);
    GANTRY_TRY_ASSIGN(const auto loops, block::FindLoops(ReadOnlyLoops(name)));
    for (const auto& loop : loops)
      if (loop.backing_file == "/dev/" + device.top)
        reply->device.top = "loop" + std::to_string(loop.number);
  }
  const UniqueFd fd(open(("/dev/" + device.top).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open " + device.top);
  GANTRY_TRY_ASSIGN(reply->device.bytes, block::DeviceBytes(fd.get()));
  return {};
}

// Asked for its attributes, the data path asks the storage for the disk's size (disk_volume.hpp).
Status RefreshDisk(const HelperRequest& request) {
  const UniqueFd directory = base::OpenBeneath(request.fd, request.device.volume);
  if (!directory) return {};  // its mount went with another mount namespace
  struct stat status {};
  if (fstatat(directory.get(), kDiskFile, &status, 0) == 0 || errno == ENOENT) return {};
  return base::FailErrno(errno, "ask for the size of the disk");
}

Status RefreshReadOnly(const std::string& name) {
  GANTRY_TRY_ASSIGN(const auto loops, block::FindLoops(ReadOnlyLoops(name)));
  for (const auto& loop : loops) GANTRY_TRY(block::RefreshLoop(loop));
  return {};
}

Status GrowStorage(const HelperRequest& request, const ClaimedDevice& device) {
  constexpr std::string_view kLoop = "loop";
  if (request.device.origin == kDiskOrigin) GANTRY_TRY(RefreshDisk(request));
  if (device.name.starts_with(kLoop))
    return block::RefreshLoop({std::stoi(device.name.substr(kLoop.size())), ""});
  if (request.device.multipath) return block::GrowMultipath(device.name, ProgramDeadline());
  return {};
}

base::Result<UniqueFd> OpenDevice(const std::string& name) {
  UniqueFd fd(open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open " + name);
  return fd;
}

Status GrowDevice(const HelperRequest& request, int root, HelperReply* reply) {
  GANTRY_TRY_ASSIGN(const ClaimedDevice device, LocateDevice(request.device));
  reply->device.name = device.name;
  reply->device.top = device.top;
  GANTRY_TRY(GrowStorage(request, device));
  if (device.is_open)
    GANTRY_TRY(block::GrowLuks(MappingName(request.device.volume), ProgramDeadline()));
  GANTRY_TRY(RefreshReadOnly(ReadOnlyLoopName(request.device.volume, "")));
  // The storage's: what LUKS takes of it for its header is not missing.
  GANTRY_TRY_ASSIGN(const UniqueFd storage, OpenDevice(device.name));
  GANTRY_TRY_ASSIGN(reply->device.bytes, block::DeviceBytes(storage.get()));
  if (reply->device.bytes < request.device.bytes_min)
    return Fail(Code::kFailedPrecondition,
                device.name + " has " + std::to_string(reply->device.bytes) +
                    " bytes: expected at least " + std::to_string(request.device.bytes_min));
  if (request.fs_type.empty()) return {};
  GANTRY_TRY_ASSIGN(const UniqueFd top, OpenDevice(device.top));
  GANTRY_TRY_ASSIGN(const UniqueFd mount, ToResult(OpenPlace(root, request.path, S_IFDIR)));
  return GrowTo(mount.get(), top.get(), request.fs_type);
}

Status DetachAll(const block::LoopSearch& search) {
  GANTRY_TRY_ASSIGN(const auto loops, block::FindLoops(search));
  for (const auto& loop : loops) GANTRY_TRY(block::DetachLoop(loop, DetachDeadline()));
  return {};
}

// The device that was published somewhere, if it was made for that.
Status DetachReadOnly(const std::string& device) {
  GANTRY_TRY_ASSIGN(const auto loops, block::FindLoops(ReadOnlyLoops(kReadOnlyLoopPrefix)));
  for (const auto& loop : loops)
    if (loop.Path() == "/dev/" + device) return block::DetachLoop(loop, DetachDeadline());
  return {};
}

Status UnmountDisk(const HelperRequest& request) {
  const std::string place =
      "/proc/self/fd/" + std::to_string(request.fd) + "/" + request.device.volume;
  // Its files belong to the loop device alone, which has gone: nothing can be lost.
  if (umount2(place.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
      errno != ENOENT)
    return base::FailErrno(errno, "unmount a disk's filesystem");
  if (unlinkat(request.fd, request.device.volume.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return base::FailErrno(errno, "remove the place of a disk's filesystem");
  return {};
}

// MNT_FORCE aborts the FUSE connection before it looks whether the mount is busy, which it is.
Status AbortDisk(const HelperRequest& request) {
  const std::string place =
      "/proc/self/fd/" + std::to_string(request.fd) + "/" + request.device.volume;
  if (umount2(place.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW) != 0 && errno != EBUSY &&
      errno != EINVAL && errno != ENOENT)
    return base::FailErrno(errno, "abort a disk's filesystem");
  return {};
}

// A format that this node began and gives up: the device was blank before, and holds nothing that is
// whole, so it is made blank again. Else no node could ever use it. Where that cannot be done now, it
// stays as it is, and is refused as such.
void GiveUpFormat(const DeviceRequest& wish) {
  const auto device = ClaimDevice(wish);
  if (!device) return;
  const auto content = block::Examine(device->fd.get());
  if (content && content->kind == Kind::kUnknown) (void)block::MakeBlank(device->fd.get());
}

Status ReleaseDevice(const HelperRequest& request) {
  const DeviceRequest& wish = request.device;
  if (wish.again && !wish.encrypted) GiveUpFormat(wish);
  if (!wish.tag.empty()) return DetachReadOnly(wish.tag);
  GANTRY_TRY(DetachAll(ReadOnlyLoops(ReadOnlyLoopName(wish.volume, ""))));
  if (wish.encrypted) GANTRY_TRY(block::CloseLuks(MappingName(wish.volume), ProgramDeadline()));
  if (wish.origin != kDiskOrigin) return {};
  GANTRY_TRY(DetachAll(DiskLoops(wish.volume)));
  return UnmountDisk(request);
}

Status MountDisk(const HelperRequest& request, HelperReply* reply) {
  GANTRY_TRY_ASSIGN(const UniqueFd target, ToResult(OpenTarget(request.fd, request.device.volume,
                                                               /*file=*/false)));
  GANTRY_TRY_ASSIGN(DetachedFuse fuse, ToResult(MakeDetachedFuse(request.source, request.options,
                                                                 request.attributes)));
  GANTRY_TRY(ToResult(Attach(fuse.mount.get(), target.get(), request.device.volume)));
  reply->fd = std::move(fuse.device);
  return {};
}

// The smallest read that the disk takes, since FUSE has no attribute for it. A filesystem that was
// made with smaller blocks, by another kind of client, could not be mounted on larger ones.
base::Result<uint32_t> LogicalBlockBytes(int file) {
  constexpr uint32_t kSmallest = 512;
  constexpr uint32_t kLargest = 4096;
  std::vector<char> block(kLargest);
  for (uint32_t bytes = kSmallest; bytes <= kLargest; bytes *= 2) {
    const ssize_t got = pread(file, block.data(), bytes, 0);
    if (got == static_cast<ssize_t>(bytes)) return bytes;
    if (got < 0 && errno != EINVAL) return base::FailErrno(errno, "read the disk's first block");
  }
  return Fail(Code::kUnavailable, "the disk's first block cannot be read");
}

Status AttachDisk(const HelperRequest& request, HelperReply* reply) {
  const UniqueFd directory = base::OpenBeneath(request.fd, request.device.volume);
  if (!directory) return base::FailErrno(errno, "open a disk's filesystem");
  const UniqueFd file(
      openat(directory.get(), kDiskFile,
             (request.device.readonly ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return base::FailErrno(errno, "open the file of a disk");
  block::LoopOptions options;
  options.name = DiskLoopName(request.device.volume);
  options.readonly = request.device.readonly;
  GANTRY_TRY_ASSIGN(options.block_bytes, LogicalBlockBytes(file.get()));
  GANTRY_TRY_ASSIGN(const auto there, block::FindLoops(DiskLoops(request.device.volume)));
  if (!there.empty())
    return Fail(Code::kAlreadyExists,
                there.front().Path() + " is the volume's loop device already");
  GANTRY_TRY_ASSIGN(const block::Loop loop, block::AttachLoop(file.get(), options));
  reply->device.name = reply->device.top = "loop" + std::to_string(loop.number);
  return {};
}

Status Dispatch(const HelperRequest& request, int root, HelperReply* reply) {
  switch (request.operation) {
    case HelperOperation::kExamineDevice:
      return ExamineDevice(request, reply);
    case HelperOperation::kFormatDevice:
      return FormatDevice(request, reply);
    case HelperOperation::kMountDevice:
      return MountDevice(request, root, reply);
    case HelperOperation::kBindDevice:
      return BindDevice(request, root, reply);
    case HelperOperation::kGrowDevice:
      return GrowDevice(request, root, reply);
    case HelperOperation::kReleaseDevice:
      return ReleaseDevice(request);
    case HelperOperation::kLocateDevice:
      return LocateForReply(request, reply);
    case HelperOperation::kMountDisk:
      return MountDisk(request, reply);
    case HelperOperation::kAttachDisk:
      return AttachDisk(request, reply);
    case HelperOperation::kAbortDisk:
      return AbortDisk(request);
    default:
      return Fail(Code::kInternal, OperationName(request.operation));
  }
}

}  // namespace

HelperReply PerformOnDevice(const HelperRequest& request, int root) {
  HelperReply reply;
  if (const auto done = Dispatch(request, root, &reply); !done) {
    reply.code = static_cast<int>(done.error().code);
    reply.error_number = EIO;
    reply.message = done.error().message;
  }
  return reply;
}

}  // namespace gantry::services
