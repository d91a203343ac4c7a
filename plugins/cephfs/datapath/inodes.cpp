// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/inodes.hpp"

#include <cephfs/libcephfs.h>
#include <fcntl.h>

#include <algorithm>
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

std::shared_ptr<Node> Inodes::Keep(std::shared_ptr<Node> node) {
  const std::lock_guard lock(mutex_);
  if (const auto found = nodes_.find(node->handle()); found != nodes_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return *found->second == node ? nullptr : std::move(node);
  }
  node->is_kept_ = true;
  if (node->has_files_) opened_[node->handle()] = Clock::now();
  recent_.push_front(std::move(node));
  nodes_.emplace(recent_.front()->handle(), recent_.begin());
  return recent_.size() <= kInodesMax ? nullptr : Remove(nodes_.find(recent_.back()->handle()));
}

std::shared_ptr<Node> Inodes::Drop(const Handle& handle) {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(handle);
  return found == nodes_.end() ? nullptr : Remove(found);
}

std::shared_ptr<Node> Inodes::Remove(Nodes::iterator at) {
  std::shared_ptr<Node> node = std::move(*at->second);
  node->is_kept_ = false;
  opened_.erase(node->handle());
  recent_.erase(at->second);
  nodes_.erase(at);
  return node;
}

size_t Inodes::size() const {
  const std::lock_guard lock(mutex_);
  return nodes_.size();
}

size_t Inodes::OpenFiles() const {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::count_if(
      recent_.begin(), recent_.end(), [](const auto& node) { return node->has_files_.load(); }));
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
  return Take(inode, handle);
}

// A node that is not kept has its files for as long as somebody uses it.
void Inodes::NoteUse(const std::shared_ptr<Node>& node) {
  bool is_crowded = false;
  {
    const std::lock_guard lock(mutex_);
    if (node->is_kept_) opened_[node->handle()] = Clock::now();
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
        node->has_files_ = true;
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
    node->has_files_ = true;
  }
  NoteUse(node);
}

bool Inodes::CloseIdle(Clock::time_point now) {
  std::vector<std::shared_ptr<File>> closed;  // after the lock
  const std::lock_guard lock(mutex_);
  for (auto at = opened_.begin(); at != opened_.end();) {
    Node& node = **nodes_.at(at->first);
    const std::unique_lock busy(node.mutex_, std::try_to_lock);
    const bool is_used =
        !busy.owns_lock() || node.reader_.use_count() > 1 || node.writer_.use_count() > 1;
    if (is_used || (now != Clock::time_point::max() && now - at->second < kFileIdle)) {
      ++at;
      continue;
    }
    for (auto* file : {&node.reader_, &node.writer_})
      if (*file) closed.push_back(std::exchange(*file, nullptr));
    node.has_files_ = false;
    at = opened_.erase(at);
  }
  return !opened_.empty();
}

void Inodes::Clear() {
  Recent recent;  // goes after the lock
  const std::lock_guard lock(mutex_);
  for (const auto& node : recent_) node->is_kept_ = false;
  recent.swap(recent_);
  opened_.clear();
  nodes_.clear();
}

}  // namespace gantry::cephfs
