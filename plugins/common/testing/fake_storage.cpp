// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/testing/fake_storage.hpp"

#include <optional>

namespace gantry::plugin::testing {
namespace {

tl::unexpected<StoreError> Failed(StoreFault fault) {
  static constexpr std::pair<const char*, int32_t> kWords[] = {
      {"not found", code::kNotFound},
      {"exists", code::kAborted},
      {"not empty", code::kAborted},
      {"stale", code::kUnavailable},
      {"cross-device", code::kFailedPrecondition},
      {"wrong type", code::kFailedPrecondition},
      {"refused", code::kPermissionDenied},
      {"no space", code::kResourceExhausted},
      {"bad position", code::kAborted},
      {"no answer", code::kUnavailable},
      {"no answer yet", code::kUnavailable}};
  const auto& [word, error_code] = kWords[static_cast<size_t>(fault)];
  return FailStore(fault, error_code, word);
}

uint64_t Number(const NodeId& id) { return std::stoull(id); }

}  // namespace

std::optional<uint64_t> World::Find(const std::string& path) const {
  uint64_t at = kRoot;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const auto& children = inodes_.at(at).children;
    const auto found = children.find(path.substr(begin, end - begin));
    if (found == children.end()) return std::nullopt;
    at = found->second;
    begin = end + 1;
  }
  return at;
}

World::Inode* World::Get(const NodeId& id) {
  const auto found = inodes_.find(Number(id));
  return found == inodes_.end() ? nullptr : &found->second;
}

World::Inode* World::Directory(const NodeId& id) {
  Inode* inode = Get(id);
  return inode != nullptr && inode->type == NodeType::kDirectory ? inode : nullptr;
}

Node World::NodeOf(uint64_t number) const {
  const Inode& inode = inodes_.at(number);
  return {std::to_string(number), inode.type, number, inode.fsid, inode.mtime_ns};
}

uint64_t World::Add(const NodeId& directory, std::string_view name, Inode inode) {
  const uint64_t number = next_++;
  inode.mtime_ns = now_ns_;
  inode.parent = Number(directory);
  inode.fsid = inodes_[inode.parent].fsid;
  inodes_[inode.parent].children.emplace(name, number);
  inodes_[inode.parent].mtime_ns = now_ns_;
  inodes_[number] = std::move(inode);
  return number;
}

void World::Unlink(uint64_t number) {
  if (--inodes_[number].links == 0) inodes_.erase(number);
}

void World::MakePath(const std::string& path, NodeType type, const std::string& content) {
  NodeId directory = root();
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    const bool last = end == path.size();
    const auto& children = Directory(directory)->children;
    if (const auto found = children.find(name); found != children.end()) {
      directory = std::to_string(found->second);
    } else {
      Inode inode;
      if (last) inode.type = type;
      if (last) inode.content = content;
      directory = std::to_string(Add(directory, name, std::move(inode)));
    }
    begin = end + 1;
  }
}

void World::MoveByHand(const std::string& from, const std::string& to) {
  FakeStorage hand(*this);
  const auto split = [&](const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
    return std::pair(std::to_string(*Find(above)), path.substr(slash + 1));
  };
  const auto [from_directory, from_name] = split(from);
  const auto [to_directory, to_name] = split(to);
  (void)hand.Rename(from_directory, from_name, to_directory, to_name);
}

void World::List(uint64_t number, const std::string& path, std::set<std::string>* paths) const {
  for (const auto& [name, child] : inodes_.at(number).children) {
    const bool directory = inodes_.at(child).type == NodeType::kDirectory;
    paths->insert(path + name + (directory ? "/" : ""));
    if (directory) List(child, path + name + "/", paths);
  }
}

std::set<std::string> World::Paths() const {
  std::set<std::string> paths;
  List(kRoot, "", &paths);
  return paths;
}

