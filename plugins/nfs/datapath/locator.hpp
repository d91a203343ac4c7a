// SPDX-License-Identifier: Apache-2.0
// Finds a server's address, its NFS port and the export's root on a thread of its own, because
// getaddrinfo blocks as long as resolv.conf(5) lets it and the event loop must not. Only at open: a
// connection that is lost later is made again to the same address. Rejected: MOUNT and the
// portmapper over the loop, which would be a second copy of mount.cpp for one call per volume.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <optional>
#include <thread>

#include "plugins/common/unique_fd.hpp"
#include "plugins/nfs/rpc/mount.hpp"

namespace gantry::nfs {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

struct Location {
  Address address;  // With the NFS port.
  FileHandle root;
};

// Used from one thread, the loop's.
class Locator {
 public:
  // Throws std::system_error where the kernel gives no thread; the fd is readable when it is done.
  Locator(Server server, Credentials credentials, TimePoint deadline);
  Locator(const Locator&) = delete;
  ~Locator();  // Waits for the thread: the deadline, and what getaddrinfo takes beyond it.

  int fd() const { return event_.get(); }
  bool done() const { return done_.load(std::memory_order_acquire); }
  // Once, when it is done.
  NfsResult<Location> Take();

 private:
  plugin::UniqueFd event_;
  std::atomic<bool> done_{false};
  NfsResult<Location> result_;
  std::thread thread_;
};

}  // namespace gantry::nfs
