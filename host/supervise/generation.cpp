// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/generation.hpp"

#include <spdlog/spdlog.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "host/base/call_scope.hpp"
#include "host/core/process_use.hpp"
#include "host/supervise/lease.hpp"
#include "host/supervise/use_watch.hpp"
#include "host/supervise/worker_root.hpp"
#include "host/wire/socket_pair.hpp"

namespace gantry::supervise {
namespace {

// A worker that answers none of so many pings in a row is stuck as a whole and is ended.
constexpr uint64_t kPingsMissedMax = 3;

// While it drains, and the least at all.
constexpr std::chrono::milliseconds kLookMsMin{10};

std::chrono::nanoseconds TimeOf(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
}

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

std::vector<std::string> Arguments(const WorkerSpec& spec, const WorkerCgroup& cgroup) {
  const wire::WorkerLimits& limits = spec.backend.limits;
  std::vector<std::string> arguments{"gantry-worker",
                                     "--backend",
                                     spec.backend.name,
                                     "--plugin",
                                     spec.plugin.string(),
                                     "--memory-mib",
                                     std::to_string(limits.memory_mib),
                                     "--threads",
                                     std::to_string(limits.threads),
                                     "--open-files",
                                     std::to_string(limits.open_files)};
  for (const auto& path : cgroup.paths())
    arguments.insert(arguments.end(), {"--cgroup", path.string()});
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

Generation::Generation(uint64_t number, const WorkerSpec& spec, base::UniqueFd log,
                       HostCallPool& host_calls, std::function<void()> on_end)
    : number_(number),
      backend_(spec.backend.name),
      ping_period_(spec.ping_period),
      limits_(spec.backend.limits),
      cgroup_(spec.cgroups.Make(backend_, number, limits_)),
      log_(std::move(log), [name = backend_, number](
                               const wire::LogRecord& record) { LogLine(name, number, record); }),
      host_calls_(host_calls),
      caller_(std::make_shared<HostCaller>(backend_)),
      on_end_(std::move(on_end)),
      look_period_(
          std::min({ping_period_, kUseSampleMs, spec.backend.stuck.grace / 4 + kLookMsMin})),
      stuck_(spec.backend.stuck),
      not_enforced_(cgroup_.not_enforced()) {}

base::Result<std::shared_ptr<Generation>> Generation::Spawn(const WorkerSpec& spec, uint64_t number,
                                                            HostCallPool& host_calls,
                                                            std::function<void()> on_end) {
  if (spec.verify_plugin) GANTRY_TRY(spec.verify_plugin(spec.plugin));
  GANTRY_TRY_ASSIGN(const auto lease, TakeLease(spec.lease, kLeaseMsMax));
  GANTRY_TRY_ASSIGN(auto pair, wire::MakeChannelPair());
  GANTRY_TRY_ASSIGN(auto log, wire::MakeLogPipe());
  std::shared_ptr<Generation> generation(
      new Generation(number, spec, std::move(log.reader), host_calls, std::move(on_end)));
  base::SpawnOptions options;
  options.arguments = Arguments(spec, generation->cgroup_);
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"};
  options.pass_fds = {pair.theirs.get(), log.writer.get(), lease.get()};
  options.stderr_fd = log.writer.get();
  options.new_session = true;
  generation->caller_->job = {spec.worker, options.arguments, spec.backend.name, {}, spec.root};
  PassRoot(spec.root, options);
  if (spec.verify_plugin)
    generation->caller_->job.verify = [verify = spec.verify_plugin, plugin = spec.plugin] {
      return verify(plugin);
    };
  // The kernel ends a worker with the thread that spawned it (PR_SET_PDEATHSIG), so that is the one
  // that watches it.
  // Shared, because the thread may still be in its last touch of it when this returns.
  struct Begun {
    base::Mutex mutex;
    base::Condition changed;
    std::optional<base::Status> status;
  };
  const auto begun = std::make_shared<Begun>();
  generation->watcher_ = base::Thread([&, begun, raw = generation.get()] {
    auto status = raw->Begin(*spec.worker, options, lease.get(), std::move(pair.ours));
    const bool is_running = status.has_value();
    {
      const std::lock_guard lock(begun->mutex);
      begun->status = std::move(status);
      begun->changed.notify_one();
    }
    if (is_running) raw->Watch();
  });
  std::unique_lock lock(begun->mutex);
  begun->changed.wait(lock, [&] { return begun->status.has_value(); });
  if (!*begun->status) {
    lock.unlock();
    generation->watcher_.join();
    return tl::unexpected(std::move(begun->status->error()));
  }
  return generation;
}

base::Status Generation::Begin(const base::PinnedBinary& worker, const base::SpawnOptions& options,
                               int lease, base::UniqueFd channel) {
  GANTRY_TRY_ASSIGN(child_, base::Spawn(worker, options));
  pid_ = child_.pid();
  GANTRY_TRY(NoteHolder(lease, pid_));
  wire::ChannelOptions channel_options;
  channel_options.accept_fds = false;
  GANTRY_TRY_ASSIGN(channel_, wire::Channel::Create(std::move(channel), channel_options));
  caller_->channel = channel_;
  return channel_->Start(*this);
}

Generation::~Generation() {
  End();
  // Whoever drops the last reference may hold a lock that on_end_ wants, so the watcher is not
  // waited for once it has nothing but that left to do; only one that still works here is.
  if (watcher_.joinable()) end().empty() ? watcher_.join() : watcher_.detach();
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
  channel::Call ours;
  ours.set_deadline_ns(base::ToNanoseconds(call.deadline));
  ours.set_attempt(attempt);
  ours.set_credits(kEmitCredits);
  ours.set_log_id(base::CallScope::Current().id);
  if (call.secrets != nullptr && !call.secrets->empty()) {
    ours.set_has_secrets(true);
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
  // One message after the other reads as both merged, and the request, which may be large, is
  // copied once less.
  out.payload = call.message.SerializeAsString();
  ours.AppendToString(&out.payload);
  return channel_->Send(std::move(out));
}

Outcome Generation::Run(const core::BackendCall& call, Attempt attempt, const OnEmit& on_emit) {
  auto pending = std::make_shared<PendingCall>(std::move(attempt.hold));
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (dead_ || !retired_.empty()) return {};
    id = next_id_++;
    calls_.emplace(id, pending);
    stuck_.Begun();
    history_.Begun(id, call.message, attempt.number, base::Now());
  }
  if (const auto sent = SendCall(id, call, attempt.number); !sent) {
    Forget(id, sent.error().code, /*is_answer=*/false);
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
  if (attempt.cancellation != nullptr)
    registration = attempt.cancellation->OnCancel([pending] { pending->Cancel(); });

  Outcome outcome;
  outcome.sent = true;
  bool wanted = true;
  uint32_t taken = 0;
  std::vector<channel::Emit> emits;
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
  } else if (outcome.event != PendingCall::Event::kDied) {
    // The plugin goes on until its own finish, and so does the lock.
    pending->Abandon();
    NoteAbandoned(id);
    (void)channel_->Send({wire::Kind::kCancel, id, {}, {}, {}});
  }
  return outcome;
}

// Takes the call out of the table; null when its end is known already.
std::shared_ptr<PendingCall> Generation::Forget(uint64_t id, base::Code code, bool is_answer) {
  const bool is_in_vain =
      !is_answer || code == base::Code::kDeadlineExceeded || code == base::Code::kCancelled;
  const std::lock_guard lock(mutex_);
  auto node = calls_.extract(id);
  if (node.empty()) return nullptr;
  stuck_.Ended(id, is_in_vain);
  history_.Ended(id, static_cast<int32_t>(code), base::Now());
  return std::move(node.mapped());
}

void Generation::NoteAbandoned(uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (!calls_.contains(id)) return;
  stuck_.Abandoned(id, base::Now());
  history_.Abandoned(id);
}

void Generation::OnMessage(wire::Message message) {
  switch (message.kind) {
    case wire::Kind::kPong:
      ++pongs_seen_;
      return;
    case wire::Kind::kHostCall:
      host_calls_.Submit(caller_, std::move(message));
      return;
    case wire::Kind::kEmit:
    case wire::Kind::kFinish:
      break;
    default:
      return;
  }
  if (message.kind == wire::Kind::kEmit) {
    std::shared_ptr<PendingCall> call;
    {
      const std::lock_guard lock(mutex_);
      const auto found = calls_.find(message.call_id);
      if (found == calls_.end()) return;  // a late one: its caller has its answer
      call = found->second;
    }
    channel::Emit emit;
    // Text that is not UTF-8, for one; leaving the item out would make a list short.
    if (emit.ParseFromString(message.payload)) {
      if (emit.has_description()) NoteSandbox(emit.description());
      call->Emit(std::move(emit));
    } else {
      call->Spoil("backend " + backend_ + " emitted something unreadable");
    }
    return;
  }
  channel::Finish finish;
  if (!finish.ParseFromString(message.payload)) {
    finish.set_code(static_cast<int32_t>(base::Code::kUnavailable));
    finish.set_message("backend " + backend_ + " gave an unreadable answer");
  }
  if (const auto call = Forget(message.call_id, static_cast<base::Code>(finish.code()), true))
    call->Finish(std::move(finish));
}

// It is the worker's own word, hence bounded, and good for people only.
void Generation::NoteSandbox(const channel::Description& description) {
  constexpr size_t kPartsMax = 16;
  constexpr size_t kPartBytesMax = 256;
  const std::lock_guard lock(mutex_);
  not_enforced_ = cgroup_.not_enforced();
  for (const auto& part : description.not_enforced())
    if (not_enforced_.size() < kPartsMax) not_enforced_.push_back(part.substr(0, kPartBytesMax));
  for (const auto& part : not_enforced_)
    spdlog::info("backend {} generation {}: not enforced: {}", backend_, number_, part);
}

void Generation::OnClosed(const base::Error& error) {
  if (error.code == base::Code::kInternal)
    spdlog::error("backend {} generation {}: {}", backend_, number_, error.message);
  closed_.Set();
}

bool Generation::Ping() {
  if (pings_sent_ - pongs_seen_ >= kPingsMissedMax) return false;
  ++pings_sent_;
  (void)channel_->Send({wire::Kind::kPing, pings_sent_, {}, {}, {}});
  return true;
}

void Generation::NoteUse() {
  const auto use = core::ReadProcessUse(pid_);
  const std::lock_guard lock(mutex_);
  if (use.resident_bytes > 0) use_ = use;  // a zombie has none
}

bool Generation::LookForStuckCalls() {
  const auto now = base::Now();
  const std::lock_guard lock(mutex_);
  if (!retired_.empty()) return stuck_.awaited() > 0 && now < drained_by_;
  retired_ = stuck_.Verdict(now);
  if (retired_.empty()) return true;
  drained_by_ = now + kStuckDrainMsMax;
  look_period_ = kLookMsMin;
  spdlog::error("backend {} generation {}: {}: ending pid {}", backend_, number_, retired_, pid_);
  return true;
}

void Generation::WatchUntilOver() {
  auto next_ping = base::Now() + ping_period_;
  const UseWatch use(pid_, limits_);
  auto next_look = base::Now() + kUseSampleMs;
  bool log_open = true;
  for (;;) {
    const auto next = std::min(next_ping, base::Now() + base::Duration(look_period_));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - base::Now());
    std::array<pollfd, 3> fds{{{child_.pidfd(), POLLIN, 0},
                               {closed_.fd(), POLLIN, 0},
                               {log_open ? log_.fd() : -1, POLLIN, 0}}};
    base::Poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(0, left.count())));
    if (fds[2].revents != 0) log_open = ReadLog();
    // Without its channel a worker is of no use; it ends by itself, or is helped.
    if (fds[0].revents != 0 || fds[1].revents != 0) return;
    if (!LookForStuckCalls()) {
      (void)child_.Kill(SIGKILL);
      return;
    }
    if (base::Now() >= next_look) {
      next_look = base::Now() + kUseSampleMs;
      if (auto excess = use.Excess()) {
        (void)child_.Kill(SIGKILL);  // at once: it grows while calls would be awaited
        const std::lock_guard lock(mutex_);
        retired_ = std::move(*excess);
        return;
      }
    }
    if (base::Now() < next_ping) continue;
    next_ping += ping_period_;
    NoteUse();
    if (Ping()) continue;
    {
      const std::lock_guard lock(mutex_);
      retired_ = "it answers no ping";
    }
    spdlog::error("backend {} generation {}: pid {} answers no ping: ending it", backend_, number_,
                  pid_);
    (void)child_.Kill(SIGKILL);
    return;
  }
}

