// SPDX-License-Identifier: Apache-2.0
#include "host/front/server.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "host/base/file.hpp"
#include "host/front/services.hpp"

namespace gantry::front {
namespace {

constexpr int kRequestBytesMax = 4 * 1024 * 1024;
constexpr std::string_view kScheme = "unix://";

uint64_t InodeOf(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

base::Result<std::unique_ptr<Server>> Server::Start(const core::Driver& driver, CallPool& pool) {
  std::unique_ptr<Server> self(new Server());
  self->socket_ = driver.parts().config.endpoint.substr(kScheme.size());
  GANTRY_TRY(base::MakeDirectories(std::filesystem::path(self->socket_).parent_path(), 0750));
  const std::string temporary = self->socket_ + ".new";
  unlink(temporary.c_str());

  self->services_ = MakeServices(driver, pool);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  // Clients may ping as they like; a server that answers with GOAWAY costs them their connection.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddListeningPort("unix:" + temporary, grpc::InsecureServerCredentials());
  for (const auto& service : self->services_) builder.RegisterService(service.get());
  self->server_ = builder.BuildAndStart();
  if (!self->server_) return base::Fail(base::Code::kInternal, "cannot listen at " + self->socket_);
  if (chmod(temporary.c_str(), 0660) != 0 || rename(temporary.c_str(), self->socket_.c_str()) != 0)
    return base::FailErrno(errno, "put the socket " + self->socket_ + " in place");
  self->socket_inode_ = InodeOf(self->socket_);
  return self;
}

Server::~Server() { Stop(std::chrono::milliseconds(0)); }

void Server::Stop(std::chrono::milliseconds grace) {
  if (!server_) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
  // A successor may have put its own socket there meanwhile.
  if (socket_inode_ != 0 && InodeOf(socket_) == socket_inode_) unlink(socket_.c_str());
}

}  // namespace gantry::front
