// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/copy_marks.hpp"

#include <utility>

namespace gantry::plugin {
namespace {

constexpr std::string_view kMarks = "copies";
const Ownership kMarkOwnership{kPrivateMode, {}, {}};

}  // namespace

std::string CopyMark(const Layout& layout, std::string_view handle) {
  return layout.what.substr(0, 1) + "-" + std::string(handle);
}

Status MarkCopy(Storage& storage, const Layout& layout, std::string_view handle) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Node marks,
                           FindOrMake(storage, layout.top, kMarks, kMarkOwnership));
  GANTRY_PLUGIN_TRY(FindOrMake(storage, marks.id, CopyMark(layout, handle), kMarkOwnership));
  return {};
}

Status UnmarkCopy(Storage& storage, const Layout& layout, std::string_view handle) {
  const auto marks = storage.Lookup(layout.top, kMarks);
  if (IsGone(marks)) return {};
  GANTRY_PLUGIN_TRY(marks);
  GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage, marks->id, CopyMark(layout, handle)));
  return {};
}

Result<std::vector<std::string>> ListCopyMarks(Storage& storage, const Layout& layout) {
  std::vector<std::string> names;
  const auto marks = storage.Lookup(layout.top, kMarks);
  if (IsGone(marks)) return names;
  GANTRY_PLUGIN_TRY(marks);
  GANTRY_PLUGIN_TRY_ASSIGN(auto listed, storage.List(marks->id, kCopyMarksMax));
  for (auto& entry : listed) names.push_back(std::move(entry.name));
  return names;
}

}  // namespace gantry::plugin
