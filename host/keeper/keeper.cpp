// SPDX-License-Identifier: Apache-2.0
#include "host/keeper/keeper.hpp"

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

base::TimePoint Now() { return std::chrono::steady_clock::now(); }

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
      instance_(instance) {}

base::Status Keeper::Run() {
  for (;;) GANTRY_TRY(Turn());
}

base::Status Keeper::Turn() {
  enum class What { kListener, kClient, kControl, kLog, kExit };
  struct Source {
    What what;
    std::string volume_id;
    uint64_t client;
  };
  std::vector<pollfd> fds;
  std::vector<Source> sources;
  const auto add = [&](int fd, What what, const std::string& volume_id) {
    if (fd < 0) return;
    fds.push_back({fd, POLLIN, 0});
    sources.push_back({what, volume_id, 0});
  };
  add(listener_.get(), What::kListener, {});
  for (const auto& [number, client] : clients_) {
    const bool owed = client.holds && !client.unheld.empty();
    fds.push_back({client.socket.get(), static_cast<short>(POLLIN | (owed ? POLLOUT : 0)), 0});
    sources.push_back({What::kClient, {}, number});
  }
  for (const auto& [volume_id, path] : paths_) {
    add(path.control.get(), What::kControl, volume_id);
    if (path.log && !path.log_ended) add(path.log->fd(), What::kLog, volume_id);
    if (path.child) add(path.child.pidfd(), What::kExit, volume_id);
  }
  const int ready = poll(fds.data(), fds.size(), PollTimeoutMs());
  if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "poll");
  for (size_t i = 0; ready > 0 && i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    const Source& source = sources[i];
    const auto path = paths_.find(source.volume_id);
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
      // A path may have been forgotten, and begun anew, by what came before in this turn.
      case What::kControl:
        if (path != paths_.end() && path->second.control.get() == fds[i].fd)
          OnControl(path->second);
        break;
      case What::kLog:
        if (path != paths_.end() && path->second.log && path->second.log->fd() == fds[i].fd)
          OnLog(path->second);
        break;
      case What::kExit:
        if (path != paths_.end() && path->second.child && path->second.child.pidfd() == fds[i].fd)
          OnExit(source.volume_id);
        break;
    }
  }
  CheckStops();
  LaunchDue();
  return {};
}

int Keeper::PollTimeoutMs() const {
  int64_t timeout_ms = -1;
  for (const auto& [volume_id, path] : paths_) {
    if (!path.stopping && !path.launch_at) continue;
    const auto due = path.stopping ? path.stopping->kill_at : *path.launch_at;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Now()).count();
    timeout_ms = timeout_ms < 0 ? std::max<int64_t>(left, 0)
                                : std::min(timeout_ms, std::max<int64_t>(left, 0));
  }
  return static_cast<int>(timeout_ms);
}

void Keeper::CheckStops() {
  for (auto& [volume_id, path] : paths_) {
    if (!path.stopping || Now() < path.stopping->kill_at) continue;
    if (!path.stopping->killed) {
      (void)path.child.Kill(SIGKILL);
      path.stopping->killed = true;
      path.stopping->kill_at = Now() + std::chrono::milliseconds(kKillMsMax);
      continue;
    }
    path.fault = "its process cannot be killed";
    AnswerStop(*path.stopping, base::Fail(base::Code::kDeadlineExceeded,
                                          "the data path of " + volume_id + ": " + path.fault));
    path.stopping.reset();
  }
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

void Keeper::ReadLogFrom(KeptPath& path, base::UniqueFd reader) {
  path.log_ended = false;
  path.log = std::make_unique<wire::LogPipeReader>(
      std::move(reader), [this, volume = path.volume_id](const wire::LogRecord& record) {
        print_(volume + ": " + wire::LogLevelName(record.level) + ": " + record.text);
      });
}

base::Status Keeper::Launch(KeptPath& path) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return base::FailErrno(errno, "socketpair");
  path.control = base::UniqueFd(pair[0]);
  const base::UniqueFd theirs(pair[1]);
  GANTRY_TRY_ASSIGN(wire::LogPipeEnds log, wire::MakeLogPipe());
  ReadLogFrom(path, std::move(log.reader));
  base::SpawnOptions options;
  options.arguments = path.arguments;
  if (path.served) options.arguments.emplace_back("--successor");
  options.pass_fds = {theirs.get(), log.writer.get(), path.fuse.get(), path.memory.get(),
                      path.description.get()};
  options.stderr_fd = log.writer.get();
  options.new_session = true;
  GANTRY_TRY_ASSIGN(path.child, base::Spawn(worker_, options));
  path.started_at = Now();
  return {};
}

