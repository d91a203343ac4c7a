// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/channel.hpp"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

namespace gantry::nfs {
namespace {

int MillisecondsLeft(TimePoint deadline) {
  if (deadline == kNoDeadline) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT32_MAX));
}

}  // namespace

void Channel::Unmap::operator()(std::byte* region) const { munmap(region, bytes); }

NfsResult<Channel> Channel::Create(plugin::UniqueFd fd, const StreamSizes& sizes,
                                   uint32_t first_xid) {
  const size_t bytes = RpcStream::RegionBytes(sizes);
  // Mapped and not allocated: pages never touched cost nothing.
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return FailNfs(Failure::kBusy, "no memory for a connection of " + std::to_string(bytes) +
                                       " bytes: " + strerror(errno));
  }
  Region region(static_cast<std::byte*>(memory), Unmap{bytes});
  GANTRY_PLUGIN_TRY_ASSIGN(RpcStream stream,
                           RpcStream::Create({region.get(), bytes}, sizes, first_xid));
  return Channel(std::move(fd), std::move(region), std::move(stream));
}

NfsResult<Channel> Channel::Connect(const std::string& host, uint16_t port,
                                    const ConnectOptions& options, const StreamSizes& sizes,
                                    TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto fd, ConnectTcp(host, port, options, deadline));
  return Create(std::move(fd), sizes, std::random_device{}());
}

NfsOutcome Channel::Turn(TimePoint deadline, const RpcStream::OnReply& on_reply) {
  if (stream_.WantsWrite()) GANTRY_PLUGIN_TRY(stream_.OnWritable(fd_.get()));
  pollfd waiting = {fd_.get(), POLLIN, 0};
  if (stream_.WantsWrite()) waiting.events |= POLLOUT;
  const int ready = poll(&waiting, 1, MillisecondsLeft(deadline));
  if (ready <= 0) return {};
  if ((waiting.revents & (POLLIN | POLLHUP | POLLERR)) == 0) return {};
  return stream_.OnReadable(fd_.get(), on_reply);
}

NfsOutcome Channel::Call(const Procedure& procedure, const char* name,
                         const Credentials& credentials, const Arguments& arguments,
                         TimePoint deadline, const RpcStream::OnReply& on_reply) {
  auto xid = stream_.Submit(procedure, credentials, arguments, 0, deadline);
  if (!xid) return tl::make_unexpected(Wrap(std::move(xid).error(), name));
  bool answered = false;
  const auto on_any = [&](const Reply& reply) {
    answered = true;
    on_reply(reply);
  };
  NfsOutcome turned;
  while (turned && !answered && std::chrono::steady_clock::now() < deadline) {
    turned = Turn(deadline, on_any);
  }
  if (answered) return {};
  if (turned) {
    turned = FailNfs(Failure::kDeadline, "no answer by the deadline");
  }
  stream_.FailAll([&](const Unanswered& call) { turned.error().outcome_unknown |= call.sent; });
  return tl::make_unexpected(Wrap(std::move(turned).error(), name));
}

bool Channel::IsStale() const {
  if (stream_.broken()) return true;
  pollfd waiting = {fd_.get(), POLLIN, 0};
  return poll(&waiting, 1, 0) != 0;
}

}  // namespace gantry::nfs
