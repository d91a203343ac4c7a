// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/layout.hpp"

#include <array>
#include <utility>

namespace gantry::plugin {
namespace {

constexpr std::string_view kTop = ".gantry";
struct Part {
  const char* name;
  NodeId Layout::*member;
};
constexpr std::array<Part, 4> kParts = {{{"volumes", &Layout::volumes},
                                         {"claims", &Layout::claims},
                                         {"attempts", &Layout::attempts},
                                         {"trash", &Layout::trash}}};
constexpr std::string_view kSnapshots = "snapshots";
constexpr std::array<Part, 3> kSnapshotParts = {
    {{"records", &Layout::volumes}, {"claims", &Layout::claims}, {"data", &Layout::root}}};
const Ownership kPartOwnership{kPrivateMode, {}, {}};

StoreResult<Node> DirectoryOnly(Node node, std::string_view name) {
  if (node.type == NodeType::kDirectory) return node;
  return FailStore(StoreFault::kWrongType, code::kFailedPrecondition,
                   "'" + std::string(name) + "' is there and is no directory");
}

template <size_t kCount>
StoreStatus OpenParts(Storage& storage, const NodeId& top, const std::array<Part, kCount>& parts,
                      Layout* layout) {
  for (const auto& part : parts) {
    GANTRY_PLUGIN_TRY_ASSIGN(Node node, FindOrMake(storage, top, part.name, kPartOwnership));
    layout->*part.member = std::move(node.id);
  }
  return {};
}

// False: one is missing.
template <size_t kCount>
StoreResult<bool> FindParts(Storage& storage, const NodeId& top,
                            const std::array<Part, kCount>& parts, Layout* layout) {
  for (const auto& part : parts) {
    auto found = storage.Lookup(top, part.name);
    if (FailedWith(found, StoreFault::kNotFound)) return false;
    GANTRY_PLUGIN_TRY(found);
    GANTRY_PLUGIN_TRY_ASSIGN(Node node, DirectoryOnly(std::move(*found), part.name));
    layout->*part.member = std::move(node.id);
  }
  return true;
}

Layout ForSnapshots(const Layout& volumes) {
  Layout layout = volumes;
  layout.what = "snapshot";
  return layout;
}

}  // namespace

StoreResult<Node> FindOrMake(Storage& storage, const NodeId& directory, std::string_view name,
                             const Ownership& ownership) {
  auto found = storage.Lookup(directory, name);
  if (FailedWith(found, StoreFault::kNotFound)) {
    auto made = storage.MakeDirectory(directory, name, ownership);
    if (!FailedWith(made, StoreFault::kExists)) return made;
    found = storage.Lookup(directory, name);
  }
  if (!found) return found;
  return DirectoryOnly(std::move(*found), name);
}

StoreResult<bool> RemoveIfEmpty(Storage& storage, const NodeId& directory, std::string_view name) {
  const auto removed = storage.RemoveDirectory(directory, name);
  if (removed || IsGone(removed)) return true;
  if (FailedWith(removed, StoreFault::kNotEmpty)) return false;
  return tl::make_unexpected(removed.error());
}

StoreResult<Layout> OpenLayout(Storage& storage, const NodeId& root) {
  Layout layout;
  layout.root = root;
  GANTRY_PLUGIN_TRY_ASSIGN(const Node top, FindOrMake(storage, root, kTop, kPartOwnership));
  layout.top = top.id;
  GANTRY_PLUGIN_TRY(OpenParts(storage, top.id, kParts, &layout));
  return layout;
}

StoreResult<std::optional<Layout>> FindLayout(Storage& storage, const NodeId& root) {
  Layout layout;
  layout.root = root;
  const auto top = storage.Lookup(root, kTop);
  if (FailedWith(top, StoreFault::kNotFound)) return std::nullopt;
  GANTRY_PLUGIN_TRY(top);
  layout.top = top->id;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool all, FindParts(storage, top->id, kParts, &layout));
  if (!all) return std::nullopt;
  return layout;
}

StoreResult<Layout> OpenSnapshots(Storage& storage, const Layout& volumes) {
  Layout layout = ForSnapshots(volumes);
  GANTRY_PLUGIN_TRY_ASSIGN(const Node top,
                           FindOrMake(storage, volumes.top, kSnapshots, kPartOwnership));
  GANTRY_PLUGIN_TRY(OpenParts(storage, top.id, kSnapshotParts, &layout));
  return layout;
}

StoreResult<std::optional<Layout>> FindSnapshots(Storage& storage, const Layout& volumes) {
  Layout layout = ForSnapshots(volumes);
  const auto top = storage.Lookup(volumes.top, kSnapshots);
  if (FailedWith(top, StoreFault::kNotFound)) return std::nullopt;
  GANTRY_PLUGIN_TRY(top);
  GANTRY_PLUGIN_TRY_ASSIGN(const bool all, FindParts(storage, top->id, kSnapshotParts, &layout));
  if (!all) return std::nullopt;
  return layout;
}

}  // namespace gantry::plugin
