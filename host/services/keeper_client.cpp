// SPDX-License-Identifier: Apache-2.0
#include "host/services/keeper_client.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "host/base/process.hpp"
#include "host/wire/data_path_description.hpp"

namespace gantry::services {
namespace {

using wire::KeeperKind;
using wire::KeeperMessage;
using wire::KeeperTag;

constexpr int kTakenAtEndMax = 4096;  // messages
constexpr std::chrono::milliseconds kDyingKeeperMax{1000};
constexpr int kStartAgainMs = 10;
constexpr int kAnotherKeeperExit = 3;  // of gantry-keeper: it is there already
constexpr std::chrono::milliseconds kUpgradeAnswerShare{500};  // of Upgrade's time, for going back

base::TimePoint Now() { return std::chrono::steady_clock::now(); }

std::chrono::milliseconds Left(base::TimePoint deadline) {
  return std::max(std::chrono::milliseconds(0),
                  std::chrono::ceil<std::chrono::milliseconds>(deadline - Now()));
}

KeeperMessage Request(KeeperKind kind, const std::string& volume_id) {
  KeeperMessage request;
  request.kind = kind;
  request.Add(KeeperTag::kVolume, volume_id);
  return request;
}

base::Result<base::UniqueFd> Describe(const DataPathSpec& spec) {
  wire::DataPathDescription d;
  d.volume_id = spec.volume_id;
  d.backend = spec.backend;
  d.plugin = spec.plugin.string();
  d.owner = spec.owner;
  d.config_json = spec.config_json;
  d.node_id = spec.node_id;
  d.parameters = spec.parameters;
  d.capabilities = spec.capabilities;
  d.uid = spec.uid;
  d.gid = spec.gid;
  d.limits = spec.limits;
  d.readonly = spec.readonly;
  d.disk = spec.disk;
  d.identity = spec.identity;
  d.size_bytes = spec.size_bytes;
  d.mount_group = spec.mount_group;
  if (spec.secrets != nullptr)
    for (const auto& [key, value] : *spec.secrets)
      d.secrets.emplace(key, base::SecretBytes(value.view()));
  return wire::SealDescription(d);
}

// Of an open that storage refused; whatever else a data path may say, it is to be tried again.
base::Code FaultCode(uint64_t number) {
  for (const auto code : {base::Code::kUnauthenticated, base::Code::kPermissionDenied,
                          base::Code::kFailedPrecondition})
    if (number == static_cast<uint64_t>(code)) return code;
  return base::Code::kUnavailable;
}

// The groups of fields that a list or an event consists of; each begins with the volume.
std::vector<DataPathState> States(const KeeperMessage& message) {
  std::vector<DataPathState> states;
  for (const auto& [tag, value] : message.fields) {
    if (tag == KeeperTag::kVolume) states.emplace_back().volume_id = value;
    if (states.empty()) continue;
    DataPathState& state = states.back();
    if (tag == KeeperTag::kPid) state.pid = static_cast<int32_t>(KeeperMessage::ToNumber(value));
    if (tag == KeeperTag::kServing) state.serving = KeeperMessage::ToNumber(value) != 0;
    if (tag == KeeperTag::kFault) state.fault = value;
    if (tag == KeeperTag::kFaultCode) state.fault_code = FaultCode(KeeperMessage::ToNumber(value));
    if (tag == KeeperTag::kTakeOvers) state.take_overs = KeeperMessage::ToNumber(value);
    if (tag == KeeperTag::kPlugin) state.plugin = value;
    if (tag == KeeperTag::kStandby) state.standby = KeeperMessage::ToNumber(value) != 0;
  }
  return states;
}

// Whether the process that the copies are of is there; its pidfd tells.
bool IsDead(const KeeperMessage& held) {
  size_t next = 0;
  for (const auto& [tag, name] : held.fields) {
    if (tag != KeeperTag::kName || next == held.fds.size()) continue;
    pollfd process{held.fds[next++].get(), POLLIN, 0};
    if (name == wire::kHeldProcess) return poll(&process, 1, 0) == 1;
  }
  return true;
}

}  // namespace

KeeperClient::KeeperClient(KeeperClientOptions options) : options_(std::move(options)) {
  if (options_.hold) watcher_ = std::thread([this] { Watch(); });
}

KeeperClient::~KeeperClient() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (watcher_.joinable()) watcher_.join();
  const std::lock_guard connecting(connect_mutex_);
  Disconnect();
}

