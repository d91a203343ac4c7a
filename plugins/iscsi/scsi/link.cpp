// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/link.hpp"

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace gantry::iscsi::scsi {
namespace {

// Unacknowledged bytes older than this break the connection (tcp(7) TCP_USER_TIMEOUT), so that a
// host that vanished is noticed though nobody closed anything.
constexpr int kTcpUserTimeoutMs = 30'000;

}  // namespace

// Something the target has to answer. libiscsi knows it by its address until it ends.
struct Link::Pending {
  Link* link = nullptr;
  PendingList::iterator self;
  const char* name = "";
  Done done;
  Command command;
  scsi_iovec piece{};
  scsi_task* task = nullptr;

  ~Pending() {
    if (task != nullptr) scsi_free_scsi_task(task);
  }
};

// What libiscsi calls.
struct Link::Callbacks {
  static Link& Of(void* link) { return *static_cast<Link*>(link); }

  static void Connected(iscsi_context* context, int status, void*, void* link) {
    if (status == SCSI_STATUS_GOOD) {
      Of(link).connected_ = true;
      if (iscsi_login_async(context, LoggedIn, link) == 0) return;
    }
    // A second call, after the first success, says that the connection is lost.
    if (Of(link).up_) return;
    Of(link).EndLogin(FailScsi(Failure::kUnreachable, "can't connect: " + Of(link).LibraryError()));
  }

  static void LoggedIn(iscsi_context* context, int status, void*, void* link) {
    if (status == SCSI_STATUS_GOOD) return Of(link).EndLogin({});
    if (status == SCSI_STATUS_REDIRECT) {
      const char* address = iscsi_get_target_address(context);
      return Of(link).EndLogin(FailScsi(Failure::kMoved, address != nullptr ? address : ""));
    }
    if (status == SCSI_STATUS_CANCELLED) return;
    Of(link).EndLogin(tl::make_unexpected(FromLoginText(Of(link).LibraryError())));
  }

  static void CommandDone(iscsi_context*, int status, void*, void* private_data) {
    auto& pending = *static_cast<Pending*>(private_data);
    Link& link = *pending.link;
    scsi_task* task = pending.task;
    switch (status) {
      case SCSI_STATUS_GOOD: {
        Reply reply;
        reply.data = {reinterpret_cast<const std::byte*>(task->datain.data),
                      static_cast<size_t>(std::max(task->datain.size, 0))};
        if (task->residual_status == SCSI_RESIDUAL_UNDERFLOW) {
          reply.missing_bytes = static_cast<uint32_t>(task->residual);
        }
        return link.End(pending, reply);
      }
      case SCSI_STATUS_CHECK_CONDITION:
        return link.End(pending,
                        tl::make_unexpected(FromSense({static_cast<uint8_t>(task->sense.key),
                                                       static_cast<uint16_t>(task->sense.ascq)},
                                                      pending.name)));
      case SCSI_STATUS_CANCELLED:
      case SCSI_STATUS_TIMEOUT:
      case SCSI_STATUS_ERROR:
        return link.End(pending,
                        FailScsi(Failure::kLost, std::string(pending.name) + ": connection lost"));
      default:
        return link.End(
            pending, tl::make_unexpected(FromStatus(static_cast<uint32_t>(status), pending.name)));
    }
  }

  static void TaskManaged(iscsi_context*, int status, void* data, void* private_data) {
    auto& pending = *static_cast<Pending*>(private_data);
    Link& link = *pending.link;
    if (status != SCSI_STATUS_GOOD || data == nullptr) {
      return link.End(pending,
                      FailScsi(Failure::kLost, std::string(pending.name) + ": connection lost"));
    }
    const uint32_t response = *static_cast<uint32_t*>(data);
    if (response == ISCSI_TMR_FUNC_COMPLETE) return link.End(pending, Reply{});
    link.End(pending, tl::make_unexpected(FromTaskResponse(response, pending.name)));
  }

  static void Answered(iscsi_context*, int status, void*, void* private_data) {
    auto& pending = *static_cast<Pending*>(private_data);
    if (status == SCSI_STATUS_GOOD) return pending.link->End(pending, Reply{});
    pending.link->End(pending,
                      FailScsi(Failure::kLost, std::string(pending.name) + ": connection lost"));
  }

  static void TargetsDiscovered(iscsi_context*, int status, void* data, void* link) {
    const Discovered done = std::exchange(Of(link).discovered_, nullptr);
    if (!done) return;
    if (status != SCSI_STATUS_GOOD) {
      return done(FailScsi(Failure::kLost, "SendTargets: " + Of(link).LibraryError()));
    }
    std::vector<DiscoveredTarget> targets;
    for (auto* at = static_cast<iscsi_discovery_address*>(data); at != nullptr; at = at->next) {
      DiscoveredTarget target{at->target_name, {}};
      for (auto* portal = at->portals; portal != nullptr; portal = portal->next) {
        const std::string_view text(portal->portal);  // "address:port,group"
        const auto parsed = ParsePortal(text.substr(0, text.rfind(',')));
        if (!parsed) return done(FailScsi(Failure::kMalformed, parsed.error().message));
        target.portals.push_back(*parsed);
      }
      targets.push_back(std::move(target));
    }
    done(std::move(targets));
  }
};

ScsiResult<std::unique_ptr<Link>> Link::Begin(const LoginOptions& options, const Portal& portal,
                                              std::function<void(ScsiOutcome)> done) {
  GANTRY_PLUGIN_TRY(Check(options));
  if (!portal.IsNumeric()) {
    return FailScsi(Failure::kInvalid,
                    "portal \"" + portal.ToString() + "\": expected an address, not a name");
  }
  std::unique_ptr<Link> link(new Link(portal));
  GANTRY_PLUGIN_TRY(link->Setup(options));
  link->login_done_ = std::move(done);
  if (iscsi_connect_async(link->context_, portal.ToString().c_str(), &Callbacks::Connected,
                          link.get()) != 0) {
    return FailScsi(Failure::kUnreachable, "can't connect: " + link->LibraryError());
  }
  return link;
}

ScsiOutcome Link::Setup(const LoginOptions& options) {
  context_ = iscsi_create_context(options.initiator.c_str());
  if (context_ == nullptr) return FailScsi(Failure::kUnreachable, "no memory for a session");
  iscsi_set_noautoreconnect(context_, 1);
  iscsi_set_timeout(context_, 0);
  iscsi_set_tcp_user_timeout(context_, kTcpUserTimeoutMs);
  bool good = true;
  if (options.target.empty()) {
    good = iscsi_set_session_type(context_, ISCSI_SESSION_DISCOVERY) == 0;
  } else {
    good = iscsi_set_session_type(context_, ISCSI_SESSION_NORMAL) == 0 &&
           iscsi_set_targetname(context_, options.target.c_str()) == 0;
  }
  good = good &&
         iscsi_set_header_digest(context_, options.header_digest ? ISCSI_HEADER_DIGEST_CRC32C_NONE
                                                                 : ISCSI_HEADER_DIGEST_NONE) == 0;
  if (options.isid) {
    good =
        good && iscsi_set_isid_random(context_, options.isid->random, options.isid->qualifier) == 0;
  }
  if (options.chap) {
    good = good && iscsi_set_initiator_username_pwd(context_, options.chap->user().c_str(),
                                                    options.chap->secret().c_str()) == 0;
  }
  if (options.mutual) {
    good = good && iscsi_set_target_username_pwd(context_, options.mutual->user().c_str(),
                                                 options.mutual->secret().c_str()) == 0;
  }
  if (good) return {};
  return FailScsi(Failure::kInvalid, LibraryError());
}

Link::Link(Portal portal) : portal_(std::move(portal)) {}

Link::~Link() { Drop("closed"); }

std::string Link::LibraryError() const {
  std::string text = context_ != nullptr ? iscsi_get_error(context_) : "";
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Link::Pending& Link::Add(Done done, const char* name) {
  auto& slot = pending_.emplace_back(std::make_unique<Pending>());
  slot->link = this;
  slot->self = std::prev(pending_.end());
  slot->name = name;
  slot->done = std::move(done);
  return *slot;
}

// The callback may submit, and so change the list.
void Link::End(Pending& pending, ScsiResult<Reply> result) {
  progress_ = true;
  const std::unique_ptr<Pending> owned = std::move(*pending.self);
  pending_.erase(owned->self);
  if (owned->done) owned->done(std::move(result));
}

void Link::EndLogin(ScsiOutcome outcome) {
  const auto done = std::exchange(login_done_, nullptr);
  if (!done) return;
  up_ = outcome.has_value();
  if (!outcome) Lose(outcome.error().message);
  done(std::move(outcome));
}

void Link::Submit(uint32_t lun, Command command, Done done) {
  Pending& pending = Add(std::move(done), command.name);
  if (!up_) {
    return End(pending, FailScsi(Failure::kLost, std::string(pending.name) + ": not logged in"));
  }
  pending.command = std::move(command);
  Command& c = pending.command;
  const std::span<const std::byte> out =
      c.out.empty() ? std::span<const std::byte>(c.parameters) : c.out;
  const int direction = c.in_bytes > 0 ? SCSI_XFER_READ
                        : !out.empty() ? SCSI_XFER_WRITE
                                       : SCSI_XFER_NONE;
  const size_t bytes = c.in_bytes > 0 ? c.in_bytes : out.size();
  pending.task = scsi_create_task(c.cdb_bytes, c.cdb.data(), direction, static_cast<int>(bytes));
  if (pending.task == nullptr) {
    return End(pending, FailScsi(Failure::kLost, std::string(pending.name) + ": no memory"));
  }
  if (!c.in.empty()) {
    pending.piece = {c.in.data(), c.in.size()};
    scsi_task_set_iov_in(pending.task, &pending.piece, 1);
  } else if (!out.empty()) {
    pending.piece = {const_cast<std::byte*>(out.data()), out.size()};
    scsi_task_set_iov_out(pending.task, &pending.piece, 1);
  }
  if (iscsi_scsi_command_async(context_, static_cast<int>(lun), pending.task,
                               &Callbacks::CommandDone, nullptr, &pending) != 0) {
    return End(pending,
               FailScsi(Failure::kLost, std::string(pending.name) + ": " + LibraryError()));
  }
}

void Link::ResetLun(uint32_t lun, Done done) {
  Pending& pending = Add(std::move(done), "LUN RESET");
  if (!up_ ||
      iscsi_task_mgmt_lun_reset_async(context_, lun, &Callbacks::TaskManaged, &pending) != 0) {
    End(pending, FailScsi(Failure::kLost, "LUN RESET: " + LibraryError()));
  }
}

void Link::Ping(Done done) {
  Pending& pending = Add(std::move(done), "NOP-Out");
  if (!up_ || iscsi_nop_out_async(context_, &Callbacks::Answered, nullptr, 0, &pending) != 0) {
    End(pending, FailScsi(Failure::kLost, "NOP-Out: " + LibraryError()));
  }
}

void Link::Logout(Done done) {
  Pending& pending = Add(std::move(done), "logout");
  if (!up_ || iscsi_logout_async(context_, &Callbacks::Answered, &pending) != 0) {
    End(pending, FailScsi(Failure::kLost, "logout: " + LibraryError()));
  }
}

void Link::Discover(Discovered done) {
  if (!up_) return done(FailScsi(Failure::kLost, "SendTargets: not logged in"));
  discovered_ = std::move(done);
  if (iscsi_discovery_async(context_, &Callbacks::TargetsDiscovered, this) != 0) {
    std::exchange(discovered_, nullptr)(FailScsi(Failure::kLost, "SendTargets: " + LibraryError()));
  }
}

// libiscsi, told not to reconnect, lets go of the commands and says nothing.
bool Link::PeerHasClosed() const {
  char byte = 0;
  return recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

int Link::fd() const { return lost_ || context_ == nullptr ? -1 : iscsi_get_fd(context_); }

short Link::events() const {
  return lost_ || context_ == nullptr ? 0 : static_cast<short>(iscsi_which_events(context_));
}

void Link::Service(short revents) {
  if (lost_ || context_ == nullptr) return;
  inside_ = true;
  progress_ = false;
  const int result = iscsi_service(context_, revents);
  inside_ = false;
  if (!lost_ && (result != 0 || (up_ && iscsi_is_logged_in(context_) == 0) || fd() < 0 ||
                 (revents & (POLLERR | POLLHUP)) != 0 ||
                 ((revents & POLLIN) != 0 && !progress_ && PeerHasClosed()))) {
    const std::string error = LibraryError();
    // What it says when the target closed the connection is about itself.
    const bool closed = error.find("reconnect_if_loggedin") != error.npos;
    Lose(closed ? "the target closed the connection" : error);
  }
  if (!lost_) return;
  const std::string why = why_;
  EndLogin(FailScsi(Failure::kUnreachable, why));
  Drop(why);
}

void Link::SendTogether() {
  const auto hold = [this](int on) {
    if (fd() >= 0) (void)setsockopt(fd(), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
  };
  hold(1);
  Service(POLLOUT);
  hold(0);
}

// Noticed; the context goes when libiscsi is not on the stack.
void Link::Lose(const std::string& why) {
  if (lost_) return;
  lost_ = true;
  why_ = why.empty() ? "connection lost" : why;
}

void Link::Drop(const std::string& why) {
  Lose(why);
  if (inside_ || context_ == nullptr) return;
  up_ = false;
  // Callbacks of the library still know the commands; they end below or there, once.
  iscsi_destroy_context(std::exchange(context_, nullptr));
  while (!pending_.empty()) {
    Pending& pending = *pending_.front();
    End(pending, FailScsi(Failure::kLost, std::string(pending.name) + ": " + why_));
  }
  if (discovered_) {
    std::exchange(discovered_, nullptr)(FailScsi(Failure::kLost, "SendTargets: " + why_));
  }
}

}  // namespace gantry::iscsi::scsi
