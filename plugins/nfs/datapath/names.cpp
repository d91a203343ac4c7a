// SPDX-License-Identifier: Apache-2.0
// Operations on attributes and names.
#include <sys/stat.h>

#include <cerrno>
#include <gantry/gantry.hpp>

#include "plugins/nfs/datapath/convert.hpp"
#include "plugins/nfs/datapath/data_path.hpp"

namespace gantry::nfs {
namespace {

constexpr uint32_t kBlockBytes = 4096;  // The unit statfs counts in; NFSv3 counts bytes.

SetAttributes ModeOf(uint32_t mode) {
  SetAttributes attributes;
  attributes.mode = mode & 07777;
  return attributes;
}

FileType NodeType(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFBLK:
      return FileType::kBlock;
    case S_IFCHR:
      return FileType::kCharacter;
    case S_IFSOCK:
      return FileType::kSocket;
    default:
      return FileType::kFifo;
  }
}

}  // namespace

void NfsDataPath::Lookup(gantry_op op, const gantry_fs_name& request) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, directory)) return;
  const std::string_view name = View(request.name);
  if (new_directories_.Lacks(*directory, name, std::chrono::steady_clock::now())) {
    return Fail(op, ENOENT);
  }
  DoneByName(op, *directory, name);
}

void NfsDataPath::Getattr(gantry_op op, const gantry_fs_node& request) {
  const Turn turn(*this);
  const auto node = ToHandle(request.node);
  if (!BeginWith(op, request.context, node)) return;
  const Attributes* const known = directories_.Find(*node, std::chrono::steady_clock::now());
  DoneAttributes(op, *node, known == nullptr ? std::nullopt : std::optional(*known));
}

void NfsDataPath::NoteDirectory(const FileHandle& directory, const WeakCacheData& wcc) {
  directories_.Note(directory, wcc.after, std::chrono::steady_clock::now());
}

void NfsDataPath::Setattr(gantry_op op, const gantry_fs_setattr& request) {
  const Turn turn(*this);
  const auto node = ToHandle(request.node);
  if (!BeginWith(op, request.context, node)) return;
  const nfs::SetAttr call{*node, FromHost(request), {}};
  const auto then = [this, op, node = *node](const NfsResult<ChangeReply>& reply) {
    if (!reply) return Fail(op, reply.error());
    NoteDirectory(node, reply->wcc);
    DoneAttributes(op, node, reply->wcc.after);
  };
  const auto ask = [this, op, call, then] {
    calls_.To<nfs::SetAttr>(op, call, Touched(call.object),
                            [then](auto reply, bool) { then(reply); });
  };
  if (!uncommitted_.Has(*node)) return ask();
  const bool empties = (request.valid & GANTRY_FS_SET_SIZE) != 0 && request.values.size_bytes == 0;
  if (empties && !uncommitted_.IsEmptying(*node))
    return uncommitted_.Empty(op, CredentialsOf(request.context), call, then);
  // What was written before would come back, in size, time or set-user-ID bit, if it was written again.
  AfterCommit(op, *node, Hears::kNothing, ask);
}

void NfsDataPath::Readlink(gantry_op op, const gantry_fs_node& request) {
  const Turn turn(*this);
  const auto node = ToHandle(request.node);
  if (!BeginWith(op, request.context, node)) return;
  calls_.To<nfs::ReadLink>(op, {*node}, [this, op](auto reply, bool) {
    if (!reply) return Fail(op, reply.error());
    calls_.End(op);
    host_.done_target(host_.ctx, op, ToStr(reply->target));
  });
}

void NfsDataPath::Statfs(gantry_op op, const gantry_fs_node& request) {
  const Turn turn(*this);
  const auto node = ToHandle(request.node);
  if (!BeginWith(op, request.context, node)) return;
  calls_.To<nfs::FsStat>(op, {*node}, [this, op](auto reply, bool) {
    if (!reply) return Fail(op, reply.error());
    gantry_fs_statfs out{};
    out.total_bytes = reply->bytes_total;
    out.free_bytes = reply->bytes_free;
    out.available_bytes = reply->bytes_available;
    out.total_files = reply->files_total;
    out.free_files = reply->files_free;
    out.name_bytes_max = connection_.state().name_bytes_max;
    out.block_bytes = kBlockBytes;
    calls_.End(op);
    host_.done_statfs(host_.ctx, op, &out);
  });
}

