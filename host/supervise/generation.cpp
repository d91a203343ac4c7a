// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/generation.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "host/base/call_scope.hpp"
#include "host/supervise/lease.hpp"
#include "host/wire/socket_pair.hpp"

namespace gantry::supervise {
namespace {

// A worker that answers none of so many pings in a row is stuck as a whole and is ended.
constexpr uint64_t kPingsMissedMax = 3;

spdlog::level::level_enum LevelOf(wire::LogLevel level) {
  switch (level) {
    case wire::LogLevel::kDebug:
      return spdlog::level::debug;
    case wire::LogLevel::kWarning:
      return spdlog::level::warn;
    case wire::LogLevel::kError:
      return spdlog::level::err;
    default:
      return spdlog::level::info;
  }
}

// A plugin's line about a call begins with "[id] ", put there by the worker (host/worker).
void LogLine(const std::string& backend, uint64_t number, const wire::LogRecord& record) {
  std::string_view text = record.text;
  std::string id;
  const size_t end = text.find("] ");
  if (text.starts_with('[') && end != std::string_view::npos &&
      base::IsCallId(text.substr(1, end - 1))) {
    id = text.substr(1, end - 1);
    text.remove_prefix(end + 2);
  }
  const base::CallScope scope({.id = std::move(id), .backend = backend});
  spdlog::log(LevelOf(record.level), "backend {} generation {}: {}", backend, number, text);
}

std::vector<std::string> Arguments(const WorkerSpec& spec) {
  std::vector<std::string> arguments{"gantry-worker", "--backend", spec.backend.name, "--plugin",
                                     spec.plugin.string()};
  if (!spec.drop_privileges) return arguments;
  arguments.insert(arguments.end(), {"--uid", std::to_string(spec.backend.uid), "--gid",
                                     std::to_string(spec.backend.gid)});
  std::string capabilities;
  for (const auto& capability : spec.backend.grants.capabilities)
    capabilities += (capabilities.empty() ? "" : ",") + capability;
  if (!capabilities.empty()) arguments.insert(arguments.end(), {"--capabilities", capabilities});
  return arguments;
}

}  // namespace

Generation::Generation(uint64_t number, const WorkerSpec& spec, base::Child child,
                       base::UniqueFd log, HostCallPool& host_calls, std::function<void()> on_end)
    : number_(number),
      backend_(spec.backend.name),
      ping_period_(spec.ping_period),
      child_(std::move(child)),
      pid_(child_.pid()),
      log_(std::move(log), [name = backend_, number](
                               const wire::LogRecord& record) { LogLine(name, number, record); }),
      host_calls_(host_calls),
      on_end_(std::move(on_end)),
      closed_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

base::Result<std::unique_ptr<Generation>> Generation::Spawn(const WorkerSpec& spec, uint64_t number,
                                                            HostCallPool& host_calls,
                                                            std::function<void()> on_end) {
  GANTRY_TRY_ASSIGN(const auto lease, TakeLease(spec.lease, kLeaseMsMax));
  GANTRY_TRY_ASSIGN(auto pair, wire::MakeChannelPair());
  GANTRY_TRY_ASSIGN(auto log, wire::MakeLogPipe());
  base::SpawnOptions options;
  options.arguments = Arguments(spec);
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"};
  options.pass_fds = {pair.theirs.get(), log.writer.get(), lease.get()};
  options.stderr_fd = log.writer.get();
  options.new_session = true;
  GANTRY_TRY_ASSIGN(auto child, base::Spawn(*spec.worker, options));
  GANTRY_TRY(NoteHolder(lease.get(), child.pid()));
  std::unique_ptr<Generation> generation(new Generation(
      number, spec, std::move(child), std::move(log.reader), host_calls, std::move(on_end)));
  wire::ChannelOptions channel_options;
  channel_options.accept_fds = false;
  GANTRY_TRY_ASSIGN(auto channel, wire::Channel::Create(std::move(pair.ours), channel_options));
  generation->channel_ = std::move(channel);
  GANTRY_TRY(generation->channel_->Start(*generation));
  generation->watcher_ = std::thread([raw = generation.get()] { raw->Watch(); });
  return generation;
}

Generation::~Generation() {
  End();
  if (watcher_.joinable()) watcher_.join();
  if (channel_) channel_->Close();
}

void Generation::End() {
  if (!watcher_.joinable()) return;  // never started: the child ends with its owner
  // The watcher alone reaps, so the pidfd names the process until end_ is set.
  std::unique_lock lock(mutex_);
  if (end_.empty()) (void)child_.Kill(SIGKILL);
  ended_.wait_for(lock, 2 * kReapMsMax, [&] { return !end_.empty(); });
}

bool Generation::AwaitEnd(base::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  return ended_.wait_until(lock, deadline, [&] { return !end_.empty(); });
}

std::string Generation::end() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

void Generation::FailAll() {
  std::map<uint64_t, std::shared_ptr<PendingCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    dead_ = true;
    calls.swap(calls_);
  }
  for (auto& [id, call] : calls) call->Die();
}

