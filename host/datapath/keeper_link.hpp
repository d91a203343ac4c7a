// SPDX-License-Identifier: Apache-2.0
// The data path's end of the keeper's socket. Requests wait for their reply, at most kKeeperMsMax,
// since the plugin's functions region, take_fd ... return at once; the keeper never blocks, and
// they are rare. Without a keeper the volume is served on; only these requests fail then. gantryd may
// hold the other end meanwhile for the next keeper, so that one is away is known only by its silence:
// after that requests are sent and their replies not waited for, until something comes from there.
#pragma once

#include <cstdint>
#include <optional>
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
  // A request could not be made, since there is no keeper any more and will be none.
  bool missed() const { return missed_; }

  base::Result<wire::KeeperMessage> Call(wire::KeeperMessage request, int fd = -1);
  void Tell(const wire::KeeperMessage& message);
  // Takes what has come.
  void OnReadable();

  bool stop_asked() const { return stop_asked_; }
  int64_t stop_ms() const { return stop_ms_; }
  // To make room for a successor, which does what is not ended within this time.
  bool hand_over_asked() const { return hand_over_asked_; }
  int64_t hand_over_ms() const { return hand_over_ms_; }

  // Of a standby: says that it waits, and waits until it is told to serve, with the fuse fd and the
  // memory. UNAVAILABLE: it never will be.
  struct Turn {
    base::UniqueFd fuse;
    base::UniqueFd memory;
  };
  base::Result<Turn> AwaitTurn();

 private:
  void Take(wire::KeeperMessage& message);

  base::UniqueFd socket_;
  bool lost_ = false;
  bool missed_ = false;
  bool silent_ = false;
  uint64_t next_id_ = 1;
  bool stop_asked_ = false;
  int64_t stop_ms_ = 0;
  bool hand_over_asked_ = false;
  int64_t hand_over_ms_ = 0;
  std::optional<Turn> turn_;
};

}  // namespace gantry::datapath