bool Generation::ReadLog() {
  const std::lock_guard lock(log_mutex_);
  return log_.ReadAvailable().value_or(false);
}

WorkerReport Generation::Report() const {
  WorkerReport report;
  {
    const std::lock_guard lock(mutex_);
    // Not reaped without this lock, so the number is its own.
    if (child_) report.use = core::ReadProcessUse(pid_);
    if (report.use.resident_bytes == 0) report.use = use_;
    report.last_calls = history_.Describe(base::Now());
    report.not_enforced = not_enforced_;
  }
  const std::lock_guard lock(log_mutex_);
  report.stderr_tail = log_.Tail();
  report.log_lines_dropped = log_.dropped();
  return report;
}

// What the log still holds is read after the death, and no longer than there is something to read.
std::string Generation::Reap() {
  constexpr std::chrono::milliseconds kOwnExitMsMax{200};
  // Wait only looks at the pidfd until the process is a zombie, so Kill from another thread is
  // safe.
  pollfd exit{child_.pidfd(), POLLIN, 0};
  if (base::Poll(&exit, 1, static_cast<int>(kOwnExitMsMax.count())) <= 0)
    (void)child_.Kill(SIGKILL);
  base::Poll(&exit, 1, static_cast<int>(kReapMsMax.count()));
  // What it forked, against all rules, is in its session and would hold the channel and the lease.
  // Not reaped yet, so the number is its own, and its group's.
  kill(-pid_, SIGKILL);
  pollfd more{log_.fd(), POLLIN, 0};
  while (base::Poll(&more, 1, 0) > 0 && ReadLog()) {
  }
  const std::lock_guard lock(mutex_);
  const auto status = child_.Wait(std::chrono::milliseconds(0));
  if (!status || !*status) return "cannot be ended (pid " + std::to_string(child_.Abandon()) + ")";
  const auto& usage = (*status)->usage;
  use_.cpu = TimeOf(usage.ru_utime) + TimeOf(usage.ru_stime);
  // The most it ever had, in KiB (getrusage(2)): what an operator asks after an OOM kill.
  use_.resident_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return (*status)->Describe() + (retired_.empty() ? "" : " by the host: " + retired_);
}

