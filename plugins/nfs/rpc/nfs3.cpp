// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/nfs3.hpp"

#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-zdr.h>

#include <cstring>

namespace gantry::nfs {
namespace {

// --- to libnfs' types

nfs_fh3 Put(const FileHandle& handle) {
  nfs_fh3 out = {};
  out.data.data_len = handle.size;
  out.data.data_val = reinterpret_cast<char*>(const_cast<std::byte*>(handle.bytes.data()));
  return out;
}

// A directory and a name in it; holds the NUL-terminated copy that libnfs wants.
class NameIn {
 public:
  NameIn(const FileHandle& directory, std::string_view name) : name_(name) {
    args_.dir = Put(directory);
    args_.name = name_.data();
  }
  NameIn(const NameIn&) = delete;
  NameIn& operator=(const NameIn&) = delete;
  const diropargs3& args() const { return args_; }

 private:
  std::string name_;
  diropargs3 args_ = {};
};

nfstime3 Put(const Time& time) { return {time.seconds, time.nanoseconds}; }

sattr3 Put(const SetAttributes& change) {
  sattr3 out = {};
  out.mode.set_it = change.mode.has_value();
  out.mode.set_mode3_u.mode = change.mode.value_or(0);
  out.uid.set_it = change.uid.has_value();
  out.uid.set_uid3_u.uid = change.uid.value_or(0);
  out.gid.set_it = change.gid.has_value();
  out.gid.set_gid3_u.gid = change.gid.value_or(0);
  out.size.set_it = change.size.has_value();
  out.size.set_size3_u.size = change.size.value_or(0);
  out.atime.set_it = static_cast<time_how>(change.atime.how);
  out.atime.set_atime_u.atime = Put(change.atime.time);
  out.mtime.set_it = static_cast<time_how>(change.mtime.how);
  out.mtime.set_mtime_u.mtime = Put(change.mtime.time);
  return out;
}

// --- from libnfs' types

Time Get(const nfstime3& time) { return {time.seconds, time.nseconds}; }

FileHandle Get(const nfs_fh3& handle) {
  FileHandle out;
  out.size = handle.data.data_len;
  if (out.size > 0) std::memcpy(out.bytes.data(), handle.data.data_val, out.size);
  return out;
}

Attributes Get(const fattr3& in) {
  Attributes out;
  out.type = static_cast<FileType>(in.type);
  out.mode = in.mode & 07777;
  out.links = in.nlink;
  out.uid = in.uid;
  out.gid = in.gid;
  out.size = in.size;
  out.used = in.used;
  out.device_major = in.rdev.specdata1;
  out.device_minor = in.rdev.specdata2;
  out.fsid = in.fsid;
  out.fileid = in.fileid;
  out.atime = Get(in.atime);
  out.mtime = Get(in.mtime);
  out.ctime = Get(in.ctime);
  return out;
}

std::optional<Attributes> Get(const post_op_attr& in) {
  if (!in.attributes_follow) return std::nullopt;
  return Get(in.post_op_attr_u.attributes);
}

std::optional<FileHandle> Get(const post_op_fh3& in) {
  if (!in.handle_follows) return std::nullopt;
  return Get(in.post_op_fh3_u.handle);
}

WeakCacheData Get(const wcc_data& in) {
  WeakCacheData out;
  if (in.before.attributes_follow) {
    const auto& before = in.before.pre_op_attr_u.attributes;
    out.before = {before.size, Get(before.mtime), Get(before.ctime)};
  }
  out.after = Get(in.after);
  return out;
}

// A list's entry. libnfs allocates them 4 bytes off their alignment, so they are copied.
template <class Entry>
Entry EntryAt(const void* at) {
  Entry entry;
  std::memcpy(&entry, at, sizeof entry);
  return entry;
}

Verifier GetVerifier(const char (&in)[8]) {
  Verifier out;
  std::memcpy(out.data(), in, out.size());
  return out;
}

// Owns one decode: the zeroed result (libnfs copies into pointers that are not null) and what
// libnfs allocates for it.
template <class Result>
class Decoded {
 public:
  Decoded() { std::memset(static_cast<void*>(&result_), 0, sizeof result_); }
  Decoded(const Decoded&) = delete;
  Decoded& operator=(const Decoded&) = delete;
  ~Decoded() {
    if (begun_) libnfs_zdr_destroy(&zdr_);
  }

