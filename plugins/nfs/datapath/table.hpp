// SPDX-License-Identifier: Apache-2.0
// gantry.datapath/1 as C functions. `Of` finds the NfsDataPath of an instance, so that this folder
// need not know the backend that owns it:
//
//   NfsDataPath& PathOf(gantry_instance* i) { return gantry::BackendOf<NfsBackend>(i).data_path();
//   } const gantry_datapath* NfsBackend::DataPath() { return NfsDataPathTable<&PathOf>(); }
//
// An exception (no memory) ends the process: the host starts another one, which goes on.
#pragma once

#include "plugins/nfs/datapath/data_path.hpp"

namespace gantry::nfs {

template <NfsDataPath& (*Of)(gantry_instance*), class Request,
          void (NfsDataPath::*Method)(gantry_op, const Request&)>
void DataPathSlot(gantry_instance* instance, gantry_op op, const Request* request) noexcept {
  (Of(instance).*Method)(op, *request);
}

template <NfsDataPath& (*Of)(gantry_instance*), void (NfsDataPath::*Method)(gantry_op)>
void DataPathStep(gantry_instance* instance, gantry_op op) noexcept {
  (Of(instance).*Method)(op);
}

template <NfsDataPath& (*Of)(gantry_instance*)>
const gantry_datapath* NfsDataPathTable() {
  static constexpr gantry_datapath kTable = [] {
    gantry_datapath t{};
    t.size = sizeof t;
    t.open = &DataPathSlot<Of, gantry_datapath_open, &NfsDataPath::Open>;
    t.close = &DataPathStep<Of, &NfsDataPath::Close>;
    t.interrupt = &DataPathStep<Of, &NfsDataPath::Interrupt>;
    t.lookup = &DataPathSlot<Of, gantry_fs_name, &NfsDataPath::Lookup>;
    t.getattr = &DataPathSlot<Of, gantry_fs_node, &NfsDataPath::Getattr>;
    t.setattr = &DataPathSlot<Of, gantry_fs_setattr, &NfsDataPath::Setattr>;
    t.readlink = &DataPathSlot<Of, gantry_fs_node, &NfsDataPath::Readlink>;
    t.create = &DataPathSlot<Of, gantry_fs_make, &NfsDataPath::Create>;
    t.mkdir = &DataPathSlot<Of, gantry_fs_make, &NfsDataPath::Mkdir>;
    t.mknod = &DataPathSlot<Of, gantry_fs_make, &NfsDataPath::Mknod>;
    t.symlink = &DataPathSlot<Of, gantry_fs_make, &NfsDataPath::Symlink>;
    t.link = &DataPathSlot<Of, gantry_fs_link, &NfsDataPath::Link>;
    t.unlink = &DataPathSlot<Of, gantry_fs_name, &NfsDataPath::Unlink>;
    t.rmdir = &DataPathSlot<Of, gantry_fs_name, &NfsDataPath::Rmdir>;
    t.rename = &DataPathSlot<Of, gantry_fs_rename, &NfsDataPath::Rename>;
    t.read = &DataPathSlot<Of, gantry_fs_read, &NfsDataPath::Read>;
    t.write = &DataPathSlot<Of, gantry_fs_write, &NfsDataPath::Write>;
    t.commit = &DataPathSlot<Of, gantry_fs_commit, &NfsDataPath::Commit>;
    t.readdir = &DataPathSlot<Of, gantry_fs_readdir, &NfsDataPath::Readdir>;
    t.statfs = &DataPathSlot<Of, gantry_fs_node, &NfsDataPath::Statfs>;
    t.readdirplus = &DataPathSlot<Of, gantry_fs_readdir, &NfsDataPath::ReaddirPlus>;
    return t;
  }();
  return &kTable;
}

}  // namespace gantry::nfs
