// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/data_path.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/base/fd.hpp"
#include "host/datapath/event_loop.hpp"
#include "host/datapath/identity.hpp"
#include "host/datapath/init.hpp"
#include "host/datapath/keeper_link.hpp"
#include "host/datapath/nodes.hpp"
#include "host/datapath/plugin_host.hpp"
#include "host/datapath/reply_arena.hpp"
#include "host/datapath/server.hpp"
#include "host/datapath/slots.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::datapath {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr size_t kRetryTimer = 2;  // of the EventLoop
constexpr int kLockAgainMs = 5;

gantry_str ToStr(const std::string& text) { return {text.data(), text.size()}; }

std::string Parameter(const wire::DataPathDescription& description, const std::string& key) {
  const auto found = description.parameters.find(key);
  return found == description.parameters.end() ? std::string() : found->second;
}

// Before 5.16 a close(2) without FLUSH leaves dirty pages of a mapping (fuse_flush of fs/fuse/file.c).
bool KernelIsAtLeast(int major, int minor) {
  utsname names{};
  int has_major = 0, has_minor = 0;
  if (uname(&names) != 0 || std::sscanf(names.release, "%d.%d", &has_major, &has_minor) != 2)
    return false;
  return std::pair(has_major, has_minor) >= std::pair(major, minor);
}

Policy ServingPolicy(const wire::DataPathDescription& description) {
  if (description.disk) return DiskPolicy(description.readonly);
  const auto cache = ParsePageCache(Parameter(description, std::string(kCacheParameter)));
  Policy policy{.readonly = description.readonly};
  if (cache && *cache == PageCache::kWriteback) policy = WritebackPolicy(description.readonly);
  policy.commits_at_close = Parameter(description, std::string(kCommitsAtCloseParameter)) == "true";
  policy.writes_are_stable = !policy.commits_at_close;
  policy.refuses_flush = !policy.commits_at_close && KernelIsAtLeast(5, 16);
  policy.hides_removed_files =
      Parameter(description, std::string(kRemovedFilesParameter)) == kHideRemovedFiles;
  return policy;
}

// Time does not mend it: the storage was reached and said no, or it is another volume. To a successor
// only the latter is final: a server that is putting its rights back together says no as well, and its
// callers have more patience than somebody who stages.
bool IsFinal(base::Code code, bool successor) {
  if (code == base::Code::kFailedPrecondition) return true;
  return !successor &&
         (code == base::Code::kUnauthenticated || code == base::Code::kPermissionDenied);
}

// Of what came before the volume's open: memory or time may be short now, and not in a moment.
bool IsPassing(base::Code code) {
  return code != base::Code::kFailedPrecondition && code != base::Code::kInvalidArgument &&
         code != base::Code::kUnimplemented;
}

class DataPath {
 public:
  DataPath(const gantry_plugin& plugin, const wire::DataPathDescription& description,
           wire::LogPipe& log)
      : plugin_(plugin),
        description_(description),
        policy_(ServingPolicy(description)),
        log_(log),
        keeper_(base::UniqueFd(kControlFd)) {
    for (const auto& [key, value] : description.parameters)
      parameters_.push_back({ToStr(key), ToStr(value)});
  }

  int Run(const Serving& serving) {
    auto status = PrepareProcess();
    if (status && serving.standby) {
      auto turn = keeper_.AwaitTurn();
      if (!turn && turn.error().code == base::Code::kUnavailable) return 0;
      status = turn ? Take(std::move(*turn)) : base::Status(tl::unexpected(turn.error()));
    }
    if (status) status = Prepare(serving);
    if (!status && serving.successor && IsPassing(status.error().code)) {
      log_.Write(wire::LogLevel::kWarning, status.error().message + "; to be tried again");
      return wire::kTryAgainExit;
    }
    // A successor lets callers be interrupted while it waits for the storage.
    if (status && !slots_->fresh()) {
      server_->Recover();
      status = server_->Serve();
    }
    if (status)
      status = OpenVolume(serving.successor ? kNever : base::ToNanoseconds(serving.open_deadline));
    if (!status && begin_anew_) {
      log_.Write(wire::LogLevel::kWarning,
                 status.error().message + "; to be tried in a new process");
      return wire::kTryAgainExit;
    }
    if (status && !Ending()) status = Serve();
    if (!status) {
      log_.Write(wire::LogLevel::kError, status.error().message);
      wire::KeeperMessage fault;
      fault.kind = wire::KeeperKind::kFault;
      keeper_.Tell(
          fault
              .Add(wire::KeeperTag::kFault,
                   std::string_view(status.error().message).substr(0, wire::kFaultBytesMax))
              .Add(wire::KeeperTag::kFaultCode, static_cast<uint64_t>(status.error().code)));
    }
    return status ? 0 : 1;
  }

