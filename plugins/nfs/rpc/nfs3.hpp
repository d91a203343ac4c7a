// SPDX-License-Identifier: Apache-2.0
// The calls of NFS version 3 (RFC 1813 section 3) as values: a call is a struct of its arguments
// that can encode itself and decode its reply. The same struct is submitted to an RpcStream by an
// event loop or done by a SyncClient. libnfs encodes and decodes; its types stay in the .cpp file,
// because its headers define names like UNSTABLE and `groups` for everybody.
//
// Every call has: kNumber, kName, kIdempotent (executing it again after it was executed changes
// nothing and answers the same), Reply, Check() (kInvalid with the offending value), Encode(),
// Decode(body).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/nfs/rpc/nfs_error.hpp"
#include "plugins/nfs/rpc/rpc_stream.hpp"
#include "plugins/nfs/rpc/xdr_shape.hpp"

namespace gantry::nfs {

struct FileHandle {
  uint32_t size = 0;
  std::array<std::byte, kHandleBytesMax> bytes{};

  std::span<const std::byte> view() const { return {bytes.data(), size}; }
  friend bool operator==(const FileHandle& a, const FileHandle& b) {
    return a.size == b.size && std::memcmp(a.bytes.data(), b.bytes.data(), a.size) == 0;
  }
};

struct Time {
  uint32_t seconds = 0;
  uint32_t nanoseconds = 0;
  friend bool operator==(const Time&, const Time&) = default;
};

enum class FileType : uint32_t {
  kRegular = 1,
  kDirectory = 2,
  kBlock = 3,
  kCharacter = 4,
  kSymbolicLink = 5,
  kSocket = 6,
  kFifo = 7,
};

struct Attributes {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // Permission bits, without the type.
  uint32_t links = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  uint64_t used = 0;  // Bytes on disk.
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t fsid = 0;
  uint64_t fileid = 0;
  Time atime;
  Time mtime;
  Time ctime;
};

// What a change saw before and left after it; a server may leave out either.
struct WeakCacheData {
  struct Before {
    uint64_t size = 0;
    Time mtime;
    Time ctime;
  };
  std::optional<Before> before;
  std::optional<Attributes> after;
};

struct TimeChange {
  enum class How : uint32_t { kKeep = 0, kServerTime = 1, kClientTime = 2 };
  How how = How::kKeep;
  Time time;  // For kClientTime.
};

struct SetAttributes {
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  TimeChange atime;
  TimeChange mtime;
};

using Verifier = std::array<std::byte, 8>;

enum class Stable : uint32_t { kUnstable = 0, kDataSync = 1, kFileSync = 2 };

// ACCESS bits (RFC 1813 section 3.3.4).
inline constexpr uint32_t kAccessRead = 0x01;
inline constexpr uint32_t kAccessLookup = 0x02;
inline constexpr uint32_t kAccessModify = 0x04;
inline constexpr uint32_t kAccessExtend = 0x08;
inline constexpr uint32_t kAccessDelete = 0x10;
inline constexpr uint32_t kAccessExecute = 0x20;

// Bytes asked for by READDIR and READDIRPLUS at most, which bounds the decoder's recursion.
inline constexpr uint32_t kDirReplyBytesMax = 64 * 1024;

// --- replies

struct Nothing {};
struct AttributesReply {
  Attributes attributes;
};
struct ChangeReply {
  WeakCacheData wcc;
};
struct LookupReply {
  FileHandle handle;
  std::optional<Attributes> attributes;
  std::optional<Attributes> directory;
};
struct AccessReply {
  std::optional<Attributes> attributes;
  uint32_t access = 0;
};
struct ReadLinkReply {
  std::optional<Attributes> attributes;
  std::string target;
};
struct ReadReply {
  std::optional<Attributes> attributes;
  bool eof = false;
  std::span<const std::byte> data;  // In the reply's body: as long valid as that.
};
struct WriteReply {
  WeakCacheData wcc;
  uint32_t count = 0;  // May be less than asked.
  Stable committed = Stable::kUnstable;
  Verifier verifier{};  // Changes when the server has lost uncommitted data.
};
struct CreateReply {
  std::optional<FileHandle> handle;  // A server may leave it out: LOOKUP then.
  std::optional<Attributes> attributes;
  WeakCacheData directory;
};
struct RenameReply {
  WeakCacheData from;
  WeakCacheData to;
};
struct LinkReply {
  std::optional<Attributes> attributes;
  WeakCacheData directory;
};
struct DirEntry {
  uint64_t fileid = 0;
  std::string name;
  uint64_t cookie = 0;
};
struct DirEntryPlus : DirEntry {
  std::optional<Attributes> attributes;
  std::optional<FileHandle> handle;
};
template <class Entry>
struct ListReply {
  std::optional<Attributes> attributes;
  Verifier verifier{};
  std::vector<Entry> entries;  // "." and ".." included, in the server's order.
  bool eof = false;
};
struct FsStatReply {
  std::optional<Attributes> attributes;
  uint64_t bytes_total = 0, bytes_free = 0, bytes_available = 0;
  uint64_t files_total = 0, files_free = 0, files_available = 0;
  uint32_t invariant_s = 0;
};
struct FsInfoReply {
  std::optional<Attributes> attributes;
  uint32_t read_max = 0, read_preferred = 0, read_multiple = 0;
  uint32_t write_max = 0, write_preferred = 0, write_multiple = 0;
  uint32_t readdir_preferred = 0;
  uint64_t file_size_max = 0;
  Time time_delta;
  uint32_t properties = 0;  // FSF3_*
};
struct PathConfReply {
  std::optional<Attributes> attributes;
  uint32_t links_max = 0;
  uint32_t name_bytes_max = 0;
  bool no_trunc = false, chown_restricted = false;
  bool case_insensitive = false, case_preserving = false;
};
struct CommitReply {
  WeakCacheData wcc;
  Verifier verifier{};
};

// --- calls

#define GANTRY_NFS_CALL(number, name, idempotent, reply) \
  static constexpr uint32_t kNumber = number;            \
  static constexpr const char* kName = name;             \
  static constexpr bool kIdempotent = idempotent;        \
  using Reply = reply;                                   \
  NfsOutcome Check() const;                              \
  bool Encode(ZDR* zdr) const;                           \
  static NfsResult<Reply> Decode(std::span<std::byte> body)

struct NullCall {
  GANTRY_NFS_CALL(0, "NULL", true, Nothing);
};
struct GetAttr {
  FileHandle object;
  GANTRY_NFS_CALL(1, "GETATTR", true, AttributesReply);
};
struct SetAttr {
  FileHandle object;
  SetAttributes change;
  std::optional<Time> guard_ctime;  // NFS3ERR_NOT_SYNC when the object's ctime is another.
  GANTRY_NFS_CALL(2, "SETATTR", false, ChangeReply);
};
struct Lookup {
  FileHandle directory;
  std::string_view name;
  GANTRY_NFS_CALL(3, "LOOKUP", true, LookupReply);
};
struct Access {
  FileHandle object;
  uint32_t access = 0;
  GANTRY_NFS_CALL(4, "ACCESS", true, AccessReply);
};
struct ReadLink {
  FileHandle link;
  GANTRY_NFS_CALL(5, "READLINK", true, ReadLinkReply);
};
struct Read {
  FileHandle file;
  uint64_t offset = 0;
  uint32_t count = 0;
  // The reply points into the body, so that an event loop needs no copy.
  static constexpr bool kReplyBorrows = true;
  GANTRY_NFS_CALL(6, "READ", true, ReadReply);
};
struct Write {
  FileHandle file;
  uint64_t offset = 0;
  std::span<const std::byte> data;  // Copied once, into the out ring.
  Stable stable = Stable::kFileSync;
  std::span<const std::byte> Payload() const { return data; }
  GANTRY_NFS_CALL(7, "WRITE", false, WriteReply);
};
struct Create {
  enum class How : uint32_t { kUnchecked = 0, kGuarded = 1, kExclusive = 2 };
  FileHandle directory;
  std::string_view name;
  How how = How::kGuarded;
  SetAttributes attributes;  // Not for kExclusive, after which a SETATTR must set the mode.
  Verifier verifier{};       // For kExclusive: the same one again is answered OK, until the first
                             // WRITE or SETATTR.
  GANTRY_NFS_CALL(8, "CREATE", false, CreateReply);
};
struct MakeDir {
  FileHandle directory;
  std::string_view name;
  SetAttributes attributes;
  GANTRY_NFS_CALL(9, "MKDIR", false, CreateReply);
};
struct SymLink {
  FileHandle directory;
  std::string_view name;
  std::string_view target;
  SetAttributes attributes;
  GANTRY_NFS_CALL(10, "SYMLINK", false, CreateReply);
};
struct MakeNode {
  FileHandle directory;
  std::string_view name;
  FileType type = FileType::kFifo;  // kBlock, kCharacter, kSocket or kFifo.
  SetAttributes attributes;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  GANTRY_NFS_CALL(11, "MKNOD", false, CreateReply);
};
struct Remove {
  FileHandle directory;
  std::string_view name;
  GANTRY_NFS_CALL(12, "REMOVE", false, ChangeReply);
};
struct RemoveDir {
  FileHandle directory;
  std::string_view name;
  GANTRY_NFS_CALL(13, "RMDIR", false, ChangeReply);
};
struct Rename {
  FileHandle from_directory;
  std::string_view from_name;
  FileHandle to_directory;
  std::string_view to_name;
  GANTRY_NFS_CALL(14, "RENAME", false, RenameReply);
};
struct Link {
  FileHandle file;
  FileHandle directory;
  std::string_view name;
  GANTRY_NFS_CALL(15, "LINK", false, LinkReply);
};
struct ReadDir {
  FileHandle directory;
  uint64_t cookie = 0;  // 0, or the last entry's, with the verifier that came with it.
  Verifier verifier{};
  uint32_t count = 32 * 1024;  // Bytes, at most kDirReplyBytesMax.
  GANTRY_NFS_CALL(16, "READDIR", true, ListReply<DirEntry>);
};
struct ReadDirPlus {
  FileHandle directory;
  uint64_t cookie = 0;
  Verifier verifier{};
  uint32_t dir_count = 8 * 1024;   // Bytes of names and cookies.
  uint32_t max_count = 32 * 1024;  // Bytes in all, at most kDirReplyBytesMax.
  GANTRY_NFS_CALL(17, "READDIRPLUS", true, ListReply<DirEntryPlus>);
};
struct FsStat {
  FileHandle root;
  GANTRY_NFS_CALL(18, "FSSTAT", true, FsStatReply);
};
struct FsInfo {
  FileHandle root;
  GANTRY_NFS_CALL(19, "FSINFO", true, FsInfoReply);
};
struct PathConf {
  FileHandle object;
  GANTRY_NFS_CALL(20, "PATHCONF", true, PathConfReply);
};
struct Commit {
  FileHandle file;
  uint64_t offset = 0;
  uint32_t count = 0;  // 0: to the end.
  GANTRY_NFS_CALL(21, "COMMIT", true, CommitReply);
};

#undef GANTRY_NFS_CALL

template <class Call>
Procedure ProcedureOf() {
  return {kNfsProgram, kNfsVersion, Call::kNumber};
}

// The call without its type; it must outlive what is returned.
template <class Call>
Arguments ArgumentsOf(const Call& call) {
  Arguments arguments;
  arguments.object = &call;
  arguments.encode = [](const void* object, ZDR* zdr) {
    return static_cast<const Call*>(object)->Encode(zdr);
  };
  if constexpr (requires { call.Payload(); }) arguments.payload = call.Payload();
  return arguments;
}

// Checks and submits a call; the reply comes to OnReadable's callback under `tag`.
template <class Call>
NfsResult<uint32_t> Submit(RpcStream& stream, const Call& call, const Credentials& credentials,
                           uint64_t tag, TimePoint deadline) {
  GANTRY_PLUGIN_TRY(call.Check());
  return stream.Submit(ProcedureOf<Call>(), credentials, ArgumentsOf(call), tag, deadline);
}

// What a Reply to a call of this type says: the server's refusal, or the decoded results.
template <class Call>
NfsResult<typename Call::Reply> DecodeReply(const Reply& reply) {
  if (reply.head.status != ReplyStatus::kSuccess) {
    return tl::make_unexpected(FromReplyHead(reply.head, Call::kName));
  }
  return Call::Decode(reply.body);
}

}  // namespace gantry::nfs