template <class T>
StoreResult<T> FakeStorage::Do(std::function<StoreResult<T>()> operation) {
  if (dead_) return Failed(StoreFault::kUnavailable);
  const Fault fault = before_ ? before_() : Fault::kNone;
  ++operations_;
  switch (fault) {
    case Fault::kNone:
      return operation();
    case Fault::kDieBefore:
      dead_ = true;
      break;
    case Fault::kDieAfter:
      dead_ = true;
      (void)operation();
      break;
    case Fault::kDieDelayed:
      dead_ = true;
      world_.delayed_.push_back([operation = std::move(operation)] { (void)operation(); });
      break;
    case Fault::kAnswerLate:
      world_.delayed_.push_back([operation = std::move(operation)] { (void)operation(); });
      return Failed(StoreFault::kUnanswered);
    case Fault::kLoseReply:
      (void)operation();
      break;
    case Fault::kRefuse:
      break;
  }
  return Failed(StoreFault::kUnavailable);
}

StoreResult<Node> FakeStorage::Lookup(const NodeId& directory, std::string_view name) {
  return Do<Node>([&w = world_, directory, name = std::string(name)]() -> StoreResult<Node> {
    if (w.Get(directory) == nullptr) return Failed(StoreFault::kStale);
    if (w.Directory(directory) == nullptr) return Failed(StoreFault::kWrongType);
    const auto& children = w.Directory(directory)->children;
    const auto found = children.find(name);
    if (found == children.end()) return Failed(StoreFault::kNotFound);
    return w.NodeOf(found->second);
  });
}

StoreResult<std::vector<Listed>> FakeStorage::List(const NodeId& directory, size_t names_max) {
  using Names = std::vector<Listed>;
  return Do<Names>([&w = world_, directory, names_max]() -> StoreResult<Names> {
    if (w.Directory(directory) == nullptr) return Failed(StoreFault::kStale);
    Names names;
    for (const auto& [name, inode] : w.Directory(directory)->children) {
      if (names.size() >= names_max) break;
      names.push_back({name, inode % 2 == 0 ? std::optional(w.NodeOf(inode)) : std::nullopt});
    }
    return names;
  });
}

StoreResult<std::string> FakeStorage::ReadFile(const NodeId& file, size_t bytes_max) {
  return Do<std::string>([&w = world_, file, bytes_max]() -> StoreResult<std::string> {
    if (w.Get(file) == nullptr) return Failed(StoreFault::kStale);
    return w.Get(file)->content.substr(0, bytes_max);
  });
}

StoreResult<Node> FakeStorage::MakeDirectory(const NodeId& directory, std::string_view name,
                                             const Ownership& ownership) {
  return Do<Node>(
      [&w = world_, directory, name = std::string(name), ownership]() -> StoreResult<Node> {
        if (w.Directory(directory) == nullptr) return Failed(StoreFault::kStale);
        if (w.Directory(directory)->children.contains(name)) return Failed(StoreFault::kExists);
        World::Inode inode;
        inode.ownership = ownership;
        return w.NodeOf(w.Add(directory, name, std::move(inode)));
      });
}

// Two operations, as with a file server: the name, then the content.
StoreResult<Node> FakeStorage::CreateFile(const NodeId& directory, std::string_view name,
                                          std::string_view content) {
  auto made = Do<Node>([&w = world_, directory, name = std::string(name)]() -> StoreResult<Node> {
    if (w.Directory(directory) == nullptr) return Failed(StoreFault::kStale);
    if (w.Directory(directory)->children.contains(name)) return Failed(StoreFault::kExists);
    World::Inode inode;
    inode.type = NodeType::kFile;
    return w.NodeOf(w.Add(directory, name, std::move(inode)));
  });
  if (!made) return made;
  return Do<Node>(
      [&w = world_, node = *made, content = std::string(content)]() -> StoreResult<Node> {
        if (w.Get(node.id) == nullptr) return Failed(StoreFault::kStale);
        w.Get(node.id)->content = content;
        return node;
      });
}

