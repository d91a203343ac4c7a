// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/volumes.hpp"

#include <algorithm>
#include <utility>

#include "plugins/common/trash.hpp"

namespace gantry::plugin {
namespace {

const char* BesidePrefix(Attempt::Kind kind) {
  switch (kind) {
    case Attempt::Kind::kCreate:
      return ".gantry-new-";
    case Attempt::Kind::kDelete:
      return kBesideTrashPrefix.data();
    case Attempt::Kind::kArchive:
      return ".gantry-hold-";
    case Attempt::Kind::kRecord:
      break;  // Is never beside.
  }
  return ".gantry-";
}

// An archive is not for the trash task to empty.
const NodeId& CentralOf(Attempt::Kind kind, const Layout& layout) {
  const bool trash = kind == Attempt::Kind::kDelete || kind == Attempt::Kind::kRecord;
  return trash ? layout.trash : layout.attempts;
}

}  // namespace

uint64_t CapacityFor(uint64_t required_bytes, uint64_t limit_bytes) {
  if (required_bytes > 0) return required_bytes;
  return limit_bytes > 0 ? std::min(limit_bytes, kDefaultCapacityBytes) : kDefaultCapacityBytes;
}

// The directory that holds the path's last name; INVALID_ARGUMENT when something on the way is no
// directory (a symbolic link is never followed). Nothing: it is not there.
Result<std::optional<NodeId>> Volumes::Parent(const Path& path, bool make_missing) {
  NodeId directory = layout_.root;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    auto found = storage_.Lookup(directory, path[i]);
    if (FailedWith(found, StoreFault::kNotFound)) {
      if (!make_missing) return std::nullopt;
      found = storage_.MakeDirectory(directory, path[i], {kParentMode, {}, {}});
      if (FailedWith(found, StoreFault::kExists)) found = storage_.Lookup(directory, path[i]);
    }
    GANTRY_PLUGIN_TRY(found);
    if (found->type != NodeType::kDirectory) {
      return Fail(code::kInvalidArgument,
                  "subDir \"" + Join(path) + "\": '" + path[i] + "' is there and is " +
                      (found->type == NodeType::kSymlink ? "a symbolic link, which is not followed"
                                                         : "no directory"));
    }
    directory = std::move(found->id);
  }
  return directory;
}

Result<std::optional<Volumes::Place>> Volumes::PlaceOf(const Attempt& attempt, const Path& path) {
  if (!attempt.beside) {
    return Place{CentralOf(attempt.kind, layout_), attempt.nonce};
  }
  const auto parent = Parent(path, false);
  if (!parent && parent.error().code == code::kInvalidArgument) return std::nullopt;
  GANTRY_PLUGIN_TRY(parent);
  if (!*parent) return std::nullopt;
  return Place{**parent, BesidePrefix(attempt.kind) + attempt.nonce};
}

// Ends what an attempt may still do: with its directory gone, a rename out of it or into it fails.
Result<Volumes::Fenced> Volumes::Fence(const Attempt& attempt, const Path& path) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto place, PlaceOf(attempt, path));
  if (!place) return Fenced::kAbsent;
  const auto removed = storage_.RemoveDirectory(place->directory, place->name);
  if (removed) return Fenced::kRemoved;
  if (IsGone(removed)) return Fenced::kAbsent;
  if (FailedWith(removed, StoreFault::kNotEmpty)) return Fenced::kFull;
  return tl::make_unexpected(removed.error());
}

Result<Volumes::Mine> Volumes::MakeMine(Attempt::Kind kind, const Ownership& ownership) {
  Mine mine;
  mine.attempt.kind = kind;
  mine.attempt.nonce = nonce_();
  mine.place = {CentralOf(kind, layout_), mine.attempt.nonce};
  return MakeAt(std::move(mine), ownership);
}

// In the volume's parent directory, where nobody would find it after a crash: so a file in the trash
// leads there, written first.
Result<Volumes::Mine> Volumes::MakeMineBeside(Attempt::Kind kind, const Path& path,
                                              const NodeId& parent, const Ownership& ownership) {
  Mine mine;
  mine.attempt.kind = kind;
  mine.attempt.nonce = nonce_();
  mine.attempt.beside = true;
  mine.place = {parent, BesidePrefix(kind) + mine.attempt.nonce};
  GANTRY_PLUGIN_TRY_ASSIGN(
      const Node item,
      storage_.MakeDirectory(layout_.trash, mine.attempt.nonce, {kPrivateMode, {}, {}}));
  GANTRY_PLUGIN_TRY(
      storage_.CreateFile(item.id, kBesideName, EncodePointer({path, mine.place.name})));
  return MakeAt(std::move(mine), ownership);
}

