// SPDX-License-Identifier: Apache-2.0
// From the plugin's ends of operations to replies to the kernel.
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "host/datapath/attributes.hpp"
#include "host/datapath/opcodes.hpp"
#include "host/datapath/server.hpp"

namespace gantry::datapath {
namespace {

constexpr size_t kTargetBytesMax = 4095;
constexpr int kErrnoMax = 511;  // the kernel refuses a reply with a larger one
constexpr uint64_t kMisbehaviourLoggedMax = 16;

// ENOSYS would make the kernel never ask again, and for FSYNC report success from then on.
int ToReplyErrno(int32_t error_number) {
  if (error_number == ENOSYS) return EOPNOTSUPP;
  return error_number > 0 && error_number <= kErrnoMax ? error_number : EIO;
}

template <class T>
std::string_view Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= GANTRY_FS_NAME_BYTES_MAX &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

}  // namespace

Operation* Server::Find(gantry_op id) {
  const size_t index = IndexOf(id);
  if (id == 0 || index >= operations_.size() || operations_[index].id != id) return nullptr;
  return &operations_[index];
}

void Server::Misbehaved(std::string_view what) {
  if (++statistics_.misbehaviour <= kMisbehaviourLoggedMax)
    log_(wire::LogLevel::kError, "the plugin misbehaved: " + std::string(what));
}

// The operation that this done ends, or nullptr when there is nothing left to do.
Operation* Server::FindEnding(gantry_op id, Ending ending) {
  Operation* operation = Find(id);
  if (operation == nullptr || !operation->started) {
    Misbehaved("it ended an operation that is not under way");
    return nullptr;
  }
  if (operation->answered) {
    Release(*operation);
    return nullptr;
  }
  if (operation->ending != ending) {
    Misbehaved("it ended an operation by a done of another kind");
    Answer(*operation, EIO, {});
    return nullptr;
  }
  return operation;
}

void Server::EndInternal(base::Status status) {
  internal_ = 0;
  if (const auto then = std::exchange(internal_then_, nullptr)) then(std::move(status));
}

void Server::Done(gantry_op id) {
  if (id != 0 && id == internal_) {
    if (!internal_is_open_) return EndInternal({});
    Misbehaved("open ended without the root");
    return EndInternal(base::Fail(base::Code::kInternal, "open ended without the root"));
  }
  Operation* operation = Find(id);
  const bool entries = operation != nullptr && operation->ending == Ending::kEntries;
  operation = FindEnding(id, entries ? Ending::kEntries : Ending::kPlain);
  if (operation == nullptr) return;
  if (operation->part == Part::kHide) return HasHidden(*operation);
  if (operation->part == Part::kClean) return Cleaned(*operation);
  if (entries) return AnswerEntries(*operation);
  Answer(*operation, 0, {});
}

void Server::DoneError(gantry_op id, int32_t error_number) {
  if (id != 0 && id == internal_)
    return EndInternal(base::FailErrno(ToReplyErrno(error_number),
                                       internal_is_open_ ? "open the volume" : "close the volume"));
  Operation* operation = Find(id);
  operation = FindEnding(id, operation != nullptr ? operation->ending : Ending::kPlain);
  if (operation == nullptr) return;
  const int error = ToReplyErrno(error_number);
  if (!GoesOnAfter(*operation, error)) Answer(*operation, error, {});
}

void Server::DoneAttributes(gantry_op id, const gantry_fs_attributes* attributes) {
  Operation* operation = FindEnding(id, Ending::kAttributes);
  if (operation == nullptr) return;
  if (operation->truncate) return AnswerNode(*operation, operation->Handle(1), *attributes);
  Answer(*operation, 0, Bytes(ToAttrOut(*attributes, policy_)));
}

void Server::DoneNode(gantry_op id, gantry_bytes node, const gantry_fs_attributes* attributes) {
  const std::string_view handle(static_cast<const char*>(node.ptr), node.len);
  if (id != 0 && id == internal_) {
    if (!internal_is_open_) {
      Misbehaved("close ended with a node");
      return EndInternal({});
    }
    return EndInternal(nodes_.SetRoot(handle));
  }
  NoteForgotten(handle);  // unless it is known, or is in a moment
  Operation* operation = FindEnding(id, Ending::kNode);
  if (operation == nullptr) return;
  if (operation->part == Part::kLook) return Looked(*operation, handle, *attributes);
  if (operation->part == Part::kHide) return HasHidden(*operation);
  if (operation->truncate && attributes->size_bytes > 0) {
    if (handle.empty() || handle.size() > kHandleBytesMax) {
      Misbehaved("a node handle has a wrong size");
      return Answer(*operation, EIO, {});
    }
    (void)operation->Keep(1, handle);
    operation->part = Part::kTruncate;
    return GoOnLater(*operation);
  }
  AnswerNode(*operation, handle, *attributes);
}

void Server::AnswerNode(Operation& operation, std::string_view handle,
                        const gantry_fs_attributes& attributes) {
  const auto node = nodes_.Intern(handle);
  if (!node) {
    log_(wire::LogLevel::kError, node.error().message);
    if (node.error().code == base::Code::kInvalidArgument) ++statistics_.misbehaviour;
    return Answer(operation, node.error().code == base::Code::kResourceExhausted ? ENOMEM : EIO,
                  {});
  }
  if (*node == kRootNode) {
    // The kernel has the root without a lookup, and no directory may contain it.
    Misbehaved("a name leads to the root");
    return Answer(operation, EIO, {});
  }
  (void)nodes_.Adjust(operation.slot.control().redo, *node, 1, operation.opens ? 1 : 0);
  if (operation.opens) {
    ++open_files_;
    NoteWriter(operation, *node);
  }
  const fuse_entry_out entry = ToEntryOut(*node, nodes_.Generation(*node), attributes, policy_);
  if (!operation.opens) return Answer(operation, 0, Bytes(entry));
  const fuse_open_out open = ToOpenOut(policy_);
  std::array<char, sizeof entry + sizeof open> both;
  std::memcpy(both.data(), &entry, sizeof entry);
  std::memcpy(both.data() + sizeof entry, &open, sizeof open);
  Answer(operation, 0, {both.data(), both.size()});
}

void Server::NoteWriter(const Operation& operation, uint64_t node) {
  const fuse_in_header* header = operation.slot.header();
  // Root may open anything, and the storage may refuse what it writes: others' pages stay theirs.
  const auto known = nodes_.WriterOf(node);
  if (header->uid == 0 && known && known->uid != 0 && nodes_.Opens(node) > 1) return;
  nodes_.SetWriter(node, {header->uid, header->gid});
}

// A kernel that does not know the inode any more says so, which is as well.
void Server::DropAttributes(uint64_t node) {
  fuse_notify_inval_inode_out out{};
  out.ino = node;
  out.off = -1;
  fuse_out_header header{};
  header.len = sizeof header + sizeof out;
  header.error = FUSE_NOTIFY_INVAL_INODE;
  iovec parts[] = {{&header, sizeof header}, {&out, sizeof out}};
  while (writev(fuse_fd_, parts, 2) < 0 && errno == EINTR) {
  }
}

void Server::DoneTarget(gantry_op id, gantry_str target) {
  Operation* operation = FindEnding(id, Ending::kTarget);
  if (operation == nullptr) return;
  if (target.len == 0 || target.len > kTargetBytesMax) {
    Misbehaved("a link's target has a wrong size");
    return Answer(*operation, EIO, {});
  }
  Answer(*operation, 0, {target.ptr, target.len});
}

void Server::DoneData(gantry_op id, uint32_t length) {
  Operation* operation = FindEnding(id, Ending::kData);
  if (operation == nullptr) return;
  if (length > operation->wanted) {
    Misbehaved("it read more than was asked for");
    return Answer(*operation, EIO, {});
  }
  if (operation->buffer.empty()) {
    fuse_getxattr_out out{};
    out.size = length;
    return Answer(*operation, 0, Bytes(out));
  }
  Answer(*operation, 0, {operation->buffer.data(), length});
}

void Server::DoneWritten(gantry_op id, uint32_t length) {
  Operation* operation = FindEnding(id, Ending::kWritten);
  if (operation == nullptr) return;
  if (length > operation->wanted) {
    Misbehaved("it wrote more than was asked for");
    return Answer(*operation, EIO, {});
  }
  fuse_write_out out{};
  out.size = length;
  Answer(*operation, 0, Bytes(out));
}

void Server::DoneStatfs(gantry_op id, const gantry_fs_statfs* statfs) {
  Operation* operation = FindEnding(id, Ending::kStatfs);
  if (operation != nullptr) Answer(*operation, 0, Bytes(ToFuse(*statfs)));
}

void Server::DoneOfNoKind(gantry_op id) { (void)FindEnding(id, Ending::kNone); }

int32_t Server::Entry(gantry_op id, const gantry_fs_entry& entry, gantry_bytes node,
                      const gantry_fs_attributes* attributes) {
  Operation* operation = Find(id);
  if (operation == nullptr || operation->ending != Ending::kEntries || !operation->started) {
    Misbehaved("an entry of no directory");
    return 0;
  }
  if (operation->answered) return 0;
  const std::string_view name(entry.name.ptr, entry.name.len);
  if (!IsName(name) || entry.cookie == 0) {
    Misbehaved("an entry without a valid name or cookie");
    return 1;
  }
  const bool plus = operation->slot.header()->opcode == FUSE_READDIRPLUS;
  const size_t before_name = (plus ? sizeof(fuse_entry_out) : 0) + FUSE_NAME_OFFSET;
  const size_t bytes = FUSE_DIRENT_ALIGN(before_name + name.size());
  if (operation->filled + bytes > operation->wanted) return 0;
  char* out = operation->buffer.data() + operation->filled;
  std::memset(out, 0, bytes);
  // The kernel takes no node from the two, and would count none.
  if (plus && node.len > 0 && attributes != nullptr && name != "." && name != "..") {
    if (operation->named.size() == kBatchNodesMax) return 0;
    const fuse_entry_out found = ToEntryOut(0, 0, *attributes, policy_);
    std::memcpy(out, &found, sizeof found);
    operation->named.push_back({operation->filled, {static_cast<const char*>(node.ptr), node.len}});
  }
  fuse_dirent head{};
  head.ino = entry.fileid;
  head.off = entry.cookie;
  head.namelen = static_cast<uint32_t>(name.size());
  head.type = (entry.type & S_IFMT) >> 12;
  std::memcpy(out + before_name - FUSE_NAME_OFFSET, &head, FUSE_NAME_OFFSET);
  std::memcpy(out + before_name, name.data(), name.size());
  operation->filled += bytes;
  return 1;
}

// Nodes get their ids and counts here, and the kernel is told in the same breath. An entry without one it
// looks up when somebody asks for it; that then says what was wrong, or what its attributes are since
// they were changed.
void Server::AnswerEntries(Operation& operation) {
  std::vector<uint32_t> nodes;
  for (const NamedNode& named : operation.named) {
    if (operation.changed.size() > kChangedNodesMax || operation.changed.contains(named.handle))
      continue;
    const auto node = nodes_.Intern(named.handle);
    if (!node || *node == kRootNode) {
      if (node) Misbehaved("a name leads to the root");
      if (!node && node.error().code == base::Code::kInvalidArgument)
        Misbehaved(node.error().message);
      continue;
    }
    fuse_entry_out entry{};
    std::memcpy(&entry, operation.buffer.data() + named.at, sizeof entry);
    entry.nodeid = *node;
    entry.generation = nodes_.Generation(*node);
    std::memcpy(operation.buffer.data() + named.at, &entry, sizeof entry);
    nodes.push_back(*node);
  }
  const LookupBatch batch = operation.slot.batch();
  nodes_.AddLookups(batch, nodes);
  const uint64_t unique = operation.slot.header()->unique;
  const int refused = WriteReply(unique, 0, {operation.buffer.data(), operation.filled});
  if (refused != 0) nodes_.TakeBack(batch);
  if (refused != 0 && refused != ENOENT) (void)WriteReply(unique, -EIO, {});
  Release(operation);
}

// A repetition's slot is so already.
void Server::MarkExecuting(const Operation& operation) {
  if (operation.slot.state() == SlotState::kReceived) operation.slot.BeginExecution();
}

void Server::Answer(Operation& operation, int error_number, std::string_view body) {
  const uint64_t unique = operation.slot.header()->unique;
  // close(2) has waited long enough: what it has written is kept, and committed later.
  if (operation.slot.header()->opcode == FUSE_FLUSH && error_number == EINTR) error_number = 0;
  if (operation.slot.state() == SlotState::kExecuting)
    operation.slot.SaveReply(-error_number, body);
  const int refused = WriteReply(unique, -error_number, body);
  if (refused != 0 && refused != ENOENT) (void)WriteReply(unique, -EIO, {});
  Release(operation);
}

// Not from within a done function of the plugin's.
void Server::GoOnLater(Operation& operation) {
  operation.started = false;
  going_on_.push_back(operation.id);
}

// The storage may have told a listing of these nodes before: the kernel, which knows better, would take
// the older size for one that nobody has changed.
void Server::NoteChange(const Operation& operation) {
  if (listings_ == 0 || !Changes(operation.slot.header()->opcode)) return;
  for (Operation& listing : operations_) {
    if (listing.id == 0 || !listing.lists || listing.changed.size() > kChangedNodesMax) continue;
    for (size_t i = 0; i < operation.handles.size(); ++i)
      if (operation.handle_bytes[i] > 0) listing.changed.emplace(operation.Handle(i));
  }
}

void Server::Release(Operation& operation) {
  NoteChange(operation);
  if (std::exchange(operation.lists, false)) --listings_;
  operation.changed.clear();
  arena_.Give(std::exchange(operation.buffer, {}));
  for (const NamedNode& named : std::exchange(operation.named, {})) NoteForgotten(named.handle);
  slots_.Free(operation.slot);
  operation.id = 0;
  --in_flight_;
}

// 0: the kernel has taken it. ENOENT: nobody waits for it. Else it found the reply malformed, and the
// caller may still wait.
int Server::WriteReply(uint64_t unique, int32_t error, std::string_view body) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof header + body.size());
  header.error = error;
  header.unique = unique;
  iovec parts[] = {{&header, sizeof header}, {const_cast<char*>(body.data()), body.size()}};
  for (;;) {
    if (writev(fuse_fd_, parts, body.empty() ? 1 : 2) >= 0) return 0;
    if (errno != EINTR) break;
  }
  // ENOENT: the caller is gone. ENODEV, EPERM: the filesystem is.
  const int why = errno;
  if (why == ENOENT || why == ENODEV || why == EPERM) {
    ++statistics_.replies_refused;
    return ENOENT;
  }
  Misbehaved("the kernel refused a reply: " + base::FromErrno(why, "writev").message);
  return why;
}

// To be told by Pump: not from within a done function, and when nothing of this turn needs the node.
void Server::NoteForgotten(std::string_view handle) {
  if (opened_ && plugin_.forget != nullptr && !handle.empty() && !nodes_.Find(handle))
    forgotten_.emplace_back(handle);
}

void Server::TellForgotten() {
  if (forgotten_.empty()) return;
  std::unordered_set<std::string_view> kept;
  for (const Operation& operation : operations_) {
    if (operation.id == 0) continue;
    for (size_t i = 0; i < operation.handles.size(); ++i) kept.insert(operation.Handle(i));
    for (const NamedNode& named : operation.named) kept.insert(named.handle);
  }
  std::vector<std::string> in_use;
  for (std::string& handle : std::exchange(forgotten_, {})) {
    if (nodes_.Find(handle)) continue;
    if (kept.contains(handle))
      in_use.push_back(std::move(handle));
    else
      plugin_.forget(instance_, {handle.data(), handle.size()});
  }
  forgotten_ = std::move(in_use);
}

}  // namespace gantry::datapath
