// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/volumes.hpp"

#include <algorithm>
#include <utility>

#include "plugins/common/backend_words.hpp"
#include "plugins/common/sha256.hpp"

namespace gantry::cephfs {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

// Of one operation, each after somebody else was faster; more would be a fight.
constexpr int kRoundsMax = 16;
constexpr size_t kMarkDigits = 8;

// Two backends of one owner may keep their records in different pools: neither knows the other's.
std::string MarkOf(const std::string& owner, const std::string& records_pool) {
  const std::string home = records_pool.empty() ? owner : owner + "\n" + records_pool;
  return "gantry-" + plugin::Sha256Hex(home).substr(0, kMarkDigits) + "-";
}

tl::unexpected<plugin::Error> NotThere(const std::string& handle) {
  return Fail(code::kNotFound, "there is no volume " + handle);
}

tl::unexpected<plugin::Error> Contested(const std::string& handle) {
  return Fail(code::kAborted, handle + " is being changed by another controller");
}

Status CheckSame(const VolumeRecord& record, const VolumeRequest& request) {
  const auto differs = [&](const std::string& what) {
    return Fail(code::kAlreadyExists,
                "volume " + record.handle + " is there under this name, but with another " + what);
  };
  if (record.name != request.name) return differs("name, " + record.name);
  if (record.content != request.content || record.content_handle != request.content_handle)
    return differs("content source");
  if (record.parameters != request.parameters.durable) return differs("set of parameters");
  if (record.capacity_bytes < request.required_bytes ||
      (request.limit_bytes != 0 && record.capacity_bytes > request.limit_bytes))
    return differs("size, " + std::to_string(record.capacity_bytes) + " bytes");
  return {};
}

// To a CO these say that there is no volume: it need not come again, so nothing may stay. What it was
// to be made from is gone or does not fit, or there is no room.
bool IsFinal(int32_t error_code) {
  return error_code == code::kNotFound || error_code == code::kInvalidArgument ||
         error_code == code::kOutOfRange || error_code == code::kResourceExhausted;
}

}  // namespace

Volumes::Volumes(Cluster* cluster, const std::string& fs_name, const std::string& owner,
                 uint64_t default_bytes)
    : subvolumes_(cluster, fs_name),
      volumes_(cluster),
      snapshots_(cluster),
      mark_(MarkOf(owner, cluster->config().records_pool)),
      default_bytes_(default_bytes) {}

std::string Volumes::NewName(const std::string& handle) const {
  return mark_ + handle + "-" + MakeNonce();
}

std::string Volumes::HandleOf(std::string_view name) const {
  if (!name.starts_with(mark_) ||
      name.size() != mark_.size() + plugin::kKeyDigits + 1 + kNonceDigits)
    return {};
  return std::string(name.substr(mark_.size(), plugin::kKeyDigits));
}

// --- create

Result<Creation> Volumes::Create(const VolumeRequest& request, TimePoint deadline) const {
  for (int round = 0; round < kRoundsMax; ++round) {
    // Of most nobody has heard yet, and a write tells whether that is so; but a copy's plan costs more
    // than a look.
    std::optional<StoredVolume> found;
    if (round > 0 || request.content != ContentKind::kNone) {
      GANTRY_PLUGIN_TRY_ASSIGN(found, volumes_.Find(request.handle, deadline));
    }
    const bool fresh = !found;
    if (fresh) {
      GANTRY_PLUGIN_TRY_ASSIGN(found, Plan(request, deadline));
      GANTRY_PLUGIN_TRY_ASSIGN(const bool written, volumes_.Write(&*found, deadline));
      if (!written) continue;
    }
    if (found->record.state == RecordState::kDeleting) {
      GANTRY_PLUGIN_TRY(RemoveAll(*found, deadline));
      GANTRY_PLUGIN_TRY(volumes_.Remove(*found, deadline));
      continue;
    }
    GANTRY_PLUGIN_TRY(CheckSame(found->record, request));
    if (found->record.state == RecordState::kReady) return Creation{std::move(found->record)};
    uint64_t unused = 0;
    const auto made = GoOn(&*found, fresh, &unused, deadline);
    if (!made && IsFinal(made.error().code)) {
      found->record.state = RecordState::kDeleting;
      GANTRY_PLUGIN_TRY_ASSIGN(const bool written, volumes_.Write(&*found, deadline));
      if (!written) continue;  // Another controller has brought it further: that counts.
      GANTRY_PLUGIN_TRY(RemoveAll(*found, deadline));
      volumes_.RemoveLater(*found);
      return tl::unexpected(made.error());
    }
    if (!made) return tl::unexpected(made.error());
    if (!*made) return Creation{};
    if (found->record.state == RecordState::kReady) return Creation{std::move(found->record)};
  }
  return Contested(request.handle);
}

