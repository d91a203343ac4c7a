// SPDX-License-Identifier: Apache-2.0
// From the kernel's requests to the plugin's operations.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "host/datapath/attributes.hpp"
#include "host/datapath/opcodes.hpp"
#include "host/datapath/request_body.hpp"
#include "host/datapath/server.hpp"

namespace gantry::datapath {
namespace {

constexpr size_t kTargetBytesMax = 4095;

template <class T>
std::string_view Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

void Server::Begin(Operation& operation) {
  if (!opened_ && !IsOwn(operation.slot.header()->opcode)) {
    held_.push_back(operation.id);
    return;
  }
  const int error =
      policy_.readonly && Changes(operation.slot.header()->opcode) ? EROFS : Ask(operation);
  if (error != 0) Answer(operation, error, {});
}

int Server::Ask(Operation& operation) {
  switch (operation.slot.header()->opcode) {
    case FUSE_LOOKUP:
      return AskName(operation);
    case FUSE_RMDIR:
      return WaitsForCleaning(operation) ? 0 : AskName(operation);
    case FUSE_UNLINK:
    case FUSE_RENAME:
    case FUSE_RENAME2:
      return AskRemoval(operation);
    case FUSE_GETATTR:
    case FUSE_READLINK:
    case FUSE_STATFS:
      return AskNode(operation);
    case FUSE_SETATTR:
      return AskSetattr(operation);
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
      return AskMake(operation);
    case FUSE_CREATE:
      return AskCreate(operation);
    case FUSE_LINK:
      return AskLink(operation);
    case FUSE_READ:
      return AskRead(operation);
    case FUSE_WRITE:
      return AskWrite(operation);
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
      return AskCommit(operation);
    case FUSE_FALLOCATE:
      return AskAllocate(operation);
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
      return AskReaddir(operation);
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
      return AskChangeXattr(operation);
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
      return AskXattr(operation);
    case FUSE_OPEN:
    case FUSE_OPENDIR:
      return AnswerOpen(operation);
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
      return AnswerRelease(operation);
    case FUSE_FLUSH:
      if (policy_.commits_at_close) return AskCommit(operation);
      if (policy_.refuses_flush) return ENOSYS;  // writes were stable before they were answered
      [[fallthrough]];
    case FUSE_DESTROY:
      Answer(operation, 0, {});
      return 0;
    case FUSE_GETLK:  // only sent where locks are refused (init.hpp)
    case FUSE_SETLK:
    case FUSE_SETLKW:
      return ENOLCK;
    default:
      return ENOSYS;
  }
}

gantry_fs_context Server::Context(const Operation& operation) const {
  const fuse_in_header* header = operation.slot.header();
  return Context(operation, {header->uid, header->gid});
}

gantry_fs_context Server::Context(const Operation& operation, Identity::Ids caller) const {
  const Identity::Ids ids = identity_.For(caller);
  const auto& groups = identity_.groups();
  const uint32_t flags = operation.replayed ? GANTRY_FS_REPLAYED : 0;
  return {flags, ids.uid, ids.gid, static_cast<uint32_t>(groups.size()), groups.data()};
}

int Server::KeepNode(Operation& operation, size_t which, uint64_t node, gantry_bytes& handle) {
  if (!nodes_.Has(node)) return ESTALE;
  handle = operation.Keep(which, nodes_.Handle(node));
  return 0;
}

int Server::AskName(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_name>();
  request->context = Context(operation);
  if (int e = RequestBody(operation.slot).Name(request->name)) return e;
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->directory)) return e;
  switch (operation.slot.header()->opcode) {
    case FUSE_LOOKUP:
      return Call(operation, plugin_.lookup, request, Ending::kNode);
    case FUSE_UNLINK:
      return Call(operation, plugin_.unlink, request, Ending::kPlain);
    default:
      return Call(operation, plugin_.rmdir, request, Ending::kPlain);
  }
}

