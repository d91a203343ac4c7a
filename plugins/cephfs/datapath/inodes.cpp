// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/inodes.hpp"

#include <cephfs/libcephfs.h>
#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

// The header only names them to C++ (its own classes have more to them); they are two numbers, as it
// says to C, and pass as such.
struct inodeno_t {
  uint64_t val;
};
struct vinodeno_t {
  inodeno_t ino;
  uint64_t snapshot;
};

namespace gantry::cephfs {

std::optional<Handle> ToHandle(gantry_bytes bytes) {
  Handle handle;
  if (bytes.len != sizeof handle) return std::nullopt;
  std::memcpy(&handle, bytes.ptr, sizeof handle);
  return handle;
}

// libcephfs says the snapshot where others say the device.
Handle HandleOf(const struct ceph_statx& attributes) {
  return {attributes.stx_ino, attributes.stx_dev};
}

File::~File() {
  if (auto* mount = client_->get()) (void)ceph_ll_close(mount, fh_);
}

Node::~Node() {
  reader_.reset();
  writer_.reset();
  if (auto* mount = client_->get()) (void)ceph_ll_put(mount, inode_);
}

std::shared_ptr<Node> Inodes::Take(Inode* inode, Handle handle) {
  auto fresh = std::make_shared<Node>(client_, inode, handle);  // goes after the lock
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(handle);
  return found == nodes_.end() ? fresh : *found->second;
}

std::shared_ptr<Node> Inodes::Keep(const std::shared_ptr<Node>& node) {
  const std::lock_guard lock(mutex_);
  if (const auto found = nodes_.find(node->handle()); found != nodes_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return *found->second == node ? nullptr : node;
  }
  recent_.push_front(node);
  nodes_.emplace(node->handle(), recent_.begin());
  if (recent_.size() <= kInodesMax) return nullptr;
  std::shared_ptr<Node> dropped = std::move(recent_.back());
  nodes_.erase(dropped->handle());
  recent_.pop_back();
  return dropped;
}

std::shared_ptr<Node> Inodes::Adopt(Inode* inode, Handle handle) {
  auto node = Take(inode, handle);
  // Another thread may have been first; what this one got works as well.
  (void)Keep(node);
  return node;
}

std::vector<std::shared_ptr<Node>> Inodes::Drop(const Handle& handle) {
  std::vector<std::shared_ptr<Node>> dropped;
  const std::lock_guard lock(mutex_);
  if (auto opened = opened_.extract(handle)) dropped.push_back(std::move(opened.mapped().node));
  if (const auto found = nodes_.extract(handle)) {
    dropped.push_back(std::move(*found.mapped()));
    recent_.erase(found.mapped());
  }
  return dropped;
}

size_t Inodes::size() const {
  const std::lock_guard lock(mutex_);
  return nodes_.size();
}

int Inodes::CheckName(Inode* inode) const {
  ceph_mount_info* const mount = client_->get();
  struct ceph_statx found {};
  const int result =
      ceph_ll_getattr(mount, inode, &found, CEPH_STATX_NLINK, 0, ceph_mount_perms(mount));
  if (result == -ENOENT || (result == 0 && found.stx_nlink == 0)) return ESTALE;
  return -result;
}

tl::expected<std::shared_ptr<Node>, int> Inodes::Find(const Handle& handle) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = nodes_.find(handle); found != nodes_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      return *found->second;
    }
  }
  Inode* inode = nullptr;
  const int result = ceph_ll_lookup_vino(client_->get(), {{handle.ino}, handle.snapshot}, &inode);
  if (result == -ENOENT) return tl::unexpected(ESTALE);
  if (result < 0) return tl::unexpected(-result);
  if (const int error_number = successor_ ? CheckName(inode) : 0; error_number != 0) {
    (void)ceph_ll_put(client_->get(), inode);
    return tl::unexpected(error_number);
  }
  return Adopt(inode, handle);
}

void Inodes::NoteUse(const std::shared_ptr<Node>& node) {
  bool is_crowded = false;
  {
    const std::lock_guard lock(mutex_);
    auto& opened = opened_[node->handle()];
    opened = {node, Clock::now()};
    is_crowded = opened_.size() > kOpenFilesMax;
  }
  if (is_crowded) (void)CloseIdle(Clock::time_point::max());
}

tl::expected<std::shared_ptr<File>, int> Inodes::Open(const std::shared_ptr<Node>& node,
                                                      bool writes, const UserPerm* who) {
  std::shared_ptr<File> file;
  {
    const std::lock_guard lock(node->mutex_);
    auto& mine = writes ? node->writer_ : node->reader_;
    if (!writes && !mine && node->writer_) {
      file = node->writer_;
    } else {
      if (!mine) {
        Fh* fh = nullptr;
        // The kernel has judged the caller's right already, when it opened the file.
        const int result =
            ceph_ll_open(client_->get(), node->get(), writes ? O_RDWR : O_RDONLY, &fh, who);
        if (result < 0) return tl::unexpected(-result);
        mine = std::make_shared<File>(client_, fh);
      }
      file = mine;
    }
  }
  NoteUse(node);
  return file;
}

void Inodes::AdoptFile(const std::shared_ptr<Node>& node, Fh* fh) {
  auto file = std::make_shared<File>(client_, fh);
  {
    const std::lock_guard lock(node->mutex_);
    if (!node->writer_) node->writer_ = std::move(file);
  }
  NoteUse(node);
}

bool Inodes::CloseIdle(Clock::time_point now) {
  std::vector<std::shared_ptr<void>> closed;  // after the lock
  const std::lock_guard lock(mutex_);
  for (auto at = opened_.begin(); at != opened_.end();) {
    const std::shared_ptr<Node> kept = at->second.node;
    Node& node = *kept;
    const std::unique_lock busy(node.mutex_, std::try_to_lock);
    const bool is_used =
        !busy.owns_lock() || node.reader_.use_count() > 1 || node.writer_.use_count() > 1;
    if (is_used || (now != Clock::time_point::max() && now - at->second.used < kFileIdle)) {
      ++at;
      continue;
    }
    for (auto* file : {&node.reader_, &node.writer_})
      if (*file) closed.push_back(std::exchange(*file, nullptr));
    closed.push_back(kept);
    at = opened_.erase(at);
  }
  return !opened_.empty();
}

void Inodes::Clear() {
  Recent recent;
  std::map<Handle, Opened> opened;
  {
    const std::lock_guard lock(mutex_);
    recent.swap(recent_);
    opened.swap(opened_);
    nodes_.clear();
  }
}

}  // namespace gantry::cephfs
