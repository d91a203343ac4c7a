// SPDX-License-Identifier: Apache-2.0
// A plugin in several releases, for tests of swaps: one source, told apart by RELEASE_VERSION and
// one more macro for what is wrong with it. What GetCapacity says is the version, so that a caller
// sees who answers. It keeps nothing: every volume exists.
#include <poll.h>

#include <cstdlib>
#include <gantry/gantry.hpp>
#include <string_view>

#ifndef RELEASE_FORMAT_MIN
#define RELEASE_FORMAT_MIN 1
#endif
#ifndef RELEASE_FORMAT_MAX
#define RELEASE_FORMAT_MAX 1
#endif

namespace {

class Releases {
 public:
  static gantry::Made<Releases> Create(const gantry::Host&, const gantry_create& request) {
#ifdef RELEASE_REFUSES
    const bool is_refused = true;
#else
    const bool is_refused = gantry::View(request.config_json).find("bad") != std::string_view::npos;
#endif
    (void)request;
    if (is_refused)
      return gantry::Status{GANTRY_INVALID_ARGUMENT, "config.word: bad: expected another one"};
    return std::make_unique<Releases>();
  }
  gantry::Status CreateVolume(gantry::Call& call, const gantry_create_volume& request) {
#ifdef RELEASE_CRASHES
    std::abort();
#endif
    gantry_volume volume{};
    volume.handle = request.key;
    volume.capacity_bytes = request.required_bytes;
    call.Emit(volume);
    return gantry::Ok();
  }
  gantry::Status DeleteVolume(gantry::Call&, const gantry_volume_ref& request) {
    (void)request;
#ifdef RELEASE_SLOW
    // Deaf to its cancellation.
    if (gantry::View(request.handle) == "slow")
      for (;;) poll(nullptr, 0, -1);
#endif
    return gantry::Ok();
  }
#ifndef RELEASE_SHRINKS
  gantry::Status ListVolumes(gantry::Call&, const gantry_list_volumes&) { return gantry::Ok(); }
#endif
  gantry::Status GetCapacity(gantry::Call& call, const gantry_get_capacity&) {
    gantry_capacity capacity{};
    capacity.available_bytes = RELEASE_VERSION;
    call.Emit(capacity);
    return gantry::Ok();
  }
};

gantry_manifest MakeManifest() {
  gantry_manifest manifest{};
  manifest.size = sizeof manifest;
  manifest.thread_model = GANTRY_THREADS_PARALLEL;
  manifest.name = gantry::ToStr("release");
  manifest.version = gantry::ToStr(RELEASE_VERSION == 1 ? "1.0.0" : "2.0.0");
  manifest.csi_min = gantry::ToStr("1.12.0");
  manifest.csi_max = gantry::ToStr("1.12.0");
  manifest.calls_max = 32;
  manifest.domain_calls_max = 32;
  manifest.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER);
  manifest.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  manifest.config_schema = gantry::ToStr("{}");
  manifest.record_format_min = RELEASE_FORMAT_MIN;
  manifest.record_format_max = RELEASE_FORMAT_MAX;
  manifest.context_format_min = manifest.context_format_max = 1;
  return manifest;
}

const gantry_manifest kManifest = MakeManifest();

}  // namespace

GANTRY_PLUGIN(Releases, kManifest)