Result<Volumes::Mine> Volumes::MakeAt(Mine mine, const Ownership& ownership) {
  const auto& [directory, name] = mine.place;
  // When it is there already, the reply to an earlier transmission was lost, and with it what the
  // directory looks like: the caller begins anew.
  auto made = storage_.MakeDirectory(directory, name, ownership);
  GANTRY_PLUGIN_TRY(made);
  if (mine.attempt.kind == Attempt::Kind::kCreate) {
    mine.attempt.fsid = made->fsid;
    mine.attempt.fileid = made->fileid;
  }
  mine.made_ns = made->mtime_ns;
  mine.id = std::move(made->id);
  return mine;
}

// Removes an attempt's directory that no record names. What fails is left to the trash task.
void Volumes::Drop(std::optional<Mine>* mine) {
  if (*mine) (void)storage_.RemoveDirectory((*mine)->place.directory, (*mine)->place.name);
  mine->reset();
}

// Publishes the next version; false: another actor did.
Result<bool> Volumes::Advance(Working* work, Record record) {
  const uint64_t next = work->chain.current->number + 1;
  GANTRY_PLUGIN_TRY_ASSIGN(auto published,
                           Publish(storage_, work->chain, next, std::move(record), nonce_));
  if (!published) return false;
  work->chain.files.push_back({std::to_string(next), published->file});
  work->chain.current = std::move(published);
  return true;
}

// The same, for a version that is not the last word of this actor.
Result<bool> Volumes::AdvanceInPlace(Working* work, Record record) {
  const std::string handle = record.handle;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, Advance(work, std::move(record)));
  if (!won) return false;
  return IsInPlace(storage_, layout_.volumes, handle, work->chain);
}

Result<std::optional<Record>> Volumes::Find(const std::string& handle) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto chain, Load(handle));
  if (!chain || !chain->current || chain->current->record.owner != owner_) return std::nullopt;
  return std::move(chain->current->record);
}

Result<Record> Volumes::Get(const std::string& handle) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, Find(handle));
  if (!record || record->state != RecordState::kReady) {
    return Fail(code::kNotFound, "there is no " + layout_.what + " " + handle);
  }
  return std::move(*record);
}

Status Volumes::List(std::string_view after, const std::function<bool(const Record&)>& visit) {
  auto listed = storage_.List(layout_.volumes, kVolumesMax);
  GANTRY_PLUGIN_TRY(listed);
  std::erase_if(*listed, [&](const Listed& entry) { return entry.name <= after; });
  std::sort(listed->begin(), listed->end(),
            [](const Listed& a, const Listed& b) { return a.name < b.name; });
  for (auto& entry : *listed) {
    std::optional<NodeId> directory;
    if (entry.node) directory = std::move(entry.node->id);
    GANTRY_PLUGIN_TRY_ASSIGN(
        const auto chain, LoadChain(storage_, layout_.volumes, entry.name, std::move(directory)));
    if (!chain || !chain->current) continue;
    const Record& record = chain->current->record;
    if (record.state != RecordState::kReady || record.owner != owner_) continue;
    if (!visit(record)) break;
  }
  return {};
}

// What is in the volume's place.
Result<std::optional<Node>> Volumes::Leaf(const Record& record) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(record.path, false));
  if (!parent) return std::nullopt;
  auto leaf = storage_.Lookup(*parent, record.path.back());
  if (IsGone(leaf)) return std::nullopt;
  GANTRY_PLUGIN_TRY(leaf);
  return std::move(*leaf);
}

Result<Presence> Volumes::Look(const Record& record) {
  const auto leaf = Leaf(record);
  if (!leaf && leaf.error().code == code::kInvalidArgument) return Presence::kReplaced;
  GANTRY_PLUGIN_TRY(leaf);
  if (!*leaf) return Presence::kMissing;
  const bool same = (*leaf)->type == NodeType::kDirectory && (*leaf)->fileid == record.fileid;
  return same ? Presence::kThere : Presence::kReplaced;
}

Result<NodeId> Volumes::Directory(const Record& record) {
  const auto leaf = Leaf(record);
  if (!leaf && leaf.error().code != code::kInvalidArgument) {
    return tl::make_unexpected(leaf.error());
  }
  if (leaf && *leaf && (*leaf)->type == NodeType::kDirectory && (*leaf)->fileid == record.fileid) {
    return (*leaf)->id;
  }
  return Fail(code::kNotFound, "the directory \"" + Join(record.path) + "\" of " + layout_.what +
                                   " " + record.handle +
                                   " is missing or is not the one that was made");
}

Status Volumes::CheckFormat(const Record& record) const {
  if (FormatOf(record) <= record_format_) return {};
  return Fail(code::kFailedPrecondition,
              "copies and mutable parameters need records of format " +
                  std::to_string(FormatOf(record)) + "; format " + std::to_string(record_format_) +
                  " is written until the upgrade of the backend is final");
}

}  // namespace gantry::plugin
