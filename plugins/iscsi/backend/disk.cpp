// SPDX-License-Identifier: Apache-2.0
// gantry.disk/1 of this backend: the data path that the instance was made with.
#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/datapath/table.hpp"

namespace gantry::iscsi {

IscsiDataPath& IscsiBackend::DataPathOf(gantry_instance* instance) {
  return *gantry::BackendOf<IscsiBackend>(instance).data_path_;
}

const gantry_disk* IscsiBackend::Disk() { return IscsiDiskTable<&DataPathOf>(); }

}  // namespace gantry::iscsi
