// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/nfs_storage.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <type_traits>
#include <utility>

#include "plugins/nfs/node_id.hpp"

namespace gantry::nfs {
namespace {

using plugin::FailStore;
using plugin::Listed;
using plugin::Node;
using plugin::NodeId;
using plugin::NodeType;
using plugin::Ownership;
using plugin::StoreError;
using plugin::StoreFault;
using plugin::StoreResult;
using plugin::StoreStatus;
namespace code = plugin::code;

constexpr uint32_t kFileMode = 0600;
constexpr uint32_t kDirReplyBytes = 32 * 1024;
constexpr uint32_t kShortReplyBytes = 4 * 1024;  // For a look whether anything is there.
constexpr size_t kShortNames = 8;
constexpr int kTriesMax = 4;  // Of one call within its time.

NodeType TypeOf(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return NodeType::kFile;
    case FileType::kDirectory:
      return NodeType::kDirectory;
    case FileType::kSymbolicLink:
      return NodeType::kSymlink;
    default:
      return NodeType::kOther;
  }
}

Node NodeOf(const FileHandle& handle, const Attributes& attributes) {
  return {IdOf(handle), TypeOf(attributes.type), attributes.fileid, attributes.fsid,
          NsOf(attributes.mtime)};
}

StoreFault FaultOf(NfsStatus3 status) {
  switch (status) {
    case NfsStatus3::kNoEnt:
      return StoreFault::kNotFound;
    case NfsStatus3::kExist:
      return StoreFault::kExists;
    case NfsStatus3::kNotEmpty:
      return StoreFault::kNotEmpty;
    case NfsStatus3::kStale:
    case NfsStatus3::kBadHandle:
      return StoreFault::kStale;
    case NfsStatus3::kXDev:
      return StoreFault::kCrossDevice;
    case NfsStatus3::kNotDir:
    case NfsStatus3::kIsDir:
      return StoreFault::kWrongType;
    case NfsStatus3::kNoSpc:
    case NfsStatus3::kDQuot:
      return StoreFault::kNoSpace;
    case NfsStatus3::kBadCookie:
      return StoreFault::kBadPosition;
    case NfsStatus3::kPerm:
    case NfsStatus3::kAcces:
    case NfsStatus3::kInval:
    case NfsStatus3::kRoFs:
    case NfsStatus3::kMLink:
    case NfsStatus3::kNameTooLong:
    case NfsStatus3::kNotSupp:
      return StoreFault::kRefused;
    default:
      return StoreFault::kUnavailable;
  }
}

}  // namespace

StoreError ToStoreError(const NfsError& error) {
  plugin::Error plain = ToError(error);
  if (error.failure == Failure::kStatus) {
    const StoreFault fault = FaultOf(error.status);
    if (error.status == NfsStatus3::kPerm || error.status == NfsStatus3::kAcces)
      plain.message +=
          "; the configured identity (identity.uid, identity.gid) may not do this on the "
          "export, perhaps because the server squashes root";
    // What has gone or come meanwhile is no answer to the caller of an operation.
    if (fault == StoreFault::kStale || fault == StoreFault::kExists ||
        fault == StoreFault::kNotEmpty || fault == StoreFault::kNotFound) {
      plain.code = code::kAborted;
    }
    return {fault, std::move(plain)};
  }
  // Ours was the shorter deadline: the server is what did not answer.
  if (error.failure == Failure::kDeadline) plain.code = code::kUnavailable;
  if (error.failure == Failure::kInvalid) return {StoreFault::kRefused, std::move(plain)};
  return {StoreFault::kUnavailable, std::move(plain)};
}

TimePoint NfsStorage::CallDeadline() const {
  return std::min(deadline_, std::chrono::steady_clock::now() + call_max_);
}

StoreStatus NfsStorage::Begin() {
  if (silence_) return tl::make_unexpected(*silence_);
  if (cancelled_()) {
    return FailStore(StoreFault::kUnavailable, code::kCancelled, "the call was cancelled");
  }
  ++calls_;
  return {};
}

tl::unexpected<StoreError> NfsStorage::Failed(const NfsError& error, std::string_view what) {
  StoreError failed = ToStoreError(error);
  if (!what.empty()) {
    failed.error = plugin::Wrap(std::move(failed.error), "'" + std::string(what) + "'");
  }
  if (error.failure != Failure::kStatus && error.failure != Failure::kInvalid) silence_ = failed;
  return tl::make_unexpected(std::move(failed));
}

