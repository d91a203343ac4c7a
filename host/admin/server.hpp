// SPDX-License-Identifier: Apache-2.0
// The admin socket. Whoever can talk to it can make gantryd load a plugin, so it is for root and
// gantryd's own user: the socket's mode says so, and the kernel's word on who connected (SO_PEERCRED)
// is asked again for every connection, where a worker's uid is refused whatever else holds.
// gRPC hides the fd of a connection, so connections are taken here and handed to it afterwards.
// Rejected: gRPC's local credentials, whose peer identity is the same for every caller.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <set>
#include <thread>

#include "host/admin/service.hpp"
#include "host/base/unix_listener.hpp"

namespace gantry::admin {

constexpr int kAdminThreadsMax = 32;
constexpr int kAdminRequestBytesMax = 4 * 1024 * 1024;

// Who may connect. PERMISSION_DENIED says who and why.
base::Status CheckPeer(const base::Peer& peer, uid_t own_uid, const std::set<uid_t>& worker_uids);

class Server {
 public:
  // Serves at parts.config.admin_socket.
  static base::Result<std::unique_ptr<Server>> Start(Parts parts);
  ~Server();

  // As ReloadConfig of the file that gantryd was started with.
  base::Status Reload() {
    return service_.Reload({}, nullptr, [](const v1::ReloadEvent&) {});
  }
  // Ends log followers and swaps, waits for the rest, at most so long.
  void Stop(std::chrono::milliseconds grace);

 private:
  Server(Parts parts, base::UnixListener listener);
  void Accept();
  void Welcome(base::UniqueFd connection);

  const std::set<uid_t> worker_uids_;
  Service service_;
  base::UnixListener listener_;
  base::UniqueFd stop_;  // eventfd
  std::unique_ptr<grpc::Server> server_;
  std::thread acceptor_;
};

}  // namespace gantry::admin
