// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/session.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

namespace gantry::iscsi::scsi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

int PollMs(TimePoint until) {
  const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

// Serves the link until `done()`; an error when the time is over or the caller gave up.
template <class Condition>
ScsiOutcome Serve(Link& link, const Wait& wait, Condition done) {
  while (!done()) {
    pollfd fds[2] = {{link.fd(), link.events(), 0}, {wait.cancel_fd, POLLIN, 0}};
    const int ready = poll(fds, 2, PollMs(wait.deadline));
    if (ready < 0 && errno != EINTR) return FailScsi(Failure::kLost, "poll failed");
    if (ready > 0 && fds[1].revents != 0) return FailScsi(Failure::kCancelled, "given up");
    if (ready > 0 && fds[0].revents != 0) link.Service(fds[0].revents);
    if (!done() && steady_clock::now() >= wait.deadline) {
      return FailScsi(Failure::kDeadline, "no answer in time");
    }
  }
  return {};
}

// Ends early when the caller gives up.
ScsiOutcome Pause(const Wait& wait) {
  const TimePoint until = std::min(wait.deadline, steady_clock::now() + milliseconds(kBusyPauseMs));
  pollfd cancel{wait.cancel_fd, POLLIN, 0};
  while (steady_clock::now() < until) {
    if (poll(&cancel, 1, PollMs(until)) > 0) return FailScsi(Failure::kCancelled, "given up");
  }
  if (until == wait.deadline) return FailScsi(Failure::kDeadline, "no answer in time");
  return {};
}

// What a link owes is awaited here, so that a callback never outlives what it writes to.
template <class T, class Begin>
ScsiResult<T> Await(Link& link, const Wait& wait, const char* what, Begin begin) {
  std::optional<ScsiResult<T>> result;
  begin([&result](ScsiResult<T> ended) { result = std::move(ended); });
  const auto served = Serve(link, wait, [&] { return result.has_value(); });
  if (!served) {
    link.Drop(served.error().message);
    return tl::make_unexpected(Wrap(served.error(), what));
  }
  return *std::move(result);
}

using Answer = std::vector<std::byte>;

// The data of `reply`; where the command asks for a certain number of bytes, `whole`, less is an error.
ScsiResult<Answer> DataOf(ScsiResult<Reply> reply, bool whole, const char* name) {
  if (!reply) return tl::make_unexpected(std::move(reply.error()));
  if (whole && reply->missing_bytes > 0) {
    return FailScsi(
        Failure::kMalformed,
        std::string(name) + ": " + std::to_string(reply->missing_bytes) + " bytes too few came");
  }
  return Answer(reply->data.begin(), reply->data.end());
}

ScsiResult<std::unique_ptr<Link>> LoginAt(const LoginOptions& options, const Portal& portal,
                                          const Wait& wait) {
  std::optional<ScsiOutcome> outcome;
  GANTRY_PLUGIN_TRY_ASSIGN(auto link, Link::Begin(options, portal, [&outcome](ScsiOutcome ended) {
                             outcome = std::move(ended);
                           }));
  const auto done = [&] { return outcome.has_value(); };
  const Wait connect{std::min(wait.deadline, steady_clock::now() + milliseconds(kConnectMsMax)),
                     wait.cancel_fd};
  auto served = Serve(*link, connect, [&] { return done() || link->connected(); });
  const bool silent = !served && served.error().failure == Failure::kDeadline;
  if (served) served = Serve(*link, wait, done);
  if (!served) {
    link->Drop(served.error().message);
    if (silent) return FailScsi(Failure::kUnreachable, "can't connect: no answer");
    return tl::make_unexpected(Wrap(served.error(), "login"));
  }
  if (!*outcome) return tl::make_unexpected(std::move(outcome)->error());
  return link;
}

// Follows a target that sends us elsewhere for now.
ScsiResult<std::unique_ptr<Link>> LoginFrom(const LoginOptions& options, Portal portal,
                                            const Wait& wait) {
  for (int hops = 0;; ++hops) {
    auto link = LoginAt(options, portal, wait);
    if (link || link.error().failure != Failure::kMoved) return link;
    const std::string address = link.error().message.substr(0, link.error().message.rfind(','));
    const auto moved = ParsePortal(address);
    if (!moved || !moved->IsNumeric() || hops == kRedirectsMax) {
      return FailScsi(Failure::kUnreachable, "the target sends its initiators to \"" + address +
                                                 "\", expected an address, and not more than " +
                                                 std::to_string(kRedirectsMax) + " times");
    }
    portal = *moved;
  }
}

bool IsFinal(const ScsiError& error) {
  return error.failure == Failure::kInvalid || error.failure == Failure::kImpostor ||
         error.failure == Failure::kCancelled ||
         (error.failure == Failure::kLogin && ToCode(error) == plugin::code::kUnauthenticated);
}

// A refusal says more than a portal that is away.
bool SaysMore(const ScsiError& error, const ScsiError& than) {
  return error.failure == Failure::kLogin || than.failure != Failure::kLogin;
}

}  // namespace

