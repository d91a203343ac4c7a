// SPDX-License-Identifier: Apache-2.0
// The CephFS backend: volumes are subvolumes that the cluster's manager makes (its volumes module),
// and what there is to know about them are records in the cluster (records.hpp). This class turns
// calls of the ABI into operations on volumes.hpp. On a node it says where the directory is.
#pragma once

#include <atomic>
#include <chrono>
#include <gantry/gantry.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/backend/access.hpp"
#include "plugins/cephfs/backend/config.hpp"
#include "plugins/cephfs/backend/volumes.hpp"
#include "plugins/cephfs/cluster/cluster.hpp"
#include "plugins/cephfs/cluster/look.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"
#include "plugins/common/backend_words.hpp"

namespace gantry::cephfs {

using plugin::Refuse;
using plugin::ToStatus;

class CephfsBackend {
 public:
  static constexpr uint32_t kControllerFlags =
      GANTRY_CONTROLLER_CONDITIONS | GANTRY_CONTROLLER_CLONES | GANTRY_CONTROLLER_RESTORES;
  static constexpr uint32_t kPublishFlags = GANTRY_PUBLISH_READONLY | GANTRY_PUBLISH_LISTS_NODES;

  static gantry::Made<CephfsBackend> Create(const gantry::Host& host, const gantry_create& request);

  // gantry.datapath/1, in a process of one volume's own (backend_node.cpp).
  static const gantry_datapath* DataPath();
  bool Offers(std::string_view extension) const;

  Status Probe(Call& call);

  gantry_str Domain(const gantry_domain_query& query) const;
  Status CreateVolume(Call& call, const gantry_create_volume& request);
  Status DeleteVolume(Call& call, const gantry_volume_ref& request);
  Status GetVolume(Call& call, const gantry_volume_ref& request);
  Status ListVolumes(Call& call, const gantry_list_volumes& request);
  Status GetCapacity(Call& call, const gantry_get_capacity& request);
  Status ExpandVolume(Call& call, const gantry_expand_volume& request);
  Status ModifyVolume(Call& call, const gantry_modify_volume& request);

  // backend_static.cpp
  Status RecognizeVolume(Call& call, const gantry_volume_ref& request) const;

  // backend_snapshots.cpp
  Status CreateSnapshot(Call& call, const gantry_create_snapshot& request);
  Status DeleteSnapshot(Call& call, const gantry_snapshot_ref& request);
  Status GetSnapshot(Call& call, const gantry_snapshot_ref& request);
  Status ListSnapshots(Call& call, const gantry_list_snapshots& request);

  // backend_publish.cpp
  Status PublishVolume(Call& call, const gantry_publish_volume& request);
  Status UnpublishVolume(Call& call, const gantry_publish_volume& request);

  // backend_jobs.cpp, in a process of its own.
  static Status RunJob(Job& job);

  // backend_tasks.cpp
  Status ListTasks(Call& call, const gantry_task_run& unused);
  Status RunTask(Call& call, const gantry_task_run& request);

  // backend_node.cpp
  Status Attach(Call& call, const gantry_attach& request);

 private:
  CephfsBackend(Config config, const std::string& owner, std::unique_ptr<Cluster> cluster,
                bool is_controller);

  // The call's, but not later than one request may take.
  TimePoint DeadlineOf(const Call& call) const;
  plugin::Result<std::map<std::string, std::string>> ContextOf(const VolumeRecord& volume,
                                                               TimePoint deadline) const;
  plugin::Result<bool> EmitVolume(Call& call, const VolumeRecord& volume,
                                  const std::string* problem, TimePoint deadline) const;
  plugin::Result<uint64_t> AvailableBytes(const std::string& pool, TimePoint deadline) const;
  // ABORTED: another controller has closed it meanwhile; then there is no such entity any more.
  plugin::Status CheckOpen(const std::string& handle, const std::string& node_id,
                           const std::string& user, TimePoint deadline) const;
  // Those of its nodes that are `wanted`; empty: all.
  plugin::Status CloseNodes(Call& call, const std::string& handle, const std::string& wanted,
                            TimePoint deadline) const;
  plugin::Status CloseNode(Call& call, const std::string& handle, const std::string& node_id,
                           TimePoint deadline) const;
  Status RunCopy(Call& call, const std::string& handle);
  Status RemoveOrphans(Call& call, const std::string& group, const std::string& after);

  // backend_jobs.cpp: as the backend's own user.
  plugin::Result<Look> LookInJob(Call& call, const std::string& path, const std::string& snapshot,
                                 TimePoint deadline) const;
  Filesystem FilesystemFor(Call& call) const;

  // backend_static.cpp: volumes of ceph-csi.
  plugin::Result<VolumeContext> ContextOfCephCsi(
      const std::map<std::string, std::string>& attributes) const;
  plugin::Result<Look> LookAtCephCsi(Call& call,
                                     const std::map<std::string, std::string>& attributes) const;
  Status GetCephCsi(Call& call, const gantry_volume_ref& request) const;
  Status PublishCephCsi(Call& call, const gantry_publish_volume& request) const;
  // For an operation that only Gantry's own volumes have.
  static Status NotOurs(const std::string& handle);

  Status OpenDataPath(const gantry::Host& host, const gantry_create& request);
  static CephDataPath& DataPathOf(gantry_instance* instance);

  const Config config_;
  const std::string owner_;
  const std::unique_ptr<Cluster> cluster_;  // null where nothing is asked of it
  const bool is_controller_;
  const std::unique_ptr<Volumes> volumes_;     // likewise
  std::atomic<int64_t> orphans_after_ns_ = 0;  // of the monotonic clock; when to look for them next
  std::unique_ptr<CephDataPath> data_path_;    // only where the role asks for it
};

}  // namespace gantry::cephfs