int Server::AskNode(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_node>();
  request->context = Context(operation);
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->node)) return e;
  switch (operation.slot.header()->opcode) {
    case FUSE_GETATTR:
      return Call(operation, plugin_.getattr, request, Ending::kAttributes);
    case FUSE_READLINK:
      return Call(operation, plugin_.readlink, request, Ending::kTarget);
    default:
      return Call(operation, plugin_.statfs, request, Ending::kStatfs);
  }
}

int Server::AskSetattr(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_setattr>();
  request->context = Context(operation);
  fuse_setattr_in in{};
  if (!RequestBody(operation.slot).Take(in)) return EINVAL;
  FromFuse(in, request->valid, request->values);
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->node)) return e;
  return Call(operation, plugin_.setattr, request, Ending::kAttributes);
}

int Server::AskMake(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_make>();
  request->context = Context(operation);
  const fuse_in_header* header = operation.slot.header();
  if (int e = KeepNode(operation, 0, header->nodeid, request->directory)) return e;
  RequestBody body(operation.slot);
  if (header->opcode == FUSE_SYMLINK) {
    if (int e = body.Name(request->name)) return e;
    if (int e = body.Text(request->target, kTargetBytesMax)) return e;
    request->mode = S_IFLNK | 0777;
    return Call(operation, plugin_.symlink, request, Ending::kNode);
  }
  if (header->opcode == FUSE_MKDIR) {
    fuse_mkdir_in in{};
    if (!body.Take(in)) return EINVAL;
    if (int e = body.Name(request->name)) return e;
    request->mode = S_IFDIR | (in.mode & 07777);
    return Call(operation, plugin_.mkdir, request, Ending::kNode);
  }
  fuse_mknod_in in{};
  if (!body.Take(in)) return EINVAL;
  if (int e = body.Name(request->name)) return e;
  request->mode = in.mode;
  if (S_ISREG(in.mode)) {
    request->exclusive = 1;
    request->verifier = RequestNumber(slots_.nonce(), header->unique);
    return Call(operation, plugin_.create, request, Ending::kNode);
  }
  DecodeDevice(in.rdev, request->rdev_major, request->rdev_minor);
  return Call(operation, plugin_.mknod, request, Ending::kNode);
}

int Server::AskCreate(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_make>();
  request->context = Context(operation);
  const fuse_in_header* header = operation.slot.header();
  RequestBody body(operation.slot);
  fuse_create_in in{};
  if (!body.Take(in)) return EINVAL;
  if (int e = body.Name(request->name)) return e;
  if (int e = KeepNode(operation, 0, header->nodeid, request->directory)) return e;
  request->mode = S_IFREG | (in.mode & 07777);
  request->exclusive = (in.flags & O_EXCL) != 0 ? 1 : 0;
  request->verifier = RequestNumber(slots_.nonce(), header->unique);
  operation.opens = true;
  // The kernel believes that CREATE made the file and truncates nothing itself.
  operation.truncate = (in.flags & O_TRUNC) != 0 && request->exclusive == 0;
  return Call(operation, plugin_.create, request, Ending::kNode);
}

void Server::AskTruncate(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_setattr>();
  request->context = Context(operation);
  request->node = operation.Kept(1);
  request->valid = GANTRY_FS_SET_SIZE;
  if (int e = Call(operation, plugin_.setattr, request, Ending::kAttributes))
    Answer(operation, e, {});
}

int Server::AskLink(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_link>();
  request->context = Context(operation);
  RequestBody body(operation.slot);
  fuse_link_in in{};
  if (!body.Take(in)) return EINVAL;
  if (int e = body.Name(request->name)) return e;
  if (int e = KeepNode(operation, 0, in.oldnodeid, request->node)) return e;
  if (int e = KeepNode(operation, 1, operation.slot.header()->nodeid, request->directory)) return e;
  return Call(operation, plugin_.link, request, Ending::kNode);
}

