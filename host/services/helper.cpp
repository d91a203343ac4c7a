// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace gantry::services {
namespace {

int MillisecondsUntil(base::TimePoint deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  constexpr int64_t kPollMsMax = 3'600'000;
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, kPollMsMax));
}

// Whether there is something to receive before the deadline.
base::Result<bool> WaitReadable(int socket, base::TimePoint deadline) {
  for (;;) {
    pollfd wait{socket, POLLIN, 0};
    const int ready = poll(&wait, 1, MillisecondsUntil(deadline));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "poll a helper's socket");
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
}

std::string Describe(const HelperRequest& request) {
  return OperationName(request.operation) + " " + request.path;
}

}  // namespace

HelperRunner::~HelperRunner() {
  // Their kill is pending; init reaps them when the kernel lets go.
  for (auto& left : stuck_) left.child.Abandon();
}

void HelperRunner::ReapLocked() {
  stuck_.remove_if([](Left& left) {
    const auto ended = left.child.Wait(std::chrono::milliseconds(0));
    return !ended || ended->has_value();
  });
}

std::vector<StuckHelper> HelperRunner::Stuck() {
  const std::lock_guard lock(mutex_);
  ReapLocked();
  std::vector<StuckHelper> stuck;
  for (const auto& left : stuck_) stuck.push_back(left.what);
  return stuck;
}

base::Status HelperRunner::RefuseStuckLocked(const HelperRequest& request) const {
  // Asking a dead filesystem again would only leave another process there.
  if (request.operation == HelperOperation::kProbe || request.operation == HelperOperation::kFlush)
    for (const auto& left : stuck_)
      if (left.what.path == request.path)
        return base::Fail(base::Code::kDeadlineExceeded, Describe(request) + ": an earlier " +
                                                             left.what.operation +
                                                             " is stuck in the kernel (process " +
                                                             std::to_string(left.what.pid) + ")");
  if (request.operation == HelperOperation::kUnmount && request.unmount_flags != 0) return {};
  const auto of_domain =
      static_cast<size_t>(std::count_if(stuck_.begin(), stuck_.end(), [&](const Left& left) {
        return left.what.domain == request.domain;
      }));
  const bool is_full = !request.domain.empty() && of_domain >= kStuckHelpersOfDomainMax;
  if (!is_full && stuck_.size() < kStuckHelpersMax) return {};
  return base::Fail(base::Code::kUnavailable,
                    Describe(request) + ": " + std::to_string(is_full ? of_domain : stuck_.size()) +
                        " helpers" + (is_full ? " for " + request.domain : "") +
                        " are stuck in the kernel, the first at " + stuck_.front().what.path);
}

base::Status HelperRunner::Enter(const HelperRequest& request, base::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  ReapLocked();
  GANTRY_TRY(RefuseStuckLocked(request));
  const auto is_domain_free = [&] {
    const auto found = running_of_.find(request.domain);
    return request.domain.empty() || found == running_of_.end() ||
           found->second < kHelpersOfDomainMax;
  };
  const auto enough = std::min(deadline, std::chrono::steady_clock::now() + kDomainWaitMsMax);
  if (!left_.wait_until(lock, enough, is_domain_free))
    return base::Fail(base::Code::kUnavailable, Describe(request) + ": all " +
                                                    std::to_string(kHelpersOfDomainMax) +
                                                    " helpers for " + request.domain + " are busy");
  if (!left_.wait_until(lock, deadline, [&] { return running_ < kHelpersMax && is_domain_free(); }))
    return base::Fail(base::Code::kUnavailable, Describe(request) + ": all " +
                                                    std::to_string(kHelpersMax) +
                                                    " helpers were busy until the deadline");
  ++running_;
  if (!request.domain.empty()) ++running_of_[request.domain];
  return {};
}

void HelperRunner::Leave(const HelperRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    --running_;
    const auto found = running_of_.find(request.domain);
    if (found != running_of_.end() && --found->second == 0) running_of_.erase(found);
  }
  left_.notify_all();  // whom the place is for depends on the domain
}

uint64_t HelperRunner::abandoned() const {
  const std::lock_guard lock(mutex_);
  return abandoned_;
}

base::Result<HelperReply> HelperRunner::Run(const HelperRequest& request,
                                            base::TimePoint deadline) {
  GANTRY_TRY(Enter(request, deadline));
  auto reply = Converse(request, deadline);
  Leave(request);
  return reply;
}

std::string HelperRunner::End(base::Child child, const HelperRequest& request, bool kill) {
  for (int attempt = kill ? 1 : 0; attempt < 2; ++attempt) {
    if (attempt == 1) (void)child.Kill(SIGKILL);
    auto ended = child.Wait(kReapMsMax);
    if (ended && ended->has_value()) return (*ended)->Describe();
  }
  const std::lock_guard lock(mutex_);
  ++abandoned_;
  StuckHelper what{child.pid(), OperationName(request.operation), request.path, request.domain,
                   std::chrono::steady_clock::now()};
  stuck_.push_back(Left{std::move(child), std::move(what)});
  return "cannot be killed";
}

base::Result<HelperReply> HelperRunner::Converse(const HelperRequest& request,
                                                 base::TimePoint deadline) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return base::FailErrno(errno, "socketpair for a helper");
  const base::UniqueFd ours(pair[0]);
  base::UniqueFd theirs(pair[1]);
  base::SpawnOptions options;
  options.arguments = {"gantry-helper"};
  options.pass_fds = {theirs.get(), root_};
  GANTRY_TRY_ASSIGN(base::Child child, base::Spawn(binary_, options));
  theirs.Reset();

  std::vector<int> sent_along;
  if (request.fd >= 0) sent_along.push_back(request.fd);
  if (auto sent = SendMessage(ours.get(), Encode(request), sent_along); !sent) {
    const std::string end = End(std::move(child), request, /*kill=*/true);
    return tl::unexpected(base::Wrap(sent.error(), Describe(request) + ": helper " + end));
  }
  auto readable = WaitReadable(ours.get(), deadline);
  if (!readable || !*readable) {
    const std::string end = End(std::move(child), request, /*kill=*/true);
    if (!readable) return tl::unexpected(base::Wrap(readable.error(), Describe(request)));
    return base::Fail(base::Code::kDeadlineExceeded,
                      Describe(request) + ": no answer before the deadline; its helper was " + end);
  }
  std::vector<base::UniqueFd> fds;
  auto bytes = ReceiveMessage(ours.get(), &fds);
  const std::string end = End(std::move(child), request, /*kill=*/!bytes);
  if (!bytes)
    return base::Fail(base::Code::kUnavailable,
                      Describe(request) + ": its helper ended without an answer: " + end);
  GANTRY_TRY_ASSIGN(HelperReply reply, DecodeReply(*bytes));
  if (!fds.empty()) reply.fd = std::move(fds[0]);
  return reply;
}

}  // namespace gantry::services
