// SPDX-License-Identifier: Apache-2.0
// Actors that copy: the protocol with a copier of the test's own, every operation of which is one
// step that can fail as any other.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "plugins/common/copy_marks.hpp"
#include "plugins/common/testing/actor.hpp"

namespace gantry::plugin::testing {

using Content = std::map<std::string, std::string>;  // Of files, by their paths below a directory.

inline Content ContentOf(const World& world, const std::string& top) {
  Content content;
  for (const auto& path : world.Paths()) {
    if (!path.starts_with(top + "/") || path == top + "/") continue;
    content[path.substr(top.size() + 1)] = path.ends_with('/') ? "" : world.Content(path);
  }
  return content;
}

// What the tests' source volumes hold.
inline void FillSource(World& world, const std::string& path) {
  world.MakePath(path + "/a", NodeType::kFile, "1");
  world.MakePath(path + "/d/b", NodeType::kFile, "22");
  world.MakePath(path + "/d/e", NodeType::kDirectory);
}

using GoOn = std::function<bool(const CopyProgress&)>;

// Makes `to` like `from`, looking at what is there already; asks before every entry.
inline Result<CopyOutcome> CopyByHand(Storage& storage, const NodeId& from, const NodeId& to,
                                      const GoOn& go_on) {
  CopyOutcome outcome;
  const std::function<Result<bool>(const NodeId&, const NodeId&)> copy =
      [&](const NodeId& source, const NodeId& target) -> Result<bool> {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto listed, storage.List(source, 1'000));
    for (const auto& [name, unused] : listed) {
      if (!go_on(outcome.progress)) return false;
      GANTRY_PLUGIN_TRY_ASSIGN(const Node node, storage.Lookup(source, name));
      auto there = storage.Lookup(target, name);
      if (!there && !FailedWith(there, StoreFault::kNotFound)) {
        return tl::make_unexpected(there.error());
      }
      if (node.type == NodeType::kDirectory) {
        if (!there) there = storage.MakeDirectory(target, name, {});
        GANTRY_PLUGIN_TRY(there);
        GANTRY_PLUGIN_TRY_ASSIGN(const bool more, copy(node.id, there->id));
        if (!more) return false;
      } else {
        GANTRY_PLUGIN_TRY_ASSIGN(const auto text, storage.ReadFile(node.id, 1'000));
        if (there) {
          GANTRY_PLUGIN_TRY_ASSIGN(const auto has, storage.ReadFile(there->id, 1'000));
          if (has != text) {
            GANTRY_PLUGIN_TRY(storage.Remove(target, name));
            there = FailStore(StoreFault::kNotFound, code::kNotFound, "made anew");
          }
        }
        if (!there) GANTRY_PLUGIN_TRY(storage.CreateFile(target, name, text));
        outcome.progress.bytes += text.size();
      }
      ++outcome.progress.entries;
    }
    return true;
  };
  GANTRY_PLUGIN_TRY_ASSIGN(outcome.done, copy(from, to));
  return outcome;
}

enum class Of { kVolumes, kSnapshots };

class CopyActor {
 public:
  CopyActor(World& world, const std::string& who, FakeStorage::Before before = nullptr)
      : storage_(world, std::move(before)), nonces_(Nonces(who)), root_(world.root()) {}

  // A volume or snapshot `handle` of the source, which is looked up.
  Result<Record> Create(Of of, const std::string& handle, const CopySource& source,
                        const std::function<void(VolumeSpec*)>& change = nullptr) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout volumes, OpenLayout(storage_, root_));
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, Open(of, volumes));
    VolumeSpec spec = Spec(handle, handle);
    spec.source = source;
    const auto found = Find(volumes, source);
    if (found) {
      spec.source->incarnation = found->incarnation;
      spec.source_bytes = found->capacity_bytes;
    } else {
      spec.source_error = found.error();
    }
    if (change) change(&spec);
    return Volumes(storage_, layout, "cluster", nonces_, record_format).Create(spec);
  }
  // A turn of the task; the nonce that it owns is kept for the next.
  Result<CopyRun> Copy(Of of, const std::string& handle) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout volumes, OpenLayout(storage_, root_));
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, Open(of, volumes));
    CopyJob job;
    job.mine = mine;
    job.own = [this](const std::string& nonce) { mine = nonce; };
    job.find_source = [&](const CopySource& source) -> Result<NodeId> {
      GANTRY_PLUGIN_TRY_ASSIGN(const Record record, Find(volumes, source));
      if (record.incarnation != source.incarnation) return Fail(code::kNotFound, "another one");
      GANTRY_PLUGIN_TRY_ASSIGN(const auto from, Realm(source, volumes));
      return Volumes(storage_, *from, "cluster", nonces_).Directory(record);
    };
    job.copier = [&](const NodeId& from, const NodeId& to, const GoOn& asked) {
      return copier ? copier(from, to, asked) : CopyByHand(storage_, from, to, asked);
    };
    job.go_on = [this](const CopyProgress& progress) { return !go_on || go_on(progress); };
    job.remove = [this](const NodeId& directory, const std::string& name) {
      if (remove) remove(directory, name);
    };
    job.renewal_due = [] { return true; };
    job.ownership = [this](const Record&) -> Result<OwnershipChange> { return ownership; };
    return Volumes(storage_, layout, "cluster", nonces_, record_format).Copy(handle, job);
  }
  Result<DeletedVolume> Delete(Of of, const std::string& handle) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout volumes, OpenLayout(storage_, root_));
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, Open(of, volumes));
    return Volumes(storage_, layout, "cluster", nonces_).Delete(handle);
  }
  Result<Record> Get(Of of, const std::string& handle) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout volumes, OpenLayout(storage_, root_));
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, Open(of, volumes));
    return Volumes(storage_, layout, "cluster", nonces_).Get(handle);
  }
  Result<Record> Modify(const std::string& handle, const Modification& change) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    return Volumes(storage_, layout, "cluster", nonces_, record_format).Modify(handle, change);
  }
  // All that copies/ names, to the end.
  Status CopyAll() {
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout layout, OpenLayout(storage_, root_));
    GANTRY_PLUGIN_TRY_ASSIGN(const auto marks, ListCopyMarks(storage_, layout));
    for (const auto& mark : marks) {
      const Of of = mark.starts_with("v-") ? Of::kVolumes : Of::kSnapshots;
      GANTRY_PLUGIN_TRY(Copy(of, mark.substr(2)));
    }
    return {};
  }
  size_t operations() const { return storage_.operations(); }
  FakeStorage& storage() { return storage_; }

  std::string mine;
  GoOn go_on;
  std::function<Result<CopyOutcome>(const NodeId& from, const NodeId& to, const GoOn& go_on)>
      copier;
  std::function<void(const NodeId& directory, const std::string& name)> remove;
  OwnershipChange ownership;
  uint32_t record_format = kRecordFormat;

 private:
  Result<Layout> Open(Of of, const Layout& volumes) {
    if (of == Of::kVolumes) return volumes;
    GANTRY_PLUGIN_TRY_ASSIGN(const Layout snapshots, OpenSnapshots(storage_, volumes));
    return snapshots;
  }
  Result<std::optional<Layout>> Realm(const CopySource& source, const Layout& volumes) {
    if (source.kind == CopySource::Kind::kVolume) return volumes;
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, FindSnapshots(storage_, volumes));
    return found;
  }
  Result<Record> Find(const Layout& volumes, const CopySource& source) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, Realm(source, volumes));
    if (!layout) return Fail(code::kNotFound, "there are no snapshots");
    return Volumes(storage_, *layout, "cluster", nonces_).Get(source.handle);
  }

  FakeStorage storage_;
  MakeNonce nonces_;
  NodeId root_;
};

inline CopySource VolumeSource(const std::string& handle) {
  return {CopySource::Kind::kVolume, handle, {}};
}
inline CopySource SnapshotSource(const std::string& handle) {
  return {CopySource::Kind::kSnapshot, handle, {}};
}

inline const std::set<std::string> kNothingOfCopies =
    With(kNothing, {".gantry/copies/", ".gantry/snapshots/", ".gantry/snapshots/claims/",
                    ".gantry/snapshots/data/", ".gantry/snapshots/records/"});

}  // namespace gantry::plugin::testing