Result<Volumes::StoredVolume> Volumes::Plan(const VolumeRequest& request,
                                            TimePoint deadline) const {
  StoredVolume stored;
  VolumeRecord& record = stored.record;
  record.handle = request.handle;
  record.name = request.name;
  record.incarnation = MakeNonce();
  record.required_bytes = request.required_bytes;
  record.limit_bytes = request.limit_bytes;
  record.parameters = request.parameters.durable;
  record.mutable_parameters = request.mutable_parameters;
  record.group = request.parameters.group;
  record.content = request.content;
  record.content_handle = request.content_handle;
  if (!request.parameters.backing_snapshot) record.subvolume = NewName(request.handle);
  if (request.content == ContentKind::kNone) {
    if (request.parameters.backing_snapshot)
      return Fail(code::kInvalidArgument,
                  "parameters[\"backingSnapshot\"] is \"true\"; expected a snapshot as content "
                  "source then");
    record.capacity_bytes = request.required_bytes;
    if (record.capacity_bytes == 0)
      record.capacity_bytes =
          request.limit_bytes == 0 ? default_bytes_ : std::min(default_bytes_, request.limit_bytes);
    return stored;
  }
  GANTRY_PLUGIN_TRY(PlanCopy(request, &record, deadline));
  if (request.limit_bytes != 0 && record.capacity_bytes > request.limit_bytes)
    return Fail(code::kOutOfRange,
                "capacity_range.limit_bytes is " + std::to_string(request.limit_bytes) +
                    "; expected at least the source's " + std::to_string(record.capacity_bytes));
  return stored;
}

namespace {

// The module makes a copy in its source's namespace, or in none when it is to lie in another pool.
Status CheckIsolation(const ClassParameters& parameters, const std::string& pool,
                      const std::string& pool_namespace) {
  const bool stays = parameters.pool_layout.empty() || parameters.pool_layout == pool;
  if (!parameters.namespace_isolated || (stays && !pool_namespace.empty())) return {};
  return Fail(code::kInvalidArgument,
              "parameters[\"namespaceIsolated\"] is \"true\", as nodeKeys perVolume has it by "
              "default; expected \"false\" for a copy " +
                  (pool_namespace.empty()
                       ? "of what is in no namespace of its own"
                       : "into pool " + parameters.pool_layout + " of what is in " + pool));
}

}  // namespace

Status Volumes::PlanCopy(const VolumeRequest& request, VolumeRecord* record,
                         TimePoint deadline) const {
  if (request.content == ContentKind::kVolume) {
    if (request.parameters.backing_snapshot)
      return Fail(code::kInvalidArgument,
                  "parameters[\"backingSnapshot\"] is \"true\"; expected a snapshot as content "
                  "source, not a volume");
    GANTRY_PLUGIN_TRY_ASSIGN(const VolumeRecord source, Get(request.content_handle, deadline));
    GANTRY_PLUGIN_TRY(CheckIsolation(request.parameters, source.data_pool, source.pool_namespace));
    record->data_pool = source.data_pool;
    record->capacity_bytes = std::max(request.required_bytes, source.capacity_bytes);
    if (source.subvolume.empty()) {
      record->copy_of = source.copy_of;  // the volume is that snapshot
      return {};
    }
    record->copy_of = SnapshotAt{source.group, source.subvolume, NewName(request.handle)};
    record->copy_is_ours = true;
    return {};
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const SnapshotRecord source,
                           GetSnapshot(request.content_handle, deadline));
  GANTRY_PLUGIN_TRY(CheckIsolation(request.parameters, source.data_pool, source.pool_namespace));
  record->data_pool = source.data_pool;
  record->capacity_bytes = std::max(request.required_bytes, source.size_bytes);
  record->copy_of = source.at;
  if (request.parameters.backing_snapshot) {
    // The snapshot is not of another size because somebody asks for it.
    record->capacity_bytes = source.size_bytes;
    if (request.required_bytes > source.size_bytes)
      return Fail(code::kOutOfRange,
                  "capacity_range.required_bytes is " + std::to_string(request.required_bytes) +
                      "; expected at most the snapshot's " + std::to_string(source.size_bytes) +
                      ", since the volume is that snapshot");
  }
  return {};
}

