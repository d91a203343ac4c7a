// SPDX-License-Identifier: Apache-2.0
// Files that are removed while they are open. A storage that knows of no open files forgets such a
// file, and whoever has it open gets ESTALE. Where the policy says so, the last name of an open file is
// not removed, but becomes one of ours (".nfs" and 16 hex digits, as administrators of NFS servers know
// it), and goes with the file's last close. A RENAME over an open file first gives that file the second
// name, so that the first one leads to a file at every moment.
//
//   UNLINK   look whose name it is; rename to ours      or, of a file that nobody has open: unlink
//   RENAME   look whose name goes; link ours to it, then rename      or at once: rename
//   RELEASE  of the last one: unlink ours; RMDIR and RENAME, which ask for empty directories, wait for it
//
// What a request has come to is in its slot before the plugin is asked (`progress`), since a repetition
// would find its own work; which name is ours is in the node's record; and the name's directory is
// kept in the node table by a lookup of ours.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

#include "host/datapath/request_body.hpp"
#include "host/datapath/server.hpp"

namespace gantry::datapath {
namespace {

// `progress` of UNLINK and RENAME: 0, then the node that is being hidden, then the first of these, or
// of a node that was closed meanwhile the second.
constexpr uint32_t kChangeAsked = kRootNode;  // no file's node
constexpr uint32_t kHiddenBit = 1U << 31;     // with the node
static_assert(kNodesMax < kHiddenBit);
// `progress` of RELEASE: the count was changed.
constexpr uint32_t kReleased = 1;
// Of a redo record: our lookup of a directory comes and goes, beside the request's own count.
constexpr uint32_t kKeepItem = 1;
constexpr uint32_t kLeaveItem = 2;

HiddenName NameOf(const Hidden& hidden) {
  HiddenName name{};
  std::snprintf(name.data(), name.size(), ".nfs%016llx",
                static_cast<unsigned long long>(hidden.number));
  return name;
}

bool MayHaveWorked(int32_t error_number) {
  return error_number == EIO || error_number == EINTR || error_number == ETIMEDOUT ||
         error_number == ESHUTDOWN;
}

}  // namespace

// The name that goes. 0 or an errno.
int Server::TakeVictim(const Operation& operation, uint64_t& directory, gantry_str& name) {
  const fuse_in_header* header = operation.slot.header();
  RequestBody body(operation.slot);
  directory = header->nodeid;
  if (header->opcode == FUSE_RENAME) {
    fuse_rename_in in{};
    if (!body.Take(in)) return EINVAL;
    directory = in.newdir;
  } else if (header->opcode == FUSE_RENAME2) {
    fuse_rename2_in in{};
    if (!body.Take(in)) return EINVAL;
    // RENAME_NOREPLACE, _EXCHANGE and _WHITEOUT: the ABI has no atomic form of them.
    if (in.flags != 0) return EINVAL;
    directory = in.newdir;
  }
  if (header->opcode != FUSE_UNLINK)
    if (int e = body.Name(name)) return e;
  return body.Name(name);
}

int Server::AskRemoval(Operation& operation) {
  const uint32_t progress = operation.slot.control().progress;
  const bool renames = operation.slot.header()->opcode != FUSE_UNLINK;
  if (renames && progress == 0 && WaitsForCleaning(operation)) return 0;
  if (!policy_.hides_removed_files || progress == kChangeAsked) return AskChange(operation);
  if ((progress & kHiddenBit) != 0) return AskClean(operation, progress & ~kHiddenBit);
  if (progress != 0) return AskHide(operation);
  return open_files_ > 0 ? AskLook(operation) : AskChange(operation);
}

int Server::AskChange(Operation& operation) {
  operation.slot.control().progress.store(kChangeAsked, std::memory_order_release);
  operation.part = Part::kOnly;
  return operation.slot.header()->opcode == FUSE_UNLINK ? AskName(operation) : AskRename(operation);
}

int Server::AskLook(Operation& operation) {
  auto* request = operation.request.Make<gantry_fs_name>();
  request->context = Context(operation);
  uint64_t directory = 0;
  if (int e = TakeVictim(operation, directory, request->name)) return e;
  if (int e = KeepNode(operation, 0, directory, request->directory)) return e;
  operation.part = Part::kLook;
  return Call(operation, plugin_.lookup, request, Ending::kNode);
}

void Server::Looked(Operation& operation, std::string_view handle,
                    const gantry_fs_attributes& attributes) {
  const auto node = nodes_.Find(handle);
  const bool ends = S_ISREG(attributes.mode) && attributes.nlink <= 1;
  if (!node || !ends || nodes_.Opens(*node) == 0) return GoOn(operation, kChangeAsked);
  // Somebody removes the name that was ours.
  if (nodes_.HiddenOf(*node)) return Answer(operation, EBUSY, {});
  GoOn(operation, *node);
}

void Server::GoOn(Operation& operation, uint32_t progress) {
  operation.slot.control().progress.store(progress, std::memory_order_release);
  GoOnLater(operation);
}

int Server::AskHide(Operation& operation) {
  const uint32_t node = operation.slot.control().progress;
  uint64_t directory = 0;
  gantry_str name{};
  if (int e = TakeVictim(operation, directory, name)) return e;
  operation.part = Part::kHide;
  operation.our_name = NameOf({.number = HidingNumber(operation)});
  const gantry_str ours = {operation.our_name.data(), kHiddenNameBytes};
  if (operation.slot.header()->opcode == FUSE_UNLINK) {
    auto* request = operation.request.Make<gantry_fs_rename>();
    request->context = Context(operation);
    if (int e = KeepNode(operation, 0, directory, request->directory)) return e;
    if (int e = KeepNode(operation, 1, directory, request->new_directory)) return e;
    request->name = name;
    request->new_name = ours;
    return Call(operation, plugin_.rename, request, Ending::kPlain);
  }
  auto* request = operation.request.Make<gantry_fs_link>();
  request->context = Context(operation);
  if (int e = KeepNode(operation, 0, node, request->node)) return e;
  if (int e = KeepNode(operation, 1, directory, request->directory)) return e;
  request->name = ours;
  return Call(operation, plugin_.link, request, Ending::kNode);
}

void Server::HasHidden(Operation& operation) {
  SlotControl& control = operation.slot.control();
  const uint32_t node = control.progress;
  uint64_t directory = 0;
  gantry_str name{};
  if (TakeVictim(operation, directory, name) != 0 || !nodes_.Has(directory) || !nodes_.Has(node))
    return Answer(operation, EIO, {});
  (void)nodes_.Adjust(control.redo, directory, 1, 0, kKeepItem);
  const gantry_fs_context context = Context(operation);
  nodes_.Hide(
      node, {static_cast<uint32_t>(directory), context.uid, context.gid, HidingNumber(operation)});
  if (nodes_.Opens(node) == 0) return GoOn(operation, kHiddenBit | node);
  AfterHiding(operation);
}

void Server::AfterHiding(Operation& operation) {
  if (operation.slot.header()->opcode == FUSE_UNLINK) return Answer(operation, 0, {});
  GoOn(operation, kChangeAsked);
}

// False: the error is the request's.
bool Server::GoesOnAfter(Operation& operation, int32_t error_number) {
  const bool renames = operation.slot.header()->opcode != FUSE_UNLINK;
  switch (operation.part) {
    case Part::kLook:
      if (!renames || error_number != ENOENT) return false;
      break;
    case Part::kHide:
      // Without the second name the file is lost to whoever has it open; the rename is no worse for it.
      if (!renames || MayHaveWorked(error_number)) return false;
      break;
    case Part::kClean:
      if (error_number != ENOENT)
        log_(wire::LogLevel::kWarning, "a file that was removed while it was open keeps the name " +
                                           std::string(operation.our_name.data()) + ": " +
                                           base::FromErrno(error_number, "unlink").message);
      Cleaned(operation);
      return true;
    default:
      return false;
  }
  GoOn(operation, kChangeAsked);
  return true;
}

int Server::AnswerRelease(Operation& operation) {
  const uint64_t node = operation.slot.header()->nodeid;
  SlotControl& control = operation.slot.control();
  const bool released = control.progress == kReleased;
  if (!nodes_.Has(node)) {
    // A predecessor may have come as far as to free the id.
    if (!released && !NodeTable::IsAdjusted(control.redo, node)) return ESTALE;
    Answer(operation, 0, {});
    return 0;
  }
  MarkExecuting(operation);
  if (!released && !nodes_.Adjust(control.redo, node, 0, -1)) {
    ++statistics_.misbehaviour;
    log_(wire::LogLevel::kError,
         "the kernel releases node " + std::to_string(node) + " more often than it opened it");
  }
  control.progress.store(kReleased, std::memory_order_release);
  // Too high a count costs questions, too low a one files: what a predecessor has begun counts on.
  // One that waited for the volume comes here twice.
  if (!released && operation.slot.header()->opcode == FUSE_RELEASE && !operation.replayed &&
      open_files_ > 0)
    --open_files_;
  if (nodes_.Opens(node) == 0 && nodes_.HiddenOf(node)) {
    if (opened_) return AskClean(operation, node);
    held_.push_back(operation.id);
    return 0;
  }
  nodes_.DropIfUnused(node);
  Answer(operation, 0, {});
  return 0;
}

int Server::AskClean(Operation& operation, uint64_t node) {
  operation.part = Part::kClean;
  operation.cleaned = node;
  const auto hidden = nodes_.Has(node) ? nodes_.HiddenOf(node) : std::nullopt;
  // Without its directory a predecessor had come as far as to give that back.
  if (!hidden || !nodes_.Has(hidden->directory)) {
    Cleaned(operation);
    return 0;
  }
  auto* request = operation.request.Make<gantry_fs_name>();
  request->context = Context(operation);
  // A RELEASE is nobody's; the name is removed by whoever asked for it.
  request->context.uid = hidden->uid;
  request->context.gid = hidden->gid;
  operation.our_name = NameOf(*hidden);
  request->name = {operation.our_name.data(), kHiddenNameBytes};
  if (int e = KeepNode(operation, 0, hidden->directory, request->directory)) return e;
  return Call(operation, plugin_.unlink, request, Ending::kPlain);
}

void Server::Cleaned(Operation& operation) {
  const uint64_t node = operation.cleaned;
  if (const auto hidden = nodes_.Has(node) ? nodes_.HiddenOf(node) : std::nullopt) {
    (void)nodes_.Adjust(operation.slot.control().redo, hidden->directory, -1, 0, kLeaveItem);
    nodes_.Unhide(node);
    nodes_.DropIfUnused(hidden->directory);
  }
  nodes_.DropIfUnused(node);
  if (operation.slot.header()->opcode == FUSE_RELEASE) return Answer(operation, 0, {});
  AfterHiding(operation);
}

// Nobody waits for a last close, so a directory whose files were closed just now would still have names
// of ours. Only of requests that came before: else it might never be its turn. A repetition has been
// asked before, and the journal's answer to it is kept only until something new is asked.
bool Server::WaitsForCleaning(const Operation& operation) {
  if (operation.replayed) return false;
  const bool waits =
      std::any_of(operations_.begin(), operations_.end(), [&](const Operation& other) {
        return other.id != 0 && other.id < operation.id && other.part == Part::kClean;
      });
  if (waits) behind_cleaning_.push_back(operation.id);
  return waits;
}

// The name of ours would stay, because no close comes any more.
bool Server::HasOnlyToClean(const Operation& operation) const {
  return opened_ && !operation.started && (operation.slot.control().progress & kHiddenBit) != 0;
}

// Unique within the volume, and the same in every repetition of the request.
uint64_t Server::HidingNumber(const Operation& operation) const {
  return RequestNumber(slots_.nonce(), operation.slot.header()->unique);
}

// What is left when the filesystem goes: the kernel tells of no close then.
bool Server::RemoveHidden(std::function<void(base::Status)> then) {
  const auto node = nodes_.AnyHidden();
  if (!node || plugin_.unlink == nullptr) return false;
  const Hidden hidden = *nodes_.HiddenOf(*node);
  nodes_.Unhide(*node);
  auto* request = internal_request_.Make<gantry_fs_name>();
  const auto& groups = identity_.groups();
  request->context = {0, hidden.uid, hidden.gid, static_cast<uint32_t>(groups.size()),
                      groups.data()};
  const std::string_view directory = nodes_.Handle(hidden.directory);
  request->directory = {directory.data(), directory.size()};
  closing_name_ = NameOf(hidden);
  request->name = {closing_name_.data(), kHiddenNameBytes};
  internal_ = MakeId(++sequence_, kInternalIndex);
  internal_is_open_ = false;
  internal_then_ = std::move(then);
  plugin_.unlink(instance_, internal_, request);
  return true;
}

}  // namespace gantry::datapath
