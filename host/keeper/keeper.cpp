// SPDX-License-Identifier: Apache-2.0
#include "host/keeper/keeper.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "host/keeper/replies.hpp"

namespace gantry::keeper {
namespace {

using wire::KeeperKind;
using wire::KeeperMessage;
using wire::KeeperTag;

// A name or a fault comes from a process with vendor code in it.
bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= wire::kKeptNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > ' ' && c < 127; });
}
std::string Printable(std::string_view text) {
  std::string clean(text.substr(0, wire::kFaultBytesMax));
  for (char& c : clean)
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  return clean;
}

std::string LastLine(std::string_view tail) {
  while (tail.ends_with('\n')) tail.remove_suffix(1);
  const size_t begin = tail.rfind('\n');
  return std::string(begin == std::string_view::npos ? tail : tail.substr(begin + 1));
}

}  // namespace

Keeper::Keeper(base::UniqueFd listener, base::PinnedBinary worker, Print print, uint64_t instance)
    : listener_(std::move(listener)),
      worker_(std::move(worker)),
      print_(std::move(print)),
      instance_(instance),
      roots_(worker_, print_) {}

base::Status Keeper::Run() {
  for (;;) GANTRY_TRY(Turn());
}

base::Status Keeper::Turn() {
  enum class What { kListener, kClient, kProcess, kRoot, kEnding };
  struct Source {
    What what;
    std::string name;  // a volume, or a root's folder
    uint64_t client = 0;
    Role role = Role::kServer;
  };
  std::vector<pollfd> fds;
  std::vector<Source> sources;
  const auto add = [&](int fd, Source source, int events = POLLIN) {
    if (fd < 0) return;
    fds.push_back({fd, static_cast<short>(events), 0});
    sources.push_back(std::move(source));
  };
  const auto add_process = [&](const PathProcess& process, const Source& source) {
    add(process.control.get(), source);
    if (process.log && !process.log_ended) add(process.log->fd(), source);
    if (process.child) add(process.child.pidfd(), source);
  };
  add(listener_.get(), {What::kListener, {}});
  for (const auto& [number, client] : clients_) {
    const bool owed = client.holds && !client.unheld.empty();
    add(client.socket.get(), {What::kClient, {}, number}, POLLIN | (owed ? POLLOUT : 0));
  }
  for (const auto& [volume_id, path] : paths_) {
    add_process(path.process, {What::kProcess, volume_id, 0, Role::kServer});
    if (path.standby)
      add_process(path.standby->process, {What::kProcess, volume_id, 0, Role::kStandby});
    if (path.upgrade)
      add_process(path.upgrade->next.process, {What::kProcess, volume_id, 0, Role::kNext});
  }
  for (const auto& [folder, said] : roots_.Making()) add(said, {What::kRoot, folder});
  for (const auto& child : ending_) add(child.pidfd(), {What::kEnding, {}});
  const auto next = NextAt();
  const int timeout_ms =
      next ? static_cast<int>(std::max<int64_t>(
                 0, std::chrono::ceil<std::chrono::milliseconds>(*next - Now()).count()))
           : -1;
  const int ready = poll(fds.data(), fds.size(), timeout_ms);
  if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "poll");
  for (size_t i = 0; ready > 0 && i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    const Source& source = sources[i];
    switch (source.what) {
      case What::kListener:
        Accept();
        break;
      case What::kClient:
        if (clients_.contains(source.client) && (fds[i].revents & POLLOUT) != 0)
          SendHeld(source.client);
        if (clients_.contains(source.client) && (fds[i].revents & ~POLLOUT) != 0)
          OnClient(source.client);
        break;
      case What::kProcess:
        // It may have been forgotten, and begun anew, by what came before in this turn.
        if (const auto path = paths_.find(source.name); path != paths_.end())
          OnProcess(path->second, source.role, fds[i].fd);
        break;
      case What::kRoot:
        End(roots_.OnSaid(source.name));
        break;
      case What::kEnding:
        std::erase_if(ending_, [](base::Child& child) {
          const auto ended = child.Wait(std::chrono::milliseconds(0));
          if (ended && !ended->has_value()) return false;
          child.Abandon();
          return true;
        });
        break;
    }
  }
  CheckDeadlines();
  LaunchDue();
  return {};
}

