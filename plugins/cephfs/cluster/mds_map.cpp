// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/mds_map.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace gantry::cephfs {
namespace {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;

// After up:reconnect whoever did not come back has no session any more.
constexpr std::array<std::string_view, 3> kKnowing = {"up:clientreplay", "up:active",
                                                      "up:stopping"};

bool KnowsItsSessions(const json& mds) {
  const std::string state = mds.value("state", "");
  return std::find(kKnowing.begin(), kKnowing.end(), state) != kKnowing.end();
}

}  // namespace

Result<std::vector<std::string>> HoldersOfRanks(const json& filesystem) {
  const json map = filesystem.value("mdsmap", json::object());
  const json all = map.value("info", json::object());
  const auto ranks = map.value("in", std::vector<int64_t>());
  std::vector<std::string> gids;
  for (const int64_t rank : ranks) {
    const auto holder = std::find_if(all.begin(), all.end(), [&](const json& mds) {
      return mds.value("rank", int64_t{-1}) == rank && KnowsItsSessions(mds);
    });
    if (holder == all.end())
      return Fail(plugin::code::kUnavailable,
                  "no MDS serves rank " + std::to_string(rank) +
                      " of the filesystem; whether the node has sessions there cannot be known");
    gids.push_back(std::to_string(holder->value("gid", uint64_t{0})));
  }
  if (gids.empty())
    return Fail(plugin::code::kUnavailable,
                "the filesystem has no rank; whether the node has sessions cannot be known");
  return gids;
}

}  // namespace gantry::cephfs
