// SPDX-License-Identifier: Apache-2.0
// The iSCSI backend: volumes are LUNs of a target that gantry-target looks after, on this machine or
// another. This class turns calls of the ABI into requests to that program, and keeps nothing itself:
// what there is to know lies beside the backing files. On a node it says how the LUN is reached.
#pragma once

#include <algorithm>
#include <chrono>
#include <gantry/gantry.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/backend_words.hpp"
#include "plugins/iscsi/backend/config.hpp"
#include "plugins/iscsi/backend/kernel_initiator.hpp"
#include "plugins/iscsi/backend/publish_context.hpp"
#include "plugins/iscsi/datapath/data_path.hpp"
#include "plugins/iscsi/target/protocol.hpp"
#include "plugins/iscsi/target_client/transport.hpp"

namespace gantry::iscsi {

inline constexpr uint32_t kContextFormat = 1;
inline constexpr uint32_t kRecordFormat = 1;  // gantry-target's, which it checks itself

using plugin::Refuse;
using plugin::ToStatus;

class IscsiBackend {
 public:
  static constexpr uint32_t kControllerFlags =
      GANTRY_CONTROLLER_CONDITIONS | GANTRY_CONTROLLER_CLONES | GANTRY_CONTROLLER_RESTORES;
  static constexpr uint32_t kPublishFlags = GANTRY_PUBLISH_READONLY | GANTRY_PUBLISH_LISTS_NODES;

  static gantry::Made<IscsiBackend> Create(const gantry::Host& host, const gantry_create& request);

  // gantry.disk/1, in a process of one volume's own.
  static const gantry_disk* Disk();
  bool Offers(std::string_view extension) const;
  // The table of an extension, without what the configured kind of target has not: static LUNs are
  // not made, listed, measured or grown, and all others have ids of the host's own (backend_static.cpp).
  const void* Narrow(std::string_view extension, const void* table) const;

  Status Probe(Call& call);

  gantry_str Domain(const gantry_domain_query& query) const;
  Status CreateVolume(Call& call, const gantry_create_volume& request);
  Status DeleteVolume(Call& call, const gantry_volume_ref& request);
  Status GetVolume(Call& call, const gantry_volume_ref& request);
  Status ListVolumes(Call& call, const gantry_list_volumes& request);
  Status GetCapacity(Call& call, const gantry_get_capacity& request);
  Status ExpandVolume(Call& call, const gantry_expand_volume& request);

  // backend_snapshots.cpp
  Status CreateSnapshot(Call& call, const gantry_create_snapshot& request);
  Status DeleteSnapshot(Call& call, const gantry_snapshot_ref& request);
  Status GetSnapshot(Call& call, const gantry_snapshot_ref& request);
  Status ListSnapshots(Call& call, const gantry_list_snapshots& request);

  // backend_publish.cpp
  Status PublishVolume(Call& call, const gantry_publish_volume& request);
  Status UnpublishVolume(Call& call, const gantry_publish_volume& request);

  // backend_node.cpp
  Status Attach(Call& call, const gantry_attach& request);
  Status Detach(Call& call, const gantry_attach& request);
  Status Rescan(Call& call, const gantry_attach& request);

  // backend_static.cpp
  Status RecognizeVolume(Call& call, const gantry_volume_ref& request);

  // backend_tasks.cpp
  Status ListTasks(Call& call, const gantry_task_run& unused);
  Status RunTask(Call& call, const gantry_task_run& request);

 private:
  IscsiBackend(Config config, std::string owner,
               std::unique_ptr<target_client::Transport> transport,
               std::unique_ptr<KernelInitiator> kernel);

  template <class Operation>
  plugin::Result<typename Operation::Reply> Ask(Call& call, const Operation& operation) const;
  template <class Operation>
  plugin::Result<typename Operation::Reply> AskUntil(
      Call& call, const Operation& operation, std::chrono::steady_clock::time_point deadline) const;
  // Asks for one page after the other and emits up to max_entries (0: all) of what is in `entries`,
  // as long as the host wants more.
  template <class Operation, class Entry, class Emit>
  Status EmitPages(Call& call, Operation operation, uint32_t max_entries,
                   std::vector<Entry> Operation::Reply::*entries, Emit emit) const;
  static void Schedule(Call& call, const target::Task& task);
  std::map<std::string, std::string> ContextOf(const target::Volume& volume) const;
  bool EmitVolume(Call& call, const target::Volume& volume, uint32_t flags = 0) const;
  Status EmitStaticSource(Call& call, const gantry_attach& request) const;
  // Which initiator has the volume on this node; never kAuto.
  plugin::Result<Mounter> MounterOf(Call& call,
                                    const std::map<std::string, std::string>& volume) const;
  plugin::Result<initiator::Paths> AttachByKernel(Call& call, const gantry_attach& request,
                                                  const PublishContext& publish) const;
  static void EmitDisk(Call& call, const gantry_attach& request, const PublishContext& publish);
  static void EmitBlock(Call& call, const PublishContext& publish, const initiator::Paths& paths);
  static plugin::Result<std::optional<target::Chap>> ChapFor(Call& call, ChapMode mode,
                                                             const std::string& handle,
                                                             const std::string& incarnation,
                                                             const std::string& node_id);

  static IscsiDataPath& DataPathOf(gantry_instance* instance);

  std::unique_ptr<IscsiDataPath> data_path_;  // Only where the role asks for it.
  const Config config_;
  const std::string owner_;
  const std::unique_ptr<target_client::Transport> transport_;
  const std::unique_ptr<KernelInitiator> kernel_;  // None where the host runs no programs.
};

template <class Operation>
plugin::Result<typename Operation::Reply> IscsiBackend::AskUntil(
    Call& call, const Operation& operation, std::chrono::steady_clock::time_point deadline) const {
  return target_client::Call(*transport_, owner_, operation,
                             {call.id(), deadline, [&call] { return call.Cancelled(); }});
}

template <class Operation>
plugin::Result<typename Operation::Reply> IscsiBackend::Ask(Call& call,
                                                            const Operation& operation) const {
  return AskUntil(call, operation,
                  std::min(call.deadline(), std::chrono::steady_clock::now() + config_.timeout));
}

template <class Operation, class Entry, class Emit>
Status IscsiBackend::EmitPages(Call& call, Operation operation, uint32_t max_entries,
                               std::vector<Entry> Operation::Reply::*entries, Emit emit) const {
  uint32_t emitted = 0;
  while (true) {
    if (max_entries > 0)
      operation.max_entries = std::min<uint32_t>(target::kPageEntriesMax, max_entries - emitted);
    const auto page = Ask(call, operation);
    if (!page) return ToStatus(page.error());
    for (const auto& entry : (*page).*entries)
      if (!emit(entry) || ++emitted == max_entries) return Ok();
    if (!page->more || ((*page).*entries).empty()) return Ok();
    operation.after = ((*page).*entries).back().handle;
  }
}

}  // namespace gantry::iscsi
