// SPDX-License-Identifier: Apache-2.0
// The data path's end of the keeper's socket. Requests wait for their reply, at most kKeeperMsMax,
// since the plugin's functions region, take_fd ... return at once; the keeper never blocks, and
// they are rare. Without a keeper the volume is served on; only these requests fail then.
#pragma once

#include <functional>
#include <string_view>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/wire/keeper_protocol.hpp"

namespace gantry::datapath {

constexpr int kKeeperMsMax = 2000;

// One thread.
class KeeperLink {
 public:
  explicit KeeperLink(base::UniqueFd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  // False from the end of the stream on; the fd stays open, and readable, until Close.
  bool connected() const { return !lost_; }
  void Close() { socket_.Reset(); }

  base::Result<wire::KeeperMessage> Call(wire::KeeperMessage request, int fd = -1);
  void Tell(const wire::KeeperMessage& message);
  // Takes what has come.
  void OnReadable();

  bool stop_asked() const { return stop_asked_; }
  int64_t stop_ms() const { return stop_ms_; }

 private:
  void Take(const wire::KeeperMessage& message);

  base::UniqueFd socket_;
  bool lost_ = false;
  uint64_t next_id_ = 1;
  bool stop_asked_ = false;
  int64_t stop_ms_ = 0;
};

}  // namespace gantry::datapath
