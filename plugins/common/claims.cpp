// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/claims.hpp"

#include <optional>
#include <utility>
#include <vector>

namespace gantry::plugin {
namespace {

const Ownership kMirrorOwnership{kPrivateMode, {}, {}};

// Who has claimed the mirrored directory itself.
Result<std::optional<Record>> ClaimantOf(Storage& storage, const NodeId& mirror) {
  const auto link = storage.Lookup(mirror, kClaimName);
  if (IsGone(link)) return std::nullopt;
  GANTRY_PLUGIN_TRY(link);
  const auto text = storage.ReadFile(link->id, kRecordBytesMax);
  if (IsGone(text)) return std::nullopt;
  GANTRY_PLUGIN_TRY(text);
  GANTRY_PLUGIN_TRY_ASSIGN(Record record, Decode(*text, kClaimName));
  return record;
}

bool IsOf(const Record& claimant, const Record& record) {
  return claimant.handle == record.handle && claimant.incarnation == record.incarnation;
}

// Looks for a claim below a mirror directory and removes empty leftovers on the way.
Result<std::optional<Record>> ClaimantBelow(Storage& storage, const NodeId& mirror, size_t depth) {
  if (depth > kSubDirDepthMax) return Fail(code::kInternal, "claims/ is deeper than it can be");
  const auto listed = storage.List(mirror, kMirrorEntriesMax);
  if (IsGone(listed)) return std::nullopt;
  GANTRY_PLUGIN_TRY(listed);
  for (const auto& entry : *listed) {
    if (entry.name == kClaimName) continue;
    const auto child = storage.Lookup(mirror, entry.name);
    if (IsGone(child)) continue;
    GANTRY_PLUGIN_TRY(child);
    GANTRY_PLUGIN_TRY_ASSIGN(auto claimant, ClaimantOf(storage, child->id));
    if (claimant) return claimant;
    GANTRY_PLUGIN_TRY_ASSIGN(auto below, ClaimantBelow(storage, child->id, depth + 1));
    if (below) return below;
    GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage, mirror, entry.name));
  }
  return std::nullopt;
}

tl::unexpected<Error> Conflict(const Record& record, const char* how, const Record& other) {
  return Fail(code::kFailedPrecondition, "subDir \"" + Join(record.path) + "\" " + how +
                                             " the directory \"" + Join(other.path) +
                                             "\" of volume " + other.handle + " (name \"" +
                                             other.name + "\", owner " + other.owner + ")");
}

enum class Step : uint8_t { kSet, kOnceMore, kRecordGone };

struct Mirror {
  std::vector<NodeId> ancestors;
  NodeId parent;
  NodeId leaf;
};

// Sets the claim into a mirror directory of its own making, or finds it set.
Result<Step> Set(Storage& storage, const Layout& layout, const NodeId& record_file,
                 const Record& record, Mirror* mirror) {
  mirror->ancestors.clear();
  mirror->parent = layout.claims;
  for (size_t i = 0; i + 1 < record.path.size(); ++i) {
    auto made = FindOrMake(storage, mirror->parent, record.path[i], kMirrorOwnership);
    if (IsGone(made)) return Step::kOnceMore;
    GANTRY_PLUGIN_TRY(made);
    mirror->parent = made->id;
    mirror->ancestors.push_back(std::move(made->id));
  }
  const std::string& name = record.path.back();
  auto made = storage.MakeDirectory(mirror->parent, name, kMirrorOwnership);
  if (FailedWith(made, StoreFault::kExists)) {
    auto there = storage.Lookup(mirror->parent, name);
    if (IsGone(there)) return Step::kOnceMore;
    GANTRY_PLUGIN_TRY(there);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto claimant, ClaimantOf(storage, there->id));
    if (claimant && IsOf(*claimant, record)) {
      mirror->leaf = std::move(there->id);
      return Step::kSet;
    }
    if (claimant) return Conflict(record, "is", *claimant);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto below, ClaimantBelow(storage, there->id, 0));
    if (below) return Conflict(record, "contains", *below);
    GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage, mirror->parent, name));
    return Step::kOnceMore;
  }
  if (IsGone(made)) return Step::kOnceMore;
  GANTRY_PLUGIN_TRY(made);
  mirror->leaf = std::move(made->id);

  const auto linked = storage.Link(record_file, mirror->leaf, kClaimName);
  if (linked) return Step::kSet;
  if (FailedWith(linked, StoreFault::kExists)) return Step::kOnceMore;
  if (!IsGone(linked)) return tl::make_unexpected(linked.error());
  GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage, mirror->parent, name));
  const auto source = storage.ReadFile(record_file, kRecordBytesMax);
  if (IsGone(source)) return Step::kRecordGone;
  GANTRY_PLUGIN_TRY(source);
  return Step::kOnceMore;
}

}  // namespace

Result<Claimed> Claim(Storage& storage, const Layout& layout, const NodeId& record_file,
                      const Record& record) {
  Mirror mirror;
  for (int i = 0; i < kClaimTriesMax; ++i) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Step step, Set(storage, layout, record_file, record, &mirror));
    if (step == Step::kRecordGone) return Claimed::kAgain;
    if (step == Step::kOnceMore) continue;
    for (const auto& ancestor : mirror.ancestors) {
      GANTRY_PLUGIN_TRY_ASSIGN(const auto above, ClaimantOf(storage, ancestor));
      if (above) return Conflict(record, "is within", *above);
    }
    GANTRY_PLUGIN_TRY_ASSIGN(const auto below, ClaimantBelow(storage, mirror.leaf, 0));
    if (below) return Conflict(record, "contains", *below);
    return Claimed::kYes;
  }
  return Claimed::kAgain;
}

Result<FoundClaim> FindClaim(Storage& storage, const Layout& layout, const Record& record) {
  FoundClaim found;
  for (const auto& name : record.path) {
    const NodeId& above = found.mirrors.empty() ? layout.claims : found.mirrors.back();
    auto mirror = storage.Lookup(above, name);
    if (IsGone(mirror)) return found;
    GANTRY_PLUGIN_TRY(mirror);
    found.mirrors.push_back(std::move(mirror->id));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const auto claimant, ClaimantOf(storage, found.mirrors.back()));
  found.held = claimant && IsOf(*claimant, record);
  return found;
}

Status ReleaseClaim(Storage& storage, const Layout& layout, const Path& path,
                    const FoundClaim& found) {
  if (found.held) {
    // By the handle of a directory that can hold no other claim than the one found in it.
    const auto removed = storage.Remove(found.mirrors.back(), kClaimName);
    if (!removed && !IsGone(removed)) return tl::make_unexpected(removed.error());
  }
  for (size_t i = found.mirrors.size(); i > 0; --i) {
    const NodeId& above = i > 1 ? found.mirrors[i - 2] : layout.claims;
    GANTRY_PLUGIN_TRY_ASSIGN(const bool removed, RemoveIfEmpty(storage, above, path[i - 1]));
    if (!removed) break;
  }
  return {};
}

}  // namespace gantry::plugin
