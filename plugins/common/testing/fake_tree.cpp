// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/testing/fake_tree.hpp"

#include <algorithm>
#include <functional>

namespace gantry::plugin::testing {
namespace {

constexpr uint64_t kBlockBytes = 4'096;
constexpr int64_t kBeginNs = 1'600'000'000'000'000'000;

tl::unexpected<StoreError> Failed(StoreFault fault) {
  int32_t why = code::kAborted;
  if (fault == StoreFault::kNoSpace) why = code::kResourceExhausted;
  if (fault == StoreFault::kRefused) why = code::kPermissionDenied;
  if (fault == StoreFault::kUnavailable) why = code::kUnavailable;
  return FailStore(fault, why, "fault " + std::to_string(static_cast<int>(fault)));
}

uint64_t Number(const NodeId& id) { return std::stoull(id); }

std::pair<std::string, std::string> Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

FakeTree::FakeTree() {
  Inode root;
  root.attributes.kind = EntryKind::kDirectory;
  root.attributes.mode = 0755;
  root.names = 1;
  inodes_[kRoot] = std::move(root);
}

// --- what is there

std::optional<uint64_t> FakeTree::Find(const std::string& path) const {
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

NodeId FakeTree::IdOf(const std::string& path) const { return std::to_string(*Find(path)); }
FakeTree::Inode& FakeTree::At(const std::string& path) { return inodes_.at(*Find(path)); }

void FakeTree::MakePath(const std::string& path, EntryKind kind, const std::string& content) {
  const auto [above, name] = Split(path);
  if (!above.empty() && !Has(above)) MakePath(above, EntryKind::kDirectory);
  uint32_t mode = kind == EntryKind::kDirectory ? 0755 : 0644;
  if (kind == EntryKind::kSymlink) mode = 0777;
  const auto made = Add(IdOf(above), name, kind, mode, {});
  Inode& inode = inodes_.at(Number(made->id));
  if (kind == EntryKind::kFile) Store(&inode, 0, content);
  if (kind == EntryKind::kSymlink) inode.content = content;
  inode.committed.reset();
}

void FakeTree::LinkPath(const std::string& to, const std::string& path) {
  const auto [above, name] = Split(path);
  Inode& inode = At(to);
  ++inode.names;
  Touch(&inode, false);
  At(above).children[name] = *Find(to);
  Touch(&At(above), true);
}

void FakeTree::RemovePath(const std::string& path) {
  const auto [above, name] = Split(path);
  const uint64_t number = *Find(path);
  for (const auto& [child, unused] : std::map(inodes_.at(number).children)) {
    RemovePath(path + "/" + child);
  }
  At(above).children.erase(name);
  Touch(&At(above), true);
  Drop(number);
}

void FakeTree::MovePath(const std::string& from, const std::string& to) {
  const auto [from_above, from_name] = Split(from);
  const auto [to_above, to_name] = Split(to);
  const uint64_t number = *Find(from);
  At(from_above).children.erase(from_name);
  At(to_above).children[to_name] = number;
  Touch(&At(from_above), true);
  Touch(&At(to_above), true);
}

void FakeTree::Overwrite(const std::string& path, const std::string& content) {
  Inode& inode = At(path);
  inode.content.clear();
  inode.blocks.clear();
  Store(&inode, 0, content);
  inode.committed.reset();
}

std::map<std::string, std::string> FakeTree::Describe(const std::string& path) const {
  std::map<uint64_t, std::string> first_names;
  std::map<std::string, std::string> all;
  DescribeBelow(*Find(path), "", &first_names, &all);
  return all;
}

void FakeTree::DescribeBelow(uint64_t number, const std::string& path,
                             std::map<uint64_t, std::string>* first_names,
                             std::map<std::string, std::string>* all) const {
  const Inode& inode = inodes_.at(number);
  const EntryAttributes& is = inode.attributes;
  const auto text = [](uint64_t value) { return std::to_string(value) + " "; };
  std::string line = text(static_cast<uint64_t>(is.kind)) + text(is.mode) + text(is.uid) +
                     text(is.gid) + text(static_cast<uint64_t>(is.mtime_ns)) +
                     text(is.device_major) + text(is.device_minor);
  if (is.kind != EntryKind::kDirectory) {
    const auto [first, unused] = first_names->emplace(number, path);
    line +=
        "is " + first->second + " blocks " + text(inode.blocks.size()) + "[" + inode.content + "]";
  }
  (*all)[path.empty() ? "." : path] = line;
  for (const auto& [name, child] : inode.children) {
    DescribeBelow(child, path.empty() ? name : path + "/" + name, first_names, all);
  }
}

FakeTree::Inode* FakeTree::Get(const NodeId& id) {
  const auto found = inodes_.find(Number(id));
  return found == inodes_.end() ? nullptr : &found->second;
}

FakeTree::Inode* FakeTree::Directory(const NodeId& id) {
  Inode* inode = Get(id);
  return inode != nullptr && inode->attributes.kind == EntryKind::kDirectory ? inode : nullptr;
}

EntryAttributes FakeTree::AttributesOf(uint64_t number) const {
  const Inode& inode = inodes_.at(number);
  EntryAttributes is = inode.attributes;
  is.links = inode.names;
  is.fileid = number;
  is.size = inode.content.size();
  is.used = inode.blocks.size() * kBlockBytes;
  return is;
}

int64_t FakeTree::StorageNow() const {
  const int64_t ns =
      kBeginNs +
      std::chrono::duration_cast<std::chrono::nanoseconds>(now_.time_since_epoch()).count();
  return ns / tick_ns_ * tick_ns_;
}

void FakeTree::Touch(Inode* inode, bool content) {
  inode->attributes.ctime_ns = StorageNow();
  if (content) inode->attributes.mtime_ns = StorageNow();
}

void FakeTree::Store(Inode* inode, uint64_t offset, const std::string& data) {
  if (!inode->committed) inode->committed = inode->content;
  inode->content.resize(std::max<uint64_t>(inode->content.size(), offset + data.size()), '\0');
  inode->content.replace(offset, data.size(), data);
  for (uint64_t at = offset / kBlockBytes; at * kBlockBytes < offset + data.size(); ++at) {
    inode->blocks.insert(at);
  }
  Touch(inode, true);
}

StoreResult<Entry> FakeTree::Add(const NodeId& directory, std::string_view name, EntryKind kind,
                                 uint32_t mode, std::string content) {
  if (Directory(directory) == nullptr) return Failed(StoreFault::kStale);
  if (Directory(directory)->children.contains(name)) return Failed(StoreFault::kExists);
  const uint64_t number = next_++;
  Inode inode;
  inode.attributes.kind = kind;
  inode.attributes.mode = mode;
  inode.attributes.atime_ns = StorageNow();
  inode.content = std::move(content);
  inode.names = 1;
  Touch(&inode, true);
  inodes_[number] = std::move(inode);
  Directory(directory)->children.emplace(name, number);
  Touch(Directory(directory), true);
  return Entry{std::to_string(number), AttributesOf(number)};
}

StoreResult<void> FakeTree::Take(const NodeId& directory, std::string_view name,
                                 bool want_directory) {
  if (Directory(directory) == nullptr) return Failed(StoreFault::kStale);
  auto& children = Directory(directory)->children;
  const auto found = children.find(name);
  if (found == children.end()) return Failed(StoreFault::kNotFound);
  const Inode& inode = inodes_.at(found->second);
  if ((inode.attributes.kind == EntryKind::kDirectory) != want_directory) {
    return Failed(StoreFault::kWrongType);
  }
  if (!inode.children.empty()) return Failed(StoreFault::kNotEmpty);
  Drop(found->second);
  children.erase(found);
  Touch(Directory(directory), true);
  return {};
}

void FakeTree::Drop(uint64_t number) {
  Inode& inode = inodes_.at(number);
  Touch(&inode, false);
  if (--inode.names == 0) inodes_.erase(number);
}

// --- what happens

void FakeTree::RestartServer() {
  ++verifier_;
  for (auto& [number, inode] : inodes_) {
    if (!inode.committed) continue;
    inode.content = std::move(*inode.committed);
    inode.committed.reset();
  }
}

template <class T>
void FakeTree::Submit(std::string_view what, const NodeId& id, std::string_view name,
                      std::function<StoreResult<T>()> operation, Done<T> done) {
  Pending pending;
  pending.happen = [operation] { (void)operation(); };
  pending.answer = [this, happening = Happening{what, id, std::string(name)}, operation,
                    done = std::move(done)]() mutable {
    happening.number = ++operations_;
    const auto fault = before_ ? before_(happening) : std::nullopt;
    if (fault) return done(Failed(*fault));
    if (random_ && (*random_)() % 1'000 < repeat_per_mille_) (void)operation();
    done(operation());
  };
  pending_.push_back(std::move(pending));
  outstanding_max_ = std::max(outstanding_max_, pending_.size());
}

void FakeTree::Wait(TimePoint until) {
  if (pending_.empty()) {
    now_ = std::max(now_, until);
    return;
  }
  now_ += operation_takes;
  const size_t index = random_ ? (*random_)() % pending_.size() : 0;
  const auto next = std::move(pending_[index]);
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
  next.answer();
}

void FakeTree::Abandon() {
  for (auto& pending : pending_) {
    pending.answer = nullptr;
    late_.push_back(std::move(pending));
  }
  pending_.clear();
}

void FakeTree::RunLate() {
  for (const auto& late : std::exchange(late_, {})) {
    if (!random_ || (*random_)() % 2 == 0) late.happen();
  }
}

// --- AsyncStorage

void FakeTree::GetAttributes(const NodeId& id, Done<EntryAttributes> done) {
  Submit<EntryAttributes>(
      "GetAttributes", id, "",
      [this, id]() -> StoreResult<EntryAttributes> {
        if (Get(id) == nullptr) return Failed(StoreFault::kStale);
        return AttributesOf(Number(id));
      },
      std::move(done));
}

void FakeTree::Lookup(const NodeId& directory, std::string_view name, Done<Entry> done) {
  Submit<Entry>(
      "Lookup", directory, name,
      [this, directory, name = std::string(name)]() -> StoreResult<Entry> {
        if (Directory(directory) == nullptr) return Failed(StoreFault::kStale);
        const auto& children = Directory(directory)->children;
        const auto found = children.find(name);
        if (found == children.end()) return Failed(StoreFault::kNotFound);
        return Entry{std::to_string(found->second), AttributesOf(found->second)};
      },
      std::move(done));
}

// In the order of names; a position is the number of those before it, which a change of the
// directory makes worthless. Every third entry comes without attributes.
void FakeTree::List(const NodeId& directory, const ListPosition& from, Done<ListPage> done) {
  Submit<ListPage>(
      "List", directory, "",
      [this, directory, from]() -> StoreResult<ListPage> {
        const Inode* inode = Directory(directory);
        if (inode == nullptr) return Failed(StoreFault::kStale);
        const auto verifier = static_cast<uint64_t>(inode->attributes.mtime_ns);
        if (from.cookie > 0 && from.verifier != verifier) return Failed(StoreFault::kBadPosition);
        ListPage page;
        page.next.verifier = verifier;
        uint64_t position = 0;
        for (const auto& [name, child] : inode->children) {
          if (position++ < from.cookie) continue;
          if (page.entries.size() == page_names_max) return page;
          std::optional<Entry> entry;
          if (child % 3 != 0) entry = Entry{std::to_string(child), AttributesOf(child)};
          page.entries.push_back({name, std::move(entry)});
          page.next.cookie = position;
        }
        page.end = true;
        return page;
      },
      std::move(done));
}

void FakeTree::Remove(const NodeId& directory, std::string_view name, Done<void> done) {
  Submit<void>(
      "Remove", directory, name,
      [this, directory, name = std::string(name)] { return Take(directory, name, false); },
      std::move(done));
}

void FakeTree::RemoveDirectory(const NodeId& directory, std::string_view name, Done<void> done) {
  Submit<void>(
      "RemoveDirectory", directory, name,
      [this, directory, name = std::string(name)] { return Take(directory, name, true); },
      std::move(done));
}

void FakeTree::Read(const NodeId& file, uint64_t offset, uint32_t bytes, Done<ReadResult> done) {
  Submit<ReadResult>(
      "Read", file, "",
      [this, file, offset, bytes]() -> StoreResult<ReadResult> {
        const Inode* inode = Get(file);
        if (inode == nullptr) return Failed(StoreFault::kStale);
        ReadResult result;
        if (offset < inode->content.size()) result.data = inode->content.substr(offset, bytes);
        result.end = offset + result.data.size() >= inode->content.size();
        if (offset % 2 == 0) result.attributes = AttributesOf(Number(file));
        return result;
      },
      std::move(done));
}

void FakeTree::Write(const NodeId& file, uint64_t offset, std::string data, bool durable,
                     Done<WriteResult> done) {
  Submit<WriteResult>(
      "Write", file, "",
      [this, file, offset, data = std::move(data), durable]() -> StoreResult<WriteResult> {
        Inode* inode = Get(file);
        if (inode == nullptr) return Failed(StoreFault::kStale);
        if (data.size() > room_bytes_) return Failed(StoreFault::kNoSpace);
        room_bytes_ -= data.size();
        Store(inode, offset, data);
        if (durable) inode->committed.reset();
        return WriteResult{durable, verifier_};
      },
      std::move(done));
}

void FakeTree::Commit(const NodeId& file, Done<WriteVerifier> done) {
  Submit<WriteVerifier>(
      "Commit", file, "",
      [this, file]() -> StoreResult<WriteVerifier> {
        if (Get(file) == nullptr) return Failed(StoreFault::kStale);
        Get(file)->committed.reset();
        return verifier_;
      },
      std::move(done));
}

void FakeTree::CreateFile(const NodeId& directory, std::string_view name, uint32_t mode,
                          Done<Entry> done) {
  Submit<Entry>(
      "CreateFile", directory, name,
      [this, directory, name = std::string(name), mode] {
        return Add(directory, name, EntryKind::kFile, mode, "");
      },
      std::move(done));
}

void FakeTree::MakeDirectory(const NodeId& directory, std::string_view name, uint32_t mode,
                             Done<Entry> done) {
  Submit<Entry>(
      "MakeDirectory", directory, name,
      [this, directory, name = std::string(name), mode] {
        return Add(directory, name, EntryKind::kDirectory, mode, "");
      },
      std::move(done));
}

void FakeTree::MakeSymlink(const NodeId& directory, std::string_view name, std::string_view target,
                           Done<Entry> done) {
  Submit<Entry>(
      "MakeSymlink", directory, name,
      [this, directory, name = std::string(name), target = std::string(target)] {
        return Add(directory, name, EntryKind::kSymlink, 0777, target);
      },
      std::move(done));
}

void FakeTree::ReadSymlink(const NodeId& link, Done<std::string> done) {
  Submit<std::string>(
      "ReadSymlink", link, "",
      [this, link]() -> StoreResult<std::string> {
        if (Get(link) == nullptr) return Failed(StoreFault::kStale);
        return Get(link)->content;
      },
      std::move(done));
}

void FakeTree::MakeSpecial(const NodeId& directory, std::string_view name,
                           const EntryAttributes& like, Done<Entry> done) {
  Submit<Entry>(
      "MakeSpecial", directory, name,
      [this, directory, name = std::string(name), like]() -> StoreResult<Entry> {
        auto made = Add(directory, name, like.kind, like.mode, "");
        if (!made) return made;
        Inode& inode = inodes_.at(Number(made->id));
        inode.attributes.device_major = like.device_major;
        inode.attributes.device_minor = like.device_minor;
        return Entry{made->id, AttributesOf(Number(made->id))};
      },
      std::move(done));
}

void FakeTree::Link(const NodeId& id, const NodeId& directory, std::string_view name,
                    Done<void> done) {
  Submit<void>(
      "Link", directory, name,
      [this, id, directory, name = std::string(name)]() -> StoreResult<void> {
        if (Get(id) == nullptr || Directory(directory) == nullptr) {
          return Failed(StoreFault::kStale);
        }
        if (!Directory(directory)->children.emplace(name, Number(id)).second) {
          return Failed(StoreFault::kExists);
        }
        ++Get(id)->names;
        Touch(Get(id), false);
        Touch(Directory(directory), true);
        return {};
      },
      std::move(done));
}

// As chown(2): a new owner takes the set-id bits away, also those that came with it.
void FakeTree::Change(const NodeId& id, const AttributeChange& change, Done<EntryAttributes> done) {
  Submit<EntryAttributes>(
      "Change", id, "",
      [this, id, change]() -> StoreResult<EntryAttributes> {
        Inode* inode = Get(id);
        if (inode == nullptr) return Failed(StoreFault::kStale);
        EntryAttributes& is = inode->attributes;
        Touch(inode, change.size.has_value());
        if (change.size) {
          inode->content.resize(*change.size, '\0');
          if (inode->committed) inode->committed->resize(*change.size, '\0');
          std::erase_if(inode->blocks,
                        [&](uint64_t block) { return block * kBlockBytes >= *change.size; });
        }
        if (change.mode) is.mode = *change.mode;
        if (change.uid || change.gid) is.mode &= ~06000U;
        is.uid = change.uid.value_or(is.uid);
        is.gid = change.gid.value_or(is.gid);
        is.atime_ns = change.atime_ns.value_or(is.atime_ns);
        is.mtime_ns = change.mtime_ns.value_or(is.mtime_ns);
        return AttributesOf(Number(id));
      },
      std::move(done));
}

}  // namespace gantry::plugin::testing