base::Status Generation::SendCall(uint64_t id, const core::BackendCall& call, uint32_t attempt) {
  channel::Call message = call.message;
  message.set_deadline_ns(base::ToNanoseconds(call.deadline));
  message.set_attempt(attempt);
  message.set_credits(kEmitCredits);
  message.set_log_id(base::CallScope::Current().id);
  if (call.secrets != nullptr && !call.secrets->empty()) {
    message.set_has_secrets(true);
    channel::Secrets secrets;
    for (const auto& [key, value] : *call.secrets)
      (*secrets.mutable_values())[key] = std::string(value.view());
    wire::Message out;
    out.kind = wire::Kind::kSecrets;
    out.call_id = id;
    out.secret.Resize(secrets.ByteSizeLong());
    secrets.SerializeToArray(out.secret.data(), static_cast<int>(out.secret.size()));
    for (auto& [key, value] : *secrets.mutable_values()) base::Wipe({value.data(), value.size()});
    GANTRY_TRY(channel_->Send(std::move(out)));
  }
  wire::Message out;
  out.kind = wire::Kind::kCall;
  out.call_id = id;
  out.payload = message.SerializeAsString();
  return channel_->Send(std::move(out));
}

Generation::Outcome Generation::Run(const core::BackendCall& call, uint32_t attempt,
                                    const std::function<bool(const channel::Emit&)>& on_emit) {
  auto pending = std::make_shared<PendingCall>(call.hold);
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (dead_) return {};
    id = next_id_++;
    calls_.emplace(id, pending);
  }
  const auto forget = [&] {
    const std::lock_guard lock(mutex_);
    calls_.erase(id);
  };
  if (const auto sent = SendCall(id, call, attempt); !sent) {
    forget();
    Outcome outcome;
    if (sent.error().code == base::Code::kUnavailable) return outcome;  // the channel is gone
    outcome.event = PendingCall::Event::kFinished;
    // A full queue is of this moment; RESOURCE_EXHAUSTED would read as "the storage is full".
    const bool is_full = sent.error().code == base::Code::kResourceExhausted;
    outcome.finish.set_code(
        static_cast<int32_t>(is_full ? base::Code::kUnavailable : sent.error().code));
    outcome.finish.set_message(sent.error().message);
    return outcome;
  }
  std::shared_ptr<void> registration;
  if (call.cancellation != nullptr)
    registration = call.cancellation->OnCancel([pending] { pending->Cancel(); });

  Outcome outcome;
  outcome.sent = true;
  bool wanted = true;
  uint32_t taken = 0;
  std::deque<channel::Emit> emits;
  for (;;) {
    outcome.event = pending->Await(call.deadline, emits);
    for (const auto& emit : emits) {
      ++taken;
      if (!wanted) continue;
      outcome.delivered = true;
      wanted = on_emit(emit);
    }
    if (outcome.event != PendingCall::Event::kEmits) break;
    if (taken < kCreditBatch && wanted) continue;
    channel::Credit credit;
    credit.set_emits(taken);
    credit.set_stop(!wanted);
    taken = 0;
    (void)channel_->Send({wire::Kind::kCredit, id, credit.SerializeAsString(), {}, {}});
  }
  if (outcome.event == PendingCall::Event::kFinished) {
    outcome.finish = pending->finish();
    forget();
  } else if (outcome.event != PendingCall::Event::kDied) {
    // The plugin goes on until its own finish, and so does the lock.
    pending->Abandon();
    (void)channel_->Send({wire::Kind::kCancel, id, {}, {}, {}});
  }
  return outcome;
}

