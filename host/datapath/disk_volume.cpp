// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/disk_volume.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

namespace gantry::datapath {
namespace {

constexpr std::string_view kRootHandle = "root";
constexpr std::string_view kDiskHandle = "disk";
constexpr uint64_t kRootFileid = 1;
constexpr uint64_t kDiskFileid = 2;
constexpr uint64_t kCookieDot = 1;
constexpr uint64_t kCookieDotDot = 2;
constexpr uint64_t kCookieDisk = 3;

std::string_view View(gantry_bytes bytes) {
  return {static_cast<const char*>(bytes.ptr), bytes.len};
}
gantry_bytes ToBytes(std::string_view text) { return {text.data(), text.size()}; }

bool IsRoot(gantry_bytes node) { return View(node) == kRootHandle; }

// The flags of the two tables are told apart by name, not by value.
uint32_t Replayed(const gantry_fs_context& context) {
  return (context.flags & GANTRY_FS_REPLAYED) != 0 ? uint32_t{GANTRY_DISK_REPLAYED} : 0;
}

bool IsDisk(const gantry_disk_facts& facts) {
  return facts.block_bytes >= kDiskBlockBytesMin && facts.block_bytes <= kDiskBlockBytesMax &&
         std::has_single_bit(facts.block_bytes) && facts.size_bytes > 0 &&
         facts.size_bytes % facts.block_bytes == 0 &&
         facts.size_bytes <= static_cast<uint64_t>(INT64_MAX);
}

std::string Describe(const gantry_disk_facts& facts) {
  return std::to_string(facts.size_bytes) + " bytes in blocks of " +
         std::to_string(facts.block_bytes);
}

}  // namespace

// The C functions behind the table.
struct DiskVolumeTable {
  template <auto Method, class Request>
  static void Call(gantry_instance* instance, gantry_op op, const Request* request) {
    (reinterpret_cast<DiskVolume*>(instance)->*Method)(op, *request);
  }
  template <auto Method>
  static void Call(gantry_instance* instance, gantry_op op) {
    (reinterpret_cast<DiskVolume*>(instance)->*Method)(op);
  }

