// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/keeper_link.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace gantry::datapath {

void KeeperLink::Take(wire::KeeperMessage& message) {
  const auto time_ms = static_cast<int64_t>(message.Number(wire::KeeperTag::kTimeoutMs));
  switch (message.kind) {
    case wire::KeeperKind::kStopServing:
      stop_asked_ = true;
      stop_ms_ = time_ms;
      return;
    case wire::KeeperKind::kHandOver:
      hand_over_asked_ = true;
      hand_over_ms_ = time_ms;
      return;
    case wire::KeeperKind::kServe:
      if (message.fds.size() == 2)
        turn_ = Turn{std::move(message.fds[0]), std::move(message.fds[1])};
      return;
    default:
      return;
  }
}

base::Result<KeeperLink::Turn> KeeperLink::AwaitTurn() {
  wire::KeeperMessage waiting;
  waiting.kind = wire::KeeperKind::kWaiting;
  Tell(waiting);
  for (;;) {
    OnReadable();
    if (turn_) {
      wire::KeeperMessage taken;
      taken.kind = wire::KeeperKind::kTaken;
      Tell(taken);
      return std::move(*turn_);
    }
    if (stop_asked_ || !connected())
      return base::Fail(base::Code::kUnavailable, "the standby is not needed any more");
    pollfd wait{socket_.get(), POLLIN, 0};
    if (poll(&wait, 1, -1) < 0 && errno != EINTR) return base::FailErrno(errno, "poll the keeper");
  }
}

base::Result<wire::KeeperMessage> KeeperLink::Call(wire::KeeperMessage request, int fd) {
  if (!connected()) {
    missed_ = true;
    return base::Fail(base::Code::kUnavailable, "the keeper is away");
  }
  request.id = next_id_++;
  const auto sent =
      wire::SendKeeper(socket_.get(), request, fd >= 0 ? std::vector<int>{fd} : std::vector<int>{});
  if (!sent) {
    lost_ = missed_ = sent.error().code == base::Code::kUnavailable;
    return tl::unexpected(sent.error());
  }
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(silent_ ? 0 : kKeeperMsMax);
  for (;;) {
    auto received = wire::ReceiveKeeper(socket_.get());
    if (!received) {
      lost_ = missed_ = true;
      return tl::unexpected(received.error());
    }
    if (received->has_value()) {
      silent_ = false;
      wire::KeeperMessage& message = **received;
      if (message.kind != wire::KeeperKind::kReply || message.id != request.id) {
        Take(message);
        continue;
      }
      if (message.code != base::Code::kOk)
        return base::Fail(message.code, std::string(message.Text(wire::KeeperTag::kMessage)));
      return std::move(message);
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      silent_ = true;
      return base::Fail(base::Code::kDeadlineExceeded, "the keeper does not answer");
    }
    pollfd wait{socket_.get(), POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(left.count())) < 0 && errno != EINTR)
      return base::FailErrno(errno, "poll the keeper");
  }
}

void KeeperLink::Tell(const wire::KeeperMessage& message) {
  if (connected()) (void)wire::SendKeeper(socket_.get(), message);
}

void KeeperLink::OnReadable() {
  while (!lost_) {
    auto received = wire::ReceiveKeeper(socket_.get());
    lost_ = !received.has_value();
    if (lost_ || !received->has_value()) return;
    silent_ = false;
    Take(**received);
  }
}

}  // namespace gantry::datapath
