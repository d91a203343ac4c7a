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

base::Status HelperRunner::Enter(const HelperRequest& request, base::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  if (!left_.wait_until(lock, deadline, [this] { return running_ < kHelpersMax; }))
    return base::Fail(base::Code::kUnavailable, Describe(request) + ": all " +
                                                    std::to_string(kHelpersMax) +
                                                    " helpers were busy until the deadline");
  ReapLocked();
  if (stuck_.size() >= kStuckHelpersMax)
    return base::Fail(base::Code::kUnavailable,
                      Describe(request) + ": " + std::to_string(stuck_.size()) +
                          " helpers are stuck in the kernel, the first at " +
                          stuck_.front().what.path);
  // Asking a dead filesystem again would only leave another process there.
  if (request.operation == HelperOperation::kProbe)
    for (const auto& left : stuck_)
      if (left.what.path == request.path)
        return base::Fail(base::Code::kDeadlineExceeded, Describe(request) + ": an earlier " +
                                                             left.what.operation +
                                                             " is stuck in the kernel (process " +
                                                             std::to_string(left.what.pid) + ")");
  ++running_;
  return {};
}

void HelperRunner::Leave() {
  {
    const std::lock_guard lock(mutex_);
    --running_;
  }
  left_.notify_one();
}

base::Result<HelperReply> HelperRunner::Run(const HelperRequest& request,
                                            base::TimePoint deadline) {
  GANTRY_TRY(Enter(request, deadline));
  auto reply = Converse(request, deadline);
  Leave();
  return reply;
}

std::string HelperRunner::End(base::Child child, const HelperRequest& request, bool kill) {
  for (int attempt = kill ? 1 : 0; attempt < 2; ++attempt) {
    if (attempt == 1) (void)child.Kill(SIGKILL);
    auto ended = child.Wait(kReapMsMax);
    if (ended && ended->has_value()) return (*ended)->Describe();
  }
  const std::lock_guard lock(mutex_);
  StuckHelper what{child.pid(), OperationName(request.operation), request.path,
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

  if (auto sent = SendMessage(ours.get(), Encode(request), -1); !sent) {
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
  base::UniqueFd fd;
  auto bytes = ReceiveMessage(ours.get(), &fd);
  const std::string end = End(std::move(child), request, /*kill=*/!bytes);
  if (!bytes)
    return base::Fail(base::Code::kUnavailable,
                      Describe(request) + ": its helper ended without an answer: " + end);
  GANTRY_TRY_ASSIGN(HelperReply reply, DecodeReply(*bytes));
  reply.fd = std::move(fd);
  return reply;
}

}  // namespace gantry::services
