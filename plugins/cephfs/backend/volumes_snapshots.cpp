// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <utility>

#include "plugins/cephfs/backend/volumes.hpp"

namespace gantry::cephfs {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

constexpr int kRoundsMax = 16;
// Zones differ by multiples of a quarter of an hour: a clock on the wall that is less than half of that
// from ours shows UTC.
constexpr std::chrono::minutes kSameZoneMax{7};

tl::unexpected<plugin::Error> NotThere(const std::string& handle) {
  return Fail(code::kNotFound, "there is no snapshot " + handle);
}

tl::unexpected<plugin::Error> Contested(const std::string& handle) {
  return Fail(code::kAborted, handle + " is being changed by another controller");
}

bool IsAboutNow(int64_t ns) {
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::abs(now - std::chrono::nanoseconds(ns)) < kSameZoneMax;
}

}  // namespace

// Of one that was cut just now, the manager's clock on the wall tells its zone as well. One that was cut
// hours ago, as many as lie between the zones to the minute, would pass for it; but only a call that
// nobody repeated for so long finds one, and a job for each repetition leaves sessions behind when the
// MDS hangs, for which the next one waits.
Result<std::optional<int64_t>> Volumes::CreationOf(const SnapshotRecord& record,
                                                   const Filesystem& filesystem,
                                                   TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto shown, subvolumes_.SnapshotWallTime(record.at, deadline));
  if (!shown || IsAboutNow(*shown)) return shown;
  // Snapshots hang above the subvolume's own directory.
  const std::string directory = record.source_path.substr(0, record.source_path.rfind('/'));
  return filesystem.cut_time(directory, record.at.name, deadline);
}

Result<SnapshotRecord> Volumes::CreateSnapshot(const std::string& handle, const std::string& name,
                                               const std::string& source,
                                               const Filesystem& filesystem,
                                               TimePoint deadline) const {
  for (int round = 0; round < kRoundsMax; ++round) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, snapshots_.Find(handle, deadline));
    if (!found) {
      GANTRY_PLUGIN_TRY_ASSIGN(const VolumeRecord volume, Get(source, deadline));
      if (volume.subvolume.empty())
        return Fail(code::kInvalidArgument, "source_volume_id: volume " + source +
                                                " is a snapshot; expected one that can change");
      found.emplace();
      SnapshotRecord& record = found->record;
      record.handle = handle;
      record.name = name;
      record.source_handle = source;
      record.at = {volume.group, volume.subvolume, NewName(handle)};
      record.source_path = volume.path;
      record.data_pool = volume.data_pool;
      record.pool_namespace = volume.pool_namespace;
      record.size_bytes = volume.capacity_bytes;
      GANTRY_PLUGIN_TRY_ASSIGN(const bool written, snapshots_.Write(&*found, deadline));
      if (!written) continue;
    }
    SnapshotRecord& record = found->record;
    if (record.state == RecordState::kDeleting) {
      GANTRY_PLUGIN_TRY(DeleteSnapshot(handle, filesystem, deadline));
      continue;
    }
    if (record.source_handle != source)
      return Fail(code::kAlreadyExists, "snapshot " + handle +
                                            " is there under this name, but of volume " +
                                            record.source_handle);
    if (record.state == RecordState::kReady) return std::move(record);
    const Status cut = subvolumes_.CreateSnapshot(record.at, deadline);
    if (!cut && cut.error().code == code::kNotFound) {
      GANTRY_PLUGIN_TRY(snapshots_.Remove(*found, deadline));
      return Fail(code::kNotFound, "there is no volume " + source);
    }
    GANTRY_PLUGIN_TRY(cut);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto created, CreationOf(record, filesystem, deadline));
    if (!created) continue;
    record.created_ns = *created;
    record.state = RecordState::kReady;
    GANTRY_PLUGIN_TRY_ASSIGN(const bool written, snapshots_.Write(&*found, deadline));
    if (written) return std::move(record);
  }
  return Contested(handle);
}

Status Volumes::DeleteSnapshot(const std::string& handle, const Filesystem& filesystem,
                               TimePoint deadline) const {
  std::optional<SnapshotAt> gone_at;
  for (int round = 0; round < kRoundsMax; ++round) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, snapshots_.Find(handle, deadline));
    if (!found) return {};
    SnapshotRecord& record = found->record;
    if (gone_at && record.at != *gone_at) return {};  // It was made again since.
    for (auto user = record.users.begin(); user != record.users.end();) {
      GANTRY_PLUGIN_TRY_ASSIGN(const auto volume, volumes_.Find(user->first, deadline));
      if (volume && volume->record.incarnation == user->second)
        return Fail(code::kFailedPrecondition, "snapshot " + handle + " is used by volume " +
                                                   user->first + ", which is that snapshot");
      user = record.users.erase(user);
    }
    const RecordState was = record.state;
    record.state = RecordState::kDeleting;
    GANTRY_PLUGIN_TRY_ASSIGN(bool written, snapshots_.Write(&*found, deadline));
    if (!written) continue;
    auto removed = subvolumes_.RemoveSnapshot(record.at, deadline);
    if (!removed && removed.error().code == code::kDataLoss) {
      GANTRY_PLUGIN_TRY(filesystem.put_back(record.source_path, deadline));
      removed = subvolumes_.RemoveSnapshot(record.at, deadline);
    }
    GANTRY_PLUGIN_TRY(removed);
    if (!*removed) {
      record.state = was == RecordState::kDeleting ? RecordState::kReady : was;
      GANTRY_PLUGIN_TRY(snapshots_.Write(&*found, deadline));
      return Fail(code::kFailedPrecondition,
                  "snapshot " + handle + " is being copied into a volume");
    }
    GANTRY_PLUGIN_TRY_ASSIGN(const bool forgotten, snapshots_.Remove(*found, deadline));
    if (forgotten) return {};
    // Somebody else removed it as well, which is fine, or says that it is ready.
    gone_at = record.at;
  }
  return Contested(handle);
}

Result<SnapshotRecord> Volumes::GetSnapshot(const std::string& handle, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto found, snapshots_.Find(handle, deadline));
  if (!found || found->record.state != RecordState::kReady) return NotThere(handle);
  return std::move(found->record);
}

Status Volumes::ForEachSnapshot(const std::string& after, TimePoint deadline,
                                const std::function<bool(const SnapshotRecord&)>& visit) const {
  return snapshots_.ForEach(after, deadline, [&](const SnapshotRecord& record) {
    return record.state != RecordState::kReady || visit(record);
  });
}

}  // namespace gantry::cephfs