int Server::AskRename(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_rename>();
  request->context = Context(operation);
  const fuse_in_header* header = operation.slot.header();
  RequestBody body(operation.slot);
  uint64_t new_directory = 0;
  if (header->opcode == FUSE_RENAME) {
    fuse_rename_in in{};
    if (!body.Take(in)) return EINVAL;
    new_directory = in.newdir;
  } else {
    fuse_rename2_in in{};
    if (!body.Take(in)) return EINVAL;
    // RENAME_NOREPLACE, _EXCHANGE and _WHITEOUT: the ABI has no atomic form of them.
    if (in.flags != 0) return EINVAL;
    new_directory = in.newdir;
  }
  if (int e = body.Name(request->name)) return e;
  if (int e = body.Name(request->new_name)) return e;
  if (int e = KeepNode(operation, 0, header->nodeid, request->directory)) return e;
  if (int e = KeepNode(operation, 1, new_directory, request->new_directory)) return e;
  return Call(operation, plugin_.rename, request, Ending::kPlain);
}

// False: it waits for one, behind those that wait already, so that a large read does not starve.
bool Server::HasBuffer(Operation& operation, uint32_t bytes) {
  operation.wanted = bytes;
  if (operation.buffer.empty() && waiting_.empty()) operation.buffer = arena_.Take(bytes);
  if (!operation.buffer.empty()) return true;
  waiting_.push_back(operation.id);
  return false;
}

int Server::AskRead(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_read>();
  request->context = Context(operation);
  fuse_read_in in{};
  if (!RequestBody(operation.slot).Take(in) || in.size > kIoBytesMax) return EINVAL;
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->node)) return e;
  if (!HasBuffer(operation, in.size)) return 0;
  request->length = in.size;
  request->offset = in.offset;
  request->buffer = operation.buffer.data();
  return Call(operation, plugin_.read, request, Ending::kData);
}

int Server::AskWrite(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_write>();
  RequestBody body(operation.slot);
  fuse_write_in in{};
  if (!body.Take(in) || body.rest().size() < in.size) return EINVAL;
  const uint64_t node = operation.slot.header()->nodeid;
  if (int e = KeepNode(operation, 0, node, request->node)) return e;
  // Pages of a mapping or of the kernel's buffer: it no longer knows whose, and says root.
  const bool from_cache = (in.write_flags & FUSE_WRITE_CACHE) != 0;
  const auto writer = from_cache ? nodes_.WriterOf(node) : std::nullopt;
  request->context = writer ? Context(operation, *writer) : Context(operation);
  operation.wanted = in.size;
  // O_SYNC contains O_DSYNC (open(2)). O_DIRECT promises nothing, but who uses it does without buffers, as
  // the kernel's NFS client commits its writes before they end.
  if (policy_.writes_are_stable ||
      (in.flags & (policy_.commits_at_close ? O_DSYNC | O_DIRECT : O_DSYNC)) != 0)
    request->flags = GANTRY_FS_WRITE_STABLE;
  request->offset = in.offset;
  request->data = {body.rest().data(), in.size};
  return Call(operation, plugin_.write, request, Ending::kWritten);
}

int Server::AskCommit(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_commit>();
  request->context = Context(operation);
  if (operation.slot.header()->opcode == FUSE_FLUSH) request->flags = GANTRY_FS_COMMIT_CLOSE;
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->node)) return e;
  return Call(operation, plugin_.commit, request, Ending::kPlain);
}

int Server::AskAllocate(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_allocate>();
  request->context = Context(operation);
  fuse_fallocate_in in{};
  if (!RequestBody(operation.slot).Take(in)) return EINVAL;
  switch (in.mode) {
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
      request->mode = GANTRY_FS_ALLOCATE_PUNCH;
      break;
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
      request->mode = GANTRY_FS_ALLOCATE_ZERO;
      break;
    default:
      return EOPNOTSUPP;
  }
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->node)) return e;
  request->offset = in.offset;
  request->length = in.length;
  return Call(operation, plugin_.allocate, request, Ending::kPlain);
}