Result<bool> Volumes::GoOn(StoredVolume* stored, bool fresh, uint64_t* done_percent,
                           TimePoint deadline) const {
  if (stored->record.subvolume.empty()) return FinishBacking(stored, deadline);
  if (stored->record.copy_of) return MakeCopy(stored, done_percent, deadline);
  GANTRY_PLUGIN_TRY(MakeEmpty(stored->record, fresh, deadline));
  return Finish(stored, deadline);
}

// A name that nobody has ever told the manager need not be asked for.
Status Volumes::MakeEmpty(const VolumeRecord& record, bool fresh, TimePoint deadline) const {
  SubvolumeSpec spec;
  spec.at = {record.group, record.subvolume};
  if (!fresh) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto info, subvolumes_.Info(spec.at, deadline));
    if (info) return {};
  }
  spec.size_bytes = record.capacity_bytes;
  GANTRY_PLUGIN_TRY_ASSIGN(const ClassParameters parameters,
                           ParseParameters(Config{}, record.parameters));
  spec.mode = parameters.mode;
  spec.uid = parameters.uid;
  spec.gid = parameters.gid;
  spec.pool_layout = parameters.pool_layout;
  spec.namespace_isolated = parameters.namespace_isolated;
  return subvolumes_.Create(spec, deadline);
}

// The subvolume is whole: from here on others may see it.
Result<bool> Volumes::Finish(StoredVolume* stored, TimePoint deadline) const {
  VolumeRecord& record = stored->record;
  const SubvolumeAt at{record.group, record.subvolume};
  GANTRY_PLUGIN_TRY_ASSIGN(auto info, subvolumes_.Info(at, deadline));
  if (!info || info->path.empty()) return Contested(record.handle);
  if (info->quota_bytes != record.capacity_bytes) {
    // Somebody else may have finished it long ago, and it may have grown since.
    GANTRY_PLUGIN_TRY_ASSIGN(const auto now, volumes_.Find(record.handle, deadline));
    if (!now || now->text != stored->text) return true;
    GANTRY_PLUGIN_TRY(subvolumes_.Resize(at, record.capacity_bytes, deadline));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const MutableParameters modified,
                           ParseMutableParameters(record.mutable_parameters));
  GANTRY_PLUGIN_TRY(Apply(record, modified, deadline));
  record.path = info->path;
  record.data_pool = info->data_pool;
  record.pool_namespace = info->pool_namespace;
  record.state = RecordState::kReady;
  record.copy_of.reset();
  record.copy_is_ours = false;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool written, volumes_.Write(stored, deadline));
  if (written) return true;
  record.state = RecordState::kCreating;
  // Somebody deleted it meanwhile, or finished it.
  GANTRY_PLUGIN_TRY_ASSIGN(const auto now, volumes_.Find(record.handle, deadline));
  const bool is_named = now && now->record.subvolume == record.subvolume;
  if (!is_named) GANTRY_PLUGIN_TRY(RemoveSubvolume(at, deadline));
  return true;
}

// --- delete