StoreStatus FakeStorage::Link(const NodeId& file, const NodeId& directory, std::string_view name) {
  return Do<void>([&w = world_, file, directory, name = std::string(name)]() -> StoreStatus {
    if (w.Get(file) == nullptr || w.Directory(directory) == nullptr) {
      return Failed(StoreFault::kStale);
    }
    if (w.Get(file)->fsid != w.Get(directory)->fsid) return Failed(StoreFault::kCrossDevice);
    if (!w.Directory(directory)->children.emplace(name, Number(file)).second) {
      return Failed(StoreFault::kExists);
    }
    ++w.Get(file)->links;
    return {};
  });
}

StoreStatus FakeStorage::Rename(const NodeId& from, std::string_view from_name, const NodeId& to,
                                std::string_view to_name) {
  return Do<void>([&w = world_, from, from_name = std::string(from_name), to,
                   to_name = std::string(to_name)]() -> StoreStatus {
    if (w.Directory(from) == nullptr || w.Directory(to) == nullptr) {
      return Failed(StoreFault::kStale);
    }
    auto& sources = w.Directory(from)->children;
    const auto source = sources.find(from_name);
    if (source == sources.end()) return Failed(StoreFault::kNotFound);
    const uint64_t moved = source->second;
    if (w.inodes_[moved].fsid != w.Get(to)->fsid) return Failed(StoreFault::kCrossDevice);
    auto& targets = w.Directory(to)->children;
    if (const auto target = targets.find(to_name); target != targets.end()) {
      if (target->second == moved) return {};
      const World::Inode& replaced = w.inodes_[target->second];
      if ((replaced.type == NodeType::kDirectory) !=
          (w.inodes_[moved].type == NodeType::kDirectory)) {
        return Failed(StoreFault::kExists);
      }
      if (!replaced.children.empty()) return Failed(StoreFault::kNotEmpty);
      w.Unlink(target->second);
      targets.erase(target);
    }
    sources.erase(from_name);
    targets[to_name] = moved;
    w.inodes_[moved].parent = Number(to);
    return {};
  });
}

StoreStatus FakeStorage::Remove(const NodeId& directory, std::string_view name) {
  return Do<void>([&w = world_, directory, name = std::string(name)]() -> StoreStatus {
    if (w.Directory(directory) == nullptr) return Failed(StoreFault::kStale);
    auto& children = w.Directory(directory)->children;
    const auto found = children.find(name);
    if (found == children.end()) return Failed(StoreFault::kNotFound);
    if (w.inodes_[found->second].type == NodeType::kDirectory) {
      return Failed(StoreFault::kWrongType);
    }
    w.Unlink(found->second);
    children.erase(found);
    return {};
  });
}

StoreStatus FakeStorage::RemoveDirectory(const NodeId& directory, std::string_view name) {
  return Do<void>([&w = world_, directory, name = std::string(name)]() -> StoreStatus {
    if (w.Directory(directory) == nullptr) return Failed(StoreFault::kStale);
    auto& children = w.Directory(directory)->children;
    const auto found = children.find(name);
    if (found == children.end()) return Failed(StoreFault::kNotFound);
    if (w.inodes_[found->second].type != NodeType::kDirectory) {
      return Failed(StoreFault::kWrongType);
    }
    if (!w.inodes_[found->second].children.empty()) return Failed(StoreFault::kNotEmpty);
    w.Unlink(found->second);
    children.erase(found);
    return {};
  });
}

StoreResult<int64_t> FakeStorage::Touch(const NodeId& file) {
  return Do<int64_t>([&w = world_, file]() -> StoreResult<int64_t> {
    if (w.Get(file) == nullptr) return Failed(StoreFault::kStale);
    w.Get(file)->mtime_ns = w.now_ns_;
    return w.now_ns_;
  });
}

StoreStatus FakeStorage::Change(const NodeId& node, const OwnershipChange& change) {
  return Do<void>([&w = world_, node, change]() -> StoreStatus {
    if (w.Get(node) == nullptr) return Failed(StoreFault::kStale);
    Ownership& ownership = w.Get(node)->ownership;
    if (change.mode) ownership.mode = *change.mode;
    if (change.uid) ownership.uid = change.uid;
    if (change.gid) ownership.gid = change.gid;
    return {};
  });
}

}  // namespace gantry::plugin::testing