// The dead process's last answers may still lie in the socket: the channel's end follows them.
void Generation::AwaitLastWords() {
  constexpr std::chrono::milliseconds kLastWordsMsMax{500};
  pollfd end{closed_.fd(), POLLIN, 0};
  base::Poll(&end, 1, static_cast<int>(kLastWordsMsMax.count()));
}

// Whichever of them it was that killed it, the log names it.
void Generation::LogCallsUnderWay() const {
  constexpr size_t kNamedMax = 4;
  std::string names;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& call : history_.UnderWay(base::Now(), kNamedMax))
      names += (names.empty() ? "" : "; ") + call;
  }
  if (!names.empty())
    spdlog::warn("backend {} generation {}: under way at its end: {}", backend_, number_, names);
}

void Generation::Watch() {
  WatchUntilOver();
  const std::string how = Reap();
  AwaitLastWords();
  LogCallsUnderWay();
  channel_->Close();
  // What it had asked of the host is part of it: a replay must not meet that either.
  while (!host_calls_.EndOf(*caller_, base::Now() + kHostCallsEndMsMax))
    spdlog::error("backend {} generation {}: services it asked for have not ended", backend_,
                  number_);
  FailAll();
  const auto on_end = on_end_;
  {
    const std::lock_guard lock(mutex_);
    end_ = how;
    ended_.notify_all();
  }
  // The generation may be gone from here on.
  on_end();
}

Spawner MakeSpawner(WorkerSpec spec, HostCallPool& host_calls) {
  return
      [spec = std::move(spec), &host_calls](
          uint64_t number, std::function<void()> on_end) -> base::Result<std::shared_ptr<Worker>> {
        GANTRY_TRY_ASSIGN(auto generation,
                          Generation::Spawn(spec, number, host_calls, std::move(on_end)));
        return std::shared_ptr<Worker>(std::move(generation));
      };
}

}  // namespace gantry::supervise