void Keeper::OnProcess(KeptPath& path, Role role, int fd) {
  PathProcess* process = &path.process;
  if (role == Role::kStandby) process = path.standby ? &path.standby->process : nullptr;
  if (role == Role::kNext) process = path.upgrade ? &path.upgrade->next.process : nullptr;
  // One that has another place by now is found there in the next turn.
  if (process == nullptr) return;
  if (process->log && process->log->fd() == fd) return OnLog(*process);
  if (process->control.get() == fd)
    return role == Role::kServer ? OnControl(path) : OnStandbyControl(path, role);
  if (!process->child || process->child.pidfd() != fd) return;
  switch (role) {
    case Role::kServer:
      return OnExit(path.volume_id);
    case Role::kStandby:
      return OnStandbyExit(path);
    case Role::kNext:
      return OnNextExit(path);
  }
}

std::optional<base::TimePoint> Keeper::NextAt() const {
  std::optional<base::TimePoint> next = roots_.NextAt();
  const auto at = [&](base::TimePoint time) {
    if (!next || time < *next) next = time;
  };
  for (const auto& [volume_id, path] : paths_) {
    if (path.stopping) at(path.stopping->kill_at);
    if (path.launch_at) at(*path.launch_at);
    if (path.standby_at) at(*path.standby_at);
    if (path.taken_by) at(*path.taken_by);
    if (path.upgrade) at(path.upgrade->deadline);
  }
  return next;
}

void Keeper::CheckDeadlines() {
  for (auto& [volume_id, path] : paths_) {
    if (path.stopping && Now() >= path.stopping->kill_at) CheckStop(path);
    if (path.taken_by && Now() >= *path.taken_by) {
      path.taken_by.reset();
      (void)path.process.child.Kill(SIGKILL);
    }
    if (path.upgrade && Now() >= path.upgrade->deadline) CheckUpgrade(path);
    if (path.previous && Now() >= path.previous->until) path.previous.reset();
  }
  for (base::Child& late : roots_.GiveUpLate(Now())) End(std::move(late));
}

void Keeper::CheckStop(KeptPath& path) {
  if (!path.stopping->killed) {
    (void)path.process.child.Kill(SIGKILL);
    path.stopping->killed = true;
    path.stopping->kill_at = Now() + std::chrono::milliseconds(kKillMsMax);
    return;
  }
  path.fault = "its process cannot be killed";
  const Stopping stopping = *path.stopping;
  path.stopping.reset();
  TellChanged(path);
  Answer(stopping.client, stopping.request,
         base::Fail(base::Code::kDeadlineExceeded,
                    "the data path of " + path.volume_id + ": " + path.fault));
}

void Keeper::End(base::Child child) {
  if (!child) return;
  (void)child.Kill(SIGKILL);
  ending_.push_back(std::move(child));
}

void Keeper::Accept() {
  base::UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      peer.uid != geteuid()) {
    print_("refused a client of uid " + std::to_string(peer.uid));
    return;
  }
  if (clients_.size() >= kClientsMax) clients_.erase(clients_.begin());
  clients_[++last_client_].socket = std::move(socket);
}

void Keeper::ReadLogFrom(PathProcess& process, const std::string& volume_id,
                         base::UniqueFd reader) {
  process.log_ended = false;
  process.log = std::make_unique<wire::LogPipeReader>(
      std::move(reader), [this, volume_id](const wire::LogRecord& record) {
        print_(volume_id + ": " + wire::LogLevelName(record.level) + ": " + record.text);
      });
}