 private:
  // What concerns the process alone.
  base::Status PrepareProcess() {
    if (description_.disk) {
      // Before the slots are mapped, most of which are never used.
      if (const auto locked = LockProcess(kDiskLockedBytesMax); !locked)
        log_.Write(wire::LogLevel::kWarning, "not locked in memory: " + locked.error().message);
    }
    GANTRY_TRY_ASSIGN(ReplyArena arena, ReplyArena::Create());
    GANTRY_TRY_ASSIGN(EventLoop loop, EventLoop::Create());
    arena_.emplace(std::move(arena));
    loop_.emplace(std::move(loop));
    return {};
  }

  // The received copies are closed before the memory's lock is taken: to close one of them later would
  // let go of it (fcntl(2)).
  static base::Status Take(KeeperLink::Turn turn) {
    if (dup3(turn.fuse.get(), kFuseFd, O_CLOEXEC) < 0 ||
        dup3(turn.memory.get(), kMemoryFd, O_CLOEXEC) < 0)
      return base::FailErrno(errno, "take the volume's fds");
    return {};
  }

  // A keeper that dies just when it has started a successor leaves one that the next keeper does not
  // know. It serves on until it dies, and those that the next keeper starts meanwhile try again.
  static base::Result<SlotTable> AttachSlots(const Serving& serving) {
    const int64_t until_ns =
        EventLoop::Now() + (serving.successor ? kUnknownServerMsMax * kMillisecond : 0);
    for (;;) {
      auto slots = SlotTable::Attach(kMemoryFd);
      if (slots || slots.error().code != base::Code::kAborted || EventLoop::Now() >= until_ns)
        return slots;
      poll(nullptr, 0, kLockAgainMs);
    }
  }

  base::Status Prepare(const Serving& serving) {
    // A disk knows of no users.
    const std::string as = description_.disk ? std::string() : Parameter(description_, "identity");
    GANTRY_TRY_ASSIGN(const Identity identity, Identity::Parse(as, description_.mount_group));
    GANTRY_TRY_ASSIGN(SlotTable slots, AttachSlots(serving));
    if (!slots.fresh() && !serving.successor)
      return base::Fail(base::Code::kFailedPrecondition,
                        "the memory holds requests of an earlier server of the volume");
    GANTRY_TRY_ASSIGN(
        NodeTable nodes,
        NodeTable::Attach(kMemoryFd, kSlotsBytes, description_.disk ? kDiskNodesMax : kNodesMax));
    slots_.emplace(std::move(slots));
    nodes_.emplace(std::move(nodes));
    if (!slots_->locked())
      log_.Write(wire::LogLevel::kWarning, "RLIMIT_MEMLOCK is too small to lock the slots");
    server_ = std::make_unique<Server>(Server::Parts{
        kFuseFd, *loop_, *slots_, *nodes_, *arena_, identity, policy_,
        [this](wire::LogLevel level, std::string_view text) { log_.Write(level, text); }});
    host_ = std::make_unique<PluginHost>(*loop_, *server_, keeper_, description_, log_);
    GANTRY_TRY(base::SetNonBlocking(kFuseFd));
    GANTRY_TRY(loop_->Watch(keeper_.fd(), EPOLLIN, [this](uint32_t) { OnKeeper(); }));
    gantry_instance* instance = nullptr;
    const auto deadline = serving.successor ? std::chrono::steady_clock::now() + kSuccessorCreateMax
                                            : serving.open_deadline;
    GANTRY_TRY_ASSIGN(const gantry_datapath* table, host_->Create(plugin_, deadline, &instance));
    server_->SetPlugin(table, instance);
    return {};
  }

