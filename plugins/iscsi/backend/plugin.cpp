// SPDX-License-Identifier: Apache-2.0
// The plugin's one exported symbol. It is not the macro's, because which operations there are depends
// on the configured kind of target.
#include <gantry/gantry.hpp>

#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/backend/manifest.hpp"

namespace {

using gantry::iscsi::IscsiBackend;

const gantry_plugin& Whole() {
  return *gantry::detail::Entry<IscsiBackend>(&gantry::iscsi::Manifest());
}

const void* Extension(gantry_instance* instance, const char* id) noexcept {
  const void* table = Whole().extension(instance, id);
  if (table == nullptr || instance == nullptr) return table;
  return gantry::BackendOf<IscsiBackend>(instance).Narrow(id, table);
}

}  // namespace

extern "C" GANTRY_EXPORT const gantry_plugin* gantry_plugin_entry_v0(uint32_t, const char**) {
  static const gantry_plugin kTable = [] {
    gantry_plugin table = Whole();
    table.extension = &Extension;
    return table;
  }();
  return &kTable;
}
