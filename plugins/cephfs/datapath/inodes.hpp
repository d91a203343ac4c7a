// SPDX-License-Identifier: Apache-2.0
// From handles to what libcephfs works with. A node's handle is its number in the filesystem and its
// snapshot, which every client of it understands; libcephfs wants pointers, and open files for data.
// Both are kept as caches, so that their number is bounded: what was not used for long is given back, and
// found or opened again when asked for. An inode goes at once when the host forgets its node: a file that
// was removed has its objects for as long as a client refers to it.
//
// So a node is kept only on the loop's thread, at the end of an operation that the host is told: of a node
// that it is told, or that the operation was about, it has not said yet that it forgets it. Whatever else
// a thread found goes with its last user, and its open files with it.
//
// Reading and writing have open files of their own: an open for writing takes the right to cache the
// file from every other client.
#pragma once

#include <gantry/datapath.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tl/expected.hpp>
#include <vector>

#include "plugins/cephfs/datapath/client.hpp"

struct Inode;
struct ceph_statx;
class Fh;
class UserPerm;

namespace gantry::cephfs {

// Each pins a capability in the MDS; a client is asked for some back from a million on.
inline constexpr size_t kInodesMax = 4096;
inline constexpr size_t kOpenFilesMax = 256;  // beyond it those not in use are closed at once
// After so long without use a file is closed, so that other clients may cache it.
inline constexpr std::chrono::seconds kFileIdle{2};

struct Handle {
  uint64_t ino = 0;
  uint64_t snapshot = 0;  // CEPH_NOSNAP: of the living filesystem

  friend auto operator<=>(const Handle&, const Handle&) = default;
  gantry_bytes bytes() const { return {this, sizeof *this}; }
};
// Nothing: it is none of ours.
std::optional<Handle> ToHandle(gantry_bytes bytes);
Handle HandleOf(const struct ceph_statx& attributes);

// An open file; closed with its last user.
class File {
 public:
  File(std::shared_ptr<Client> client, Fh* fh) : client_(std::move(client)), fh_(fh) {}
  File(const File&) = delete;
  ~File();
  Fh* get() const { return fh_; }

 private:
  const std::shared_ptr<Client> client_;
  Fh* const fh_;
};

// A reference to an inode; given back with its last user. Any thread.
class Node {
 public:
  Node(std::shared_ptr<Client> client, Inode* inode, Handle handle)
      : client_(std::move(client)), inode_(inode), handle_(handle) {}
  Node(const Node&) = delete;
  ~Node();

  Inode* get() const { return inode_; }
  const Handle& handle() const { return handle_; }
  bool is_kept() const { return is_kept_; }

 private:
  friend class Inodes;

  const std::shared_ptr<Client> client_;
  Inode* const inode_;
  const Handle handle_;
  std::mutex mutex_;  // one open at a time; held while the MDS is asked
  std::shared_ptr<File> reader_;
  std::shared_ptr<File> writer_;
  std::atomic<bool> has_files_ = false;
  std::atomic<bool> is_kept_ = false;  // changed under Inodes::mutex_
};

// Any thread; what may ask the MDS, and so block, says so. Errors are errnos.
//
// `successor`: an earlier client of the volume died. What had no name any more was held by its session
// alone. The MDS purges it soon, and until then knows its size only from before the last writes, which it
// finds out for files with a name: nothing of it is to be shown.
class Inodes {
 public:
  using Clock = std::chrono::steady_clock;

  Inodes(std::shared_ptr<Client> client, bool successor)
      : client_(std::move(client)), successor_(successor) {}

  // Takes over one reference of libcephfs'. The node that is kept where there is one.
  std::shared_ptr<Node> Take(Inode* inode, Handle handle);
  // Keeps a node and its open files; the loop's thread. What is returned goes for it, and is to be let go
  // of on a thread; or nothing.
  std::shared_ptr<Node> Keep(std::shared_ptr<Node> node);
  // Of a node that the host has forgotten: keeps it and its files no more. Likewise.
  std::shared_ptr<Node> Drop(const Handle& handle);
  // Blocks when it is not at hand. ESTALE: there is no such inode.
  tl::expected<std::shared_ptr<Node>, int> Find(const Handle& handle);
  // How many are kept, and how many of them have open files.
  size_t size() const;
  size_t OpenFiles() const;
  // An open file; blocks when there is none yet.
  tl::expected<std::shared_ptr<File>, int> Open(const std::shared_ptr<Node>& node, bool writes,
                                                const UserPerm* who);
  // Takes over a file that was opened for reading and writing.
  void AdoptFile(const std::shared_ptr<Node>& node, Fh* fh);
  // True while files are open.
  bool CloseIdle(Clock::time_point now);
  void Clear();

 private:
  using Recent = std::list<std::shared_ptr<Node>>;
  using Nodes = std::map<Handle, Recent::iterator>;

  std::shared_ptr<Node> Remove(Nodes::iterator at);
  void NoteUse(const std::shared_ptr<Node>& node);
  // 0, ESTALE of a file without a name, or why that cannot be told.
  int CheckName(Inode* inode) const;

  const std::shared_ptr<Client> client_;
  const bool successor_;
  mutable std::mutex mutex_;  // never held while the MDS is asked
  Recent recent_;             // the one used last is the first
  Nodes nodes_;
  std::map<Handle, Clock::time_point> opened_;  // of those, last used
};

}  // namespace gantry::cephfs