// Under connect_mutex_.
void KeeperClient::Disconnect() {
  if (!reader_.joinable()) return;
  eventfd_write(wake_.get(), 1);
  reader_.join();
  const std::lock_guard lock(mutex_);
  socket_.Reset();
}

base::Result<base::UniqueFd> KeeperClient::OpenSocket() const {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::FailErrno(errno, "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options_.socket.native().size() >= sizeof address.sun_path)
    return base::Fail(base::Code::kInvalidArgument,
                      "the keeper's socket path is too long: " + options_.socket.string());
  std::memcpy(address.sun_path, options_.socket.c_str(), options_.socket.native().size());
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return tl::unexpected(base::Error{
        base::Code::kUnavailable,
        base::FromErrno(errno, "connect to the keeper at " + options_.socket.string()).message});
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != geteuid())
    return base::Fail(base::Code::kUnavailable,
                      "the keeper's socket is served by uid " + std::to_string(peer.uid));
  return socket;
}

base::Status KeeperClient::StartKeeper(base::TimePoint deadline) const {
  GANTRY_TRY_ASSIGN(const auto binary, base::PinnedBinary::Open(options_.keeper));
  base::SpawnOptions spawn;
  spawn.arguments = {options_.keeper.filename().string(),
                     "--socket",
                     options_.socket.string(),
                     "--worker",
                     options_.worker.string(),
                     "--detach"};
  spawn.new_session = true;
  GANTRY_TRY_ASSIGN(base::Child child, base::Spawn(binary, spawn));
  GANTRY_TRY_ASSIGN(const auto ended, child.Wait(Left(deadline)));
  if (!ended) return base::Fail(base::Code::kDeadlineExceeded, "the keeper did not start in time");
  if (ended->signal == 0 && (ended->code == 0 || ended->code == kAnotherKeeperExit)) return {};
  return base::Fail(base::Code::kUnavailable, "the keeper " + ended->Describe());
}

base::Status KeeperClient::Connect(Keeper whether, base::TimePoint deadline) {
  const std::lock_guard connecting(connect_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (connected_) return {};
  }
  Disconnect();
  auto socket = OpenSocket();
  // One that is dying may have the lock for a moment longer than the socket.
  const auto dead_by = std::min(deadline, Now() + kDyingKeeperMax);
  while (!socket && !options_.keeper.empty() && whether == Keeper::kAnyhow) {
    GANTRY_TRY(StartKeeper(deadline));
    socket = OpenSocket();
    if (socket || Now() >= dead_by) break;
    poll(nullptr, 0, kStartAgainMs);
  }
  if (!socket) return tl::unexpected(socket.error());
  base::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return base::FailErrno(errno, "eventfd");
  Lock lock(mutex_);
  socket_ = std::move(*socket);
  wake_ = std::move(wake);
  connected_ = true;
  ++connection_;
  reader_ = std::thread([this, fd = socket_.get(), wake_fd = wake_.get()] {
    ReadLoop(fd, wake_fd);
    const std::lock_guard ended(mutex_);
    connected_ = false;
    changed_.notify_all();
  });
  lock.unlock();
  if (!options_.hold) return {};
  auto held = Hold(deadline);
  // An old keeper, from before there was something to hold.
  lock.lock();
  if (held || held.error().code == base::Code::kUnimplemented) {
    unserved_.clear();
    return {};
  }
  connected_ = false;
  return held;
}

