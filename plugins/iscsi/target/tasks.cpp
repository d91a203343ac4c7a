// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/tasks.hpp"

#include <poll.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "plugins/iscsi/target/copy.hpp"
#include "plugins/iscsi/target/crypto.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kWatchPollMs = 100;
constexpr milliseconds kAnswerMs{200};        // a watch ends so long before the deadline
constexpr milliseconds kLookEveryMs{30'000};  // also when nothing seems to have happened

struct Wanted {
  Record record;
  Export target;  // without secrets
};

// Those that a node has. A record that cannot be read keeps no other from its target.
Result<std::vector<Wanted>> AllWanted(const Context& context,
                                      std::optional<plugin::Error>* problem) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto handles, context.store.Handles(RecordKind::kVolume));
  std::vector<Wanted> all;
  for (const auto& handle : handles) {
    auto record = context.store.Find(RecordKind::kVolume, handle);
    if (!record && !*problem) *problem = std::move(record.error());
    if (!record || !*record || (*record)->nodes.empty()) continue;
    Export target;
    target.iqn = IqnOf(context.config.iqn_prefix, handle, (*record)->incarnation);
    target.file = context.store.ImagePath(**record);
    target.identity = IdentityOf(handle, (*record)->incarnation);
    for (const auto& publication : (*record)->nodes)
      target.access.push_back(
          {publication.node.initiator, publication.node.readonly, std::nullopt});
    all.push_back({std::move(**record), std::move(target)});
  }
  return all;
}

// Under its lock, as the record says by now.
plugin::Status Restore(const Context& context, const std::string& handle, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto locks,
                           context.store.LockAll({{RecordKind::kVolume, handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto record, context.store.Find(RecordKind::kVolume, handle));
  if (!record || record->nodes.empty()) return {};
  if (const auto problem = context.store.ImageProblem(*record); !problem.empty())
    return Fail(code::kFailedPrecondition, Named(*record) + ": " + problem);
  GANTRY_PLUGIN_TRY_ASSIGN(const Export wanted, ExportOf(context, *record));
  return context.kind.Ensure(wanted, deadline);
}

// A target that no record wanted a moment ago. Its volume's lock keeps a publication away from it.
plugin::Status RemoveSurplus(const Context& context, const std::string& iqn, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto handles, context.store.Handles(RecordKind::kVolume));
  for (const auto& handle : handles) {
    const auto record = context.store.Find(RecordKind::kVolume, handle);
    // It might be the one.
    if (!record) return tl::unexpected(record.error());
    if (!*record || IqnOf(context.config.iqn_prefix, handle, (*record)->incarnation) != iqn)
      continue;
    GANTRY_PLUGIN_TRY_ASSIGN(const auto locks,
                             context.store.LockAll({{RecordKind::kVolume, handle}}, deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(const auto now, context.store.Find(RecordKind::kVolume, handle));
    if (now && (!now->nodes.empty() || now->incarnation != (*record)->incarnation)) return {};
    return context.kind.Remove(iqn, deadline);
  }
  return context.kind.Remove(iqn, deadline);
}

Result<Progress> EmptyTrash(const Context& context, Deadline deadline) {
  Progress progress;
  for (const RecordKind kind : {RecordKind::kVolume, RecordKind::kSnapshot})
    GANTRY_PLUGIN_TRY(context.store.TrashOrphans(kind, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto names, context.store.Trash());
  progress.total = names.size();
  for (const auto& name : names) {
    if (steady_clock::now() >= deadline) return progress;
    GANTRY_PLUGIN_TRY_ASSIGN(const bool gone, context.store.EmptyTrash(name, deadline));
    if (!gone) return progress;
    ++progress.done;
  }
  progress.finished = true;
  return progress;
}

// Looks at once, and again whenever the daemon has been started anew.
Result<Progress> Watch(const Context& context, Deadline deadline) {
  Progress progress;
  std::optional<std::string> seen;
  std::optional<plugin::Error> problem;
  auto looked = Deadline::min();
  for (;;) {
    const auto now = steady_clock::now();
    const auto generation = context.kind.Generation();
    if (generation && (generation != seen || now - looked >= kLookEveryMs)) {
      auto once = RebuildOnce(context, deadline);
      looked = now;
      if (once) progress.done += once->done;
      // What is answered to a connection tells whether it is there; then it is not asked again at
      // once for what it cannot help.
      seen = once || once.error().code != code::kUnavailable ? generation : std::nullopt;
      problem = once ? std::optional<plugin::Error>() : std::move(once.error());
    }
    if (steady_clock::now() + kAnswerMs >= deadline) break;
    (void)poll(nullptr, 0, kWatchPollMs);
  }
  if (problem) return tl::unexpected(std::move(*problem));
  return progress;
}

}  // namespace

Result<Progress> RebuildOnce(const Context& context, Deadline deadline) {
  std::optional<plugin::Error> problem;
  const auto keep = [&problem](plugin::Status status) {
    if (!status && !problem) problem = std::move(status.error());
    return status.has_value();
  };
  GANTRY_PLUGIN_TRY(context.kind.Probe());
  GANTRY_PLUGIN_TRY_ASSIGN(const auto wanted, AllWanted(context, &problem));
  std::vector<Export> targets;
  targets.reserve(wanted.size());
  for (const auto& one : wanted) targets.push_back(one.target);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto difference,
                           context.kind.Compare(context.config.iqn_prefix, targets));
  Progress progress;
  progress.total = difference.missing.size() + difference.surplus.size();
  for (const auto& one : wanted) {
    const auto& missing = difference.missing;
    if (std::find(missing.begin(), missing.end(), one.target.iqn) == missing.end()) continue;
    if (keep(Restore(context, one.record.handle, deadline))) ++progress.done;
  }
  for (const auto& iqn : difference.surplus)
    if (keep(RemoveSurplus(context, iqn, deadline))) ++progress.done;
  if (problem) return tl::unexpected(std::move(*problem));
  progress.finished = true;
  return progress;
}

Result<Progress> Run(const Context& context, const RunTask& request, Deadline deadline) {
  switch (request.task.kind) {
    case TaskKind::kCopy: {
      const size_t slash = request.task.key.find('/');
      const bool is_volume = request.task.key.substr(0, slash) == "volume";
      return RunCopy(context, is_volume ? RecordKind::kVolume : RecordKind::kSnapshot,
                     request.task.key.substr(slash + 1), deadline - kAnswerMs);
    }
    case TaskKind::kTrash:
      return EmptyTrash(context, deadline - kAnswerMs);
    case TaskKind::kRestoreTargets:
      return Watch(context, deadline);
  }
  return Fail(code::kInternal, "no such task");
}

}  // namespace gantry::iscsi::target