void Generation::OnMessage(wire::Message message) {
  switch (message.kind) {
    case wire::Kind::kPong:
      ++pongs_seen_;
      return;
    case wire::Kind::kHostCall:
      host_calls_.Submit(backend_, std::move(message), channel_);
      return;
    case wire::Kind::kEmit:
    case wire::Kind::kFinish:
      break;
    default:
      return;
  }
  std::shared_ptr<PendingCall> call;
  {
    const std::lock_guard lock(mutex_);
    const auto found = calls_.find(message.call_id);
    if (found == calls_.end()) return;  // a late one: its caller has its answer
    call = found->second;
    if (message.kind == wire::Kind::kFinish) calls_.erase(found);
  }
  if (message.kind == wire::Kind::kEmit) {
    channel::Emit emit;
    // Text that is not UTF-8, for one; leaving the item out would make a list short.
    if (emit.ParseFromString(message.payload))
      call->Emit(std::move(emit));
    else
      call->Spoil("backend " + backend_ + " emitted something unreadable");
    return;
  }
  channel::Finish finish;
  if (!finish.ParseFromString(message.payload)) {
    finish.set_code(static_cast<int32_t>(base::Code::kUnavailable));
    finish.set_message("backend " + backend_ + " gave an unreadable answer");
  }
  call->Finish(std::move(finish));
}

void Generation::OnClosed(const base::Error& error) {
  if (error.code == base::Code::kInternal)
    spdlog::error("backend {} generation {}: {}", backend_, number_, error.message);
  const uint64_t one = 1;
  // The watcher needs no more than to wake up; a full counter wakes it as well.
  [[maybe_unused]] const ssize_t n = write(closed_.get(), &one, sizeof one);
}

bool Generation::Ping() {
  if (pings_sent_ - pongs_seen_ >= kPingsMissedMax) return false;
  ++pings_sent_;
  (void)channel_->Send({wire::Kind::kPing, pings_sent_, {}, {}, {}});
  return true;
}

void Generation::WatchUntilOver() {
  auto next_ping = std::chrono::steady_clock::now() + ping_period_;
  bool log_open = true;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(next_ping - std::chrono::steady_clock::now());
    std::array<pollfd, 3> fds{{{child_.pidfd(), POLLIN, 0},
                               {closed_.get(), POLLIN, 0},
                               {log_open ? log_.fd() : -1, POLLIN, 0}}};
    poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(0, left.count())));
    if (fds[2].revents != 0) log_open = log_.ReadAvailable().value_or(false);
    // Without its channel a worker is of no use; it ends by itself, or is helped.
    if (fds[0].revents != 0 || fds[1].revents != 0) return;
    if (std::chrono::steady_clock::now() < next_ping) continue;
    next_ping += ping_period_;
    if (Ping()) continue;
    spdlog::error("backend {} generation {}: pid {} answers no ping: ending it", backend_, number_,
                  pid_);
    (void)child_.Kill(SIGKILL);
    return;
  }
}

// What the log still holds is read after the death, and no longer than there is something to read.
std::string Generation::Reap() {
  constexpr std::chrono::milliseconds kOwnExitMsMax{200};
  // Wait only looks at the pidfd until the process is a zombie, so Kill from another thread is
  // safe.
  pollfd exit{child_.pidfd(), POLLIN, 0};
  if (poll(&exit, 1, static_cast<int>(kOwnExitMsMax.count())) <= 0) (void)child_.Kill(SIGKILL);
  poll(&exit, 1, static_cast<int>(kReapMsMax.count()));
  pollfd more{log_.fd(), POLLIN, 0};
  while (poll(&more, 1, 0) > 0 && log_.ReadAvailable().value_or(false)) {
  }
  const std::lock_guard lock(mutex_);
  const auto status = child_.Wait(std::chrono::milliseconds(0));
  if (status && *status) return (*status)->Describe();
  return "cannot be ended (pid " + std::to_string(child_.Abandon()) + ")";
}

// The dead process's last answers may still lie in the socket: the channel's end follows them.
void Generation::AwaitLastWords() {
  constexpr std::chrono::milliseconds kLastWordsMsMax{500};
  pollfd end{closed_.get(), POLLIN, 0};
  poll(&end, 1, static_cast<int>(kLastWordsMsMax.count()));
}

void Generation::Watch() {
  WatchUntilOver();
  const std::string how = Reap();
  AwaitLastWords();
  channel_->Close();
  FailAll();
  {
    const std::lock_guard lock(mutex_);
    end_ = how;
    ended_.notify_all();
  }
  on_end_();
}

}  // namespace gantry::supervise
