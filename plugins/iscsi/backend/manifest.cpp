// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/manifest.hpp"

#include <gantry/gantry.hpp>

#include "plugins/common/backend_words.hpp"
#include "plugins/iscsi/backend/backend.hpp"

namespace gantry::iscsi {
namespace {

constexpr uint32_t kCallsMax = 32;
// gantry-target does one thing at a time on the records; more would only wait there.
constexpr uint32_t kDomainCallsMax = 16;

}  // namespace

const gantry_manifest& Manifest() {
  static const gantry_manifest kManifest = [] {
    gantry_manifest m{};
    m.size = sizeof m;
    m.thread_model = GANTRY_THREADS_PARALLEL;
    m.name = ToStr("iscsi");
    m.version = ToStr("0.1.0");
    m.csi_min = ToStr("1.5.0");
    m.csi_max = ToStr("1.12.0");
    m.calls_max = kCallsMax;
    m.domain_calls_max = kDomainCallsMax;
    m.access_modes = plugin::kAllAccessModes;
    m.access_types =
        GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT) | GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_BLOCK);
    m.config_schema = ToStr(kConfigSchema);
    m.record_format_min = kRecordFormat;
    m.record_format_max = kRecordFormat;
    m.context_format_min = kContextFormat;
    m.context_format_max = kContextFormat;
    return m;
  }();
  return kManifest;
}

}  // namespace gantry::iscsi
