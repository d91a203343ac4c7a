// SPDX-License-Identifier: Apache-2.0
// The commands of the manager's volumes module, with the answers that are no errors told apart from
// those that are. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/backend/records.hpp"
#include "plugins/cephfs/cluster/cluster.hpp"

namespace gantry::cephfs {

// Where a subvolume is.
struct SubvolumeAt {
  std::string group;
  std::string name;
};

struct SubvolumeSpec {
  SubvolumeAt at;
  uint64_t size_bytes = 0;
  uint32_t mode = 0;  // 0: the module's own
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::string pool_layout;
  bool namespace_isolated = false;
};

struct SubvolumeInfo {
  std::string path;  // empty: only its snapshots are left of it
  std::string data_pool;
  std::string pool_namespace;
  std::optional<uint64_t> quota_bytes;
  uint64_t used_bytes = 0;
  bool untouched = false;  // nothing was ever made in it
};

enum class CloneState : uint8_t { kNone, kPending, kInProgress, kComplete, kFailed, kCanceled };
struct CloneStatus {
  CloneState state = CloneState::kNone;
  std::string failure;                   // for people
  bool no_room = false;                  // that is why: ENOSPC or EDQUOT
  std::optional<uint64_t> done_percent;  // where the release tells it
};

enum class Removed : uint8_t {
  kGone,
  kHasSnapshots,
  kBusy,  // a clone that is not finished
};

// DATA_LOSS of any operation but Info: the module has removed the subvolume's directory and not written
// that down (put_back.hpp), and says of all that it is not there.
class Subvolumes {
 public:
  Subvolumes(Cluster* cluster, std::string fs_name);

  // Makes the group too. What is there is left as it is only when nobody else uses the name: a
  // create resizes what it finds.
  plugin::Status Create(const SubvolumeSpec& spec, TimePoint deadline) const;
  // None: not there. ABORTED: a clone that is not finished.
  plugin::Result<std::optional<SubvolumeInfo>> Info(const SubvolumeAt& at,
                                                    TimePoint deadline) const;
  // Names. A group that is not there has none.
  plugin::Result<std::vector<std::string>> Groups(TimePoint deadline) const;
  plugin::Result<std::vector<std::string>> List(const std::string& group, TimePoint deadline) const;
  plugin::Result<Removed> Remove(const SubvolumeAt& at, TimePoint deadline) const;
  // Its snapshots stay, and it goes with the last of them. ABORTED: what was removed of it before is
  // not purged yet. RESOURCE_EXHAUSTED: its directory is gone, and that could not be written down.
  plugin::Status RemoveAllButSnapshots(const SubvolumeAt& at, TimePoint deadline) const;
  // A clone that was cancelled or has failed.
  plugin::Result<Removed> RemoveClone(const SubvolumeAt& at, TimePoint deadline) const;
  // Never below what is used.
  plugin::Status Resize(const SubvolumeAt& at, uint64_t size_bytes, TimePoint deadline) const;
  plugin::Status Pin(const SubvolumeAt& at, const std::string& type, const std::string& setting,
                     TimePoint deadline) const;
  // INVALID_ARGUMENT: the release cannot.
  plugin::Status ShowSnapshots(const SubvolumeAt& at, bool visible, TimePoint deadline) const;

  // Again is success. NOT_FOUND: the subvolume.
  plugin::Status CreateSnapshot(const SnapshotAt& at, TimePoint deadline) const;
  // What the manager's clock on the wall showed when it was cut, as ns since 1970: the time where the
  // manager's zone is UTC, which it does not tell. None: not there.
  plugin::Result<std::optional<int64_t>> SnapshotWallTime(const SnapshotAt& at,
                                                          TimePoint deadline) const;
  // False: clones of it are not finished.
  plugin::Result<bool> RemoveSnapshot(const SnapshotAt& at, TimePoint deadline) const;
  plugin::Result<std::vector<std::string>> ListSnapshots(const SubvolumeAt& at,
                                                         TimePoint deadline) const;

  // Again is success. NOT_FOUND: the snapshot.
  plugin::Status Clone(const SnapshotAt& from, const SubvolumeAt& to,
                       const std::string& pool_layout, TimePoint deadline) const;
  plugin::Result<CloneStatus> StatusOfClone(const SubvolumeAt& at, TimePoint deadline) const;
  // Nothing to cancel is success.
  plugin::Status CancelClone(const SubvolumeAt& at, TimePoint deadline) const;

 private:
  plugin::Result<Reply> Ask(const char* prefix, nlohmann::json arguments, TimePoint deadline) const;
  plugin::Result<std::vector<std::string>> Names(const char* prefix, nlohmann::json arguments,
                                                 TimePoint deadline) const;
  plugin::Status MakeGroup(const std::string& group, TimePoint deadline) const;

  Cluster* const cluster_;
  const std::string fs_name_;
};

// "2026-11-30 02:27:46.993422", taken for UTC; 0: no such text.
int64_t ParseTime(std::string_view text);

}  // namespace gantry::cephfs
