// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/job_runner.hpp"

#include <gantry/job.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "host/base/sync.hpp"
#include "host/supervise/worker_root.hpp"
#include "host/wire/job_reply.hpp"
#include "host/wire/log_pipe.hpp"
#include "host/wire/socket_pair.hpp"

namespace gantry::supervise {
namespace {

using base::Code;
using base::Fail;

bool IsJobName(const std::string& name) {
  return !name.empty() && name.size() <= GANTRY_JOB_NAME_BYTES_MAX &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

constexpr size_t kReplyBytesMax = sizeof(wire::JobReply) + GANTRY_JOB_OUTPUT_BYTES_MAX;

// One job's process and what goes to and comes from it.
class JobProcess {
 public:
  JobProcess(base::Child child, base::UniqueFd socket, base::UniqueFd log, std::string_view input,
             wire::LogPipeReader::Sink sink)
      : child_(std::move(child)),
        socket_(std::move(socket)),
        log_(std::move(log), std::move(sink)),
        input_(input) {}

  // Until it has ended or has said too much, the deadline is over or `stop` can be read; false for
  // the last two.
  bool Converse(base::TimePoint deadline, int stop) {
    if (input_.empty()) shutdown(socket_.get(), SHUT_WR);
    for (;;) {
      const short events = static_cast<short>(POLLIN | (input_.empty() ? 0 : POLLOUT));
      std::array<pollfd, 4> wait{
          pollfd{child_.pidfd(), POLLIN, 0}, pollfd{reply_open_ ? socket_.get() : -1, events, 0},
          pollfd{log_open_ ? log_.fd() : -1, POLLIN, 0}, pollfd{stop, POLLIN, 0}};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - base::Now());
      constexpr int64_t kPollMsMax = 60'000;
      base::Poll(wait.data(), wait.size(),
                 static_cast<int>(std::clamp<int64_t>(left.count(), 0, kPollMsMax)));
      if (wait[2].revents != 0) log_open_ = log_.ReadAvailable().value_or(false);
      if (wait[1].revents != 0) {
        Give();
        Take();
      }
      if ((wait[0].revents & POLLIN) != 0) Take();
      if ((wait[0].revents & POLLIN) != 0 || is_too_much_) return true;
      if ((wait[3].revents & POLLIN) != 0 || base::Now() >= deadline) return false;
    }
  }

  // Killed if need be, with its session, and reaped.
  base::Result<base::ExitStatus> End() {
    // Not reaped yet, so the number is its own, and its group's.
    kill(-child_.pid(), SIGKILL);
    (void)child_.Kill(SIGKILL);
    GANTRY_TRY_ASSIGN(const auto status, child_.Wait(kJobReapMsMax));
    if (log_open_) (void)log_.ReadAvailable();
    if (status) return *status;
    return Fail(Code::kUnavailable,
                "pid " + std::to_string(child_.Abandon()) + " was killed and does not end");
  }

  bool is_too_much() const { return is_too_much_; }
  // The code and the output, once the process has ended.
  base::Result<std::string> Reply() const {
    if (is_too_much_) return Fail(Code::kUnavailable, "an answer that is too long");
    return wire::ParseJobReply(reply_);
  }

 private:
  void Give() {
    while (!input_.empty()) {
      const ssize_t n =
          send(socket_.get(), input_.data(), input_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      input_.remove_prefix(n < 0 ? input_.size() : static_cast<size_t>(n));
    }
    shutdown(socket_.get(), SHUT_WR);
  }

  void Take() {
    std::array<char, 65536> buffer;
    while (reply_open_) {
      const ssize_t n = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        reply_open_ = false;
        return;
      }
      // One that says more than it may is not listened to any longer.
      is_too_much_ = reply_.size() + static_cast<size_t>(n) > kReplyBytesMax;
      if (is_too_much_) return;
      reply_.append(buffer.data(), static_cast<size_t>(n));
    }
  }

  base::Child child_;
  const base::UniqueFd socket_;
  wire::LogPipeReader log_;
  std::string_view input_;  // what is still to be given
  std::string reply_;
  bool reply_open_ = true;
  bool is_too_much_ = false;
  bool log_open_ = true;
};

}  // namespace

base::Result<std::string> RunJob(const JobSpec& spec, const std::string& name,
                                 std::string_view input, base::TimePoint deadline,
                                 core::Cancellation* cancellation) {
  if (!IsJobName(name))
    return Fail(Code::kInvalidArgument, "job: the name must be 1 to 32 of [a-z0-9-]");
  if (input.size() > GANTRY_JOB_INPUT_BYTES_MAX)
    return Fail(Code::kInvalidArgument,
                "job " + name + ": input of " + std::to_string(input.size()) +
                    " bytes, expected at most " + std::to_string(GANTRY_JOB_INPUT_BYTES_MAX));
  if (base::Now() >= deadline)
    return Fail(Code::kDeadlineExceeded, "job " + name + ": its deadline passed while it waited");
  if (spec.verify) GANTRY_TRY(spec.verify());
  // Shared, since a cancel may be on its way while this returns.
  const auto stop = std::make_shared<base::Event>();
  std::shared_ptr<void> registration;
  if (cancellation != nullptr) registration = cancellation->OnCancel([stop] { stop->Set(); });
  GANTRY_TRY_ASSIGN(auto pair, wire::MakeChannelPair());
  GANTRY_TRY_ASSIGN(auto log, wire::MakeLogPipe());
  base::SpawnOptions options;
  options.arguments = spec.arguments;
  options.arguments.insert(
      options.arguments.end(),
      {"--job", name, "--job-deadline-ns", std::to_string(base::ToNanoseconds(deadline))});
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"};
  options.pass_fds = {pair.theirs.get(), log.writer.get()};
  options.stderr_fd = log.writer.get();
  options.new_session = true;
  PassRoot(spec.root, options);
  GANTRY_TRY_ASSIGN(auto child, base::Spawn(*spec.worker, options));
  pair.theirs.Reset();
  log.writer.Reset();
  const std::string what = "backend " + spec.backend + " job " + name;
  JobProcess process(
      std::move(child), std::move(pair.ours), std::move(log.reader), input,
      [&what](const wire::LogRecord& record) { spdlog::info("{}: {}", what, record.text); });
  const bool has_ended = process.Converse(deadline, stop->fd());
  const auto status = process.End();
  if (!status) {
    spdlog::error("{}: {}", what, status.error().message);
    return tl::unexpected(base::Wrap(status.error(), what));
  }
  if (!has_ended && cancellation != nullptr && cancellation->cancelled())
    return Fail(Code::kCancelled, what + " was killed: its worker is dead");
  if (!has_ended) {
    spdlog::warn("{}: killed at its deadline", what);
    return Fail(Code::kDeadlineExceeded, what + " was killed at its deadline");
  }
  auto reply = process.Reply();
  if (!process.is_too_much() && (status->signal != 0 || status->code != 0)) {
    spdlog::error("{}: {}", what, status->Describe());
    return Fail(Code::kUnavailable, what + ": " + status->Describe());
  }
  if (!reply) return tl::unexpected(base::Wrap(reply.error(), what));
  return reply;
}

}  // namespace gantry::supervise