Status Volumes::Delete(const std::string& handle, const Filesystem& filesystem,
                       TimePoint deadline) const {
  for (int round = 0; round < kRoundsMax; ++round) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, volumes_.Find(handle, deadline));
    if (!found) return {};
    if (found->record.state != RecordState::kDeleting) {
      if (!found->record.nodes.empty())
        return Fail(code::kFailedPrecondition, "volume " + handle + " is published to node " +
                                                   found->record.nodes.begin()->first);
      found->record.state = RecordState::kDeleting;
      GANTRY_PLUGIN_TRY_ASSIGN(const bool written, volumes_.Write(&*found, deadline));
      if (!written) continue;
    }
    GANTRY_PLUGIN_TRY(RemoveAndMend(*found, filesystem, deadline));
    // Nobody waits for that: a record that says "deleting" is no volume, and one that stays is found by
    // a create of the same name, and by the task.
    volumes_.RemoveLater(*found);
    return {};
  }
  return Contested(handle);
}

// A removal that the module did by half is undone, so that the snapshots stay within reach, and done again
// where it was not for want of room.
Status Volumes::RemoveAndMend(const StoredVolume& stored, const Filesystem& filesystem,
                              TimePoint deadline) const {
  Status removed = RemoveAll(stored, deadline);
  const VolumeRecord& record = stored.record;
  if (removed || record.path.empty() || record.subvolume.empty()) return removed;
  if (removed.error().code == code::kResourceExhausted)
    (void)filesystem.put_back(record.path, deadline);
  if (removed.error().code != code::kDataLoss) return removed;
  GANTRY_PLUGIN_TRY(filesystem.put_back(record.path, deadline));
  return RemoveAll(stored, deadline);
}

Status Volumes::RemoveAll(const StoredVolume& stored, TimePoint deadline) const {
  const VolumeRecord& record = stored.record;
  for (const auto& replaced : record.replaced)
    GANTRY_PLUGIN_TRY(RemoveSubvolume({record.group, replaced}, deadline));
  if (!record.subvolume.empty()) {
    GANTRY_PLUGIN_TRY(RemoveSubvolume({record.group, record.subvolume}, deadline));
  } else {
    for (int round = 0;; ++round) {
      GANTRY_PLUGIN_TRY_ASSIGN(auto snapshot, snapshots_.Find(record.content_handle, deadline));
      if (!snapshot) break;
      const auto user = snapshot->record.users.find(record.handle);
      if (user == snapshot->record.users.end() || user->second != record.incarnation) break;
      snapshot->record.users.erase(user);
      GANTRY_PLUGIN_TRY_ASSIGN(const bool written, snapshots_.Write(&*snapshot, deadline));
      if (written) break;
      if (round == kRoundsMax) return Contested(record.content_handle);
    }
  }
  if (record.copy_is_ours && record.copy_of) {
    GANTRY_PLUGIN_TRY_ASSIGN(const bool gone,
                             subvolumes_.RemoveSnapshot(*record.copy_of, deadline));
    if (!gone)
      return Fail(code::kAborted, "volume " + record.handle + ": its copy is being cancelled");
  }
  return {};
}

