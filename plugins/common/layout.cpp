// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/layout.hpp"

#include <array>
#include <utility>

namespace gantry::plugin {
namespace {

constexpr std::string_view kTop = ".gantry";
constexpr std::array<std::pair<const char*, NodeId Layout::*>, 4> kParts = {
    {{"volumes", &Layout::volumes},
     {"claims", &Layout::claims},
     {"attempts", &Layout::attempts},
     {"trash", &Layout::trash}}};

StoreResult<Node> DirectoryOnly(Node node, std::string_view name) {
  if (node.type == NodeType::kDirectory) return node;
  return FailStore(StoreFault::kWrongType, code::kFailedPrecondition,
                   "'" + std::string(name) + "' is there and is no directory");
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
  const Ownership ownership{kPrivateMode, {}, {}};
  Layout layout;
  layout.root = root;
  GANTRY_PLUGIN_TRY_ASSIGN(const Node top, FindOrMake(storage, root, kTop, ownership));
  for (const auto& [name, member] : kParts) {
    GANTRY_PLUGIN_TRY_ASSIGN(Node node, FindOrMake(storage, top.id, name, ownership));
    layout.*member = std::move(node.id);
  }
  return layout;
}

StoreResult<std::optional<Layout>> FindLayout(Storage& storage, const NodeId& root) {
  Layout layout;
  layout.root = root;
  const auto top = storage.Lookup(root, kTop);
  if (FailedWith(top, StoreFault::kNotFound)) return std::nullopt;
  GANTRY_PLUGIN_TRY(top);
  for (const auto& [name, member] : kParts) {
    auto found = storage.Lookup(top->id, name);
    if (FailedWith(found, StoreFault::kNotFound)) return std::nullopt;
    GANTRY_PLUGIN_TRY(found);
    GANTRY_PLUGIN_TRY_ASSIGN(Node node, DirectoryOnly(std::move(*found), name));
    layout.*member = std::move(node.id);
  }
  return layout;
}

}  // namespace gantry::plugin
