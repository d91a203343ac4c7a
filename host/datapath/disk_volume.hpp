// SPDX-License-Identifier: Apache-2.0
// A userspace disk as a filesystem: gantry.datapath/1 over a plugin's gantry.disk/1. Its root holds
// exactly one file, "disk", mode 0600, so that the FUSE server, its slots and its successors know of
// no special case. Rejected: ublk and NBD, which need modules that nodes do not have.
//
// - Reads and writes are whole logical blocks (EINVAL); reads end at the disk's end, writes beyond
//   it fail with ENOSPC and write nothing. A write with GANTRY_FS_WRITE_STABLE forces unit access.
// - commit is a flush. A punched hole is the plugin's discard, or its zero with MAY_UNMAP where it
//   has no discard; either leaves zeroes, because a loop device asks for zeroes by the same request
//   by which it discards (REQ_OP_WRITE_ZEROES without REQ_NOUNMAP).
// - The size: every getattr of the file is answered with a size that the storage was asked for
//   after the getattr had begun; those that come meanwhile share the next question. So whoever has
//   grown the disk calls fstat, or LOOP_SET_CAPACITY alone where the kernel's loop driver does
//   (Linux 6.17), and sees it. A refresh that fails, fails the getattr. A disk does not shrink: a
//   smaller answer is logged and not believed, what is beyond it fails at the storage.
// - Attributes cannot be set (EPERM), the size least of all.
#pragma once

#include <gantry/datapath.h>
#include <gantry/disk.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/datapath/operation.hpp"
#include "host/datapath/slots.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::datapath {

constexpr std::string_view kDiskFile = "disk";
constexpr uint32_t kDiskMode = 0600;
constexpr uint32_t kDiskBlockBytesMin = 512;
constexpr uint32_t kDiskBlockBytesMax = 4096;

// The server's thread only.
class DiskVolume {
 public:
  struct Expected {
    std::string identity;     // passed on; the plugin compares it
    uint64_t size_bytes = 0;  // a disk that is smaller is another one
  };
  using Log = std::function<void(wire::LogLevel, std::string_view)>;

  // `ends` ends the server's operations; `disk` is as large as the plugin made it.
  DiskVolume(const gantry_datapath_host& ends, const gantry_disk* disk, gantry_instance* plugin,
             Expected expected, Log log);
  DiskVolume(const DiskVolume&) = delete;

  // What the server takes for the plugin.
  static const gantry_datapath* Table();
  gantry_instance* instance() { return reinterpret_cast<gantry_instance*>(this); }

  // The plugin's done_disk and done_error. False: the operation is not this adapter's own, and its
  // end is the server's business.
  bool DoneDisk(gantry_op op, const gantry_disk_facts& facts);
  bool DoneError(gantry_op op, int32_t error_number);
  // Once a turn, because the plugin is not called from within its done functions.
  void Pump();

 private:
  friend struct DiskVolumeTable;

  void Open(gantry_op op, const gantry_datapath_open& request);
  void Close(gantry_op op);
  void Interrupt(gantry_op op);
  void Lookup(gantry_op op, const gantry_fs_name& request);
  void Getattr(gantry_op op, const gantry_fs_node& request);
  void Setattr(gantry_op op, const gantry_fs_setattr& request);
  void Read(gantry_op op, const gantry_fs_read& request);
  void Write(gantry_op op, const gantry_fs_write& request);
  void Commit(gantry_op op, const gantry_fs_commit& request);
  void Readdir(gantry_op op, const gantry_fs_readdir& request);
  void Statfs(gantry_op op, const gantry_fs_node& request);
  void Allocate(gantry_op op, const gantry_fs_allocate& request);

  void Fail(gantry_op op, int error_number) { ends_.done_error(ends_.ctx, op, error_number); }
  bool IsWhole(uint64_t offset, uint64_t length) const;
  bool IsWithin(uint64_t offset, uint64_t length) const;
  void OpenedWith(gantry_op op, const gantry_disk_facts& facts);
  void Refresh();
  void Refreshed(int error_number);
  gantry_fs_attributes RootAttributes() const;
  gantry_fs_attributes DiskAttributes() const;
  template <class Request>
  Request* Make(gantry_op op) {
    return requests_[IndexOf(op)].Make<Request>();
  }

  const gantry_datapath_host ends_;
  gantry_disk disk_{};
  gantry_instance* const plugin_;
  const Expected expected_;
  const Log log_;

  gantry_disk_facts facts_{};
  gantry_op opening_ = 0;
  RequestMemory open_request_;
  // What the plugin borrows from us until its done, by the operation's slot.
  std::array<RequestMemory, kSlotsMax> requests_;

  uint64_t refreshes_ = 0;
  gantry_op refreshing_ = 0;              // the question under way
  std::vector<gantry_op> answered_next_;  // by it
  std::vector<gantry_op> asked_next_;     // getattrs that came after it
};

}  // namespace gantry::datapath
