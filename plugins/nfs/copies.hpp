// SPDX-License-Identifier: Apache-2.0
// Snapshots, clones and restores of the NFS backend: copies on the server, made by tasks. A call that
// wants one leaves the record, asks for the task and looks for a short while whether it is done; so a
// small copy is answered at once, and a large one with ABORTED and how far it is, as CSI has it.
#pragma once

#include <atomic>
#include <chrono>
#include <gantry/gantry.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/common/volumes.hpp"
#include "plugins/nfs/config.hpp"
#include "plugins/nfs/copy_board.hpp"
#include "plugins/nfs/share.hpp"

namespace gantry::nfs {

inline constexpr std::string_view kCopyTask = "copy";
inline constexpr uint32_t kCopyRunSecondsMax = 86'400;   // Of a large one, and the next goes on.
inline constexpr std::chrono::seconds kCopyStopTime{2};  // For what follows the copy in a run.
inline constexpr std::chrono::seconds kCopyWaitMax{2};   // Of a call, and half of its time at most.
inline constexpr std::chrono::milliseconds kCopyLookMs{200};
inline constexpr std::chrono::milliseconds kCopyReportMs{1'000};
inline constexpr std::chrono::seconds kCopyRenewalPeriod{5};     // Of what others look at.
inline constexpr std::chrono::seconds kCopyLeaveAlonePeriod{5};  // When others are at it.
inline constexpr std::chrono::seconds kCopyListMax{5};           // Asking one share.

// 32 hex digits from the kernel.
std::string Nonce();
Limits LimitsOf(const Call& call);

enum class Realm : uint8_t { kVolumes, kSnapshots };

// Any thread.
class Copies {
 public:
  Copies(const Config& config, std::string owner, uint32_t record_format)
      : config_(config), owner_(std::move(owner)), record_format_(record_format) {}

  void UseFormat(uint32_t record_format) { record_format_ = record_format; }
  plugin::Volumes Open(plugin::Storage& storage, const plugin::Layout& layout) const {
    return {storage, layout, owner_, Nonce, record_format_};
  }
  // Fills in what is known of the source, or why it cannot be copied from.
  plugin::Status LookForSource(plugin::Storage& storage, const plugin::Layout& volumes,
                               plugin::VolumeSpec* spec) const;
  // Why the last try at this copy failed, once; asked before another is begun.
  std::optional<plugin::Error> TakeFailure(Realm realm, const std::string& handle);
  // The record once it is ready; ABORTED while the copy runs; why it failed.
  plugin::Result<plugin::Record> Await(Call& call, Share& share, Realm realm,
                                       const plugin::Record& begun);

  Status ListTasks(Call& call, Share& share) const;
  Status RunTask(Call& call, Share& share, const gantry_task_run& request);

 private:
  class Turn;
  plugin::Result<std::optional<plugin::Layout>> LayoutOf(plugin::Storage& storage,
                                                         const plugin::Layout& volumes,
                                                         Realm realm) const;
  plugin::Result<plugin::NodeId> FindSource(plugin::Storage& storage, const plugin::Layout& volumes,
                                            const plugin::CopySource& source) const;
  plugin::Result<plugin::OwnershipChange> OwnershipOf(Realm realm,
                                                      const plugin::Record& record) const;
  std::string StillCopying(const std::string& mark, const plugin::Record& record) const;

  const Config& config_;
  const std::string owner_;
  std::atomic<uint32_t> record_format_;
  CopyBoard board_;
};

}  // namespace gantry::nfs