// A server may drop a request and expect it again. The record protocol stands every call made
// twice, and the first one arriving last, with one exception: an attempt may make its RENAME only
// once.
template <class Call>
StoreResult<typename Call::Reply> NfsStorage::Do(const Call& call, std::string_view what) {
  constexpr bool kMayRepeat = !std::is_same_v<Call, nfs::Rename>;
  GANTRY_PLUGIN_TRY(Begin());
  const TimePoint end = CallDeadline();
  while (true) {
    TimePoint patience = end;
    if (kMayRepeat) {
      patience = std::min(end, std::chrono::steady_clock::now() + call_max_ / kTriesMax);
    }
    auto reply = client_.Do(call, patience);
    if (reply) return std::move(*reply);
    if (reply.error().failure != Failure::kDeadline || patience == end) {
      return Failed(reply.error(), what);
    }
  }
}

StoreResult<Node> NfsStorage::Lookup(const NodeId& directory, std::string_view name) {
  GANTRY_PLUGIN_TRY_ASSIGN(const LookupReply reply,
                           Do(nfs::Lookup{HandleOf(directory), name}, name));
  if (reply.attributes) return NodeOf(reply.handle, *reply.attributes);
  const auto got = Do(GetAttr{reply.handle}, name);
  if (got) return NodeOf(reply.handle, got->attributes);
  // The name led to what is gone: removed meanwhile, or remembered by a server's cache.
  if (!FailedWith(got, StoreFault::kStale)) return tl::make_unexpected(got.error());
  return FailStore(StoreFault::kNotFound, got.error().error.code, got.error().error.message);
}

StoreResult<std::vector<Listed>> NfsStorage::List(const NodeId& directory, size_t names_max) {
  std::vector<Listed> names;
  ReadDirPlus call;
  call.directory = HandleOf(directory);
  call.max_count = names_max <= kShortNames ? kShortReplyBytes : kDirReplyBytes;
  while (true) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto page, Do(call, "a directory"));
    for (auto& entry : page.entries) {
      call.cookie = entry.cookie;
      if (entry.name == "." || entry.name == "..") continue;
      if (names.size() >= names_max) return names;
      Listed listed;
      listed.name = std::move(entry.name);
      if (entry.handle && entry.attributes) {
        listed.node = NodeOf(*entry.handle, *entry.attributes);
      }
      names.push_back(std::move(listed));
    }
    call.verifier = page.verifier;
    if (page.eof) return names;
    if (page.entries.empty()) {
      return FailStore(StoreFault::kUnavailable, code::kUnavailable,
                       "the server ended a listing neither with an entry nor with its end");
    }
  }
}

StoreResult<std::string> NfsStorage::ReadFile(const NodeId& file, size_t bytes_max) {
  std::string content(bytes_max, '\0');
  size_t length = 0;
  while (length < bytes_max) {
    GANTRY_PLUGIN_TRY(Begin());
    const size_t want = std::min<size_t>(bytes_max - length, client_.PayloadBytesMax());
    const auto done = client_.ReadInto(
        HandleOf(file), length, std::as_writable_bytes(std::span(content.data() + length, want)),
        CallDeadline());
    if (!done) return Failed(done.error(), "a record");
    length += done->count;
    if (done->eof || done->count == 0) break;
  }
  content.resize(length);
  return content;
}

// The node a CREATE or MKDIR made; a server may leave out what it knows of it.
StoreResult<Node> NfsStorage::Complete(const FileHandle& directory, std::string_view name,
                                       const CreateReply& reply) {
  if (!reply.handle) return Lookup(IdOf(directory), name);
  if (reply.attributes) return NodeOf(*reply.handle, *reply.attributes);
  GANTRY_PLUGIN_TRY_ASSIGN(const AttributesReply got, Do(GetAttr{*reply.handle}, name));
  return NodeOf(*reply.handle, got.attributes);
}

StoreResult<Node> NfsStorage::MakeDirectory(const NodeId& directory, std::string_view name,
                                            const Ownership& ownership) {
  MakeDir call{HandleOf(directory), name, {}};
  call.attributes.mode = ownership.mode;
  GANTRY_PLUGIN_TRY_ASSIGN(const CreateReply reply, Do(call, name));
  GANTRY_PLUGIN_TRY_ASSIGN(const Node made, Complete(call.directory, name, reply));
  // Servers may apply a umask of theirs, inherit a group, and clear bits.
  const auto& is = reply.attributes;
  if (is && is->mode == ownership.mode && is->uid == ownership.uid.value_or(is->uid) &&
      is->gid == ownership.gid.value_or(is->gid)) {
    return made;
  }
  SetAttr change{HandleOf(made.id), {}, {}};
  change.change.mode = ownership.mode;
  change.change.uid = ownership.uid;
  change.change.gid = ownership.gid;
  const auto changed = Do(change, name);
  if (changed) return made;
  (void)RemoveDirectory(directory, name);
  plugin::StoreError error = changed.error();
  if (error.fault == StoreFault::kRefused) {
    error.error = plugin::Wrap(std::move(error.error),
                               "giving the directory its mode and owner (is this identity allowed "
                               "to?)");
  }
  return tl::make_unexpected(std::move(error));
}

