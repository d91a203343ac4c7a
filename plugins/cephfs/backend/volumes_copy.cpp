// SPDX-License-Identifier: Apache-2.0
// Volumes that are copies: the module's clone, which goes on by itself once it is asked for, and
// volumes that are a snapshot. A clone that fails is made again under another name, so that nothing
// of the first is taken for the second.
#include <utility>

#include "plugins/cephfs/backend/volumes.hpp"

namespace gantry::cephfs {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

constexpr int kRoundsMax = 16;

}  // namespace

Result<bool> Volumes::MakeCopy(StoredVolume* stored, uint64_t* done_percent,
                               TimePoint deadline) const {
  const VolumeRecord& record = stored->record;
  const SubvolumeAt to{record.group, record.subvolume};
  GANTRY_PLUGIN_TRY_ASSIGN(CloneStatus status, subvolumes_.StatusOfClone(to, deadline));
  if (status.state == CloneState::kNone) {
    if (record.copy_is_ours)
      GANTRY_PLUGIN_TRY(subvolumes_.CreateSnapshot(*record.copy_of, deadline));
    // A pool that is named takes the copy out of its source's namespace, also when it is the same one.
    const auto named = record.parameters.find("poolLayout");
    const bool elsewhere = named != record.parameters.end() && named->second != record.data_pool;
    GANTRY_PLUGIN_TRY(
        subvolumes_.Clone(*record.copy_of, to, elsewhere ? named->second : "", deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(status, subvolumes_.StatusOfClone(to, deadline));
  }
  *done_percent = status.done_percent.value_or(0);
  switch (status.state) {
    case CloneState::kComplete:
      break;
    case CloneState::kFailed:
      // A second one would find no room either; whoever asked for the volume decides.
      if (status.no_room)
        return Fail(code::kResourceExhausted,
                    "volume " + record.handle + ": there is no room for the copy");
      return CopyAnew(stored, status, deadline);
    case CloneState::kCanceled:
      return CopyAnew(stored, status, deadline);
    case CloneState::kNone:
    case CloneState::kPending:
    case CloneState::kInProgress:
      return false;
  }
  if (record.copy_is_ours) {
    GANTRY_PLUGIN_TRY_ASSIGN(const bool gone,
                             subvolumes_.RemoveSnapshot(*record.copy_of, deadline));
    if (!gone) return false;
  }
  return Finish(stored, deadline);
}

// The record names the new one before the old one goes: nobody waits for the old one any more.
Result<bool> Volumes::CopyAnew(StoredVolume* stored, const CloneStatus& status,
                               TimePoint deadline) const {
  VolumeRecord& record = stored->record;
  const std::string failed = record.subvolume;
  record.replaced.push_back(failed);
  record.subvolume = NewName(record.handle);
  GANTRY_PLUGIN_TRY_ASSIGN(bool written, volumes_.Write(stored, deadline));
  if (!written) return true;
  GANTRY_PLUGIN_TRY(RemoveSubvolume({record.group, failed}, deadline));
  std::erase(record.replaced, failed);
  GANTRY_PLUGIN_TRY_ASSIGN(written, volumes_.Write(stored, deadline));
  if (!written) return true;
  return Fail(code::kAborted, "volume " + record.handle + ": the copy failed and begins anew" +
                                  (status.failure.empty() ? "" : ": " + status.failure));
}

Result<bool> Volumes::GoOnCopying(const std::string& handle, uint64_t* done_percent,
                                  TimePoint deadline) const {
  for (int round = 0; round < kRoundsMax; ++round) {
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, volumes_.Find(handle, deadline));
    if (!found || found->record.state != RecordState::kCreating || !found->record.copy_of)
      return true;
    GANTRY_PLUGIN_TRY_ASSIGN(const bool looked, GoOn(&*found, false, done_percent, deadline));
    if (!looked) return false;
    if (found->record.state == RecordState::kReady) return true;
  }
  return Fail(code::kAborted, handle + " is being changed by another controller");
}

// The snapshot counts the volume before the volume can be seen, and the volume's record is there
// before it counts: who finds a user without a record may forget it.
Result<bool> Volumes::FinishBacking(StoredVolume* stored, TimePoint deadline) const {
  VolumeRecord& record = stored->record;
  if (!record.mutable_parameters.empty())
    return Fail(code::kInvalidArgument, "mutable_parameters[\"" +
                                            record.mutable_parameters.begin()->first +
                                            "\"]: the volume is a snapshot, which has none");
  GANTRY_PLUGIN_TRY_ASSIGN(auto snapshot, snapshots_.Find(record.content_handle, deadline));
  if (!snapshot || snapshot->record.state != RecordState::kReady)
    return Fail(code::kNotFound, "there is no snapshot " + record.content_handle);
  if (snapshot->record.users[record.handle] != record.incarnation) {
    snapshot->record.users[record.handle] = record.incarnation;
    GANTRY_PLUGIN_TRY_ASSIGN(const bool counted, snapshots_.Write(&*snapshot, deadline));
    if (!counted) return true;
  }
  // The subvolume's own directory is the last part of its path; snapshots hang above it.
  const std::string& source = snapshot->record.source_path;
  const size_t slash = source.rfind('/');
  record.path =
      source.substr(0, slash) + "/.snap/" + snapshot->record.at.name + source.substr(slash);
  record.data_pool = snapshot->record.data_pool;
  record.pool_namespace = snapshot->record.pool_namespace;
  record.state = RecordState::kReady;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool written, volumes_.Write(stored, deadline));
  if (!written) record.state = RecordState::kCreating;
  return true;
}

}  // namespace gantry::cephfs
