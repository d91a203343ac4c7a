// SPDX-License-Identifier: Apache-2.0
// gantry.disk/1 as C functions. `Of` finds the IscsiDataPath of an instance, so that this folder
// need not know the backend that owns it:
//
//   IscsiDataPath& PathOf(gantry_instance* i) { ... }
//   const gantry_disk* IscsiBackend::Disk() { return IscsiDiskTable<&PathOf>(); }
//
// An exception (no memory) ends the process: the host starts another one, which goes on.
#pragma once

#include "plugins/iscsi/datapath/data_path.hpp"

namespace gantry::iscsi {

template <IscsiDataPath& (*Of)(gantry_instance*), class Request,
          void (IscsiDataPath::*Method)(gantry_op, const Request&)>
void DiskSlot(gantry_instance* instance, gantry_op op, const Request* request) noexcept {
  (Of(instance).*Method)(op, *request);
}

template <IscsiDataPath& (*Of)(gantry_instance*), void (IscsiDataPath::*Method)(gantry_op)>
void DiskStep(gantry_instance* instance, gantry_op op) noexcept {
  (Of(instance).*Method)(op);
}

template <IscsiDataPath& (*Of)(gantry_instance*)>
const gantry_disk* IscsiDiskTable() {
  static constexpr gantry_disk kTable = [] {
    gantry_disk t{};
    t.size = sizeof t;
    t.open = &DiskSlot<Of, gantry_disk_open, &IscsiDataPath::Open>;
    t.close = &DiskStep<Of, &IscsiDataPath::Close>;
    t.interrupt = &DiskStep<Of, &IscsiDataPath::Interrupt>;
    t.read = &DiskSlot<Of, gantry_disk_read, &IscsiDataPath::Read>;
    t.write = &DiskSlot<Of, gantry_disk_write, &IscsiDataPath::Write>;
    t.flush = &DiskStep<Of, &IscsiDataPath::Flush>;
    // No discard: a loop device zeroes by it too, and UNMAP may leave blocks as they were (SBC-4, 4.7.3).
    // Zeroing that may unmap gives the space back where the target does.
    t.zero = &DiskSlot<Of, gantry_disk_range, &IscsiDataPath::Zero>;
    t.refresh = &DiskStep<Of, &IscsiDataPath::Refresh>;
    return t;
  }();
  return &kTable;
}

}  // namespace gantry::iscsi