ScsiResult<Session> Session::Login(const LoginOptions& options, const std::vector<Portal>& portals,
                                   const Wait& wait) {
  GANTRY_PLUGIN_TRY(Check(options));
  std::optional<ScsiError> worst;
  const auto remember = [&worst](ScsiError error) {
    if (!worst || SaysMore(error, *worst)) worst = std::move(error);
  };
  for (size_t i = 0; i < portals.size(); ++i) {
    const std::string name = "portal " + portals[i].ToString();
    const auto addresses = Resolve(portals[i]);
    if (!addresses) {
      remember({Failure::kUnreachable, {}, 0, addresses.error().message});
      continue;
    }
    for (size_t j = 0; j < addresses->size(); ++j) {
      const auto now = steady_clock::now();
      const auto left = static_cast<int64_t>(portals.size() - i + addresses->size() - j - 1);
      const Wait share{now + (wait.deadline - now) / left, wait.cancel_fd};
      auto link = LoginFrom(options, (*addresses)[j], share);
      if (link) return Session(*std::move(link));
      ScsiError error = Wrap(std::move(link).error(), name);
      if (IsFinal(error)) return tl::make_unexpected(std::move(error));
      remember(std::move(error));
    }
  }
  if (!worst) return FailScsi(Failure::kInvalid, "portals: expected at least one");
  return tl::make_unexpected(*std::move(worst));
}

ScsiResult<std::vector<std::byte>> Session::RunOnce(uint32_t lun, const Command& command,
                                                    const Wait& wait) {
  if (lost()) {
    return FailScsi(Failure::kLost, std::string(command.name) + ": the session is over" +
                                        (link_ != nullptr ? ": " + link_->why() : ""));
  }
  return Await<Answer>(*link_, wait, command.name, [&](auto done) {
    link_->Submit(lun, command,
                  [done, whole = !command.in.empty(), name = command.name](
                      ScsiResult<Reply> reply) { done(DataOf(std::move(reply), whole, name)); });
  });
}

ScsiResult<std::vector<std::byte>> Session::Run(uint32_t lun, const Command& command,
                                                const Wait& wait) {
  for (int attentions = 0;;) {
    auto reply = RunOnce(lun, command, wait);
    if (reply) return reply;
    if (reply.error().IsUnitAttention() && ++attentions < kUnitAttentionsMax) continue;
    if (!reply.error().IsBusy()) return reply;
    if (const auto paused = Pause(wait); !paused) {
      return tl::make_unexpected(Wrap(reply.error(), paused.error().message));
    }
  }
}

ScsiOutcome Session::ResetLun(uint32_t lun, const Wait& wait) {
  if (lost()) return FailScsi(Failure::kLost, "LUN RESET: the session is over");
  GANTRY_PLUGIN_TRY(Await<Reply>(*link_, wait, "LUN RESET",
                                 [&](auto done) { link_->ResetLun(lun, std::move(done)); }));
  return {};
}

ScsiResult<std::vector<DiscoveredTarget>> Session::Discover(const Wait& wait) {
  if (lost()) return FailScsi(Failure::kLost, "SendTargets: the session is over");
  return Await<std::vector<DiscoveredTarget>>(*link_, wait, "SendTargets",
                                              [&](auto done) { link_->Discover(std::move(done)); });
}

void Session::Logout(const Wait& wait) {
  if (lost()) return;
  (void)Await<Reply>(*link_, wait, "logout", [&](auto done) { link_->Logout(std::move(done)); });
  link_->Drop("logged out");
}

ScsiResult<std::vector<DiscoveredTarget>> DiscoverTargets(const LoginOptions& options,
                                                          const std::vector<Portal>& portals,
                                                          const Wait& wait) {
  LoginOptions discovery = options;
  discovery.target.clear();
  discovery.isid.reset();
  GANTRY_PLUGIN_TRY_ASSIGN(Session session, Session::Login(discovery, portals, wait));
  auto targets = session.Discover(wait);
  session.Logout(wait);
  return targets;
}

}  // namespace gantry::iscsi::scsi
