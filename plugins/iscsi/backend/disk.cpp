// SPDX-License-Identifier: Apache-2.0
// gantry.disk/1 as C functions, over the data path of the instance.
#include <gantry/disk.h>

#include "plugins/iscsi/backend/backend.hpp"

namespace gantry::iscsi {
namespace {

// An exception (no memory) ends the process: the host starts another one, which goes on.
template <IscsiDataPath& (*Of)(gantry_instance*), class Request,
          void (IscsiDataPath::*Method)(gantry_op, const Request&)>
void Slot(gantry_instance* instance, gantry_op op, const Request* request) noexcept {
  (Of(instance).*Method)(op, *request);
}

template <IscsiDataPath& (*Of)(gantry_instance*), void (IscsiDataPath::*Method)(gantry_op)>
void Step(gantry_instance* instance, gantry_op op) noexcept {
  (Of(instance).*Method)(op);
}

template <IscsiDataPath& (*Of)(gantry_instance*)>
const gantry_disk* Table() {
  static constexpr gantry_disk kTable = [] {
    gantry_disk t{};
    t.size = sizeof t;
    t.open = &Slot<Of, gantry_disk_open, &IscsiDataPath::Open>;
    t.close = &Step<Of, &IscsiDataPath::Close>;
    t.interrupt = &Step<Of, &IscsiDataPath::Interrupt>;
    t.read = &Slot<Of, gantry_disk_read, &IscsiDataPath::Read>;
    t.write = &Slot<Of, gantry_disk_write, &IscsiDataPath::Write>;
    t.flush = &Step<Of, &IscsiDataPath::Flush>;
    t.discard = &Slot<Of, gantry_disk_range, &IscsiDataPath::Discard>;
    t.zero = &Slot<Of, gantry_disk_range, &IscsiDataPath::Zero>;
    t.refresh = &Step<Of, &IscsiDataPath::Refresh>;
    return t;
  }();
  return &kTable;
}

}  // namespace

IscsiDataPath& IscsiBackend::DataPathOf(gantry_instance* instance) {
  return *gantry::BackendOf<IscsiBackend>(instance).data_path_;
}

const gantry_disk* IscsiBackend::Disk() { return Table<&DataPathOf>(); }

}  // namespace gantry::iscsi