int Server::AskReaddir(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_readdir>();
  request->context = Context(operation);
  fuse_read_in in{};
  if (!RequestBody(operation.slot).Take(in) || in.size > kIoBytesMax) return EINVAL;
  if (int e = KeepNode(operation, 0, operation.slot.header()->nodeid, request->node)) return e;
  if (!HasBuffer(operation, in.size)) return 0;
  request->room_bytes = in.size;
  request->cookie = in.offset;
  const bool plus = operation.slot.header()->opcode == FUSE_READDIRPLUS;
  // What was agreed on with the kernel outlives the version of the plugin that could do it.
  const auto ask = plus && plugin_.readdirplus != nullptr ? plugin_.readdirplus : plugin_.readdir;
  if (plus && ask != nullptr) {
    operation.lists = true;
    ++listings_;
  }
  return Call(operation, ask, request, Ending::kEntries);
}

int Server::AskChangeXattr(Operation& operation) {
  const fuse_in_header* header = operation.slot.header();
  const bool sets = header->opcode == FUSE_SETXATTR;
  if ((sets ? plugin_.setxattr : plugin_.removexattr) == nullptr) return ENOSYS;
  auto* request = operation.request.Make<gantry_fs_xattr>();
  request->context = Context(operation);
  RequestBody body(operation.slot);
  // What fuse_setxattr_in is where FUSE_SETXATTR_EXT was not agreed on.
  struct {
    uint32_t size;
    uint32_t flags;
  } in{};
  static_assert(sizeof in == FUSE_COMPAT_SETXATTR_IN_SIZE);
  if (sets && !body.Take(in)) return EINVAL;
  if (int e = body.Name(request->name)) return e;
  if (body.rest().size() < in.size) return EINVAL;
  if (in.size > GANTRY_FS_XATTR_BYTES_MAX) return E2BIG;
  if (int e = KeepNode(operation, 0, header->nodeid, request->node)) return e;
  request->flags = in.flags;
  request->value = {body.rest().data(), in.size};
  return Call(operation, sets ? plugin_.setxattr : plugin_.removexattr, request, Ending::kPlain);
}

int Server::AskXattr(Operation& operation) {
  const fuse_in_header* header = operation.slot.header();
  const bool lists = header->opcode == FUSE_LISTXATTR;
  if ((lists ? plugin_.listxattr : plugin_.getxattr) == nullptr) return ENOSYS;
  auto* request = operation.request.Make<gantry_fs_xattr>();
  request->context = Context(operation);
  RequestBody body(operation.slot);
  fuse_getxattr_in in{};
  if (!body.Take(in)) return EINVAL;
  if (!lists)
    if (int e = body.Name(request->name)) return e;
  if (int e = KeepNode(operation, 0, header->nodeid, request->node)) return e;
  // Without a buffer the answer's length is the answer.
  const uint32_t length = std::min(in.size, GANTRY_FS_XATTR_BYTES_MAX);
  if (length == 0) operation.wanted = GANTRY_FS_XATTR_BYTES_MAX;
  if (length > 0 && !HasBuffer(operation, length)) return 0;
  request->buffer = operation.buffer.empty() ? nullptr : operation.buffer.data();
  request->length = length;
  return Call(operation, lists ? plugin_.listxattr : plugin_.getxattr, request, Ending::kData);
}

int Server::AnswerOpen(Operation& operation) {
  const uint64_t node = operation.slot.header()->nodeid;
  if (!nodes_.Has(node)) return ESTALE;
  fuse_open_in in{};
  if (!RequestBody(operation.slot).Take(in)) return EINVAL;
  MarkExecuting(operation);
  (void)nodes_.Adjust(operation.slot.control().redo, node, 0, 1);
  if (operation.slot.header()->opcode == FUSE_OPEN) {
    ++open_files_;
    if ((in.flags & O_ACCMODE) != O_RDONLY) NoteWriter(operation, node);
    // The size that the kernel goes by must be the storage's, or what another node has appended is
    // not read. What it has of the pages it drops by itself.
    if (OpenChecksAttributes(policy_)) DropAttributes(node);
  }
  fuse_open_out out = ToOpenOut(policy_);
  if (policy_.commits_at_close && (in.flags & O_ACCMODE) == O_RDONLY)
    out.open_flags |= FOPEN_NOFLUSH;
  Answer(operation, 0, Bytes(out));
  return 0;
}

}  // namespace gantry::datapath
