// SPDX-License-Identifier: Apache-2.0
// Volumes and snapshots: records (records.hpp) and the subvolumes that they describe. Every operation
// looks at the record and goes on from where that is, whoever brought it there, so that a replay, a
// second controller and a crash are no special cases.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/backend/config.hpp"
#include "plugins/cephfs/backend/records.hpp"
#include "plugins/cephfs/backend/subvolumes.hpp"

namespace gantry::cephfs {

struct VolumeRequest {
  std::string handle;
  std::string name;
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;  // 0: none
  ClassParameters parameters;
  std::map<std::string, std::string> mutable_parameters;  // as ParseMutableParameters takes them
  ContentKind content = ContentKind::kNone;
  std::string content_handle;
};

// What CreateVolume came to.
struct Creation {
  std::optional<VolumeRecord> volume;  // none: it is being copied
};

struct Orphans {
  size_t removed = 0;
  size_t left = 0;
};

// What the module neither tells nor does. Each costs a process and a mount (gantry.job/1).
struct Filesystem {
  // When a snapshot of that directory was cut, in ns since 1970, UTC; none: there is none.
  std::function<plugin::Result<std::optional<int64_t>>(
      const std::string& directory, const std::string& snapshot, TimePoint deadline)>
      cut_time;
  // Puts a subvolume's directory back that the module has lost (put_back.hpp).
  std::function<plugin::Status(const std::string& path, TimePoint deadline)> put_back;
};

class Volumes {
 public:
  // `owner` is the installation: what it made is known by its name, which also tells the pool of its
  // records.
  Volumes(Cluster* cluster, const std::string& fs_name, const std::string& owner,
          uint64_t default_bytes);

  plugin::Result<Creation> Create(const VolumeRequest& request, TimePoint deadline) const;
  // Goes on with a copy; true: it is finished, or there is none. *progress: percent.
  plugin::Result<bool> GoOnCopying(const std::string& handle, uint64_t* done_percent,
                                   TimePoint deadline) const;
  plugin::Status Delete(const std::string& handle, const Filesystem& filesystem,
                        TimePoint deadline) const;
  // NOT_FOUND. Only of volumes that are ready.
  plugin::Result<VolumeRecord> Get(const std::string& handle, TimePoint deadline) const;
  // What is wrong with it; empty: nothing.
  plugin::Result<std::string> Problem(const VolumeRecord& volume, TimePoint deadline) const;
  // Those that are ready, by handle, until `visit` says no.
  plugin::Status ForEach(const std::string& after, TimePoint deadline,
                         const std::function<bool(const VolumeRecord&)>& visit) const;
  plugin::Result<VolumeRecord> Expand(const std::string& handle, uint64_t required_bytes,
                                      uint64_t limit_bytes, TimePoint deadline) const;
  plugin::Status Modify(const std::string& handle, const MutableParameters& parameters,
                        const std::map<std::string, std::string>& given, TimePoint deadline) const;
  // Changes the record of a volume that is ready; `change` may refuse, and may be called again.
  plugin::Result<VolumeRecord> Change(
      const std::string& handle, TimePoint deadline,
      const std::function<plugin::Status(VolumeRecord*)>& change) const;

  // volumes_snapshots.cpp
  plugin::Result<SnapshotRecord> CreateSnapshot(const std::string& handle, const std::string& name,
                                                const std::string& source,
                                                const Filesystem& filesystem,
                                                TimePoint deadline) const;
  plugin::Status DeleteSnapshot(const std::string& handle, const Filesystem& filesystem,
                                TimePoint deadline) const;
  plugin::Result<SnapshotRecord> GetSnapshot(const std::string& handle, TimePoint deadline) const;
  plugin::Status ForEachSnapshot(const std::string& after, TimePoint deadline,
                                 const std::function<bool(const SnapshotRecord&)>& visit) const;

  // Of a group's subvolumes the names that these records' volumes may have, in their order.
  plugin::Result<std::vector<std::string>> MarkedNames(const std::string& group,
                                                       TimePoint deadline) const;
  // Removes one of them that no record names: what a command made that came late from somebody dead.
  // Such a one is empty or an unfinished copy; what holds anything is left, since records can be lost,
  // and the wrong pool be configured for them.
  plugin::Status RemoveIfOrphan(const std::string& group, const std::string& name, Orphans* orphans,
                                TimePoint deadline) const;
  // Goes on with deletions whose callers have not come again; the first error, after all were tried.
  plugin::Status FinishDeletions(const std::string& group, const Filesystem& filesystem,
                                 TimePoint deadline) const;
  // All groups of the filesystem: one may hold orphans when no record names it any more.
  plugin::Result<std::vector<std::string>> Groups(TimePoint deadline) const;

 private:
  using StoredVolume = Stored<VolumeRecord>;
  using StoredSnapshot = Stored<SnapshotRecord>;

  plugin::Result<StoredVolume> Plan(const VolumeRequest& request, TimePoint deadline) const;
  plugin::Status PlanCopy(const VolumeRequest& request, VolumeRecord* record,
                          TimePoint deadline) const;
  // True: ready, or to be looked at again. False: a copy is under way.
  plugin::Result<bool> GoOn(StoredVolume* stored, bool fresh, uint64_t* done_percent,
                            TimePoint deadline) const;
  plugin::Status MakeEmpty(const VolumeRecord& record, bool fresh, TimePoint deadline) const;
  plugin::Result<bool> MakeCopy(StoredVolume* stored, uint64_t* done_percent,
                                TimePoint deadline) const;
  plugin::Result<bool> CopyAnew(StoredVolume* stored, const CloneStatus& status,
                                TimePoint deadline) const;
  plugin::Result<bool> FinishBacking(StoredVolume* stored, TimePoint deadline) const;
  plugin::Result<bool> Finish(StoredVolume* stored, TimePoint deadline) const;
  // All but the record.
  plugin::Status RemoveAll(const StoredVolume& stored, TimePoint deadline) const;
  plugin::Status RemoveAndMend(const StoredVolume& stored, const Filesystem& filesystem,
                               TimePoint deadline) const;
  plugin::Status RemoveSubvolume(const SubvolumeAt& at, TimePoint deadline) const;
  plugin::Status RemoveOrphan(const SubvolumeAt& at, Orphans* orphans, TimePoint deadline) const;
  plugin::Status RemoveUnknownSnapshots(const SubvolumeAt& at, TimePoint deadline) const;
  plugin::Result<std::optional<int64_t>> CreationOf(const SnapshotRecord& record,
                                                    const Filesystem& filesystem,
                                                    TimePoint deadline) const;
  // Applies pinning and visibility.
  plugin::Status Apply(const VolumeRecord& record, const MutableParameters& parameters,
                       TimePoint deadline) const;

  std::string NewName(const std::string& handle) const;
  // Of a name that NewName made; empty: of any other.
  std::string HandleOf(std::string_view name) const;

  const Subvolumes subvolumes_;
  const Records<VolumeRecord> volumes_;
  const Records<SnapshotRecord> snapshots_;
  const std::string mark_;  // begins the names of what these records are about
  const uint64_t default_bytes_;
};

}  // namespace gantry::cephfs
