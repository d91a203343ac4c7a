// SPDX-License-Identifier: Apache-2.0
// One driver's socket. It appears by a rename when everything behind it is ready, replacing a stale
// one of an earlier process in one step: registrar and sidecars never connect to a dead listener.
// Connections have no idle or age limit, since sidecars end themselves when theirs drops.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "host/core/driver.hpp"
#include "host/front/call_log.hpp"
#include "host/front/call_pool.hpp"

namespace gantry::front {

class Server {
 public:
  // Serves the driver at its endpoint. Driver, pool and log outlive it.
  static base::Result<std::unique_ptr<Server>> Start(const core::Driver& driver, CallPool& pool,
                                                     CallLog& log);
  ~Server();

  // Removes the socket file if it is still ours, takes no new calls, lets those under way finish for
  // so long, cancels the rest and waits for them.
  void Stop(std::chrono::milliseconds grace);

 private:
  Server() = default;
  void RemoveSocket();

  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::string socket_;
  uint64_t socket_inode_ = 0;
};

}  // namespace gantry::front