Status Volumes::RemoveSubvolume(const SubvolumeAt& at, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(Removed removed, subvolumes_.Remove(at, deadline));
  if (removed == Removed::kBusy) {
    GANTRY_PLUGIN_TRY(subvolumes_.CancelClone(at, deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(removed, subvolumes_.RemoveClone(at, deadline));
    if (removed == Removed::kBusy)
      return Fail(code::kAborted, "the copy into " + at.name + " is being cancelled");
  }
  if (removed == Removed::kGone) return {};
  GANTRY_PLUGIN_TRY(RemoveUnknownSnapshots(at, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(removed, subvolumes_.Remove(at, deadline));
  if (removed == Removed::kGone) return {};
  return subvolumes_.RemoveAllButSnapshots(at, deadline);
}

// Snapshots outlive their volume, but not those that were made late by somebody dead.
Status Volumes::RemoveUnknownSnapshots(const SubvolumeAt& at, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto names, subvolumes_.ListSnapshots(at, deadline));
  for (const auto& name : names) {
    const std::string handle = HandleOf(name);
    if (handle.empty()) continue;
    const SnapshotAt snapshot{at.group, at.name, name};
    GANTRY_PLUGIN_TRY_ASSIGN(const auto as_snapshot, snapshots_.Find(handle, deadline));
    if (as_snapshot && as_snapshot->record.at == snapshot) continue;
    GANTRY_PLUGIN_TRY_ASSIGN(const auto as_volume, volumes_.Find(handle, deadline));
    if (as_volume && as_volume->record.copy_of == snapshot) continue;
    GANTRY_PLUGIN_TRY(subvolumes_.RemoveSnapshot(snapshot, deadline));
  }
  return {};
}

Result<std::vector<std::string>> Volumes::Groups(TimePoint deadline) const {
  return subvolumes_.Groups(deadline);
}

Result<std::vector<std::string>> Volumes::MarkedNames(const std::string& group,
                                                      TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto names, subvolumes_.List(group, deadline));
  std::erase_if(names, [&](const std::string& name) { return HandleOf(name).empty(); });
  std::sort(names.begin(), names.end());
  return names;
}

Status Volumes::FinishDeletions(const std::string& group, const Filesystem& filesystem,
                                TimePoint deadline) const {
  std::vector<std::string> handles;
  GANTRY_PLUGIN_TRY(volumes_.ForEach({}, deadline, [&](const VolumeRecord& record) {
    if (record.state == RecordState::kDeleting && record.group == group)
      handles.push_back(record.handle);
    return true;
  }));
  Status all = {};
  for (const auto& handle : handles) {
    // A volume may have been made again under the handle.
    GANTRY_PLUGIN_TRY_ASSIGN(const auto found, volumes_.Find(handle, deadline));
    if (!found || found->record.state != RecordState::kDeleting) continue;
    const Status removed = RemoveAndMend(*found, filesystem, deadline);
    if (removed) volumes_.RemoveLater(*found);
    if (!removed && all) all = removed;
  }
  return all;
}

// The record is read after the subvolume was seen, and precedes every subvolume that is meant.
Status Volumes::RemoveIfOrphan(const std::string& group, const std::string& name, Orphans* orphans,
                               TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto found, volumes_.Find(HandleOf(name), deadline));
  if (found && (found->record.subvolume == name ||
                std::count(found->record.replaced.begin(), found->record.replaced.end(), name)))
    return {};
  return RemoveOrphan({group, name}, orphans, deadline);
}

Status Volumes::RemoveOrphan(const SubvolumeAt& at, Orphans* orphans, TimePoint deadline) const {
  const auto info = subvolumes_.Info(at, deadline);
  if (!info && info.error().code == code::kAborted) {  // A copy that is not finished.
    GANTRY_PLUGIN_TRY(subvolumes_.CancelClone(at, deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(const Removed removed, subvolumes_.RemoveClone(at, deadline));
    orphans->removed += removed == Removed::kGone ? 1 : 0;
    return {};
  }
  if (!info) return tl::unexpected(info.error());
  // Of a volume that was deleted, only its snapshots are left.
  if (!*info || (*info)->path.empty()) return {};
  if (!(*info)->untouched) {
    ++orphans->left;
    return {};
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const Removed removed, subvolumes_.Remove(at, deadline));
  orphans->removed += removed == Removed::kGone ? 1 : 0;
  return {};
}

// --- look and change

Result<VolumeRecord> Volumes::Get(const std::string& handle, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto found, volumes_.Find(handle, deadline));
  if (!found || found->record.state != RecordState::kReady) return NotThere(handle);
  return std::move(found->record);
}

Result<std::string> Volumes::Problem(const VolumeRecord& volume, TimePoint deadline) const {
  if (volume.subvolume.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto found,
                             subvolumes_.SnapshotWallTime(*volume.copy_of, deadline));
    return std::string(found ? "" : "the snapshot that the volume is does not exist any more");
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const auto info,
                           subvolumes_.Info({volume.group, volume.subvolume}, deadline));
  if (!info) return "the subvolume " + volume.group + "/" + volume.subvolume + " does not exist";
  if (info->path != volume.path) return "the subvolume's path is " + info->path;
  if (info->quota_bytes && info->used_bytes >= *info->quota_bytes)
    return "the volume is full: " + std::to_string(info->used_bytes) + " of " +
           std::to_string(*info->quota_bytes) + " bytes";
  return std::string();
}

Status Volumes::ForEach(const std::string& after, TimePoint deadline,
                        const std::function<bool(const VolumeRecord&)>& visit) const {
  return volumes_.ForEach(after, deadline, [&](const VolumeRecord& record) {
    return record.state != RecordState::kReady || visit(record);
  });
}

Result<VolumeRecord> Volumes::Change(const std::string& handle, TimePoint deadline,
                                     const std::function<Status(VolumeRecord*)>& change) const {
  for (int round = 0; round < kRoundsMax; ++round) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, volumes_.Find(handle, deadline));
    if (!found || found->record.state != RecordState::kReady) return NotThere(handle);
    GANTRY_PLUGIN_TRY(change(&found->record));
    GANTRY_PLUGIN_TRY_ASSIGN(const bool written, volumes_.Write(&*found, deadline));
    if (written) return std::move(found->record);
  }
  return Contested(handle);
}

