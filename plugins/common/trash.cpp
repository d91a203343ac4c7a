// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/trash.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "plugins/common/tree_removal.hpp"

namespace gantry::plugin {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

// Not that which one who died while taking the lease has left.
bool IsLease(const std::string& name) { return name == kLeaseName; }

std::optional<Pointer> DecodePointer(const std::string& text) {
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object() || !object.contains("path") || !object["path"].is_string() ||
      !object.contains("name") || !object["name"].is_string()) {
    return std::nullopt;
  }
  auto path = ParseSubDir(object["path"].get<std::string>());
  std::string name = object["name"];
  if (!path || !name.starts_with(std::string(kReservedPrefix) + "-") ||
      name.find('/') != std::string::npos) {
    return std::nullopt;
  }
  return Pointer{std::move(*path), std::move(name)};
}

}  // namespace

std::string EncodePointer(const Pointer& pointer) {
  return nlohmann::json{{"path", Join(pointer.path)}, {"name", pointer.name}}.dump();
}

Result<TrashRun> Trash::Run() {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto attempts, storage_.List(layout_.attempts, 1));
  auto items = storage_.List(layout_.trash, kTrashListMax);
  GANTRY_PLUGIN_TRY(items);
  // A lease counts: its holder may have died with all else done.
  if (items->empty() && attempts.empty()) return run_;
  GANTRY_PLUGIN_TRY_ASSIGN(run_.leased, lease_.Take(nonce_()));
  if (!run_.leased) {
    run_.state = TrashState::kMore;
    return run_;
  }

  renewed_ = tree_.Now();
  std::set<std::string> seen;  // Also those that are left: too young, or stuck.
  const auto emptied = [&]() -> Status {
    GANTRY_PLUGIN_TRY(SweepAttempts());
    for (bool any = true; any;) {
      any = false;
      for (const auto& item : *items) {
        if (IsLease(item.name) || !seen.insert(item.name).second) continue;
        any = true;
        GANTRY_PLUGIN_TRY_ASSIGN(const Step step, EmptyItem(item.name));
        if (step == Step::kStop) {
          run_.state = TrashState::kMore;
          return {};
        }
      }
      if (any) {
        items = storage_.List(layout_.trash, kTrashListMax + seen.size());
        GANTRY_PLUGIN_TRY(items);
      }
    }
    if (run_.removed > 0) run_.state = TrashState::kEmptied;
    return {};
  }();
  lease_.Release();
  GANTRY_PLUGIN_TRY(emptied);
  return run_;
}

// May one more be removed, when so many are on their way?
Result<bool> Trash::KeepOn(uint64_t under_way) {
  if (cancelled_() || run_.removed + under_way >= removals_max_) return false;
  ++since_renewal_;
  return RenewIfDue();
}

// Renews the lease now and then.
Result<bool> Trash::RenewIfDue() {
  if (since_renewal_ < kRenewEvery && tree_.Now() - renewed_ < kOwnerLeaseRenewMs) return true;
  since_renewal_ = 0;
  renewed_ = tree_.Now();
  return lease_.Renew();
}

bool Trash::IsYoung(const Node& node) const {
  return node.mtime_ns + kAttemptAgeMsMin * kNsPerMs > lease_.now_ns();
}

Trash::Step Trash::Stuck(const std::string& name, const Error& why) {
  if (run_.stuck.empty()) run_.stuck = "'" + name + "' in the trash: " + why.message;
  return Step::kStuck;
}

Result<Trash::Step> Trash::RemoveFile(const NodeId& directory, const std::string& name) {
  GANTRY_PLUGIN_TRY_ASSIGN(const bool keep_on, KeepOn());
  if (!keep_on) return Step::kStop;
  const auto removed = storage_.Remove(directory, name);
  if (removed) ++run_.removed;
  if (removed || IsGone(removed)) return Step::kGone;
  if (FailedWith(removed, StoreFault::kUnavailable)) return tl::make_unexpected(removed.error());
  return Stuck(name, removed.error().error);
}

// Not empty counts as stuck for now.
Result<Trash::Step> Trash::RemoveDirectory(const NodeId& directory, const std::string& name) {
  GANTRY_PLUGIN_TRY_ASSIGN(const bool keep_on, KeepOn());
  if (!keep_on) return Step::kStop;
  const auto removed = storage_.RemoveDirectory(directory, name);
  if (removed) ++run_.removed;
  if (removed || IsGone(removed)) return Step::kGone;
  if (FailedWith(removed, StoreFault::kUnavailable)) return tl::make_unexpected(removed.error());
  return Stuck(name, removed.error().error);
}