  // `shape` is that of the results after a status of NFS3_OK; failures carry attributes only,
  // which nobody reads.
  NfsOutcome Run(std::span<std::byte> body, const char* call, std::string_view shape,
                 uint32_t (*decode)(ZDR*, Result*)) {
    ShapeWalk walk(body);
    const uint32_t status = walk.Take();
    if (walk.ok() && status != 0) {
      return tl::make_unexpected(FromStatus(static_cast<NfsStatus3>(status), call));
    }
    if (!walk.Match(shape)) return Malformed(call);
    libnfs_zdrmem_create(&zdr_, reinterpret_cast<char*>(body.data()),
                         static_cast<uint32_t>(body.size()), ZDR_DECODE);
    begun_ = true;
    if (!decode(&zdr_, &result_)) return Malformed(call);
    return {};
  }

  static tl::unexpected<NfsError> Malformed(const char* call) {
    return FailNfs(Failure::kMalformed,
                   std::string(call) + ": the server's answer is not as RFC 1813 has it");
  }

  const Result* operator->() const { return &result_; }

 private:
  Result result_;
  ZDR zdr_;
  bool begun_ = false;
};

// --- checks of arguments

NfsOutcome CheckHandle(const FileHandle& handle, const char* call, const char* field) {
  if (handle.size > 0 && handle.size <= kHandleBytesMax) return {};
  return FailNfs(Failure::kInvalid, std::string(call) + ": " + field + ": a file handle of " +
                                        std::to_string(handle.size) + " bytes, expected 1 to " +
                                        std::to_string(kHandleBytesMax));
}

NfsOutcome CheckName(std::string_view name, const char* call, const char* field) {
  if (name.size() > kNameBytesMax) {
    return tl::make_unexpected(FromStatus(NfsStatus3::kNameTooLong, call));
  }
  if (name.empty() || name.find('/') != name.npos || name.find('\0') != name.npos) {
    return FailNfs(Failure::kInvalid, std::string(call) + ": " + field + ": \"" +
                                          std::string(name) + "\", expected 1 to " +
                                          std::to_string(kNameBytesMax) +
                                          " bytes without '/' and NUL");
  }
  return {};
}

NfsOutcome CheckEntry(const FileHandle& directory, std::string_view name, const char* call) {
  GANTRY_PLUGIN_TRY(CheckHandle(directory, call, "directory"));
  return CheckName(name, call, "name");
}

NfsOutcome CheckDirBytes(uint32_t bytes, const char* call, const char* field) {
  if (bytes > 0 && bytes <= kDirReplyBytesMax) return {};
  return FailNfs(Failure::kInvalid, std::string(call) + ": " + field + ": " +
                                        std::to_string(bytes) + ", expected 1 to " +
                                        std::to_string(kDirReplyBytesMax));
}

template <class Resok>
CreateReply GetCreated(const Resok& ok) {
  return {Get(ok.obj), Get(ok.obj_attributes), Get(ok.dir_wcc)};
}

}  // namespace

NfsOutcome NullCall::Check() const { return {}; }
bool NullCall::Encode(ZDR*) const { return true; }
NfsResult<Nothing> NullCall::Decode(std::span<std::byte>) { return Nothing{}; }

NfsOutcome GetAttr::Check() const { return CheckHandle(object, kName, "object"); }
bool GetAttr::Encode(ZDR* zdr) const {
  GETATTR3args args = {Put(object)};
  return zdr_GETATTR3args(zdr, &args);
}
NfsResult<AttributesReply> GetAttr::Decode(std::span<std::byte> body) {
  Decoded<GETATTR3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "f", zdr_GETATTR3res));
  return AttributesReply{Get(res->GETATTR3res_u.resok.obj_attributes)};
}

