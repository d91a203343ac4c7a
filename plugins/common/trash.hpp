// SPDX-License-Identifier: Apache-2.0
// Empties what deleted volumes have left, a bounded stretch at a time, each tree with many removals
// in flight. Two controllers may do it at
// once without harm, since whatever lies in the trash is nobody's; a lease on the storage only keeps
// them from doing the work twice (owner_lease.hpp).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "plugins/common/async_storage.hpp"
#include "plugins/common/layout.hpp"
#include "plugins/common/owner_lease.hpp"
#include "plugins/common/storage.hpp"
#include "plugins/common/sub_dir.hpp"

namespace gantry::plugin {

inline constexpr std::string_view kTrashedName = "data";
inline constexpr std::string_view kRecordName = "record";
inline constexpr std::string_view kBesideName = "beside";  // Leads to a directory elsewhere.
inline constexpr std::string_view kBesideTrashPrefix = ".gantry-trash-";
inline constexpr std::string_view kLeaseName = ".lease";
inline constexpr size_t kRenewEvery = 100;  // Removals between two looks at the lease.
inline constexpr uint64_t kRemovalsPerRunMax = 20'000;
inline constexpr size_t kTrashListMax = 1'000;  // Names taken from a directory at a time.
inline constexpr std::chrono::milliseconds kTrashLookMs{50};  // Between two looks at `cancelled`.
// An empty attempt may be one that is just being made; removing it costs its maker a round.
inline constexpr int64_t kAttemptAgeMsMin = 600'000;

// What leads to a directory beside a volume's: the volume's path, and the directory's name.
struct Pointer {
  Path path;
  std::string name;
};
std::string EncodePointer(const Pointer& pointer);

enum class TrashState : uint8_t {
  kEmpty,  // Nothing was there.
  kEmptied,
  kMore,  // Go on later: the run's bound, a cancellation, or another one's lease.
};

struct TrashRun {
  TrashState state = TrashState::kEmpty;
  uint64_t removed = 0;  // Files and directories.
  bool leased = true;    // False: another one is at it.
  std::string stuck;     // What could not be removed, and why; it is tried again at the next run.
};

class Trash {
 public:
  // `tree` is the same storage; nothing else is in flight on it.
  Trash(Storage& storage, AsyncEntries& tree, const Layout& layout, MakeNonce nonce,
        std::function<bool()> cancelled, uint64_t removals_max = kRemovalsPerRunMax)
      : storage_(storage),
        tree_(tree),
        layout_(layout),
        nonce_(std::move(nonce)),
        cancelled_(std::move(cancelled)),
        removals_max_(removals_max),
        lease_(storage, layout.trash, kLeaseName) {}

  Result<TrashRun> Run();

 private:
  enum class Step : uint8_t { kGone, kStuck, kStop };

  Result<bool> KeepOn(uint64_t under_way = 0);
  Result<bool> RenewIfDue();
  Result<Step> EmptyItem(const std::string& name);
  Result<Step> EmptyBeside(const NodeId& item, const Node& pointer);
  Result<Step> EmptyTree(const NodeId& parent, const std::string& name);
  Result<Step> RemoveFile(const NodeId& directory, const std::string& name);
  Result<Step> RemoveDirectory(const NodeId& directory, const std::string& name);
  Step Stuck(const std::string& name, const Error& why);
  bool IsYoung(const Node& node) const;
  Status SweepAttempts();

  Storage& storage_;
  AsyncEntries& tree_;
  const Layout& layout_;
  const MakeNonce nonce_;
  const std::function<bool()> cancelled_;
  const uint64_t removals_max_;
  OwnerLease lease_;
  size_t since_renewal_ = 0;
  AsyncEntries::TimePoint renewed_;
  TrashRun run_;
};

}  // namespace gantry::plugin
