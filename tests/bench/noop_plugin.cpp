// SPDX-License-Identifier: Apache-2.0
// A backend that does nothing, so that what is measured is the host.
#include <gantry/gantry.hpp>

namespace {

class Noop {
 public:
  static gantry::Made<Noop> Create(const gantry::Host&, const gantry_create&) {
    return std::make_unique<Noop>();
  }
  gantry::Status CreateVolume(gantry::Call& call, const gantry_create_volume& request) {
    gantry_volume volume{};
    volume.handle = request.key;
    volume.capacity_bytes = request.required_bytes;
    call.Emit(volume);
    return gantry::Ok();
  }
  gantry::Status DeleteVolume(gantry::Call&, const gantry_volume_ref&) { return gantry::Ok(); }
};

gantry_manifest MakeManifest() {
  gantry_manifest manifest{};
  manifest.size = sizeof manifest;
  manifest.thread_model = GANTRY_THREADS_PARALLEL;
  manifest.name = gantry::ToStr("noop");
  manifest.version = gantry::ToStr("1.0.0");
  manifest.csi_min = gantry::ToStr("1.12.0");
  manifest.csi_max = gantry::ToStr("1.12.0");
  manifest.calls_max = 32;
  manifest.domain_calls_max = 32;
  manifest.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER);
  manifest.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  manifest.config_schema = gantry::ToStr("{}");
  manifest.record_format_min = manifest.record_format_max = 1;
  manifest.context_format_min = manifest.context_format_max = 1;
  return manifest;
}

const gantry_manifest kManifest = MakeManifest();

}  // namespace

GANTRY_PLUGIN(Noop, kManifest)
