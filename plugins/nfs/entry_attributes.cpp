// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/entry_attributes.hpp"

#include "plugins/nfs/node_id.hpp"

namespace gantry::nfs {
namespace {

using plugin::AttributeChange;
using plugin::EntryAttributes;
using plugin::EntryKind;

constexpr int64_t kNsPerS = 1'000'000'000;

EntryKind KindOf(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return EntryKind::kFile;
    case FileType::kDirectory:
      return EntryKind::kDirectory;
    case FileType::kSymbolicLink:
      return EntryKind::kSymlink;
    case FileType::kFifo:
      return EntryKind::kFifo;
    case FileType::kSocket:
      return EntryKind::kSocket;
    case FileType::kBlock:
      return EntryKind::kBlockDevice;
    case FileType::kCharacter:
      return EntryKind::kCharacterDevice;
  }
  return EntryKind::kFile;
}

TimeChange ToTime(std::optional<int64_t> ns) {
  if (!ns) return {};
  return {TimeChange::How::kClientTime,
          {static_cast<uint32_t>(*ns / kNsPerS), static_cast<uint32_t>(*ns % kNsPerS)}};
}

}  // namespace

FileType TypeOf(EntryKind kind) {
  switch (kind) {
    case EntryKind::kFifo:
      return FileType::kFifo;
    case EntryKind::kSocket:
      return FileType::kSocket;
    case EntryKind::kBlockDevice:
      return FileType::kBlock;
    default:
      return FileType::kCharacter;
  }
}

EntryAttributes AttributesOf(const Attributes& is) {
  EntryAttributes attributes;
  attributes.kind = KindOf(is.type);
  attributes.mode = is.mode;
  attributes.links = is.links;
  attributes.uid = is.uid;
  attributes.gid = is.gid;
  attributes.size = is.size;
  attributes.used = is.used;
  attributes.device_major = is.device_major;
  attributes.device_minor = is.device_minor;
  attributes.fsid = is.fsid;
  attributes.fileid = is.fileid;
  attributes.atime_ns = NsOf(is.atime);
  attributes.mtime_ns = NsOf(is.mtime);
  attributes.ctime_ns = NsOf(is.ctime);
  return attributes;
}

SetAttributes ToSetAttributes(const AttributeChange& change) {
  SetAttributes set;
  set.mode = change.mode;
  set.uid = change.uid;
  set.gid = change.gid;
  set.size = change.size;
  set.atime = ToTime(change.atime_ns);
  set.mtime = ToTime(change.mtime_ns);
  return set;
}

}  // namespace gantry::nfs