base::Result<PathProcess> Keeper::StartProcess(const KeptPath& path, const Version& version,
                                               bool is_standby) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return base::FailErrno(errno, "socketpair");
  PathProcess process;
  process.control = base::UniqueFd(pair[0]);
  const base::UniqueFd theirs(pair[1]);
  GANTRY_TRY_ASSIGN(wire::LogPipeEnds log, wire::MakeLogPipe());
  ReadLogFrom(process, path.volume_id, std::move(log.reader));
  // In place of what it gets when it is told to serve.
  base::UniqueFd nothing;
  if (is_standby) {
    nothing.Reset(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!nothing) return base::FailErrno(errno, "open /dev/null");
  }
  base::SpawnOptions options;
  options.arguments = path.arguments;
  if (is_standby)
    options.arguments.emplace_back("--standby");
  else if (path.served)
    options.arguments.emplace_back("--successor");
  options.pass_fds = {theirs.get(), log.writer.get(), is_standby ? nothing.get() : path.fuse.get(),
                      is_standby ? nothing.get() : path.memory.get(), version.description.get()};
  if (const int root = roots_.For(version.plugin, Now()); root >= 0) {
    options.pass_fds.push_back(root);
    options.arguments.emplace_back("--root");
  }
  options.stderr_fd = log.writer.get();
  options.new_session = true;
  GANTRY_TRY_ASSIGN(process.child, base::Spawn(worker_, options));
  process.started_at = Now();
  return process;
}

base::Status Keeper::Launch(KeptPath& path) {
  GANTRY_TRY_ASSIGN(path.process, StartProcess(path, path.version, /*is_standby=*/false));
  return {};
}

void Keeper::OnControl(KeptPath& path) {
  base::UniqueFd& control = path.process.control;
  for (int i = 0; i < kControlMessagesPerTurnMax && control; ++i) {
    auto received = wire::ReceiveKeeper(control.get());
    if (!received) {
      if (received.error().code != base::Code::kUnavailable)
        print_(path.volume_id + ": " + received.error().message);
      control.Reset();
      return;
    }
    if (!received->has_value()) return;
    KeeperMessage& request = **received;
    switch (request.kind) {
      case KeeperKind::kServing:
        OnServing(path);
        break;
      case KeeperKind::kFault:
        OnFault(path, request);
        break;
      case KeeperKind::kWaiting:  // it was told to serve before it came so far
        break;
      case KeeperKind::kTaken:
        path.taken_by.reset();
        break;
      default: {
        int fd = -1;
        const KeeperMessage reply = ServePath(path, request, fd);
        // A copy that the next keeper would miss, before the data path goes on with it.
        const bool is_known =
            request.kind == KeeperKind::kTakeFd ||
            (request.kind == KeeperKind::kRegion && reply.Number(KeeperTag::kFresh) == 0);
        if (!is_known) TellChanged(path);
        // One that asks without reading the answers has only itself to blame.
        (void)wire::SendKeeper(control.get(), reply,
                               fd >= 0 ? std::vector<int>{fd} : std::vector<int>{});
      }
    }
    for (base::UniqueFd& foreign : request.fds)
      if (foreign) closer_.Close(std::move(foreign));
  }
}

void Keeper::OnServing(KeptPath& path) {
  path.serving = true;
  path.served = true;
  path.fault.clear();
  path.fault_code = 0;
  if (path.upgrade && path.upgrade->step == Upgrade::Step::kTrial) KeepUpgrade(path);
  HandOver(path);
  WantStandby(path);
  TellChanged(path);
}

void Keeper::OnFault(KeptPath& path, const KeeperMessage& message) {
  const std::string fault = Printable(message.Text(KeeperTag::kFault));
  if (path.upgrade && path.upgrade->step == Upgrade::Step::kTrial) return GoBack(path, fault);
  path.serving = false;
  path.fault = fault;
  path.fault_code = message.Number(KeeperTag::kFaultCode);
  TellChanged(path);
}

