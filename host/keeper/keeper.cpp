// SPDX-License-Identifier: Apache-2.0
#include "host/keeper/keeper.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "host/base/file.hpp"

namespace gantry::keeper {
namespace {

using wire::KeeperKind;
using wire::KeeperMessage;
using wire::KeeperTag;

base::TimePoint Now() { return std::chrono::steady_clock::now(); }

KeeperMessage ReplyTo(const KeeperMessage& request, const base::Status& status = {}) {
  KeeperMessage reply;
  reply.kind = KeeperKind::kReply;
  reply.id = request.id;
  if (!status) {
    reply.code = status.error().code;
    reply.Add(KeeperTag::kMessage, status.error().message);
  }
  return reply;
}

void AddState(KeeperMessage& message, const KeptPath& path) {
  message.Add(KeeperTag::kVolume, path.volume_id)
      .Add(KeeperTag::kPid, static_cast<uint64_t>(path.child ? path.child.pid() : 0))
      .Add(KeeperTag::kServing, uint64_t{path.serving})
      .Add(KeeperTag::kFault, path.fault)
      .Add(KeeperTag::kFaultCode, path.fault_code);
}

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

Keeper::Keeper(base::UniqueFd listener, base::PinnedBinary worker, Print print)
    : listener_(std::move(listener)), worker_(std::move(worker)), print_(std::move(print)) {}

base::Status Keeper::Run() {
  for (;;) GANTRY_TRY(Turn());
}

base::Status Keeper::Turn() {
  enum class What { kListener, kClient, kControl, kLog, kExit };
  struct Source {
    What what;
    std::string volume_id;
  };
  std::vector<pollfd> fds;
  std::vector<Source> sources;
  const auto add = [&](int fd, What what, const std::string& volume_id) {
    if (fd < 0) return;
    fds.push_back({fd, POLLIN, 0});
    sources.push_back({what, volume_id});
  };
  add(listener_.get(), What::kListener, {});
  add(client_.get(), What::kClient, {});
  for (const auto& [volume_id, path] : paths_) {
    add(path.control.get(), What::kControl, volume_id);
    if (path.log && !path.log_ended) add(path.log->fd(), What::kLog, volume_id);
    if (path.child) add(path.child.pidfd(), What::kExit, volume_id);
  }
  const int ready = poll(fds.data(), fds.size(), PollTimeoutMs());
  if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "poll");
  const uint64_t client = client_number_;
  for (size_t i = 0; ready > 0 && i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    const Source& source = sources[i];
    const auto path = paths_.find(source.volume_id);
    switch (source.what) {
      case What::kListener:
        Accept();
        break;
      case What::kClient:
        if (client_number_ == client) OnClient();
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
  return {};
}

int Keeper::PollTimeoutMs() const {
  int64_t timeout_ms = -1;
  for (const auto& [volume_id, path] : paths_) {
    if (!path.stopping) continue;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(path.stopping->kill_at - Now()).count();
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
  DropClient();
  client_ = std::move(socket);
}

void Keeper::DropClient() {
  client_.Reset();
  ++client_number_;
}

void Keeper::Send(const KeeperMessage& message, const std::vector<int>& fds) {
  if (!client_) return;
  const auto sent = wire::SendKeeper(client_.get(), message, fds);
  if (sent || sent.error().code == base::Code::kInvalidArgument) return;
  // One that does not read misses events; it connects again and asks for the list.
  print_("dropped the client: " + sent.error().message);
  DropClient();
}

void Keeper::OnClient() {
  auto received = wire::ReceiveKeeper(client_.get());
  if (!received) {
    if (received.error().code != base::Code::kUnavailable)
      print_("dropped the client: " + received.error().message);
    DropClient();
    return;
  }
  if (!received->has_value()) return;
  KeeperMessage& request = **received;
  if (request.kind == KeeperKind::kStop) return BeginStop(request);
  std::vector<int> fds;
  const KeeperMessage reply = Serve(request, fds);
  Send(reply, fds);
}

KeeperMessage Keeper::Serve(KeeperMessage& request, std::vector<int>& fds) {
  KeeperMessage reply = ReplyTo(request);
  switch (request.kind) {
    case KeeperKind::kSpawn:
      return ReplyTo(request, Spawn(request));
    case KeeperKind::kList:
      List(request, reply);
      return reply;
    case KeeperKind::kFds: {
      const auto path = paths_.find(request.Text(KeeperTag::kVolume));
      if (path == paths_.end() || !path->second.fuse)
        return ReplyTo(request, base::Fail(base::Code::kNotFound, "no such data path"));
      const KeptPath& kept = path->second;
      fds = {kept.fuse.get(), kept.memory.get(), kept.description.get()};
      for (const auto& [name, fd] : kept.kept_fds) {
        reply.Add(KeeperTag::kName, name);
        fds.push_back(fd.get());
      }
      return reply;
    }
    default:
      return ReplyTo(request, base::Fail(base::Code::kUnimplemented,
                                         "the keeper does not know request " +
                                             std::to_string(static_cast<int>(request.kind))));
  }
}

void Keeper::List(const KeeperMessage& request, KeeperMessage& reply) const {
  const std::string_view after = request.Text(KeeperTag::kAfter);
  size_t bytes = 0;
  for (auto path = after.empty() ? paths_.begin() : paths_.upper_bound(after); path != paths_.end();
       ++path) {
    if (bytes > kListPageBytesMax) {
      reply.Add(KeeperTag::kMore, 1);
      return;
    }
    AddState(reply, path->second);
    bytes += path->first.size() + path->second.fault.size() + 64;
  }
}

base::Status Keeper::Spawn(KeeperMessage& request) {
  const std::string volume_id(request.Text(KeeperTag::kVolume));
  if (volume_id.empty() || volume_id.size() > wire::kVolumeIdBytesMax)
    return base::Fail(base::Code::kInvalidArgument, "the volume id has a wrong length");
  if (request.fds.size() != 3)
    return base::Fail(base::Code::kInvalidArgument,
                      "spawn came with " + std::to_string(request.fds.size()) +
                          " fds, expected fuse, memory and description");
  if (paths_.contains(volume_id))
    return base::Fail(base::Code::kAlreadyExists, "volume " + volume_id + " has a data path");
  if (paths_.size() >= wire::kDataPathsMax)
    return base::Fail(base::Code::kResourceExhausted, "there are too many data paths");
  std::vector<std::string> arguments;
  for (const auto& [tag, value] : request.fields)
    if (tag == KeeperTag::kArgument) arguments.push_back(value);
  if (arguments.empty() || arguments.size() > kArgumentsMax)
    return base::Fail(base::Code::kInvalidArgument, "spawn came with too few or many arguments");
  KeptPath path;
  path.volume_id = volume_id;
  path.fuse = std::move(request.fds[0]);
  path.memory = std::move(request.fds[1]);
  path.description = std::move(request.fds[2]);
  GANTRY_TRY(Launch(path, std::move(arguments)));
  paths_.emplace(volume_id, std::move(path));
  return {};
}

base::Status Keeper::Launch(KeptPath& path, std::vector<std::string> arguments) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return base::FailErrno(errno, "socketpair");
  path.control = base::UniqueFd(pair[0]);
  const base::UniqueFd theirs(pair[1]);
  GANTRY_TRY_ASSIGN(wire::LogPipeEnds log, wire::MakeLogPipe());
  path.log = std::make_unique<wire::LogPipeReader>(
      std::move(log.reader), [this, volume = path.volume_id](wire::LogRecord record) {
        print_(volume + ": " + wire::LogLevelName(record.level) + ": " + record.text);
      });
  base::SpawnOptions options;
  options.arguments = std::move(arguments);
  options.pass_fds = {theirs.get(), log.writer.get(), path.fuse.get(), path.memory.get(),
                      path.description.get()};
  options.stderr_fd = log.writer.get();
  options.new_session = true;
  GANTRY_TRY_ASSIGN(path.child, base::Spawn(worker_, options));
  return {};
}

void Keeper::BeginStop(const KeeperMessage& request) {
  const auto found = paths_.find(request.Text(KeeperTag::kVolume));
  if (found == paths_.end()) return Send(ReplyTo(request));
  KeptPath& path = found->second;
  if (!path.child) {
    Forget(found->first);
    return Send(ReplyTo(request));
  }
  if (path.stopping)
    AnswerStop(*path.stopping, base::Fail(base::Code::kAborted, "another stop has come"));
  const uint64_t timeout_ms = std::min(request.Number(KeeperTag::kTimeoutMs), kStopMsMax);
  KeeperMessage stop;
  stop.kind = KeeperKind::kStopServing;
  stop.Add(KeeperTag::kTimeoutMs, timeout_ms);
  const bool told = path.control && wire::SendKeeper(path.control.get(), stop);
  path.stopping = Stopping{request.id, client_number_,
                           Now() + std::chrono::milliseconds(told ? timeout_ms : 0), false};
}

void Keeper::AnswerStop(const Stopping& stopping, const base::Status& status) {
  if (stopping.client != client_number_) return;
  KeeperMessage request;
  request.id = stopping.request;
  Send(ReplyTo(request, status));
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
      path.fault = Printable(request.Text(KeeperTag::kFault));
      path.fault_code = request.Number(KeeperTag::kFaultCode);
      TellChanged(path);
    } else {
      int fd = -1;
      const KeeperMessage reply = ServePath(path, request, fd);
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
  path.control.Reset();
  path.log.reset();
  path.child.Abandon();
  path.serving = false;
  if (path.fault.empty()) {
    path.fault = status ? "the data path " + (*status)->Describe() : status.error().message;
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

void Keeper::Forget(const std::string& volume_id) {
  const auto path = paths_.find(volume_id);
  for (auto& [name, fd] : path->second.kept_fds) closer_.Close(std::move(fd));
  paths_.erase(path);
}

void Keeper::TellChanged(const KeptPath& path) {
  KeeperMessage event;
  event.kind = KeeperKind::kChanged;
  AddState(event, path);
  Send(event);
}

base::Result<base::UniqueFd> Listen(const std::filesystem::path& socket, base::UniqueFd* lock) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof address.sun_path)
    return base::Fail(base::Code::kInvalidArgument,
                      "the socket's path " + socket.string() + " is too long, expected less than " +
                          std::to_string(sizeof address.sun_path) + " bytes");
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  const std::string lock_path = socket.string() + ".lock";
  base::UniqueFd held(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!held) return base::FailErrno(errno, "open " + lock_path);
  if (flock(held.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return base::Fail(base::Code::kAlreadyExists, "another keeper serves " + socket.string());
    return base::FailErrno(errno, "lock " + lock_path);
  }
  base::UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return base::FailErrno(errno, "socket");
  // Left by a keeper that is dead: this one has the lock.
  if (unlink(socket.c_str()) != 0 && errno != ENOENT)
    return base::FailErrno(errno, "remove " + socket.string());
  const mode_t mask = umask(0177);
  const int bound =
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  umask(mask);
  if (bound != 0) return base::FailErrno(bind_error, "bind " + socket.string());
  if (listen(listener.get(), kListenBacklog) != 0) return base::FailErrno(errno, "listen");
  *lock = std::move(held);
  return listener;
}

void NotePid(const base::UniqueFd& lock) {
  if (ftruncate(lock.get(), 0) == 0)
    (void)base::WriteAll(lock.get(), std::to_string(getpid()) + "\n");
}

}  // namespace gantry::keeper
