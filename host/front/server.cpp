// SPDX-License-Identifier: Apache-2.0
#include "host/front/server.hpp"

#include <fcntl.h>
#include <grpc/grpc.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <future>
#include <random>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/front/services.hpp"

namespace gantry::front {
namespace {

constexpr int kRequestBytesMax = 4 * 1024 * 1024;
constexpr std::string_view kScheme = "unix://";
constexpr unsigned int kTemporaryNames = 1000000;  // 6 digits
constexpr size_t kTemporaryBytes = 7;              // what a temporary name adds
// unix(7): sun_path with its NUL.
constexpr size_t kSocketPathBytesMax = sizeof(sockaddr_un::sun_path) - 1 - kTemporaryBytes;

uint64_t InodeOf(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// An flock on the socket's directory: between looking whose the socket is and removing it, no
// successor may put its own there. The holder does no more than that, so it is waited for.
base::UniqueFd LockDirectory(const std::string& socket) {
  const auto directory = std::filesystem::path(socket).parent_path();
  base::UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fd;
  constexpr int kTriesMax = 200;
  constexpr int kRetryMs = 5;
  for (int i = 0; i < kTriesMax; ++i) {
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
    poll(nullptr, 0, kRetryMs);
  }
  return {};
}

// A name of its own: gRPC removes the path it was given when it stops, which must not be the one
// that a successor is about to rename.
std::string TemporaryName(const std::string& socket) {
  std::random_device random;
  return socket + "." + std::to_string(random() % kTemporaryNames);
}

}  // namespace

Server::Server(size_t calls_max) : calls_(calls_max) {}

base::Result<std::unique_ptr<Server>> Server::Start(const core::Driver& driver, CallLog& log,
                                                    size_t calls_max) {
  std::unique_ptr<Server> self(new Server(calls_max));
  self->socket_ = driver.parts().config.endpoint.substr(kScheme.size());
  if (self->socket_.size() > kSocketPathBytesMax)
    return base::Fail(base::Code::kInvalidArgument,
                      "endpoint: " + self->socket_ + ": " + std::to_string(self->socket_.size()) +
                          " bytes: expected at most " + std::to_string(kSocketPathBytesMax));
  GANTRY_TRY(base::MakeDirectories(std::filesystem::path(self->socket_).parent_path(), 0750));
  const std::string temporary = TemporaryName(self->socket_);

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
  if (!self->server_) return base::Fail(base::Code::kInternal, "cannot listen at " + self->socket_);
  const auto lock = LockDirectory(self->socket_);
  self->socket_inode_ = InodeOf(temporary);
  if (chmod(temporary.c_str(), 0660) != 0 || rename(temporary.c_str(), self->socket_.c_str()) != 0)
    return base::FailErrno(errno, "put the socket " + self->socket_ + " in place");
  return self;
}

Server::~Server() { Stop(std::chrono::milliseconds(0)); }

// gRPC's own graceful shutdown also waits for every client to say goodbye, for 20 s at worst.
void Server::Stop(std::chrono::milliseconds grace) {
  if (!server_) return;
  RemoveSocket();
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

// While the listener still lives, which keeps its inode number from being given to a successor's.
void Server::RemoveSocket() {
  const auto lock = LockDirectory(socket_);
  // A stale socket is better than a successor without one.
  if (lock && socket_inode_ != 0 && InodeOf(socket_) == socket_inode_) unlink(socket_.c_str());
}

}  // namespace gantry::front
