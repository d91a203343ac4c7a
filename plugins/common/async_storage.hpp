// SPDX-License-Identifier: Apache-2.0
// A storage of files with many operations in flight, for work whose size is a tree's and not a
// record's. Operations are submitted with a callback, and callbacks run in Wait alone, so whoever
// uses it is one thread without locks and its state machines are never entered twice. Rejected: C++20
// coroutines, which clang-14 (clang-tidy, the fuzzers) cannot read, and a thread an operation.
//
// Nothing is lost when the server goes away for a while: what was not answered is sent again, for as
// long as the storage is patient. So an operation may happen twice, and its caller must look:
// kExists may be its own doing, as may kNotFound of a removal.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/storage.hpp"

namespace gantry::plugin {

enum class EntryKind : uint8_t {
  kFile,
  kDirectory,
  kSymlink,
  kFifo,
  kSocket,
  kBlockDevice,
  kCharacterDevice
};

struct EntryAttributes {
  EntryKind kind = EntryKind::kFile;
  uint32_t mode = 0;  // Permission bits, set-id and sticky bits.
  uint32_t links = 1;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  uint64_t used = 0;  // Bytes on disk.
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t fsid = 0;
  uint64_t fileid = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
};

struct Entry {
  NodeId id;
  EntryAttributes attributes;
};

// What is given is set, in the end the times.
struct AttributeChange {
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
};

// Where a listing goes on; the empty one is the beginning.
struct ListPosition {
  uint64_t cookie = 0;
  uint64_t verifier = 0;
};

struct ListedEntry {
  std::string name;
  std::optional<Entry> entry;  // A storage may leave it out; Lookup then.
};

struct ListPage {
  std::vector<ListedEntry> entries;  // Without "." and "..".
  ListPosition next;
  bool end = false;
};

struct ReadResult {
  std::string data;  // Less than asked for only at the end of the file.
  bool end = false;
  std::optional<EntryAttributes> attributes;  // After the read.
};

// Changes when the server has lost what was written and not committed.
using WriteVerifier = uint64_t;

struct WriteResult {
  bool durable = false;
  WriteVerifier verifier = 0;  // Of what is not.
};

template <class T>
using Done = std::function<void(StoreResult<T>)>;

// What removing a tree takes. One thread at a time; ids and names are copied.
class AsyncEntries {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  virtual ~AsyncEntries() = default;

  virtual void Lookup(const NodeId& directory, std::string_view name, Done<Entry> done) = 0;
  // kBadPosition when the directory has changed so that `from` means nothing any more.
  virtual void List(const NodeId& directory, const ListPosition& from, Done<ListPage> done) = 0;
  // Anything but a directory.
  virtual void Remove(const NodeId& directory, std::string_view name, Done<void> done) = 0;
  virtual void RemoveDirectory(const NodeId& directory, std::string_view name, Done<void> done) = 0;

  // Delivers what has been answered, and returns at once when there was anything, else at `until`
  // the latest. When the storage has not answered for longer than it is patient, everything
  // submitted is answered kUnavailable.
  virtual void Wait(TimePoint until) = 0;
  virtual TimePoint Now() const = 0;
  // Operations not yet answered.
  virtual size_t outstanding() const = 0;
  // Forgets them, without a callback. They may still happen.
  virtual void Abandon() = 0;
};

// All that a copy takes.
class AsyncStorage : public AsyncEntries {
 public:
  // Bytes that one Read or Write carries at most.
  virtual uint32_t chunk_bytes() const = 0;

  virtual void GetAttributes(const NodeId& id, Done<EntryAttributes> done) = 0;
  virtual void Read(const NodeId& file, uint64_t offset, uint32_t bytes, Done<ReadResult> done) = 0;
  // All of `data`; `durable` asks for it to be so at the answer.
  virtual void Write(const NodeId& file, uint64_t offset, std::string data, bool durable,
                     Done<WriteResult> done) = 0;
  // All that was written to the file.
  virtual void Commit(const NodeId& file, Done<WriteVerifier> done) = 0;
  // The following fail with kExists where the name is there. A mode is one of a moment only: a
  // storage may change it by a umask of its own.
  virtual void CreateFile(const NodeId& directory, std::string_view name, uint32_t mode,
                          Done<Entry> done) = 0;
  virtual void MakeDirectory(const NodeId& directory, std::string_view name, uint32_t mode,
                             Done<Entry> done) = 0;
  virtual void MakeSymlink(const NodeId& directory, std::string_view name, std::string_view target,
                           Done<Entry> done) = 0;
  virtual void ReadSymlink(const NodeId& link, Done<std::string> done) = 0;
  // FIFOs, sockets and devices, of `like`'s kind, mode and device number.
  virtual void MakeSpecial(const NodeId& directory, std::string_view name,
                           const EntryAttributes& like, Done<Entry> done) = 0;
  virtual void Link(const NodeId& id, const NodeId& directory, std::string_view name,
                    Done<void> done) = 0;
  // Returns what there is afterwards.
  virtual void Change(const NodeId& id, const AttributeChange& change,
                      Done<EntryAttributes> done) = 0;
};

}  // namespace gantry::plugin