  void OnKeeper() {
    keeper_.OnReadable();
    if (keeper_.connected()) return;
    (void)loop_->Watch(keeper_.fd(), 0, nullptr);
    keeper_.Close();
    log_.Write(wire::LogLevel::kWarning, "the keeper is gone; the volume is served on");
  }

  bool Ending() const {
    return keeper_.stop_asked() || keeper_.hand_over_asked() || server_->ended();
  }

  base::Status Turn(int64_t until_ns) {
    GANTRY_TRY(loop_->RunOnce(until_ns));
    server_->Pump();
    host_->Pump();
    return {};
  }

  base::Status OpenVolume(int64_t deadline_ns) {
    gantry_datapath_open request{};
    request.size = sizeof request;
    request.readonly = description_.readonly ? 1 : 0;
    request.parameters = {parameters_.data(), parameters_.size()};
    request.volume_key = ToStr(description_.volume_id);
    int64_t retry_ms = kOpenRetryMsMin;
    const bool is_successor = deadline_ns == kNever;
    const int64_t until_ns =
        is_successor ? EventLoop::Now() + std::chrono::nanoseconds(kSuccessorOpenMax).count()
                     : deadline_ns;
    base::Error last{base::Code::kDeadlineExceeded, "open the volume: no answer"};
    while (!Ending()) {
      std::optional<base::Status> ended;
      server_->Open(request, [&](base::Status status) { ended = std::move(status); });
      while (!ended && !Ending() && EventLoop::Now() < until_ns) GANTRY_TRY(Turn(until_ns));
      if (!ended) {
        server_->AbandonInternal();
        begin_anew_ = is_successor && !Ending();
        break;
      }
      if (*ended) return {};
      // A successor may wait for long; why, it says when that changes.
      if (is_successor && last.message != ended->error().message)
        log_.Write(wire::LogLevel::kWarning, ended->error().message + "; trying on");
      last = ended->error();
      if (IsFinal(last.code, is_successor) || keeper_.missed()) break;
      const int64_t again_ns = EventLoop::Now() + retry_ms * kMillisecond;
      if (again_ns >= until_ns) {
        begin_anew_ = is_successor;
        break;
      }
      bool waited = false;
      loop_->SetTimer(kRetryTimer, again_ns, [&] { waited = true; });
      while (!waited && !Ending()) GANTRY_TRY(Turn(until_ns));
      loop_->SetTimer(kRetryTimer, kNever, nullptr);
      retry_ms = std::min(2 * retry_ms, kOpenRetryMsMax);
    }
    if (Ending()) return {};
    return tl::unexpected(last);
  }

  // Until nothing is under way, or the time is over.
  base::Status Drain(int64_t drain_ms) {
    const int64_t drained_by = EventLoop::Now() + drain_ms * kMillisecond;
    while (server_->InFlight() > 0 && EventLoop::Now() < drained_by) GANTRY_TRY(Turn(drained_by));
    return {};
  }

  // The volume stays open for the successor: nothing is closed, and whatever is not done lies in its
  // slot.
  base::Status HandOver() {
    GANTRY_TRY(Drain(std::min(keeper_.hand_over_ms(), kDrainMsMax)));
    log_.Write(wire::LogLevel::kInfo,
               "handed over with " + std::to_string(server_->InFlight()) + " requests under way");
    return {};
  }