// Under connect_mutex_, with a new connection: nobody else's request comes before these.
base::Status KeeperClient::Hold(base::TimePoint deadline) {
  std::vector<std::shared_ptr<KeeperMessage>> homeless;
  {
    // Before the keeper is asked, which then sends what it has itself.
    const Lock lock(mutex_);
    for (const auto& [volume_id, held] : held_) homeless.push_back(held);
  }
  KeeperMessage hold;
  hold.kind = KeeperKind::kHold;
  GANTRY_TRY_ASSIGN(const KeeperMessage reply, Exchange(std::move(hold), {}, deadline));
  const uint64_t instance = reply.Number(KeeperTag::kInstance);
  {
    const Lock lock(mutex_);
    if (instance == instance_) return {};
  }
  for (const auto& held : homeless) {
    KeeperMessage adopt;
    adopt.kind = KeeperKind::kAdopt;
    adopt.fields = held->fields;
    std::vector<int> fds;
    for (const base::UniqueFd& fd : held->fds) fds.push_back(fd.get());
    const auto adopted = Exchange(std::move(adopt), fds, deadline);
    if (!adopted && (adopted.error().code == base::Code::kUnavailable ||
                     adopted.error().code == base::Code::kDeadlineExceeded))
      return tl::unexpected(adopted.error());
  }
  const Lock lock(mutex_);
  instance_ = instance;
  return {};
}

void KeeperClient::Watch() {
  auto pause = kWatchPauseMin;
  for (;;) {
    Keeper whether = Keeper::kIfThere;
    {
      Lock lock(mutex_);
      changed_.wait(lock, [&] { return ending_ || !connected_; });
      if (ending_) return;
      if (!held_.empty()) whether = Keeper::kAnyhow;
    }
    if (Connect(whether, Now() + kWatchConnectMax)) {
      pause = kWatchPauseMin;
      continue;
    }
    DropUnserved();
    Lock lock(mutex_);
    const auto wait = whether == Keeper::kAnyhow ? pause : kWatchIdlePause;
    changed_.wait_for(lock, wait, [&] { return ending_ || connected_; });
    pause = std::min(2 * pause, kWatchPauseMax);
  }
}

// Without a keeper.
void KeeperClient::DropUnserved() {
  const Lock lock(mutex_);
  std::vector<std::string> late;
  for (const auto& [volume_id, held] : held_) {
    if (!IsDead(*held)) {
      unserved_.erase(volume_id);
      continue;
    }
    const auto since = unserved_.emplace(volume_id, Now()).first->second;
    if (Now() - since >= options_.away_max) late.push_back(volume_id);
  }
  for (const std::string& volume_id : late) {
    Drop(volume_id);
    unserved_.erase(volume_id);
  }
}

// Under mutex_. Only a plugin's own fds may block when they are closed; the others must not wait behind
// them, because a FUSE fd that is left open lets its volume's callers wait for ever.
void KeeperClient::Drop(const std::string& volume_id) {
  const auto found = held_.find(volume_id);
  if (found == held_.end()) return;
  const std::shared_ptr<KeeperMessage> held = std::move(found->second);
  held_.erase(found);
  // One that is being given to a keeper is closed by whoever lets go of it last.
  if (held.use_count() > 1) return;
  size_t next = 0;
  for (const auto& [tag, name] : held->fields) {
    if (tag != KeeperTag::kName || next == held->fds.size()) continue;
    base::UniqueFd& fd = held->fds[next++];
    if (name.starts_with(wire::kKeptFdPrefix)) closer_.Close(std::move(fd));
  }
}

