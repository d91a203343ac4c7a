// SPDX-License-Identifier: Apache-2.0
#include "host/admin/server.hpp"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace gantry::admin {

base::Status CheckPeer(const base::Peer& peer, uid_t own_uid, const std::set<uid_t>& worker_uids) {
  const auto refuse = [&](const std::string& why) {
    return base::Fail(base::Code::kPermissionDenied, "pid " + std::to_string(peer.pid) + ", uid " +
                                                         std::to_string(peer.uid) + ": " + why);
  };
  if (worker_uids.contains(peer.uid)) return refuse("a backend's worker");
  if (peer.uid != 0 && peer.uid != own_uid) return refuse("expected root or gantryd's own user");
  return {};
}

base::Result<std::unique_ptr<Server>> Server::Start(Parts parts) {
  const auto path = parts.config.admin_socket;
  auto listener = base::UnixListener::Open(path, 0600);
  if (!listener) return tl::unexpected(base::Wrap(listener.error(), "admin_socket"));
  std::unique_ptr<Server> self(new Server(std::move(parts), std::move(*listener)));
  if (!self->stop_) return base::FailErrno(errno, "make an eventfd");
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("admin");
  quota.SetMaxThreads(kAdminThreadsMax);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kAdminRequestBytesMax);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  builder.RegisterService(&self->service_);
  self->server_ = builder.BuildAndStart();
  if (!self->server_) return base::Fail(base::Code::kInternal, "cannot serve at " + path.string());
  self->acceptor_ = std::thread([raw = self.get()] { raw->Accept(); });
  return self;
}

Server::Server(Parts parts, base::UnixListener listener)
    : worker_uids_([&] {
        std::set<uid_t> uids;
        for (const auto& [name, backend] : parts.config.backends) uids.insert(backend.uid);
        return uids;
      }()),
      service_(std::move(parts)),
      listener_(std::move(listener)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Server::~Server() { Stop(std::chrono::milliseconds(0)); }

void Server::Stop(std::chrono::milliseconds grace) {
  if (!server_) return;
  service_.Stop();
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(stop_.get(), &one, sizeof one);
  acceptor_.join();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

void Server::Accept() {
  for (;;) {
    std::array<pollfd, 2> fds{{{stop_.get(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    if (fds[1].revents == 0) continue;
    auto connection = listener_.Accept();
    if (connection) {
      Welcome(std::move(*connection));
      continue;
    }
    if (connection.error().code == base::Code::kUnavailable) continue;
    spdlog::error("admin socket: {}", connection.error().message);
    // Out of fds, most likely: the connection waits, and so do we.
    constexpr int kPauseMs = 100;
    poll(fds.data(), 1, kPauseMs);
  }
}

void Server::Welcome(base::UniqueFd connection) {
  const auto peer = base::PeerOf(connection.get());
  const auto allowed =
      peer ? CheckPeer(*peer, geteuid(), worker_uids_) : base::Status(tl::unexpected(peer.error()));
  if (!allowed) {
    spdlog::warn("admin socket: refused: {}", allowed.error().message);
    return;
  }
  if (const auto set = base::SetNonBlocking(connection.get()); !set) return;
  grpc::AddInsecureChannelFromFd(server_.get(), connection.Release());
}

}  // namespace gantry::admin