  base::Status Serve() {
    server_->OnOpened();
    if (slots_->fresh()) GANTRY_TRY(server_->Serve());
    wire::KeeperMessage serving;
    serving.kind = wire::KeeperKind::kServing;
    keeper_.Tell(serving);
    const std::string how = slots_->fresh()
                                ? ""
                                : " as the server number " + std::to_string(slots_->generation()) +
                                      "; " + std::to_string(server_->statistics().recovered) +
                                      " requests were left unanswered";
    log_.Write(wire::LogLevel::kInfo, "serving" + how);
    while (!Ending()) GANTRY_TRY(Turn(kNever));
    server_->StopReading();
    if (keeper_.hand_over_asked() && !keeper_.stop_asked()) return HandOver();
    // The other half is for closing, before the keeper kills.
    GANTRY_TRY(
        Drain(keeper_.stop_asked() ? std::min(keeper_.stop_ms() / 2, kDrainMsMax) : kDrainMsMax));
    if (server_->InFlight() > 0)
      log_.Write(wire::LogLevel::kWarning,
                 std::to_string(server_->InFlight()) + " requests were still under way at the end");
    int64_t close_ms = policy_.commits_at_close ? kCloseCommittingMsMax : kCloseMsMax;
    if (keeper_.stop_asked()) close_ms = std::min(keeper_.stop_ms() / 4, close_ms);
    const int64_t closed_by = EventLoop::Now() + close_ms * kMillisecond;
    // The rest is for the plugin's own close.
    GANTRY_TRY(
        RemoveHidden(EventLoop::Now() + std::min(close_ms / 2, kRemoveHiddenMsMax) * kMillisecond));
    bool closed = false;
    server_->Close([&](const base::Status&) { closed = true; });
    while (!closed && EventLoop::Now() < closed_by) GANTRY_TRY(Turn(closed_by));
    if (!closed && policy_.commits_at_close)
      log_.Write(wire::LogLevel::kError, "the volume is not closed after " +
                                             std::to_string(close_ms) +
                                             " ms; what the storage has not committed may be lost");
    server_->AbandonInternal();
    const ServerStatistics& s = server_->statistics();
    log_.Write(wire::LogLevel::kInfo, "ended after " + std::to_string(s.requests) + " requests, " +
                                          std::to_string(s.interrupts) + " interrupted, " +
                                          std::to_string(s.misbehaviour) + " misbehaviours");
    return {};
  }

  // Files that were open to the end, and removed.
  base::Status RemoveHidden(int64_t until_ns) {
    bool removed = false;
    while (server_->RemoveHidden([&](const base::Status&) { removed = true; })) {
      while (!removed && EventLoop::Now() < until_ns) GANTRY_TRY(Turn(until_ns));
      if (!std::exchange(removed, false)) break;
    }
    server_->AbandonInternal();
    return {};
  }

  const gantry_plugin& plugin_;
  const wire::DataPathDescription& description_;
  const Policy policy_;
  wire::LogPipe& log_;
  KeeperLink keeper_;
  std::vector<gantry_pair> parameters_;
  bool begin_anew_ = false;  // in another process
  std::optional<SlotTable> slots_;
  std::optional<NodeTable> nodes_;
  std::optional<ReplyArena> arena_;
  std::optional<EventLoop> loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<PluginHost> host_;
};

}  // namespace

base::Result<Serving> ParseServing(const std::vector<std::string>& arguments) {
  constexpr std::string_view kOpenDeadline = "--open-deadline-ns=";
  const auto wrong = base::Fail(base::Code::kInvalidArgument,
                                "--datapath: expected --open-deadline-ns=N, then any of "
                                "--successor, --standby and --root, and nothing else");
  if (arguments.empty() || !arguments[0].starts_with(kOpenDeadline)) return wrong;
  int64_t ns = 0;
  const char* const end = arguments[0].data() + arguments[0].size();
  const auto [stop, error] = std::from_chars(arguments[0].data() + kOpenDeadline.size(), end, ns);
  if (error != std::errc{} || stop != end) return wrong;
  Serving serving;
  serving.open_deadline = base::FromNanoseconds(ns);
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i] == "--successor")
      serving.successor = true;
    else if (arguments[i] == "--standby")
      serving.successor = serving.standby = true;
    else if (arguments[i] == "--root")
      serving.has_root = true;
    else
      return wrong;
  }
  return serving;
}

base::Result<int> RunDataPath(const gantry_plugin& plugin,
                              const wire::DataPathDescription& description,
                              const Serving& serving) {
  std::signal(SIGPIPE, SIG_IGN);
  GANTRY_TRY_ASSIGN(wire::LogPipe log, wire::LogPipe::Open(kLogFd));
  // Leaked: the plugin's threads may use it until the process ends.
  auto* path = new DataPath(plugin, description, *new wire::LogPipe(std::move(log)));
  return path->Run(serving);
}

}  // namespace gantry::datapath