KeeperMessage Keeper::ServePath(KeptPath& path, KeeperMessage& request, int& fd) {
  const std::string_view name = request.Text(KeeperTag::kName);
  if (!IsName(name))
    return ReplyTo(request, base::Fail(base::Code::kInvalidArgument, "the name is not valid"));
  KeeperMessage reply = ReplyTo(request);
  const auto kept = path.kept_fds.find(name);
  switch (request.kind) {
    case KeeperKind::kRegion:
      if (const auto given = GiveRegion(path, request, reply, fd); !given)
        return ReplyTo(request, given);
      return reply;
    case KeeperKind::kKeepFd:
      if (request.fds.size() != 1)
        return ReplyTo(request, base::Fail(base::Code::kInvalidArgument, "no fd to keep"));
      if (kept != path.kept_fds.end()) {
        std::swap(kept->second, request.fds[0]);
      } else if (path.kept_fds.size() < wire::kKeptFdsMax) {
        path.kept_fds.emplace(name, std::move(request.fds[0]));
      } else {
        return ReplyTo(request, base::Fail(base::Code::kResourceExhausted, "too many kept fds"));
      }
      return reply;
    case KeeperKind::kTakeFd:
      if (kept == path.kept_fds.end())
        return ReplyTo(request, base::Fail(base::Code::kNotFound, "no fd of this name"));
      fd = kept->second.get();
      return reply;
    case KeeperKind::kDropFd:
      if (kept != path.kept_fds.end()) {
        closer_.Close(std::move(kept->second));
        path.kept_fds.erase(kept);
      }
      return reply;
    default:
      return ReplyTo(request, base::Fail(base::Code::kUnimplemented, "unknown request"));
  }
}

base::Status Keeper::GiveRegion(KeptPath& path, const KeeperMessage& request, KeeperMessage& reply,
                                int& fd) {
  const std::string name(request.Text(KeeperTag::kName));
  const uint64_t bytes = request.Number(KeeperTag::kBytes);
  if (bytes == 0 || bytes > wire::kRegionBytesMax)
    return base::Fail(base::Code::kInvalidArgument, "a region has " + std::to_string(bytes) +
                                                        " bytes, expected 1 to " +
                                                        std::to_string(wire::kRegionBytesMax));
  auto region = path.regions.find(name);
  if (region != path.regions.end() && region->second.bytes != bytes)
    return base::Fail(base::Code::kFailedPrecondition,
                      "region " + name + " has " + std::to_string(region->second.bytes) +
                          " bytes, asked for " + std::to_string(bytes));
  const bool fresh = region == path.regions.end();
  if (fresh) {
    if (path.regions.size() >= wire::kRegionsMax)
      return base::Fail(base::Code::kResourceExhausted, "too many regions");
    base::UniqueFd memory(memfd_create("gantry-region", MFD_CLOEXEC));
    constexpr uint64_t kPage = 4096;
    if (!memory ||
        ftruncate(memory.get(), static_cast<off_t>((bytes + kPage - 1) / kPage * kPage)) != 0)
      return base::FailErrno(errno, "make a region");
    region = path.regions.emplace(name, Region{std::move(memory), bytes}).first;
  }
  reply.Add(KeeperTag::kFresh, uint64_t{fresh});
  fd = region->second.memory.get();
  return {};
}

void Keeper::OnLog(PathProcess& process) {
  const auto more = process.log->ReadAvailable();
  // Kept at the end of the stream: what was in it belongs to the fault.
  process.log_ended = !more || !*more;
}

std::optional<std::string> Keeper::Reap(PathProcess& process,
                                        std::optional<base::ExitStatus>& ended) {
  const auto status = process.child.Wait(std::chrono::milliseconds(0));
  if (status && !status->has_value()) return std::nullopt;
  // Of an adopted one, who is not our child, nobody tells us how it ended.
  std::string how = "has died";
  if (status) {
    ended = **status;
    how = ended->Describe();
  }
  if (process.log && !process.log_ended) OnLog(process);
  const std::string last_line = process.log ? LastLine(process.log->Tail()) : std::string();
  if (!last_line.empty()) how += "; its last line: " + last_line;
  return Printable(how);
}