NfsOutcome SetAttr::Check() const { return CheckHandle(object, kName, "object"); }
bool SetAttr::Encode(ZDR* zdr) const {
  SETATTR3args args = {};
  args.object = Put(object);
  args.new_attributes = Put(change);
  args.guard.check = guard_ctime.has_value();
  args.guard.sattrguard3_u.obj_ctime = Put(guard_ctime.value_or(Time{}));
  return zdr_SETATTR3args(zdr, &args);
}
NfsResult<ChangeReply> SetAttr::Decode(std::span<std::byte> body) {
  Decoded<SETATTR3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "w", zdr_SETATTR3res));
  return ChangeReply{Get(res->SETATTR3res_u.resok.obj_wcc)};
}

NfsOutcome Lookup::Check() const { return CheckEntry(directory, name, kName); }
bool Lookup::Encode(ZDR* zdr) const {
  const NameIn what(directory, name);
  LOOKUP3args args = {what.args()};
  return zdr_LOOKUP3args(zdr, &args);
}
NfsResult<LookupReply> Lookup::Decode(std::span<std::byte> body) {
  Decoded<LOOKUP3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "haa", zdr_LOOKUP3res));
  const auto& ok = res->LOOKUP3res_u.resok;
  return LookupReply{Get(ok.object), Get(ok.obj_attributes), Get(ok.dir_attributes)};
}

NfsOutcome Access::Check() const { return CheckHandle(object, kName, "object"); }
bool Access::Encode(ZDR* zdr) const {
  ACCESS3args args = {Put(object), access};
  return zdr_ACCESS3args(zdr, &args);
}
NfsResult<AccessReply> Access::Decode(std::span<std::byte> body) {
  Decoded<ACCESS3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "au", zdr_ACCESS3res));
  const auto& ok = res->ACCESS3res_u.resok;
  return AccessReply{Get(ok.obj_attributes), ok.access};
}

NfsOutcome ReadLink::Check() const { return CheckHandle(link, kName, "link"); }
bool ReadLink::Encode(ZDR* zdr) const {
  READLINK3args args = {Put(link)};
  return zdr_READLINK3args(zdr, &args);
}
NfsResult<ReadLinkReply> ReadLink::Decode(std::span<std::byte> body) {
  Decoded<READLINK3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "ap", zdr_READLINK3res));
  const auto& ok = res->READLINK3res_u.resok;
  return ReadLinkReply{Get(ok.symlink_attributes), ok.data};
}

NfsOutcome Read::Check() const { return CheckHandle(file, kName, "file"); }
bool Read::Encode(ZDR* zdr) const {
  READ3args args = {Put(file), offset, count};
  return zdr_READ3args(zdr, &args);
}
NfsResult<ReadReply> Read::Decode(std::span<std::byte> body) {
  Decoded<READ3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "aubd", zdr_READ3res));
  const auto& ok = res->READ3res_u.resok;
  if (ok.count != ok.data.data_len) return Decoded<READ3res>::Malformed(kName);
  ReadReply reply{Get(ok.file_attributes), ok.eof != 0, {}};
  reply.data = {reinterpret_cast<const std::byte*>(ok.data.data_val), ok.data.data_len};
  return reply;
}

NfsOutcome Write::Check() const { return CheckHandle(file, kName, "file"); }
// The data is the last field: its length is written here, its bytes follow as the payload, so that
// they are copied once only.
bool Write::Encode(ZDR* zdr) const {
  auto bytes = static_cast<uint32_t>(data.size());
  char nothing = 0;
  WRITE3args args = {};
  args.file = Put(file);
  args.offset = offset;
  args.count = bytes;
  args.stable = static_cast<stable_how>(stable);
  args.data.data_val = &nothing;
  return zdr_WRITE3args(zdr, &args) &&
         libnfs_zdr_setpos(zdr, libnfs_zdr_getpos(zdr) - sizeof bytes) &&
         libnfs_zdr_u_int(zdr, &bytes);
}
NfsResult<WriteReply> Write::Decode(std::span<std::byte> body) {
  Decoded<WRITE3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "wusv", zdr_WRITE3res));
  const auto& ok = res->WRITE3res_u.resok;
  return WriteReply{Get(ok.file_wcc), ok.count, static_cast<Stable>(ok.committed),
                    GetVerifier(ok.verf)};
}

