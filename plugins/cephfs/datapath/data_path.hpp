// SPDX-License-Identifier: Apache-2.0
// gantry.datapath/1 on libcephfs' low-level calls: file operations by inode, many at once (jobs.hpp),
// through a client of the volume's own (client.hpp).
//
// What the kernel keeps in its caches is as old as the host allows (a second for names and attributes,
// to the next open for data): libcephfs could say when another client changes something, but the table
// has no way to pass it on. Nothing that was answered is only here: a write is with the OSDs, any other
// change with the MDS.
//
// A successor goes on where this process was killed (client.hpp: how its session ends). Files are opened
// again by their inode when they are next used; a write, a truncation or a change of attributes is simply
// made again; how changes of names are told from their own echo is in journal.hpp and proof.hpp.
// Locks are the node's kernel's, which has not noticed. What is lost with a client is what only its session
// held: a file without a name that is still open (ESTALE).
//
// A client that the cluster has thrown out (evicted, blocklisted) answers ESHUTDOWN or ENOTCONN for
// ever: the host sees that by its probe, reports it and mounts anew.
#pragma once

#include <gantry/datapath.h>

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/cephfs/datapath/client.hpp"
#include "plugins/cephfs/datapath/inodes.hpp"
#include "plugins/cephfs/datapath/jobs.hpp"
#include "plugins/cephfs/datapath/journal.hpp"
#include "plugins/cephfs/datapath/listings.hpp"
#include "plugins/cephfs/datapath/options.hpp"
#include "plugins/cephfs/datapath/proof.hpp"

namespace gantry::cephfs {

inline constexpr std::chrono::seconds kOpenMax{20};
inline constexpr std::chrono::seconds kCloseMax{5};

// Who an instance is, for the session's UUID.
struct DataPathOwner {
  std::string owner;
  std::string node_id;
};

// The entity's key for an open, from whatever the host keeps for the volume. An error's message must not
// show it.
using KeyOf = std::function<plugin::Result<std::string>(const gantry_map& parameters)>;

// The instance behind the table; the methods are the table's functions. One thread, the loop's.
class CephDataPath {
 public:
  CephDataPath(const gantry_datapath_host& host, DataPathOwner owner, KeyOf key_of,
               DataPathLog log);
  CephDataPath(const CephDataPath&) = delete;
  ~CephDataPath();

  void Open(gantry_op op, const gantry_datapath_open& request);
  void Close(gantry_op op);
  void Interrupt(gantry_op op);
  void Lookup(gantry_op op, const gantry_fs_name& request);
  void Getattr(gantry_op op, const gantry_fs_node& request);
  void Setattr(gantry_op op, const gantry_fs_setattr& request);
  void Readlink(gantry_op op, const gantry_fs_node& request);
  void Create(gantry_op op, const gantry_fs_make& request);
  void Mkdir(gantry_op op, const gantry_fs_make& request);
  void Mknod(gantry_op op, const gantry_fs_make& request);
  void Symlink(gantry_op op, const gantry_fs_make& request);
  void Link(gantry_op op, const gantry_fs_link& request);
  void Unlink(gantry_op op, const gantry_fs_name& request);
  void Rmdir(gantry_op op, const gantry_fs_name& request);
  void Rename(gantry_op op, const gantry_fs_rename& request);
  void Read(gantry_op op, const gantry_fs_read& request);
  void Write(gantry_op op, const gantry_fs_write& request);
  void Commit(gantry_op op, const gantry_fs_commit& request);
  void Readdir(gantry_op op, const gantry_fs_readdir& request);
  void ReaddirPlus(gantry_op op, const gantry_fs_readdir& request);
  void Statfs(gantry_op op, const gantry_fs_node& request);
  void Allocate(gantry_op op, const gantry_fs_allocate& request);
  void Getxattr(gantry_op op, const gantry_fs_xattr& request);
  void Setxattr(gantry_op op, const gantry_fs_xattr& request);
  void Listxattr(gantry_op op, const gantry_fs_xattr& request);
  void Removexattr(gantry_op op, const gantry_fs_xattr& request);
  void Forget(gantry_bytes node);

