// SPDX-License-Identifier: Apache-2.0
#include "host/swap/judge.hpp"

#include <gantry/state.h>

#include <algorithm>

namespace gantry::swap {
namespace {

tl::unexpected<base::Error> Refuse(const std::string& why) {
  return base::Fail(base::Code::kFailedPrecondition, why);
}

base::Status KeepsBits(const char* what, uint32_t offered, uint32_t candidate) {
  if ((offered & ~candidate) == 0) return {};
  return Refuse("it takes away " + std::string(what) + ": " + std::to_string(candidate) +
                ", expected the bits of " + std::to_string(offered));
}

base::Status Reads(const char* what, uint32_t written, uint32_t min, uint32_t max) {
  if (written >= min && written <= max) return {};
  return Refuse(std::string("it cannot read ") + what + " of format " + std::to_string(written) +
                ", which are written now: it reads " + std::to_string(min) + " to " +
                std::to_string(max));
}

}  // namespace

base::Status JudgeRelease(const core::Capabilities& offered, const Release& serving,
                          const channel::Description& candidate) {
  const auto& now = offered.description();
  if (candidate.name() != now.name())
    return Refuse("it is the plugin \"" + candidate.name() + "\": expected \"" + now.name() + "\"");
  const auto& slots = candidate.slots();
  const std::string state = std::string(GANTRY_EXT_STATE) + ":";
  for (const auto& slot : now.slots())
    if (!slot.starts_with(state) && std::find(slots.begin(), slots.end(), slot) == slots.end())
      return Refuse("it takes away the capability " + slot +
                    ", which sidecars and kubelet have been told of");
  GANTRY_TRY(KeepsBits("access modes", now.access_modes(), candidate.access_modes()));
  GANTRY_TRY(KeepsBits("access types", now.access_types(), candidate.access_types()));
  GANTRY_TRY(KeepsBits("controller flags", now.controller_flags(), candidate.controller_flags()));
  GANTRY_TRY(KeepsBits("publish flags", now.publish_flags(), candidate.publish_flags()));
  if (candidate.block_type() != now.block_type())
    return Refuse("its block metadata are of type " + std::to_string(candidate.block_type()) +
                  ": expected " + std::to_string(now.block_type()));
  const auto& keys = candidate.topology_keys();
  for (const auto& key : now.topology_keys())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      return Refuse("it takes away the topology key \"" + key + "\"");
  GANTRY_TRY(Reads("records", serving.record_format, candidate.record_format_min(),
                   candidate.record_format_max()));
  return Reads("contexts", serving.context_format, candidate.context_format_min(),
               candidate.context_format_max());
}

}  // namespace gantry::swap