Result<VolumeRecord> Volumes::Expand(const std::string& handle, uint64_t required_bytes,
                                     uint64_t limit_bytes, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(VolumeRecord volume, Get(handle, deadline));
  if (limit_bytes != 0 && limit_bytes < volume.capacity_bytes)
    return Fail(code::kOutOfRange, "capacity_range.limit_bytes is " + std::to_string(limit_bytes) +
                                       "; expected at least the volume's " +
                                       std::to_string(volume.capacity_bytes));
  const SubvolumeAt at{volume.group, volume.subvolume};
  if (required_bytes <= volume.capacity_bytes) {
    if (volume.subvolume.empty()) return volume;
    // An older resize may have come after the one that the record tells of.
    GANTRY_PLUGIN_TRY_ASSIGN(const auto info, subvolumes_.Info(at, deadline));
    if (info && info->quota_bytes && *info->quota_bytes < volume.capacity_bytes)
      GANTRY_PLUGIN_TRY(subvolumes_.Resize(at, volume.capacity_bytes, deadline));
    return volume;
  }
  if (volume.subvolume.empty())
    return Fail(code::kFailedPrecondition,
                "volume " + handle + " is a snapshot, and a snapshot does not grow");
  GANTRY_PLUGIN_TRY(subvolumes_.Resize(at, required_bytes, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(volume, Change(handle, deadline, [&](VolumeRecord* record) -> Status {
                             record->capacity_bytes =
                                 std::max(record->capacity_bytes, required_bytes);
                             return {};
                           }));
  // Somebody else made it larger than this, and before this.
  if (volume.capacity_bytes > required_bytes)
    GANTRY_PLUGIN_TRY(subvolumes_.Resize(at, volume.capacity_bytes, deadline));
  return volume;
}

Status Volumes::Apply(const VolumeRecord& record, const MutableParameters& parameters,
                      TimePoint deadline) const {
  const SubvolumeAt at{record.group, record.subvolume};
  // First what a release may refuse, so that nothing has changed then.
  if (parameters.snapshots_visible)
    GANTRY_PLUGIN_TRY(subvolumes_.ShowSnapshots(at, *parameters.snapshots_visible, deadline));
  if (!parameters.pin_type.empty())
    GANTRY_PLUGIN_TRY(subvolumes_.Pin(at, parameters.pin_type, parameters.pin_setting, deadline));
  return {};
}

Status Volumes::Modify(const std::string& handle, const MutableParameters& parameters,
                       const std::map<std::string, std::string>& given, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const VolumeRecord volume, Get(handle, deadline));
  if (parameters.empty()) return {};
  if (volume.subvolume.empty())
    return Fail(code::kInvalidArgument,
                "mutable_parameters: volume " + handle + " is a snapshot, which has none");
  GANTRY_PLUGIN_TRY(Apply(volume, parameters, deadline));
  GANTRY_PLUGIN_TRY(Change(handle, deadline, [&](VolumeRecord* record) -> Status {
    for (const auto& [key, value] : given) record->mutable_parameters[key] = value;
    return {};
  }));
  return {};
}

}  // namespace gantry::cephfs