void KeeperClient::ReadLoop(int socket, int wake) {
  for (;;) {
    pollfd fds[] = {{socket, POLLIN, 0}, {wake, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    // What has come already is taken before the end: it may be the latest copy of what is held.
    const bool ending = fds[1].revents != 0;
    for (int i = 0; i < (ending ? kTakenAtEndMax : 1); ++i) {
      auto received = wire::ReceiveKeeper(socket);
      if (!received) return;
      if (!received->has_value()) break;
      Take(std::move(**received));
    }
    if (ending) return;
  }
}

void KeeperClient::Take(KeeperMessage message) {
  std::vector<DataPathState> states;
  {
    const std::lock_guard lock(mutex_);
    if (message.kind == KeeperKind::kReply) {
      const auto waiting = pending_.find(message.id);
      if (waiting != pending_.end()) waiting->second = std::move(message);
    } else if (message.kind == KeeperKind::kHeld) {
      const std::string volume_id(message.Text(KeeperTag::kVolume));
      Drop(volume_id);
      held_[volume_id] = std::make_shared<KeeperMessage>(std::move(message));
    } else if (message.kind == KeeperKind::kForgotten) {
      Drop(std::string(message.Text(KeeperTag::kVolume)));
    } else if (message.kind == KeeperKind::kChanged) {
      states = States(message);
      for (const DataPathState& state : states) {
        const auto starting = starting_.find(state.volume_id);
        if (starting != starting_.end()) starting->second = state;
      }
    }
    changed_.notify_all();
  }
  if (!options_.on_change) return;
  for (const DataPathState& state : states) options_.on_change(state);
}

// A request that changes nothing when it is made twice is made again when the connection was lost:
// the keeper may have been started anew.
base::Result<KeeperMessage> KeeperClient::Call(const KeeperMessage& request,
                                               base::TimePoint deadline) {
  for (int attempt = 1;; ++attempt) {
    KeeperMessage copy;
    copy.kind = request.kind;
    copy.fields = request.fields;
    auto reply = CallOnce(std::move(copy), {}, deadline);
    if (reply || reply.error().code != base::Code::kUnavailable || attempt >= kCallAttemptsMax ||
        Now() >= deadline)
      return reply;
  }
}

base::Result<KeeperMessage> KeeperClient::CallOnce(KeeperMessage request,
                                                   const std::vector<int>& fds,
                                                   base::TimePoint deadline) {
  GANTRY_TRY(Connect(Keeper::kAnyhow, deadline));
  return Exchange(std::move(request), fds, deadline);
}

base::Result<KeeperMessage> KeeperClient::Exchange(KeeperMessage request,
                                                   const std::vector<int>& fds,
                                                   base::TimePoint deadline) {
  Lock lock(mutex_);
  if (!connected_) return base::Fail(base::Code::kUnavailable, "the keeper is away");
  const uint64_t connection = connection_;
  request.id = next_id_++;
  const auto waiting = pending_.emplace(request.id, std::nullopt).first;
  if (auto sent = wire::SendKeeper(socket_.get(), request, fds); !sent) {
    pending_.erase(waiting);
    // Its reader will see it as well, but the next attempt shall not find it connected still.
    if (sent.error().code == base::Code::kUnavailable) connected_ = false;
    return tl::unexpected(sent.error());
  }
  changed_.wait_until(lock, deadline, [&] {
    return waiting->second.has_value() || !connected_ || connection_ != connection;
  });
  std::optional<KeeperMessage> reply = std::move(waiting->second);
  pending_.erase(waiting);
  if (!reply) {
    if (!connected_ || connection_ != connection)
      return base::Fail(base::Code::kUnavailable, "the connection to the keeper was lost");
    return base::Fail(base::Code::kDeadlineExceeded, "the keeper did not answer in time");
  }
  if (reply->code != base::Code::kOk)
    return base::Fail(reply->code, std::string(reply->Text(KeeperTag::kMessage)));
  return std::move(*reply);
}

base::Status KeeperClient::WaitUntilServing(const std::string& volume_id,
                                            base::TimePoint deadline) {
  Lock lock(mutex_);
  const uint64_t connection = connection_;
  const DataPathState& state = starting_.at(volume_id);
  changed_.wait_until(lock, deadline, [&] {
    return state.serving || !state.fault.empty() || !connected_ || connection_ != connection;
  });
  if (state.serving) return {};
  if (!state.fault.empty()) return base::Fail(state.fault_code, state.fault);
  if (!connected_ || connection_ != connection)
    return base::Fail(base::Code::kUnavailable, "the connection to the keeper was lost");
  return base::Fail(base::Code::kDeadlineExceeded, "the data path does not serve yet");
}

base::Status KeeperClient::Start(DataPathSpec spec, base::TimePoint deadline) {
  const std::string volume_id = spec.volume_id;
  GANTRY_TRY_ASSIGN(const base::UniqueFd description, Describe(spec));
  const base::UniqueFd memory(memfd_create("gantry-datapath", MFD_CLOEXEC));
  if (!memory) return base::FailErrno(errno, "memfd_create");
  const auto open_deadline = deadline - std::chrono::milliseconds(kStartCleanupShareMs);
  KeeperMessage request = Request(KeeperKind::kSpawn, volume_id);
  request.Add(KeeperTag::kTakeOver, uint64_t{spec.take_over});
  request.Add(KeeperTag::kStandby, uint64_t{spec.standby});
  request.Add(KeeperTag::kPlugin, spec.plugin.string());
  request.Add(KeeperTag::kArgument, "gantry-worker");
  request.Add(KeeperTag::kArgument, "--datapath");
  request.Add(KeeperTag::kArgument,
              "--open-deadline-ns=" + std::to_string(base::ToNanoseconds(open_deadline)));
  {
    const Lock lock(mutex_);
    if (!starting_.emplace(volume_id, DataPathState()).second)
      return base::Fail(base::Code::kAborted, "volume " + volume_id + " is being started");
  }
  base::Status status;
  const auto spawned =
      CallOnce(std::move(request), {spec.fuse_fd.get(), memory.get(), description.get()}, deadline);
  // Ours may not keep the connection alive when the data path dies.
  spec.fuse_fd.Reset();
  bool cleanup = spawned.has_value();
  if (spawned) {
    status = WaitUntilServing(volume_id, deadline);
  } else {
    status = tl::unexpected(spawned.error());
    // Whether it was spawned is not known.
    cleanup = spawned.error().code == base::Code::kDeadlineExceeded ||
              spawned.error().code == base::Code::kUnavailable;
  }
  {
    const Lock lock(mutex_);
    starting_.erase(volume_id);
  }
  if (!status && cleanup) {
    const auto now = Now();
    (void)Stop(volume_id, now + std::chrono::milliseconds(kKeeperCleanupMsMax));
  }
  if (!status)
    return tl::unexpected(base::Wrap(status.error(), "start the data path of " + volume_id));
  return {};
}

base::Status KeeperClient::Stop(const std::string& volume_id, base::TimePoint deadline) {
  KeeperMessage request = Request(KeeperKind::kStop, volume_id);
  // The rest is for the kill and the answer.
  request.Add(KeeperTag::kTimeoutMs, static_cast<uint64_t>(Left(deadline).count() / 2));
  GANTRY_TRY(Call(request, deadline));
  const Lock lock(mutex_);
  Drop(volume_id);
  return {};
}

base::Status KeeperClient::Upgrade(const std::string& volume_id,
                                   const std::filesystem::path& plugin, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const DataPathFds fds, Fds(volume_id, deadline));
  GANTRY_TRY_ASSIGN(auto description, wire::ReadDescription(fds.description.get()));
  description.plugin = plugin.string();
  GANTRY_TRY_ASSIGN(const base::UniqueFd sealed, wire::SealDescription(description));
  KeeperMessage request = Request(KeeperKind::kUpgrade, volume_id);
  const auto serve_by = deadline - kUpgradeAnswerShare;
  request.Add(KeeperTag::kPlugin, plugin.string());
  request.Add(KeeperTag::kTimeoutMs, static_cast<uint64_t>(Left(serve_by).count()));
  GANTRY_TRY(CallOnce(std::move(request), {sealed.get()}, deadline));
  return {};
}

base::Result<std::vector<DataPathState>> KeeperClient::List(base::TimePoint deadline) {
  std::vector<DataPathState> all;
  for (;;) {
    KeeperMessage request;
    request.kind = KeeperKind::kList;
    if (!all.empty()) request.Add(KeeperTag::kAfter, all.back().volume_id);
    GANTRY_TRY_ASSIGN(const KeeperMessage page, Call(request, deadline));
    const auto states = States(page);
    all.insert(all.end(), states.begin(), states.end());
    if (page.Number(KeeperTag::kMore) == 0 || states.empty()) return all;
  }
}

base::Result<DataPathFds> KeeperClient::Fds(const std::string& volume_id,
                                            base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(KeeperMessage reply, Call(Request(KeeperKind::kFds, volume_id), deadline));
  constexpr size_t kOwnFds = 3;
  std::vector<std::string> names;
  for (const auto& [tag, value] : reply.fields)
    if (tag == KeeperTag::kName) names.push_back(value);
  if (reply.fds.size() != kOwnFds + names.size())
    return base::Fail(base::Code::kInternal, "the keeper sent a wrong number of fds");
  DataPathFds fds{std::move(reply.fds[0]), std::move(reply.fds[1]), std::move(reply.fds[2]), {}};
  for (size_t i = 0; i < names.size(); ++i)
    fds.kept.emplace(names[i], std::move(reply.fds[kOwnFds + i]));
  return fds;
}

}  // namespace gantry::services
