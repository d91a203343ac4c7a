// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/manifest.hpp"

#include <gantry/gantry.hpp>

#include "plugins/common/backend_words.hpp"
#include "plugins/common/record.hpp"
#include "plugins/nfs/backend.hpp"
#include "plugins/nfs/config.hpp"

namespace gantry::nfs {
namespace {

constexpr uint32_t kCallsMax = 32;
constexpr uint32_t kDomainCallsMax = 16;

}  // namespace

const gantry_manifest& Manifest() {
  static const gantry_str kNeeds[] = {ToStr("NET_BIND_SERVICE")};
  static const gantry_manifest kManifest = [] {
    gantry_manifest m{};
    m.size = sizeof m;
    m.thread_model = GANTRY_THREADS_PARALLEL;
    m.name = ToStr("nfs");
    m.version = ToStr("0.1.0");
    m.csi_min = ToStr("1.5.0");
    m.csi_max = ToStr("1.12.0");
    m.calls_max = kCallsMax;
    m.domain_calls_max = kDomainCallsMax;
    m.access_modes = plugin::kAllAccessModes;
    m.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
    m.needs = {kNeeds, 1};
    m.config_schema = ToStr(kConfigSchema);
    m.record_format_min = plugin::kRecordFormatMin;
    m.record_format_max = plugin::kRecordFormat;
    m.context_format_min = kContextFormat;
    m.context_format_max = kContextFormat;
    return m;
  }();
  return kManifest;
}

}  // namespace gantry::nfs
