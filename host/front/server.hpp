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

#include "host/base/socket_file.hpp"
#include "host/core/driver.hpp"
#include "host/front/call_log.hpp"
#include "host/front/calls.hpp"

namespace gantry::front {

// Threads that a driver keeps to wait for calls once there have been so many at once; more come and
// go with the calls. Fewer would make and end a thread for many a call of a busy time.
constexpr int kIdleThreadsMax = 32;
// For the answers on their way, and for clients to close their connections, once no call is under
// way any more. A client that hangs or is stopped never does.
constexpr std::chrono::milliseconds kGoodbyeMs{500};

class Server {
 public:
  // Serves the driver at its endpoint. Driver and log outlive it.
  static base::Result<std::unique_ptr<Server>> Start(const core::Driver& driver, CallLog& log,
                                                     size_t calls_max = kCallsMax);
  ~Server();

  // Removes the socket file if it is still ours, takes no new calls, lets those under way finish for
  // so long, cancels the rest and waits for them. Once none is under way it takes kGoodbyeMs at most.
  void Stop(std::chrono::milliseconds grace);

 private:
  explicit Server(size_t calls_max);

  Calls calls_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  base::SocketFile socket_;
};

}  // namespace gantry::front
