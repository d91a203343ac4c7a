// SPDX-License-Identifier: Apache-2.0
#include "host/worker/convert_values.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace gantry::worker {
namespace {

using View = std::pair<std::string_view, std::string_view>;

gantry_map CopyPairs(std::vector<View> pairs, Arena& arena) {
  std::sort(pairs.begin(), pairs.end());
  gantry_pair* const items = arena.NewArray<gantry_pair>(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i)
    items[i] = {arena.Copy(pairs[i].first), arena.Copy(pairs[i].second)};
  return {items, pairs.size()};
}

bool IsHint(std::string_view key) { return key.substr(0, kHintPrefix.size()) == kHintPrefix; }

std::string Field(std::string_view field, const char* member) {
  return std::string(field) + "." + member;
}

}  // namespace

gantry_map CopyMap(const StringMap& map, Arena& arena) {
  return CopyPairs({map.begin(), map.end()}, arena);
}

gantry_map CopyParameters(const StringMap& map, Arena& arena) {
  std::vector<View> pairs;
  for (const auto& [key, value] : map)
    if (!IsHint(key)) pairs.emplace_back(key, value);
  return CopyPairs(std::move(pairs), arena);
}

gantry_map CopyHints(const StringMap& map, Arena& arena) {
  std::vector<View> pairs;
  for (const auto& [key, value] : map)
    if (IsHint(key)) pairs.emplace_back(std::string_view(key).substr(kHintPrefix.size()), value);
  return CopyPairs(std::move(pairs), arena);
}

gantry_list CopyList(const StringList& list, Arena& arena) {
  const auto count = static_cast<size_t>(list.size());
  gantry_str* const items = arena.NewArray<gantry_str>(count);
  for (size_t i = 0; i < count; ++i) items[i] = arena.Copy(list[static_cast<int>(i)]);
  return {items, count};
}

base::Result<uint64_t> Natural(int64_t value, std::string_view field) {
  if (value >= 0) return static_cast<uint64_t>(value);
  return base::Fail(base::Code::kInvalidArgument,
                    std::string(field) + " is " + std::to_string(value) + ", expected 0 or more");
}

base::Result<gantry_capability> CopyCapability(const csi::VolumeCapability& capability,
                                               std::string_view field, Arena& arena) {
  gantry_capability copy{};
  const int mode = capability.access_mode().mode();
  if (mode < GANTRY_SINGLE_NODE_WRITER || mode > GANTRY_SINGLE_NODE_MULTI_WRITER)
    return base::Fail(base::Code::kInvalidArgument,
                      Field(field, "access_mode.mode") + " is " + std::to_string(mode) +
                          ", expected 1 to " + std::to_string(GANTRY_SINGLE_NODE_MULTI_WRITER));
  copy.access_mode = mode;
  switch (capability.access_type_case()) {
    case csi::VolumeCapability::kBlock:
      copy.access_type = GANTRY_ACCESS_BLOCK;
      break;
    case csi::VolumeCapability::kMount:
      copy.access_type = GANTRY_ACCESS_MOUNT;
      copy.fs_type = arena.Copy(capability.mount().fs_type());
      copy.mount_flags = CopyList(capability.mount().mount_flags(), arena);
      copy.volume_mount_group = arena.Copy(capability.mount().volume_mount_group());
      break;
    default:
      return base::Fail(base::Code::kInvalidArgument,
                        Field(field, "access_type") + " is not set, expected block or mount");
  }
  return copy;
}

base::Status CopyCapabilities(const google::protobuf::RepeatedPtrField<csi::VolumeCapability>& from,
                              Arena& arena, const gantry_capability** items, size_t* count) {
  const auto size = static_cast<size_t>(from.size());
  gantry_capability* const copies = arena.NewArray<gantry_capability>(size);
  for (size_t i = 0; i < size; ++i) {
    const std::string field = "volume_capabilities[" + std::to_string(i) + "]";
    GANTRY_TRY_ASSIGN(copies[i], CopyCapability(from[static_cast<int>(i)], field, arena));
  }
  *items = copies;
  *count = size;
  return {};
}

void CopyTopologies(const google::protobuf::RepeatedPtrField<csi::Topology>& from, Arena& arena,
                    const gantry_map** items, size_t* count) {
  const auto size = static_cast<size_t>(from.size());
  gantry_map* const copies = arena.NewArray<gantry_map>(size);
  for (size_t i = 0; i < size; ++i)
    copies[i] = CopyMap(from[static_cast<int>(i)].segments(), arena);
  *items = copies;
  *count = size;
}

}  // namespace gantry::worker