NfsOutcome Create::Check() const { return CheckEntry(directory, name, kName); }
bool Create::Encode(ZDR* zdr) const {
  const NameIn where(directory, name);
  CREATE3args args = {};
  args.where = where.args();
  args.how.mode = static_cast<createmode3>(how);
  switch (how) {
    case How::kUnchecked:
      args.how.createhow3_u.obj_attributes = Put(attributes);
      break;
    case How::kGuarded:
      args.how.createhow3_u.g_obj_attributes = Put(attributes);
      break;
    case How::kExclusive:
      std::memcpy(args.how.createhow3_u.verf, verifier.data(), verifier.size());
      break;
  }
  return zdr_CREATE3args(zdr, &args);
}
NfsResult<CreateReply> Create::Decode(std::span<std::byte> body) {
  Decoded<CREATE3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "Haw", zdr_CREATE3res));
  return GetCreated(res->CREATE3res_u.resok);
}

NfsOutcome MakeDir::Check() const { return CheckEntry(directory, name, kName); }
bool MakeDir::Encode(ZDR* zdr) const {
  const NameIn where(directory, name);
  MKDIR3args args = {where.args(), Put(attributes)};
  return zdr_MKDIR3args(zdr, &args);
}
NfsResult<CreateReply> MakeDir::Decode(std::span<std::byte> body) {
  Decoded<MKDIR3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "Haw", zdr_MKDIR3res));
  return GetCreated(res->MKDIR3res_u.resok);
}

NfsOutcome SymLink::Check() const {
  GANTRY_PLUGIN_TRY(CheckEntry(directory, name, kName));
  if (!target.empty() && target.size() < kPathBytesMax && target.find('\0') == target.npos) {
    return {};
  }
  return FailNfs(Failure::kInvalid,
                 std::string(kName) + ": target: " + std::to_string(target.size()) +
                     " bytes, expected 1 to " + std::to_string(kPathBytesMax - 1) + " without NUL");
}
bool SymLink::Encode(ZDR* zdr) const {
  const NameIn where(directory, name);
  std::string path(target);
  SYMLINK3args args = {};
  args.where = where.args();
  args.symlink.symlink_attributes = Put(attributes);
  args.symlink.symlink_data = path.data();
  return zdr_SYMLINK3args(zdr, &args);
}
NfsResult<CreateReply> SymLink::Decode(std::span<std::byte> body) {
  Decoded<SYMLINK3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "Haw", zdr_SYMLINK3res));
  return GetCreated(res->SYMLINK3res_u.resok);
}

NfsOutcome MakeNode::Check() const {
  GANTRY_PLUGIN_TRY(CheckEntry(directory, name, kName));
  switch (type) {
    case FileType::kBlock:
    case FileType::kCharacter:
    case FileType::kSocket:
    case FileType::kFifo:
      return {};
    default:
      break;
  }
  return FailNfs(Failure::kInvalid, std::string(kName) +
                                        ": type: " + std::to_string(static_cast<uint32_t>(type)) +
                                        ", expected a device, a socket or a fifo");
}
bool MakeNode::Encode(ZDR* zdr) const {
  const NameIn where(directory, name);
  MKNOD3args args = {};
  args.where = where.args();
  args.what.type = static_cast<ftype3>(type);
  auto& what = args.what.mknoddata3_u;
  switch (type) {
    case FileType::kBlock:
      what.blk_device = {Put(attributes), {device_major, device_minor}};
      break;
    case FileType::kCharacter:
      what.chr_device = {Put(attributes), {device_major, device_minor}};
      break;
    case FileType::kSocket:
      what.sock_attributes = Put(attributes);
      break;
    default:
      what.pipe_attributes = Put(attributes);
      break;
  }
  return zdr_MKNOD3args(zdr, &args);
}
NfsResult<CreateReply> MakeNode::Decode(std::span<std::byte> body) {
  Decoded<MKNOD3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "Haw", zdr_MKNOD3res));
  return GetCreated(res->MKNOD3res_u.resok);
}