  // For tests: inodes that are kept, and how many of them have open files.
  size_t KeptInodes() const { return mounted_ ? mounted_->inodes->size() : 0; }
  size_t OpenFiles() const { return mounted_ ? mounted_->inodes->OpenFiles() : 0; }
  // There is nothing to be swept.
  bool IsSwept() const { return !sweeping_ && sweep_at_ == kNever; }

 private:
  struct Mounted {
    std::shared_ptr<Client> client;
    std::shared_ptr<Inodes> inodes;
    std::shared_ptr<Node> root;
  };
  struct Opened {
    std::shared_ptr<const Mounted> mounted;
    Handle root;
    gantry_fs_attributes attributes;
  };
  // What an operation works with, on its thread.
  struct At : Mounted {
    explicit At(const Mounted& mounted) : Mounted(mounted) {}
    // Of a node that the operation is about.
    tl::expected<std::shared_ptr<Node>, int> Find(const Handle& handle);

    std::vector<std::shared_ptr<Node>> found;  // not kept yet
  };
  class Caller;
  struct Made;
  class Attempt;
  // What an operation does on its thread.
  using Work = std::function<Finish(At&, const Caller&)>;
  using ChangeWork = std::function<Finish(At&, const Caller&, Attempt&)>;

  // Life (data_path.cpp).
  void Watch();
  void Arm();
  void OnTime();
  void Sweep();
  // Keeps a node that the host knows, or is about to be told.
  void Keep(Inodes& inodes, std::shared_ptr<Node> node);
  // Blocks.
  static tl::expected<Opened, ClientError> Connect(const DataPathOptions& options,
                                                   const std::string& key, const std::string& uuid,
                                                   bool successor, const DataPathLog& log);
  // Begins an operation; `changes` are the handles that it changes, `bytes` the data that it moves.
  void Run(gantry_op op, Lane lane, const gantry_fs_context& context, std::vector<Handle> changes,
           Work work, size_t bytes = 0);
  // The same for a change of names.
  void RunChange(gantry_op op, const gantry_fs_context& context, std::vector<Handle> changes,
                 ChangeWork work);
  Finish Fail(int error_number) const;
  Finish Done() const;
  Finish DoneAttributes(const struct ceph_statx& found) const;
  Finish DoneNode(const Mounted& mounted, const Made& made);

  // Names (names.cpp).
  using Maker = std::function<int(ceph_mount_info*, Inode* directory, const UserPerm*, Made* made)>;
  void Make(gantry_op op, const gantry_fs_make& request, const Asked& asked, Maker maker);
  Finish JudgeMade(const Mounted& at, Inode* parent, const std::string& name, const Asked& asked,
                   const Caller& who, const Attempt& attempt);
  using Remover = int (*)(ceph_mount_info*, Inode*, const char*, const UserPerm*);
  void Remove(gantry_op op, const gantry_fs_name& request, Remover remover);

  // Extended attributes (xattrs.cpp).
  Finish DoneValue(std::string value, void* buffer, uint32_t length) const;

  // Directories (directory.cpp).
  void List(gantry_op op, const gantry_fs_readdir& request, uint32_t room_bytes);
  void EmitListed(gantry_op op, Inodes& inodes, Listing listing);
  void Discard(std::vector<Listing> listings);

  const gantry_datapath_host& host_;
  const DataPathOwner owner_;
  const KeyOf key_of_;
  const DataPathLog log_;
  Jobs jobs_;
  // Shared with threads that may outlive us.
  const std::shared_ptr<Journal> journal_ = std::make_shared<Journal>();
  bool watched_ = false;
  // While an attempt is on its thread, also one that was given up.
  const std::shared_ptr<std::atomic<bool>> opening_ = std::make_shared<std::atomic<bool>>(false);
  bool sweeping_ = false;
  TimePoint sweep_at_ = kNever;
  // Their times of change are the client's own until the next sweep (Setattr).
  std::set<Handle> times_held_;
  int64_t armed_ns_ = INT64_MAX;
  DataPathOptions options_;
  std::shared_ptr<const Mounted> mounted_;
  Listings listings_;
};

}  // namespace gantry::cephfs