  // Names are neither made nor removed: those slots stay NULL.
  static gantry_datapath Make() {
    gantry_datapath t{};
    t.size = sizeof t;
    t.open = &Call<&DiskVolume::Open, gantry_datapath_open>;
    t.close = &Call<&DiskVolume::Close>;
    t.interrupt = &Call<&DiskVolume::Interrupt>;
    t.lookup = &Call<&DiskVolume::Lookup, gantry_fs_name>;
    t.getattr = &Call<&DiskVolume::Getattr, gantry_fs_node>;
    t.setattr = &Call<&DiskVolume::Setattr, gantry_fs_setattr>;
    t.read = &Call<&DiskVolume::Read, gantry_fs_read>;
    t.write = &Call<&DiskVolume::Write, gantry_fs_write>;
    t.commit = &Call<&DiskVolume::Commit, gantry_fs_commit>;
    t.readdir = &Call<&DiskVolume::Readdir, gantry_fs_readdir>;
    t.statfs = &Call<&DiskVolume::Statfs, gantry_fs_node>;
    t.allocate = &Call<&DiskVolume::Allocate, gantry_fs_allocate>;
    return t;
  }
};

DiskVolume::DiskVolume(const gantry_datapath_host& ends, const gantry_disk* disk,
                       gantry_instance* plugin, Expected expected, Log log)
    : ends_(ends), plugin_(plugin), expected_(std::move(expected)), log_(std::move(log)) {
  std::memcpy(&disk_, disk, std::min<size_t>(disk->size, sizeof disk_));
}

const gantry_datapath* DiskVolume::Table() {
  static const gantry_datapath kTable = DiskVolumeTable::Make();
  return &kTable;
}

void DiskVolume::Open(gantry_op op, const gantry_datapath_open& request) {
  if (disk_.open == nullptr) return Fail(op, EOPNOTSUPP);
  auto* open = open_request_.Make<gantry_disk_open>();
  open->readonly = request.readonly;
  open->parameters = request.parameters;
  open->volume_key = request.volume_key;
  open->identity = {expected_.identity.data(), expected_.identity.size()};
  open->size_bytes = expected_.size_bytes;
  opening_ = op;
  disk_.open(plugin_, op, open);
}

void DiskVolume::OpenedWith(gantry_op op, const gantry_disk_facts& facts) {
  if (!IsDisk(facts)) {
    log_(wire::LogLevel::kError, "the plugin opened a disk of " + Describe(facts) +
                                     ", expected whole blocks of 512 to 4096 bytes");
    return Fail(op, EIO);
  }
  if (facts.size_bytes < expected_.size_bytes) {
    log_(wire::LogLevel::kError, "the disk has " + Describe(facts) + ", expected at least " +
                                     std::to_string(expected_.size_bytes) + " bytes");
    return Fail(op, ENODEV);
  }
  facts_ = facts;
  log_(wire::LogLevel::kInfo, "a disk of " + Describe(facts));
  const gantry_fs_attributes attributes = RootAttributes();
  ends_.done_node(ends_.ctx, op, ToBytes(kRootHandle), &attributes);
}

void DiskVolume::Close(gantry_op op) {
  if (disk_.close == nullptr) return ends_.done(ends_.ctx, op);
  disk_.close(plugin_, op);
}

void DiskVolume::Interrupt(gantry_op op) {
  if (std::erase(answered_next_, op) + std::erase(asked_next_, op) > 0) return Fail(op, EINTR);
  if (disk_.interrupt != nullptr) disk_.interrupt(plugin_, op);
}

bool DiskVolume::DoneDisk(gantry_op op, const gantry_disk_facts& facts) {
  if (op != 0 && op == opening_) {
    opening_ = 0;
    OpenedWith(op, facts);
    return true;
  }
  if (op == 0 || op != refreshing_) return false;
  if (!IsDisk(facts) || facts.block_bytes != facts_.block_bytes ||
      facts.size_bytes < facts_.size_bytes) {
    log_(wire::LogLevel::kError,
         "the disk now has " + Describe(facts) + " and is served on with " + Describe(facts_));
  } else {
    if (facts.size_bytes > facts_.size_bytes)
      log_(wire::LogLevel::kInfo, "the disk has grown to " + Describe(facts));
    facts_ = facts;
  }
  Refreshed(0);
  return true;
}

bool DiskVolume::DoneError(gantry_op op, int32_t error_number) {
  if (op != 0 && op == opening_) opening_ = 0;
  if (op == 0 || op != refreshing_) return false;
  Refreshed(error_number);
  return true;
}

void DiskVolume::Refresh() {
  answered_next_ = std::exchange(asked_next_, {});
  refreshing_ = MakeId(++refreshes_, kRefreshIndex);
  disk_.refresh(plugin_, refreshing_);
}

void DiskVolume::Refreshed(int error_number) {
  refreshing_ = 0;
  const gantry_fs_attributes attributes = DiskAttributes();
  for (const gantry_op op : std::exchange(answered_next_, {})) {
    if (error_number != 0) {
      Fail(op, error_number);
    } else {
      ends_.done_attributes(ends_.ctx, op, &attributes);
    }
  }
}

void DiskVolume::Pump() {
  if (refreshing_ == 0 && !asked_next_.empty()) Refresh();
}

gantry_fs_attributes DiskVolume::RootAttributes() const {
  gantry_fs_attributes a{};
  a.fileid = kRootFileid;
  a.mode = S_IFDIR | 0500;
  a.nlink = 2;
  return a;
}

gantry_fs_attributes DiskVolume::DiskAttributes() const {
  gantry_fs_attributes a{};
  a.fileid = kDiskFileid;
  a.mode = S_IFREG | kDiskMode;
  a.nlink = 1;
  a.size_bytes = facts_.size_bytes;
  a.used_bytes = facts_.size_bytes;
  return a;
}

void DiskVolume::Lookup(gantry_op op, const gantry_fs_name& request) {
  if (!IsRoot(request.directory)) return Fail(op, ENOTDIR);
  if (std::string_view(request.name.ptr, request.name.len) != kDiskFile) return Fail(op, ENOENT);
  const gantry_fs_attributes attributes = DiskAttributes();
  ends_.done_node(ends_.ctx, op, ToBytes(kDiskHandle), &attributes);
}

void DiskVolume::Getattr(gantry_op op, const gantry_fs_node& request) {
  if (IsRoot(request.node) || disk_.refresh == nullptr) {
    const gantry_fs_attributes attributes =
        IsRoot(request.node) ? RootAttributes() : DiskAttributes();
    return ends_.done_attributes(ends_.ctx, op, &attributes);
  }
  asked_next_.push_back(op);
  if (refreshing_ == 0) Refresh();
}

void DiskVolume::Setattr(gantry_op op, const gantry_fs_setattr&) { Fail(op, EPERM); }

bool DiskVolume::IsWhole(uint64_t offset, uint64_t length) const {
  return ((offset | length) & (facts_.block_bytes - 1)) == 0;
}
bool DiskVolume::IsWithin(uint64_t offset, uint64_t length) const {
  return offset <= facts_.size_bytes && length <= facts_.size_bytes - offset;
}

void DiskVolume::Read(gantry_op op, const gantry_fs_read& request) {
  if (IsRoot(request.node)) return Fail(op, EISDIR);
  if (disk_.read == nullptr) return Fail(op, EOPNOTSUPP);
  if (!IsWhole(request.offset, request.length)) return Fail(op, EINVAL);
  const uint64_t left = facts_.size_bytes - std::min(request.offset, facts_.size_bytes);
  const auto length = static_cast<uint32_t>(std::min<uint64_t>(request.length, left));
  if (length == 0) return ends_.done_data(ends_.ctx, op, 0);
  auto* read = Make<gantry_disk_read>(op);
  read->flags = Replayed(request.context);
  read->offset = request.offset;
  read->buffer = request.buffer;
  read->length = length;
  disk_.read(plugin_, op, read);
}

void DiskVolume::Write(gantry_op op, const gantry_fs_write& request) {
  if (IsRoot(request.node)) return Fail(op, EISDIR);
  if (disk_.write == nullptr) return Fail(op, EOPNOTSUPP);
  if (!IsWhole(request.offset, request.data.len)) return Fail(op, EINVAL);
  if (!IsWithin(request.offset, request.data.len)) return Fail(op, ENOSPC);
  if (request.data.len == 0) return ends_.done_written(ends_.ctx, op, 0);
  auto* write = Make<gantry_disk_write>(op);
  write->flags = Replayed(request.context);
  if ((request.flags & GANTRY_FS_WRITE_STABLE) != 0) write->flags |= GANTRY_DISK_FORCE_UNIT_ACCESS;
  write->offset = request.offset;
  write->data = request.data;
  disk_.write(plugin_, op, write);
}

void DiskVolume::Commit(gantry_op op, const gantry_fs_commit& request) {
  if (IsRoot(request.node)) return ends_.done(ends_.ctx, op);
  if (disk_.flush == nullptr) return Fail(op, EOPNOTSUPP);
  disk_.flush(plugin_, op);
}

void DiskVolume::Allocate(gantry_op op, const gantry_fs_allocate& request) {
  if (IsRoot(request.node)) return Fail(op, EISDIR);
  const bool punch = request.mode == GANTRY_FS_ALLOCATE_PUNCH;
  const bool discards = punch && disk_.discard != nullptr;
  if ((!punch && request.mode != GANTRY_FS_ALLOCATE_ZERO) || (!discards && disk_.zero == nullptr))
    return Fail(op, EOPNOTSUPP);
  if (request.length == 0 || !IsWhole(request.offset, request.length)) return Fail(op, EINVAL);
  if (!IsWithin(request.offset, request.length)) return Fail(op, ENOSPC);
  auto* range = Make<gantry_disk_range>(op);
  range->flags = Replayed(request.context);
  range->offset = request.offset;
  range->length = request.length;
  if (discards) return disk_.discard(plugin_, op, range);
  if (punch) range->flags |= GANTRY_DISK_MAY_UNMAP;
  disk_.zero(plugin_, op, range);
}

void DiskVolume::Readdir(gantry_op op, const gantry_fs_readdir& request) {
  if (!IsRoot(request.node)) return Fail(op, ENOTDIR);
  struct Name {
    std::string_view name;
    uint64_t fileid;
    uint64_t cookie;
    uint32_t type;
  };
  constexpr Name kNames[] = {{".", kRootFileid, kCookieDot, S_IFDIR},
                             {"..", kRootFileid, kCookieDotDot, S_IFDIR},
                             {kDiskFile, kDiskFileid, kCookieDisk, S_IFREG}};
  for (const Name& one : kNames) {
    if (one.cookie <= request.cookie) continue;
    gantry_fs_entry entry{};
    entry.name = {one.name.data(), one.name.size()};
    entry.fileid = one.fileid;
    entry.cookie = one.cookie;
    entry.type = one.type;
    if (ends_.entry(ends_.ctx, op, &entry) == 0) break;
  }
  ends_.done(ends_.ctx, op);
}

void DiskVolume::Statfs(gantry_op op, const gantry_fs_node&) {
  gantry_fs_statfs s{};
  s.total_bytes = facts_.size_bytes;
  s.total_files = 2;
  s.name_bytes_max = GANTRY_FS_NAME_BYTES_MAX;
  // A loop device takes it for the granularity of discards.
  s.block_bytes = std::max(facts_.block_bytes, facts_.discard_granularity_bytes);
  ends_.done_statfs(ends_.ctx, op, &s);
}

}  // namespace gantry::datapath
