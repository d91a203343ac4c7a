// SPDX-License-Identifier: Apache-2.0
// A connected socket with an RpcStream in private memory, for callers that block: it turns the
// stream's events into "this call, by that deadline". The data path has an event loop of its own
// and doesn't use it.
#pragma once

#include <memory>
#include <string>

#include "plugins/nfs/rpc/connect.hpp"
#include "plugins/nfs/rpc/rpc_stream.hpp"

namespace gantry::nfs {

// One thread at a time.
class Channel {
 public:
  // Takes a connected socket. `first_xid`: see RpcStream::Create.
  static NfsResult<Channel> Create(plugin::UniqueFd fd, const StreamSizes& sizes,
                                   uint32_t first_xid);
  // Connects first; the first xid is random.
  static NfsResult<Channel> Connect(const std::string& host, uint16_t port,
                                    const ConnectOptions& options, const StreamSizes& sizes,
                                    TimePoint deadline);

  // Makes one call and waits for its reply, which `on_reply` sees. On an error `outcome_unknown`
  // says whether the call was sent; after kLost, kMalformed or kDeadline the channel is of no use.
  NfsOutcome Call(const Procedure& procedure, const char* name, const Credentials& credentials,
                  const Arguments& arguments, TimePoint deadline,
                  const RpcStream::OnReply& on_reply);
  // Sends, waits at most to the deadline for replies and delivers those that came.
  NfsOutcome Turn(TimePoint deadline, const RpcStream::OnReply& on_reply);

  // The server has closed, or said something unasked; only meaningful with no call outstanding.
  bool IsStale() const;
  RpcStream& stream() { return stream_; }
  int fd() const { return fd_.get(); }

 private:
  struct Unmap {
    size_t bytes = 0;
    void operator()(std::byte* region) const;
  };
  using Region = std::unique_ptr<std::byte, Unmap>;

  Channel(plugin::UniqueFd fd, Region region, RpcStream stream)
      : fd_(std::move(fd)), region_(std::move(region)), stream_(std::move(stream)) {}

  plugin::UniqueFd fd_;
  Region region_;
  RpcStream stream_;
};

}  // namespace gantry::nfs