// --- new names

template <class Call>
void NfsDataPath::MakeBy(gantry_op op, const Call& call, std::optional<TimePoint> new_at) {
  new_directories_.AddName(call.directory, call.name);
  calls_.To<Call>(op, call, Touched(call.directory),
                  [this, op, directory = call.directory, name = call.name, new_at,
                   rewrites = uncommitted_.rewrites()](auto reply, bool ambiguous) {
                    if (!reply && !IsEcho(reply.error(), ambiguous, NfsStatus3::kExist)) {
                      return FailChange(op, reply.error(), ambiguous, NfsStatus3::kExist);
                    }
                    NoteDirectory(directory, reply ? reply->directory : WeakCacheData());
                    if (!reply || !reply->handle) return DoneByName(op, directory, name);
                    if (new_at && !ambiguous) new_directories_.Note(*reply->handle, *new_at);
                    DoneNode(op, *reply->handle, SinceRewrite(rewrites, reply->attributes));
                  });
}

void NfsDataPath::Create(gantry_op op, const gantry_fs_make& request) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, directory)) return;
  if (request.exclusive == 0) return CreateUnchecked(op, request, *directory);
  CreateExclusive(op, request, *directory);
}

// A file that is there is opened as it is; a repetition comes to the same.
void NfsDataPath::CreateUnchecked(gantry_op op, const gantry_fs_make& request,
                                  const FileHandle& directory) {
  MakeBy(
      op,
      nfs::Create{
          directory, View(request.name), nfs::Create::How::kUnchecked, ModeOf(request.mode), {}});
}

// A repetition with the same verifier is answered OK until the first SETATTR, which is not asked for
// before the answer is in the journal. So EEXIST is never an echo.
void NfsDataPath::CreateExclusive(gantry_op op, const gantry_fs_make& request,
                                  const FileHandle& directory) {
  nfs::Create call{directory, View(request.name), nfs::Create::How::kExclusive, {}, {}};
  static_assert(sizeof request.verifier == sizeof call.verifier);
  std::memcpy(call.verifier.data(), &request.verifier, call.verifier.size());
  new_directories_.AddName(directory, call.name);
  calls_.To<nfs::Create>(
      op, call, Touched(directory), [this, op, directory, &request](auto reply, bool) {
        if (!reply && reply.error().Is(NfsStatus3::kNotSupp)) {
          return MakeBy(op, nfs::Create{directory,
                                        View(request.name),
                                        nfs::Create::How::kGuarded,
                                        ModeOf(request.mode),
                                        {}});
        }
        if (!reply) return Fail(op, reply.error());
        NoteDirectory(directory, reply->directory);
        if (reply->handle) return FinishExclusive(op, *reply->handle, request.mode);
        calls_.To<nfs::Lookup>(op, {directory, View(request.name)},
                               [this, op, &request](auto found, bool) {
                                 if (!found) return Fail(op, found.error());
                                 FinishExclusive(op, found->handle, request.mode);
                               });
      });
}

// The server keeps the verifier in the times and gives the file a mode of its own choice.
void NfsDataPath::FinishExclusive(gantry_op op, const FileHandle& file, uint32_t mode) {
  nfs::SetAttr call{file, ModeOf(mode), {}};
  call.change.atime.how = call.change.mtime.how = TimeChange::How::kServerTime;
  calls_.To<nfs::SetAttr>(op, call, Touched(file), [this, op, file](auto reply, bool) {
    if (!reply) return Fail(op, reply.error());
    DoneNode(op, file, reply->wcc.after);
  });
}

void NfsDataPath::Mkdir(gantry_op op, const gantry_fs_make& request) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, directory)) return;
  // Of what a predecessor has asked for nobody knows when it was made.
  std::optional<TimePoint> asked_at;
  if ((request.context.flags & GANTRY_FS_REPLAYED) == 0)
    asked_at = std::chrono::steady_clock::now();
  MakeBy(op, nfs::MakeDir{*directory, View(request.name), ModeOf(request.mode)}, asked_at);
}

