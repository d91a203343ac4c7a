// SPDX-License-Identifier: Apache-2.0
// The NFS backend: volumes are directories of NFSv3 exports. This class turns calls of the ABI into
// operations of the record protocol on the right share, and keeps nothing itself: what there is to
// know is on the shares.
#pragma once

#include <gantry/gantry.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/common/backend_words.hpp"
#include "plugins/common/record.hpp"
#include "plugins/common/volumes.hpp"
#include "plugins/nfs/config.hpp"
#include "plugins/nfs/copies.hpp"
#include "plugins/nfs/datapath/data_path.hpp"
#include "plugins/nfs/foreign_id.hpp"
#include "plugins/nfs/share.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kContextFormat = 1;
inline constexpr uint64_t kTrashDelayMs = 1'000;  // So that the task finds more than one volume.

using plugin::Refuse;
using plugin::ToStatus;
// Could a handle like this be of ours? "<share's id>-<key>", of volumes and snapshots alike.
bool IsHandle(std::string_view handle);

class NfsBackend {
 public:
  static constexpr uint32_t kControllerFlags =
      GANTRY_CONTROLLER_CONDITIONS | GANTRY_CONTROLLER_CLONES | GANTRY_CONTROLLER_RESTORES;

  static gantry::Made<NfsBackend> Create(const gantry::Host& host, const gantry_create& request);
  // gantry.datapath/1, in a process of one volume's own.
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

  // backend_snapshots.cpp. No groups: copies that are made one after the other have no common moment.
  Status CreateSnapshot(Call& call, const gantry_create_snapshot& request);
  Status DeleteSnapshot(Call& call, const gantry_snapshot_ref& request);
  Status GetSnapshot(Call& call, const gantry_snapshot_ref& request);
  Status ListSnapshots(Call& call, const gantry_list_snapshots& request);
  Status RecognizeVolume(Call& call, const gantry_volume_ref& request);

  Status Attach(Call& call, const gantry_attach& request);

  Status ListTasks(Call& call, const gantry_task_run& unused);
  Status RunTask(Call& call, const gantry_task_run& request);

  Status UseFormats(Call& call, const gantry_formats& request);

 private:
  NfsBackend(Config config, std::string owner, const Credentials& credentials,
             uint32_t record_format);

  // The share whose id the handle begins with; nullptr: there is none.
  Share* ShareOf(std::string_view handle) const;
  Share& ShareOf(const ShareConfig& config) const;
  plugin::Result<Share*> NeedShareOf(std::string_view handle) const;
  plugin::Result<std::optional<plugin::CopySource>> SourceOf(
      const gantry_create_volume& request, std::map<std::string, std::string>* parameters) const;
  // Nothing: one of ours, or on no share of ours.
  std::optional<ForeignVolume> ForeignOf(std::string_view id,
                                         const std::map<std::string, std::string>& context) const;
  std::map<std::string, std::string> ContextOf(const Share& share,
                                               const plugin::Record& record) const;
  bool EmitVolume(Call& call, const Share& share, const plugin::Record& record,
                  plugin::Presence presence) const;
  void AskForTrash(Call& call, const Share& share) const;
  Status AfterDelete(Call& call, const Share& share, const plugin::DeletedVolume& deleted) const;
  Status EmitForeign(Call& call, const ForeignVolume& foreign, const std::string& id,
                     uint64_t bytes) const;
  plugin::Result<std::pair<const ShareConfig*, plugin::Path>> PlaceOf(
      const std::string& handle, const std::map<std::string, std::string>& context) const;

  static NfsDataPath& DataPathOf(gantry_instance* instance);

  const Config config_;
  const std::string owner_;
  Copies copies_;
  std::unique_ptr<NfsDataPath> data_path_;      // Only where the role asks for it.
  std::vector<std::unique_ptr<Share>> shares_;  // Ordered by id.
};

}  // namespace gantry::nfs
