// SPDX-License-Identifier: Apache-2.0
// gantry.datapath/1 as C functions. `Of` finds the CephDataPath of an instance, so that this folder
// need not know the backend that owns it:
//
//   CephDataPath& PathOf(gantry_instance* i) { return gantry::BackendOf<CephBackend>(i).data_path();
//   } const gantry_datapath* CephBackend::DataPath() { return CephDataPathTable<&PathOf>(); }
//
// An exception (no memory) ends the process: the host starts another one, which goes on.
#pragma once

#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {

template <CephDataPath& (*Of)(gantry_instance*), class Request,
          void (CephDataPath::*Method)(gantry_op, const Request&)>
void DataPathSlot(gantry_instance* instance, gantry_op op, const Request* request) noexcept {
  (Of(instance).*Method)(op, *request);
}

template <CephDataPath& (*Of)(gantry_instance*), void (CephDataPath::*Method)(gantry_op)>
void DataPathStep(gantry_instance* instance, gantry_op op) noexcept {
  (Of(instance).*Method)(op);
}

template <CephDataPath& (*Of)(gantry_instance*)>
const gantry_datapath* CephDataPathTable() {
  static constexpr gantry_datapath kTable = [] {
    gantry_datapath t{};
    t.size = sizeof t;
    t.open = &DataPathSlot<Of, gantry_datapath_open, &CephDataPath::Open>;
    t.close = &DataPathStep<Of, &CephDataPath::Close>;
    t.interrupt = &DataPathStep<Of, &CephDataPath::Interrupt>;
    t.lookup = &DataPathSlot<Of, gantry_fs_name, &CephDataPath::Lookup>;
    t.getattr = &DataPathSlot<Of, gantry_fs_node, &CephDataPath::Getattr>;
    t.setattr = &DataPathSlot<Of, gantry_fs_setattr, &CephDataPath::Setattr>;
    t.readlink = &DataPathSlot<Of, gantry_fs_node, &CephDataPath::Readlink>;
    t.create = &DataPathSlot<Of, gantry_fs_make, &CephDataPath::Create>;
    t.mkdir = &DataPathSlot<Of, gantry_fs_make, &CephDataPath::Mkdir>;
    t.mknod = &DataPathSlot<Of, gantry_fs_make, &CephDataPath::Mknod>;
    t.symlink = &DataPathSlot<Of, gantry_fs_make, &CephDataPath::Symlink>;
    t.link = &DataPathSlot<Of, gantry_fs_link, &CephDataPath::Link>;
    t.unlink = &DataPathSlot<Of, gantry_fs_name, &CephDataPath::Unlink>;
    t.rmdir = &DataPathSlot<Of, gantry_fs_name, &CephDataPath::Rmdir>;
    t.rename = &DataPathSlot<Of, gantry_fs_rename, &CephDataPath::Rename>;
    t.read = &DataPathSlot<Of, gantry_fs_read, &CephDataPath::Read>;
    t.write = &DataPathSlot<Of, gantry_fs_write, &CephDataPath::Write>;
    t.commit = &DataPathSlot<Of, gantry_fs_commit, &CephDataPath::Commit>;
    t.readdir = &DataPathSlot<Of, gantry_fs_readdir, &CephDataPath::Readdir>;
    t.statfs = &DataPathSlot<Of, gantry_fs_node, &CephDataPath::Statfs>;
    t.allocate = &DataPathSlot<Of, gantry_fs_allocate, &CephDataPath::Allocate>;
    t.getxattr = &DataPathSlot<Of, gantry_fs_xattr, &CephDataPath::Getxattr>;
    t.setxattr = &DataPathSlot<Of, gantry_fs_xattr, &CephDataPath::Setxattr>;
    t.listxattr = &DataPathSlot<Of, gantry_fs_xattr, &CephDataPath::Listxattr>;
    t.removexattr = &DataPathSlot<Of, gantry_fs_xattr, &CephDataPath::Removexattr>;
    t.readdirplus = &DataPathSlot<Of, gantry_fs_readdir, &CephDataPath::ReaddirPlus>;
    t.forget = [](gantry_instance* instance, gantry_bytes node) noexcept {
      Of(instance).Forget(node);
    };
    return t;
  }();
  return &kTable;
}

}  // namespace gantry::cephfs