void NfsDataPath::Mknod(gantry_op op, const gantry_fs_make& request) {
  if (S_ISREG(request.mode)) return Create(op, request);
  const Turn turn(*this);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, directory)) return;
  MakeBy(op, nfs::MakeNode{*directory, View(request.name), NodeType(request.mode),
                           ModeOf(request.mode), request.rdev_major, request.rdev_minor});
}

void NfsDataPath::Symlink(gantry_op op, const gantry_fs_make& request) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, directory)) return;
  MakeBy(op, nfs::SymLink{*directory, View(request.name), View(request.target), ModeOf(0777)});
}

void NfsDataPath::Link(gantry_op op, const gantry_fs_link& request) {
  const Turn turn(*this);
  const auto node = ToHandle(request.node);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, node, directory)) return;
  new_directories_.AddName(*directory, View(request.name));
  calls_.To<nfs::Link>(
      op, {*node, *directory, View(request.name)}, Touched(*node, *directory),
      [this, op, &request, node = *node, directory = *directory](auto reply, bool ambiguous) {
        if (!reply && ambiguous && reply.error().Is(NfsStatus3::kExist)) {
          return ProveLink(op, request, node, directory);
        }
        if (!reply) return Fail(op, reply.error());
        NoteDirectory(directory, reply->directory);
        DoneNode(op, node, reply->attributes);
      });
}

// The name leads to the very file that was to be linked: the link was made.
void NfsDataPath::ProveLink(gantry_op op, const gantry_fs_link& request, const FileHandle& node,
                            const FileHandle& directory) {
  calls_.To<nfs::Lookup>(op, {directory, View(request.name)},
                         [this, op, node, rewrites = uncommitted_.rewrites()](auto found, bool) {
                           if (!found) return Fail(op, EIO);
                           if (found->handle != node) return Fail(op, EIO);
                           DoneNode(op, node, SinceRewrite(rewrites, found->attributes));
                         });
}

// --- names that go

template <class Call>
void NfsDataPath::RemoveBy(gantry_op op, const gantry_fs_name& request) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.directory);
  if (!BeginWith(op, request.context, directory)) return;
  calls_.To<Call>(op, {*directory, View(request.name)}, Touched(*directory),
                  [this, op, directory = *directory](auto reply, bool ambiguous) {
                    if (reply || IsEcho(reply.error(), ambiguous, NfsStatus3::kNoEnt)) {
                      NoteDirectory(directory, reply ? reply->wcc : WeakCacheData());
                      return Done(op);
                    }
                    FailChange(op, reply.error(), ambiguous, NfsStatus3::kNoEnt);
                  });
}

void NfsDataPath::Unlink(gantry_op op, const gantry_fs_name& request) {
  RemoveBy<nfs::Remove>(op, request);
}

void NfsDataPath::Rmdir(gantry_op op, const gantry_fs_name& request) {
  RemoveBy<nfs::RemoveDir>(op, request);
}

void NfsDataPath::Rename(gantry_op op, const gantry_fs_rename& request) {
  const Turn turn(*this);
  const auto from = ToHandle(request.directory);
  const auto to = ToHandle(request.new_directory);
  if (!BeginWith(op, request.context, from, to)) return;
  new_directories_.AddName(*to, View(request.new_name));
  calls_.To<nfs::Rename>(op, {*from, View(request.name), *to, View(request.new_name)},
                         Touched(*from, *to),
                         [this, op, from = *from, to = *to](auto reply, bool ambiguous) {
                           if (reply || IsEcho(reply.error(), ambiguous, NfsStatus3::kNoEnt)) {
                             NoteDirectory(from, reply ? reply->from : WeakCacheData());
                             NoteDirectory(to, reply ? reply->to : WeakCacheData());
                             return Done(op);
                           }
                           FailChange(op, reply.error(), ambiguous, NfsStatus3::kNoEnt);
                         });
}

}  // namespace gantry::nfs
