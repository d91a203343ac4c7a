// SPDX-License-Identifier: Apache-2.0
// The few operations of a shared directory tree that records are kept with. The protocol is written
// against this and not against NFS, so that a test can crash it, delay it and interleave it at every
// step. Directories and files are known by handles that die with them (an NFS file handle), because
// the protocol's fences rest on that: an operation that comes late into a directory which is gone,
// and perhaps made again under its name, must fail.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::plugin {

enum class StoreFault : uint8_t {
  kNotFound,  // The name is not there.
  kExists,
  kNotEmpty,
  kStale,        // The directory or file behind a handle is gone.
  kCrossDevice,  // RENAME or LINK between two filesystems.
  kWrongType,    // A directory where none may be, or something else where one must be.
  kRefused,      // Not permitted, or a name or value that the storage does not take.
  kNoSpace,
  kBadPosition,  // A listing must begin anew.
  kUnavailable,  // The storage did not answer, or answered that it could not: the operation may
                 // have happened.
  kUnanswered,   // Of Rename: no answer yet. It may still happen, at any later time.
};

struct StoreError {
  StoreFault fault = StoreFault::kUnavailable;
  Error error;

  operator Error() const { return error; }  // NOLINT: an error is returned as what it carries.
};

template <class T>
using StoreResult = tl::expected<T, StoreError>;
using StoreStatus = StoreResult<void>;

inline tl::unexpected<StoreError> FailStore(StoreFault fault, int32_t code, std::string message) {
  return tl::unexpected<StoreError>(StoreError{fault, {code, std::move(message)}});
}

template <class T>
bool FailedWith(const StoreResult<T>& result, StoreFault fault) {
  return !result && result.error().fault == fault;
}
// The name, or the directory that it was looked for in, is not there (any more).
template <class T>
bool IsGone(const StoreResult<T>& result) {
  return FailedWith(result, StoreFault::kNotFound) || FailedWith(result, StoreFault::kStale);
}

enum class NodeType : uint8_t { kFile, kDirectory, kSymlink, kOther };

using NodeId = std::string;  // Opaque bytes.

struct Node {
  NodeId id;
  NodeType type = NodeType::kFile;
  uint64_t fileid = 0;
  uint64_t fsid = 0;
  int64_t mtime_ns = 0;  // By the storage's clock.
};

struct Listed {
  std::string name;
  std::optional<Node> node;  // A storage may leave it out; Lookup then.
};

// What a new directory shall look like; what is not given stays as the storage makes it.
struct Ownership {
  uint32_t mode = 0777;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};

// What is given is changed.
struct OwnershipChange {
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;

  bool empty() const { return !mode && !uid && !gid; }
};

// The longest waits of GiveWay: the first time, and doubled each time up to the last.
inline constexpr int kGiveWayMsMin = 10;
inline constexpr int kGiveWayMsMax = 500;

// One actor's view of the storage; every change is durable when it returns OK. One thread at a time.
class Storage {
 public:
  virtual ~Storage() = default;
  virtual StoreResult<Node> Lookup(const NodeId& directory, std::string_view name) = 0;
  // At most `names_max` entries, without "." and "..", in no order; all of them when there are not
  // more.
  virtual StoreResult<std::vector<Listed>> List(const NodeId& directory, size_t names_max) = 0;
  virtual StoreResult<std::string> ReadFile(const NodeId& file, size_t bytes_max) = 0;
  // With exactly this mode and owner; kExists when the name is there.
  virtual StoreResult<Node> MakeDirectory(const NodeId& directory, std::string_view name,
                                          const Ownership& ownership) = 0;
  // A new file with this content, under a name that nobody else uses. After an error it may be
  // there with less.
  virtual StoreResult<Node> CreateFile(const NodeId& directory, std::string_view name,
                                       std::string_view content) = 0;
  virtual StoreStatus Link(const NodeId& file, const NodeId& directory, std::string_view name) = 0;
  // As rename(2): what is at the target and fits is replaced. Between two directories a storage may
  // give up soon (kUnanswered), so that the caller can end this attempt and make another.
  virtual StoreStatus Rename(const NodeId& from, std::string_view from_name, const NodeId& to,
                             std::string_view to_name) = 0;
  virtual StoreStatus Remove(const NodeId& directory, std::string_view name) = 0;
  virtual StoreStatus RemoveDirectory(const NodeId& directory, std::string_view name) = 0;
  // Sets the file's mtime to the storage's clock and returns it.
  virtual StoreResult<int64_t> Touch(const NodeId& file) = 0;
  virtual StoreStatus Change(const NodeId& node, const OwnershipChange& change) = 0;
  // Lets another actor, who was faster, come to its end: waits a random time, longer the more
  // often (`times`, from 1 on) it was asked, kGiveWayMsMax at most, not beyond the call's deadline.
  virtual void GiveWay(int times) = 0;
};

}  // namespace gantry::plugin