void Keeper::OnExit(const std::string& volume_id) {
  KeptPath& path = paths_.at(volume_id);
  std::optional<base::ExitStatus> ended;
  const auto how = Reap(path.process, ended);
  if (!how) return;
  // Its last words, said before it died.
  if (path.process.control) OnControl(path);
  const bool in_upgrade = path.upgrade && path.upgrade->step != Upgrade::Step::kLoading;
  const bool follow = in_upgrade ? path.fault.empty() && !path.stopping
                                 : MayFollow(path, ended ? &*ended : nullptr);
  path.process.control.Reset();
  path.process.log.reset();
  path.process.child.Abandon();
  path.taken_by.reset();
  path.serving = false;
  if (follow) {
    if (in_upgrade && path.upgrade->step != Upgrade::Step::kHandingOver)
      EndUpgrade(path, base::Fail(base::Code::kFailedPrecondition,
                                  path.upgrade->why.empty() ? *how : path.upgrade->why));
    return LaunchSuccessor(path);
  }
  if (path.fault.empty()) path.fault = Printable("the data path " + *how);
  EndStandby(path);
  if (path.upgrade) EndUpgrade(path, base::Fail(base::Code::kUnavailable, path.fault));
  // The last reference: the kernel now ends all requests of the volume with an error.
  path.fuse.Reset();
  print_(volume_id + ": " + path.fault);
  if (!path.stopping) return TellChanged(path);
  const Stopping stopping = *path.stopping;
  Forget(volume_id);
  Answer(stopping.client, stopping.request, {});
}

// Whether the process that has just ended is to have a successor; counts its death.
bool Keeper::MayFollow(KeptPath& path, const base::ExitStatus* ended) {
  if (!path.take_over || !path.served || path.stopping || !path.fault.empty()) return false;
  // By its own decision: the filesystem is unmounted.
  if (ended != nullptr && ended->signal == 0 && ended->code == 0) return false;
  const auto lived = Now() - path.process.started_at;
  path.deaths = lived < kDeathSoon ? path.deaths + (path.serving ? 1 : kUnservedDeath) : 0;
  // SIGKILL comes from others, the kernel's out-of-memory killer among them.
  if (ended == nullptr || ended->signal == SIGKILL) return true;
  if (ended->signal == 0 && ended->code == wire::kTryAgainExit) return true;
  path.crashes = lived < kCrashAgainMax ? path.crashes + 1 : 1;
  return path.crashes < kCrashesMax || FallBack(path);
}

// One that is there already, or a new one.
base::Status Keeper::Follow(KeptPath& path) {
  if (PromoteNext(path) || PromoteStandby(path)) return {};
  return Launch(path);
}

void Keeper::LaunchSuccessor(KeptPath& path) {
  ++path.take_overs;
  if (path.deaths <= kDeathsWithoutPause) {
    const auto launched = Follow(path);
    if (launched) return TellChanged(path);
    print_(path.volume_id + ": no successor: " + launched.error().message);
  }
  const int doublings = std::clamp(path.deaths - kDeathsWithoutPause, 0, 10);
  path.launch_at = Now() + std::min(kLaunchPauseMax, kLaunchPauseMin * (1 << doublings));
  TellChanged(path);
}

void Keeper::LaunchDue() {
  for (auto& [volume_id, path] : paths_) {
    if (path.standby_at && Now() >= *path.standby_at) LaunchStandby(path);
    if (!path.launch_at || Now() < *path.launch_at) continue;
    path.launch_at.reset();
    if (const auto launched = Follow(path); !launched) {
      print_(volume_id + ": no successor: " + launched.error().message);
      path.launch_at = Now() + kLaunchPauseMax;
    }
    TellChanged(path);
  }
}

void Keeper::Forget(const std::string& volume_id) {
  const auto path = paths_.find(volume_id);
  EndStandby(path->second);
  for (auto& [name, fd] : path->second.kept_fds) closer_.Close(std::move(fd));
  TellForgotten(path->first);
  paths_.erase(path);
}

}  // namespace gantry::keeper