Result<Trash::Step> Trash::EmptyTree(const NodeId& parent, const std::string& name) {
  TreeRemoval removal(tree_, [&] { return KeepOn(removal.sent()); });
  removal.Begin(parent, name);
  Result<bool> keep_on = true;
  while (removal.state() == TreeRemoval::State::kRunning && keep_on && *keep_on) {
    tree_.Wait(tree_.Now() + kTrashLookMs);
    removal.Pump();
    keep_on = RenewIfDue();
    if (cancelled_()) keep_on = false;
  }
  tree_.Abandon();  // Whatever comes late finds its directory gone, or removes what is to go.
  run_.removed += removal.removed();
  GANTRY_PLUGIN_TRY(keep_on);
  if (!removal.stuck().empty()) Stuck(name, {code::kFailedPrecondition, removal.stuck()});
  switch (removal.state()) {
    case TreeRemoval::State::kGone:
      return Step::kGone;
    case TreeRemoval::State::kStuck:
      return Step::kStuck;
    case TreeRemoval::State::kFailed:
      return tl::make_unexpected(removal.error());
    default:
      return Step::kStop;
  }
}

// The directory beside a volume's that a pointer in the trash leads to. Only that of a deletion is
// emptied; the others are removed when nothing is in them.
Result<Trash::Step> Trash::EmptyBeside(const NodeId& item, const Node& file) {
  const auto text = storage_.ReadFile(file.id, 2 * kSubDirBytesMax);
  if (IsGone(text)) return Step::kGone;
  GANTRY_PLUGIN_TRY(text);
  const auto pointer = DecodePointer(*text);
  if (!pointer) {
    // Its writer may have died before it had written it, and then made nothing.
    if (text->empty() && !IsYoung(file)) return RemoveFile(item, std::string(kBesideName));
    return Stuck(std::string(kBesideName), {code::kDataLoss, "it leads nowhere allowed"});
  }
  NodeId directory = layout_.root;
  bool there = true;
  for (size_t i = 0; i + 1 < pointer->path.size() && there; ++i) {
    auto found = storage_.Lookup(directory, pointer->path[i]);
    if (!found && !IsGone(found)) return tl::make_unexpected(found.error());
    there = found && found->type == NodeType::kDirectory;
    if (there) directory = std::move(found->id);
  }
  std::optional<Node> beside;
  if (there) {
    auto found = storage_.Lookup(directory, pointer->name);
    if (!found && !IsGone(found)) return tl::make_unexpected(found.error());
    if (found) beside = std::move(*found);
  }
  if (!beside) {
    return IsYoung(file) ? Step::kStuck : RemoveFile(item, std::string(kBesideName));
  }
  const auto content = storage_.List(beside->id, 1);
  if (!content && !IsGone(content)) return tl::make_unexpected(content.error());
  const bool empty = !content || content->empty();
  if (empty && IsYoung(*beside)) return Step::kStuck;
  if (!empty && !pointer->name.starts_with(kBesideTrashPrefix)) return Step::kStuck;
  GANTRY_PLUGIN_TRY_ASSIGN(const Step step, empty ? RemoveDirectory(directory, pointer->name)
                                                  : EmptyTree(directory, pointer->name));
  if (step != Step::kGone) return step;
  return RemoveFile(item, std::string(kBesideName));
}

Result<Trash::Step> Trash::EmptyItem(const std::string& name) {
  const auto item = storage_.Lookup(layout_.trash, name);
  if (IsGone(item)) return Step::kGone;
  GANTRY_PLUGIN_TRY(item);
  if (item->type != NodeType::kDirectory) {
    if (item->mtime_ns + kOwnerLeaseMs * kNsPerMs > lease_.now_ns()) return Step::kStuck;
    return RemoveFile(layout_.trash, name);
  }
  const auto content = storage_.List(item->id, kTrashListMax);
  if (IsGone(content)) return Step::kGone;
  GANTRY_PLUGIN_TRY(content);
  // Somebody may be about to rename into it.
  if (content->empty() && IsYoung(*item)) return Step::kStuck;
  Step worst = Step::kGone;
  for (const auto& entry : *content) {
    Step step = Step::kGone;
    if (entry.name == kBesideName) {
      const auto pointer = storage_.Lookup(item->id, kBesideName);
      if (IsGone(pointer)) continue;
      GANTRY_PLUGIN_TRY(pointer);
      GANTRY_PLUGIN_TRY_ASSIGN(step, EmptyBeside(item->id, *pointer));
    } else {
      GANTRY_PLUGIN_TRY_ASSIGN(step, EmptyTree(item->id, entry.name));
    }
    if (step == Step::kStop) return step;
    if (step == Step::kStuck) worst = step;
  }
  if (worst == Step::kStuck) return worst;
  return RemoveDirectory(layout_.trash, name);
}

// Attempts whose maker died before a record named them. With content they are archives on their
// way, and RMDIR leaves them.
Status Trash::SweepAttempts() {
  const auto listed = storage_.List(layout_.attempts, kTrashListMax);
  GANTRY_PLUGIN_TRY(listed);
  for (const auto& entry : *listed) {
    const auto node = storage_.Lookup(layout_.attempts, entry.name);
    if (IsGone(node)) continue;
    GANTRY_PLUGIN_TRY(node);
    if (IsYoung(*node)) continue;
    GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage_, layout_.attempts, entry.name));
  }
  return {};
}

}  // namespace gantry::plugin