StoreStatus NfsStorage::WriteAll(const FileHandle& file, std::string_view name,
                                 std::string_view content) {
  for (size_t at = 0; at < content.size();) {
    Write call;
    call.file = file;
    call.offset = at;
    const std::string_view part = content.substr(at, client_.PayloadBytesMax());
    call.data = std::as_bytes(std::span(part.data(), part.size()));
    call.stable = Stable::kFileSync;
    GANTRY_PLUGIN_TRY_ASSIGN(const WriteReply reply, Do(call, name));
    if (reply.count == 0 || reply.count > part.size()) {
      return FailStore(StoreFault::kUnavailable, code::kUnavailable,
                       "the server wrote " + std::to_string(reply.count) + " bytes of " +
                           std::to_string(part.size()));
    }
    if (reply.committed != Stable::kFileSync) {
      GANTRY_PLUGIN_TRY_ASSIGN(const CommitReply commit, Do(Commit{file, 0, 0}, name));
      if (commit.verifier != reply.verifier) continue;  // It restarted in between: again.
    }
    at += reply.count;
  }
  return {};
}

StoreResult<Node> NfsStorage::CreateFile(const NodeId& directory, std::string_view name,
                                         std::string_view content) {
  Create call;
  call.directory = HandleOf(directory);
  call.name = name;
  call.how = Create::How::kUnchecked;  // The name is nobody else's; so it may be made twice.
  call.attributes.mode = kFileMode;
  GANTRY_PLUGIN_TRY_ASSIGN(const CreateReply reply, Do(call, name));
  GANTRY_PLUGIN_TRY_ASSIGN(Node made, Complete(call.directory, name, reply));
  GANTRY_PLUGIN_TRY(WriteAll(HandleOf(made.id), name, content));
  return made;
}

StoreStatus NfsStorage::Link(const NodeId& file, const NodeId& directory, std::string_view name) {
  GANTRY_PLUGIN_TRY(Do(nfs::Link{HandleOf(file), HandleOf(directory), name}, name));
  return {};
}

StoreStatus NfsStorage::Rename(const NodeId& from, std::string_view from_name, const NodeId& to,
                               std::string_view to_name) {
  const nfs::Rename call{HandleOf(from), from_name, HandleOf(to), to_name};
  if (from == to) {
    GANTRY_PLUGIN_TRY(Do(call, from_name));
    return {};
  }
  GANTRY_PLUGIN_TRY(Begin());
  const TimePoint end = CallDeadline();
  const TimePoint patience = std::min(end, std::chrono::steady_clock::now() + rename_max_);
  const auto reply = client_.Do(call, patience);
  if (reply) return {};
  const bool is_early = patience < end && std::chrono::steady_clock::now() >= patience;
  if (!is_early || reply.error().failure == Failure::kStatus) {
    return Failed(reply.error(), from_name);
  }
  rename_max_ *= 2;
  return FailStore(StoreFault::kUnanswered, code::kUnavailable, ToError(reply.error()).message);
}

StoreStatus NfsStorage::Remove(const NodeId& directory, std::string_view name) {
  GANTRY_PLUGIN_TRY(Do(nfs::Remove{HandleOf(directory), name}, name));
  return {};
}

StoreStatus NfsStorage::RemoveDirectory(const NodeId& directory, std::string_view name) {
  GANTRY_PLUGIN_TRY(Do(RemoveDir{HandleOf(directory), name}, name));
  return {};
}

StoreResult<int64_t> NfsStorage::Touch(const NodeId& file) {
  SetAttr call{HandleOf(file), {}, {}};
  call.change.mtime.how = TimeChange::How::kServerTime;
  GANTRY_PLUGIN_TRY_ASSIGN(const ChangeReply reply, Do(call, "a lease"));
  if (reply.wcc.after) return NsOf(reply.wcc.after->mtime);
  GANTRY_PLUGIN_TRY_ASSIGN(const AttributesReply got, Do(GetAttr{HandleOf(file)}, "a lease"));
  return NsOf(got.attributes.mtime);
}

StoreStatus NfsStorage::Change(const NodeId& node, const plugin::OwnershipChange& change) {
  SetAttr call{HandleOf(node), {}, {}};
  call.change.mode = change.mode;
  call.change.uid = change.uid;
  call.change.gid = change.gid;
  GANTRY_PLUGIN_TRY(Do(call, "a volume's directory"));
  return {};
}

void NfsStorage::GiveWay(int times) {
  int ms_max = plugin::kGiveWayMsMin;
  for (int i = 1; i < times && ms_max < plugin::kGiveWayMsMax; ++i) ms_max *= 2;
  ms_max = std::min(ms_max, plugin::kGiveWayMsMax);
  const auto ms = std::random_device{}() % static_cast<unsigned>(ms_max);
  std::this_thread::sleep_until(
      std::min(deadline_, std::chrono::steady_clock::now() + std::chrono::milliseconds(ms)));
}

}  // namespace gantry::nfs