NfsOutcome Remove::Check() const { return CheckEntry(directory, name, kName); }
bool Remove::Encode(ZDR* zdr) const {
  const NameIn object(directory, name);
  REMOVE3args args = {object.args()};
  return zdr_REMOVE3args(zdr, &args);
}
NfsResult<ChangeReply> Remove::Decode(std::span<std::byte> body) {
  Decoded<REMOVE3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "w", zdr_REMOVE3res));
  return ChangeReply{Get(res->REMOVE3res_u.resok.dir_wcc)};
}

NfsOutcome RemoveDir::Check() const { return CheckEntry(directory, name, kName); }
bool RemoveDir::Encode(ZDR* zdr) const {
  const NameIn object(directory, name);
  RMDIR3args args = {object.args()};
  return zdr_RMDIR3args(zdr, &args);
}
NfsResult<ChangeReply> RemoveDir::Decode(std::span<std::byte> body) {
  Decoded<RMDIR3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "w", zdr_RMDIR3res));
  return ChangeReply{Get(res->RMDIR3res_u.resok.dir_wcc)};
}

NfsOutcome Rename::Check() const {
  GANTRY_PLUGIN_TRY(CheckHandle(from_directory, kName, "from_directory"));
  GANTRY_PLUGIN_TRY(CheckName(from_name, kName, "from_name"));
  GANTRY_PLUGIN_TRY(CheckHandle(to_directory, kName, "to_directory"));
  return CheckName(to_name, kName, "to_name");
}
bool Rename::Encode(ZDR* zdr) const {
  const NameIn from(from_directory, from_name);
  const NameIn to(to_directory, to_name);
  RENAME3args args = {from.args(), to.args()};
  return zdr_RENAME3args(zdr, &args);
}
NfsResult<RenameReply> Rename::Decode(std::span<std::byte> body) {
  Decoded<RENAME3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "ww", zdr_RENAME3res));
  const auto& ok = res->RENAME3res_u.resok;
  return RenameReply{Get(ok.fromdir_wcc), Get(ok.todir_wcc)};
}

NfsOutcome Link::Check() const {
  GANTRY_PLUGIN_TRY(CheckHandle(file, kName, "file"));
  return CheckEntry(directory, name, kName);
}
bool Link::Encode(ZDR* zdr) const {
  const NameIn link(directory, name);
  LINK3args args = {Put(file), link.args()};
  return zdr_LINK3args(zdr, &args);
}
NfsResult<LinkReply> Link::Decode(std::span<std::byte> body) {
  Decoded<LINK3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "aw", zdr_LINK3res));
  const auto& ok = res->LINK3res_u.resok;
  return LinkReply{Get(ok.file_attributes), Get(ok.linkdir_wcc)};
}

NfsOutcome ReadDir::Check() const {
  GANTRY_PLUGIN_TRY(CheckHandle(directory, kName, "directory"));
  return CheckDirBytes(count, kName, "count");
}
bool ReadDir::Encode(ZDR* zdr) const {
  READDIR3args args = {};
  args.dir = Put(directory);
  args.cookie = cookie;
  std::memcpy(args.cookieverf, verifier.data(), verifier.size());
  args.count = count;
  return zdr_READDIR3args(zdr, &args);
}
NfsResult<ListReply<DirEntry>> ReadDir::Decode(std::span<std::byte> body) {
  Decoded<READDIR3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "avnb", zdr_READDIR3res));
  const auto& ok = res->READDIR3res_u.resok;
  ListReply<DirEntry> reply{
      Get(ok.dir_attributes), GetVerifier(ok.cookieverf), {}, ok.reply.eof != 0};
  for (const void* at = ok.reply.entries; at != nullptr;) {
    const auto entry = EntryAt<entry3>(at);
    reply.entries.push_back({entry.fileid, entry.name, entry.cookie});
    at = entry.nextentry;
  }
  return reply;
}

