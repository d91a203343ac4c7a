// SPDX-License-Identifier: Apache-2.0
// One connection to a target, as events: libiscsi encodes and does the socket's I/O, everything
// else is decided by the owner. There is no reconnecting and no time here: libiscsi's own reconnect
// takes a new ISID (so that a target can't end the old session at the new login), waits longer each
// time and keeps a dead fd readable. Who has lost a link makes another one.
//
// Callbacks come from within the functions of a link; they may submit, not destroy the link.
// One thread at a time; a link may be handed to another between two calls. The process must ignore
// SIGPIPE, because libiscsi writes with writev(2).
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "plugins/iscsi/scsi/command.hpp"
#include "plugins/iscsi/scsi/login.hpp"
#include "plugins/iscsi/scsi/portal.hpp"
#include "plugins/iscsi/scsi/scsi_error.hpp"

struct iscsi_context;

namespace gantry::iscsi::scsi {

struct Reply {
  std::span<const std::byte>
      data;                    // Of a command without a buffer of its own; during the callback.
  uint32_t missing_bytes = 0;  // So much less came than was asked for.
};

struct DiscoveredTarget {
  std::string name;
  std::vector<Portal> portals;
};

class Link {
 public:
  using Done = std::function<void(ScsiResult<Reply>)>;
  using Discovered = std::function<void(ScsiResult<std::vector<DiscoveredTarget>>)>;

  // Begins to connect to a portal with a numeric address and to log in; `done` comes once. Options
  // are borrowed for the call.
  static ScsiResult<std::unique_ptr<Link>> Begin(const LoginOptions& options, const Portal& portal,
                                                 std::function<void(ScsiOutcome)> done);
  Link(const Link&) = delete;
  ~Link();  // As Drop.

  // Is up, and every command submitted is ended once by its callback, from within Service or Drop.
  // The buffers of a command are free when it has ended, not before.
  bool up() const { return up_; }
  // The TCP connection is made; the login may still be under way.
  bool connected() const { return connected_; }
  void Submit(uint32_t lun, Command command, Done done);
  // A LUN RESET; commands under way on this link end with kLost.
  void ResetLun(uint32_t lun, Done done);
  // A NOP-Out that the target has to answer.
  void Ping(Done done);
  // Only in a discovery session: SendTargets=All.
  void Discover(Discovered done);
  // Tells the target that the session is over; afterwards the link is to be dropped.
  void Logout(Done done);
  size_t outstanding() const { return pending_.size(); }

  // For poll(2), -1 and 0 when the link is lost.
  int fd() const;
  short events() const;
  void Service(short revents);
  // Writes what has been submitted, in as few segments as it fits in: libiscsi sends each command
  // for itself, and a target is woken by each.
  void SendTogether();
  // Closes the connection; what is outstanding ends with kLost.
  void Drop(const std::string& why);
  bool lost() const { return lost_; }
  const std::string& why() const { return why_; }  // Of a loss.
  const Portal& portal() const { return portal_; }

 private:
  struct Pending;
  struct Callbacks;
  using PendingList = std::list<std::unique_ptr<Pending>>;

  explicit Link(Portal portal);
  ScsiOutcome Setup(const LoginOptions& options);
  Pending& Add(Done done, const char* name);
  void End(Pending& pending, ScsiResult<Reply> result);
  void EndLogin(ScsiOutcome outcome);
  void Lose(const std::string& why);
  std::string LibraryError() const;
  bool PeerHasClosed() const;

  iscsi_context* context_ = nullptr;
  Portal portal_;
  std::function<void(ScsiOutcome)> login_done_;
  PendingList pending_;
  Discovered discovered_;
  bool connected_ = false;
  bool up_ = false;
  bool lost_ = false;
  bool inside_ = false;    // libiscsi is on the stack.
  bool progress_ = false;  // Something ended since Service was called.
  std::string why_;
};

}  // namespace gantry::iscsi::scsi