void Keeper::OnControl(KeptPath& path) {
  for (int i = 0; i < kControlMessagesPerTurnMax && path.control; ++i) {
    auto received = wire::ReceiveKeeper(path.control.get());
    if (!received) {
      if (received.error().code != base::Code::kUnavailable)
        print_(path.volume_id + ": " + received.error().message);
      path.control.Reset();
      return;
    }
    if (!received->has_value()) return;
    KeeperMessage& request = **received;
    if (request.kind == KeeperKind::kServing || request.kind == KeeperKind::kFault) {
      path.serving = request.kind == KeeperKind::kServing;
      path.served = path.served || path.serving;
      path.fault = Printable(request.Text(KeeperTag::kFault));
      path.fault_code = request.Number(KeeperTag::kFaultCode);
      TellChanged(path);
    } else {
      int fd = -1;
      const KeeperMessage reply = ServePath(path, request, fd);
      // A copy that the next keeper would miss, before the data path goes on with it.
      if (request.kind != KeeperKind::kTakeFd) TellChanged(path);
      // One that asks without reading the answers has only itself to blame.
      (void)wire::SendKeeper(path.control.get(), reply,
                             fd >= 0 ? std::vector<int>{fd} : std::vector<int>{});
    }
    for (base::UniqueFd& foreign : request.fds)
      if (foreign) closer_.Close(std::move(foreign));
  }
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

void Keeper::OnLog(KeptPath& path) {
  const auto more = path.log->ReadAvailable();
  // Kept at the end of the stream: what was in it belongs to the fault.
  path.log_ended = !more || !*more;
}

void Keeper::OnExit(const std::string& volume_id) {
  KeptPath& path = paths_.at(volume_id);
  const auto status = path.child.Wait(std::chrono::milliseconds(0));
  if (status && !status->has_value()) return;
  // Its last words, said before it died.
  if (path.control) OnControl(path);
  if (path.log && !path.log_ended) OnLog(path);
  const std::string last_line = path.log ? LastLine(path.log->Tail()) : std::string();
  const bool follow = MayFollow(path, status ? &**status : nullptr);
  path.control.Reset();
  path.log.reset();
  path.child.Abandon();
  path.serving = false;
  if (follow) return LaunchSuccessor(path);
  if (path.fault.empty()) {
    // Of an adopted one, who is not our child, nobody tells us how it ended.
    path.fault = "the data path " + (status ? (*status)->Describe() : "has died");
    if (!last_line.empty()) path.fault += "; its last line: " + last_line;
    path.fault = Printable(path.fault);
  }
  // The last reference: the kernel now ends all requests of the volume with an error.
  path.fuse.Reset();
  print_(volume_id + ": " + path.fault);
  if (!path.stopping) return TellChanged(path);
  const Stopping stopping = *path.stopping;
  Forget(volume_id);
  AnswerStop(stopping, {});
}

// Whether the process that has just ended is to have a successor; counts its death.
bool Keeper::MayFollow(KeptPath& path, const base::ExitStatus* ended) const {
  if (!path.take_over || !path.served || path.stopping || !path.fault.empty()) return false;
  // By its own decision: the filesystem is unmounted.
  if (ended != nullptr && ended->signal == 0 && ended->code == 0) return false;
  const auto lived = Now() - path.started_at;
  path.deaths = lived < kDeathSoon ? path.deaths + (path.serving ? 1 : kUnservedDeath) : 0;
  // SIGKILL comes from others, the kernel's out-of-memory killer among them.
  if (ended == nullptr || ended->signal == SIGKILL) return true;
  path.crashes = lived < kCrashAgainMax ? path.crashes + 1 : 1;
  return path.crashes < kCrashesMax;
}

void Keeper::LaunchSuccessor(KeptPath& path) {
  ++path.take_overs;
  if (path.deaths <= kDeathsWithoutPause) {
    const auto launched = Launch(path);
    if (launched) return TellChanged(path);
    print_(path.volume_id + ": no successor: " + launched.error().message);
  }
  const int doublings = std::clamp(path.deaths - kDeathsWithoutPause, 0, 10);
  path.launch_at = Now() + std::min(kLaunchPauseMax, kLaunchPauseMin * (1 << doublings));
  TellChanged(path);
}

void Keeper::LaunchDue() {
  for (auto& [volume_id, path] : paths_) {
    if (!path.launch_at || Now() < *path.launch_at) continue;
    path.launch_at.reset();
    if (const auto launched = Launch(path); !launched) {
      print_(volume_id + ": no successor: " + launched.error().message);
      path.launch_at = Now() + kLaunchPauseMax;
    }
    TellChanged(path);
  }
}

void Keeper::Forget(const std::string& volume_id) {
  const auto path = paths_.find(volume_id);
  for (auto& [name, fd] : path->second.kept_fds) closer_.Close(std::move(fd));
  TellForgotten(path->first);
  paths_.erase(path);
}

}  // namespace gantry::keeper
