// SPDX-License-Identifier: Apache-2.0
// A session for a thread that waits: a link that is logged in, and one command after the other,
// each with a deadline. A session is never repaired: when its connection is lost or a command was
// not answered in time, it says so from then on, and a new one is opened.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "plugins/iscsi/scsi/link.hpp"

namespace gantry::iscsi::scsi {

inline constexpr int kUnitAttentionsMax = 16;  // One after the other, of one command.
inline constexpr int kRedirectsMax = 3;
// For the TCP connection. Short, because the kernel asks a host that is away less and less often:
// one that is back should be noticed by the next attempt, not by the last one's next repetition.
inline constexpr int kConnectMsMax = 1'500;
inline constexpr int kBusyPauseMs = 50;  // Before a command is asked again.

// Until when a thread waits, and an fd that ends the wait earlier by being readable (-1: none).
struct Wait {
  TimePoint deadline;
  int cancel_fd = -1;
};

class Session {
 public:
  // Logs in at the first portal that lets it; names are looked up (Resolve). A portal that can't be
  // reached costs its share of the time, one that refuses the CHAP secret ends the attempt.
  // Errors begin with the portal.
  static ScsiResult<Session> Login(const LoginOptions& options, const std::vector<Portal>& portals,
                                   const Wait& wait);

  // The reply's bytes. Unit attentions are absorbed and busy is waited out: for commands that may
  // be repeated.
  ScsiResult<std::vector<std::byte>> Run(uint32_t lun, const Command& command, const Wait& wait);
  // One attempt.
  ScsiResult<std::vector<std::byte>> RunOnce(uint32_t lun, const Command& command,
                                             const Wait& wait);
  ScsiOutcome ResetLun(uint32_t lun, const Wait& wait);
  ScsiResult<std::vector<DiscoveredTarget>> Discover(const Wait& wait);
  // Ends the session in the target's sight, too; without it the target notices a closed connection.
  void Logout(const Wait& wait);

  bool lost() const { return link_ == nullptr || link_->lost(); }
  const Portal& portal() const { return link_->portal(); }
  // The link, for an event loop; the session is over.
  std::unique_ptr<Link> TakeLink() { return std::move(link_); }

 private:
  explicit Session(std::unique_ptr<Link> link) : link_(std::move(link)) {}
  std::unique_ptr<Link> link_;
};

// The targets that a portal knows, and lets this initiator see. `options.target` is empty; CHAP is
// discovery's own.
ScsiResult<std::vector<DiscoveredTarget>> DiscoverTargets(const LoginOptions& options,
                                                          const std::vector<Portal>& portals,
                                                          const Wait& wait);

}  // namespace gantry::iscsi::scsi