NfsOutcome ReadDirPlus::Check() const {
  GANTRY_PLUGIN_TRY(CheckHandle(directory, kName, "directory"));
  GANTRY_PLUGIN_TRY(CheckDirBytes(dir_count, kName, "dir_count"));
  return CheckDirBytes(max_count, kName, "max_count");
}
bool ReadDirPlus::Encode(ZDR* zdr) const {
  READDIRPLUS3args args = {};
  args.dir = Put(directory);
  args.cookie = cookie;
  std::memcpy(args.cookieverf, verifier.data(), verifier.size());
  args.dircount = dir_count;
  args.maxcount = max_count;
  return zdr_READDIRPLUS3args(zdr, &args);
}
NfsResult<ListReply<DirEntryPlus>> ReadDirPlus::Decode(std::span<std::byte> body) {
  Decoded<READDIRPLUS3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "avNb", zdr_READDIRPLUS3res));
  const auto& ok = res->READDIRPLUS3res_u.resok;
  ListReply<DirEntryPlus> reply{
      Get(ok.dir_attributes), GetVerifier(ok.cookieverf), {}, ok.reply.eof != 0};
  for (const void* at = ok.reply.entries; at != nullptr;) {
    const auto entry = EntryAt<entryplus3>(at);
    reply.entries.push_back({{entry.fileid, entry.name, entry.cookie},
                             Get(entry.name_attributes),
                             Get(entry.name_handle)});
    at = entry.nextentry;
  }
  return reply;
}

NfsOutcome FsStat::Check() const { return CheckHandle(root, kName, "root"); }
bool FsStat::Encode(ZDR* zdr) const {
  FSSTAT3args args = {Put(root)};
  return zdr_FSSTAT3args(zdr, &args);
}
NfsResult<FsStatReply> FsStat::Decode(std::span<std::byte> body) {
  Decoded<FSSTAT3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "aqqqqqqu", zdr_FSSTAT3res));
  const auto& ok = res->FSSTAT3res_u.resok;
  return FsStatReply{Get(ok.obj_attributes),
                     ok.tbytes,
                     ok.fbytes,
                     ok.abytes,
                     ok.tfiles,
                     ok.ffiles,
                     ok.afiles,
                     ok.invarsec};
}

NfsOutcome FsInfo::Check() const { return CheckHandle(root, kName, "root"); }
bool FsInfo::Encode(ZDR* zdr) const {
  FSINFO3args args = {Put(root)};
  return zdr_FSINFO3args(zdr, &args);
}
NfsResult<FsInfoReply> FsInfo::Decode(std::span<std::byte> body) {
  Decoded<FSINFO3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "auuuuuuuqqu", zdr_FSINFO3res));
  const auto& ok = res->FSINFO3res_u.resok;
  return FsInfoReply{Get(ok.obj_attributes),
                     ok.rtmax,
                     ok.rtpref,
                     ok.rtmult,
                     ok.wtmax,
                     ok.wtpref,
                     ok.wtmult,
                     ok.dtpref,
                     ok.maxfilesize,
                     Get(ok.time_delta),
                     ok.properties};
}

NfsOutcome PathConf::Check() const { return CheckHandle(object, kName, "object"); }
bool PathConf::Encode(ZDR* zdr) const {
  PATHCONF3args args = {Put(object)};
  return zdr_PATHCONF3args(zdr, &args);
}
NfsResult<PathConfReply> PathConf::Decode(std::span<std::byte> body) {
  Decoded<PATHCONF3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "auubbbb", zdr_PATHCONF3res));
  const auto& ok = res->PATHCONF3res_u.resok;
  return PathConfReply{Get(ok.obj_attributes),
                       ok.linkmax,
                       ok.name_max,
                       ok.no_trunc != 0,
                       ok.chown_restricted != 0,
                       ok.case_insensitive != 0,
                       ok.case_preserving != 0};
}

NfsOutcome Commit::Check() const { return CheckHandle(file, kName, "file"); }
bool Commit::Encode(ZDR* zdr) const {
  COMMIT3args args = {Put(file), offset, count};
  return zdr_COMMIT3args(zdr, &args);
}
NfsResult<CommitReply> Commit::Decode(std::span<std::byte> body) {
  Decoded<COMMIT3res> res;
  GANTRY_PLUGIN_TRY(res.Run(body, kName, "wv", zdr_COMMIT3res));
  const auto& ok = res->COMMIT3res_u.resok;
  return CommitReply{Get(ok.file_wcc), GetVerifier(ok.verf)};
}

}  // namespace gantry::nfs
