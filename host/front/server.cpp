// SPDX-License-Identifier: Apache-2.0
#include "host/front/server.hpp"

#include <grpc/grpc.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <future>

#include "host/base/file.hpp"
#include "host/front/services.hpp"

namespace gantry::front {
namespace {

constexpr int kRequestBytesMax = 4 * 1024 * 1024;
constexpr std::string_view kScheme = "unix://";

}  // namespace

Server::Server(size_t calls_max) : calls_(calls_max) {}

base::Result<std::unique_ptr<Server>> Server::Start(const core::Driver& driver, CallLog& log,
                                                    size_t calls_max) {
  std::unique_ptr<Server> self(new Server(calls_max));
  const std::string socket = driver.parts().config.endpoint.substr(kScheme.size());
  if (socket.size() > base::kSocketPathBytesMax)
    return base::Fail(base::Code::kInvalidArgument,
                      "endpoint: " + socket + ": " + std::to_string(socket.size()) +
                          " bytes: expected at most " + std::to_string(base::kSocketPathBytesMax));
  GANTRY_TRY(base::MakeDirectories(std::filesystem::path(socket).parent_path(), 0750));
  const std::string temporary = base::TemporarySocketName(socket);

  self->services_ = MakeServices(driver, self->calls_, log);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  // Clients may ping as they like; a server that answers with GOAWAY costs them their connection.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // One queue: the thread that finds a call in it runs the call, and another takes its place.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, kIdleThreadsMax);
  // What is above calls_max are threads that wait, or tell a call that it is one too many.
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(static_cast<int>(calls_max) + kIdleThreadsMax);
  builder.SetResourceQuota(quota);
  builder.AddListeningPort("unix:" + temporary, grpc::InsecureServerCredentials());
  for (const auto& service : self->services_) builder.RegisterService(service.get());
  self->server_ = builder.BuildAndStart();
  if (!self->server_) return base::Fail(base::Code::kInternal, "cannot listen at " + socket);
  if (chmod(temporary.c_str(), 0660) != 0)
    return base::FailErrno(errno, "put the socket " + socket + " in place");
  GANTRY_TRY_ASSIGN(self->socket_, base::SocketFile::Put(temporary, socket));
  return self;
}

Server::~Server() { Stop(std::chrono::milliseconds(0)); }

// gRPC's own graceful shutdown also waits for every client to say goodbye, for 20 s at worst.
void Server::Stop(std::chrono::milliseconds grace) {
  if (!server_) return;
  socket_.Remove();
  auto shutdown = std::async(
      [this, deadline = std::chrono::system_clock::now() + grace] { server_->Shutdown(deadline); });
  // Twice: a call may have been on its way to its thread when nothing was under way.
  do {
    (void)calls_.AwaitNone(grace);
  } while (shutdown.wait_for(kGoodbyeMs) != std::future_status::ready &&
           !calls_.AwaitNone(std::chrono::milliseconds(0)));
  grpc_server_cancel_all_calls(server_->c_server());
  shutdown.wait();
  server_->Wait();
  server_.reset();
}

}  // namespace gantry::front
