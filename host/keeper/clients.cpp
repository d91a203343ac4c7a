// SPDX-License-Identifier: Apache-2.0
// What clients ask for, and what they are told.
#include <algorithm>
#include <csignal>
#include <utility>

#include "host/keeper/keeper.hpp"
#include "host/keeper/replies.hpp"

namespace gantry::keeper {
namespace {

using wire::KeeperKind;
using wire::KeeperMessage;
using wire::KeeperTag;

constexpr int kHeldPerTurnMax = 16;
constexpr size_t kListFieldsBytes = 160;  // of an entry, beside its texts

void AddState(KeeperMessage& message, const KeptPath& path) {
  message.Add(KeeperTag::kVolume, path.volume_id)
      .Add(KeeperTag::kPid,
           static_cast<uint64_t>(path.process.child ? path.process.child.pid() : 0))
      .Add(KeeperTag::kServing, uint64_t{path.serving})
      .Add(KeeperTag::kFault, path.fault)
      .Add(KeeperTag::kFaultCode, path.fault_code)
      .Add(KeeperTag::kTakeOvers, path.take_overs)
      .Add(KeeperTag::kPlugin, path.version.plugin)
      .Add(KeeperTag::kStandby, uint64_t{path.standby && path.standby->waits});
}

}  // namespace

void Keeper::Send(uint64_t number, const KeeperMessage& message, const std::vector<int>& fds) {
  const auto client = clients_.find(number);
  if (client == clients_.end()) return;
  const auto sent = wire::SendKeeper(client->second.socket.get(), message, fds);
  if (sent || sent.error().code == base::Code::kInvalidArgument) return;
  // One that does not read misses events; it connects again and asks for the list.
  print_("dropped a client: " + sent.error().message);
  clients_.erase(client);
}

void Keeper::OnClient(uint64_t number) {
  auto received = wire::ReceiveKeeper(clients_.at(number).socket.get());
  if (!received) {
    if (received.error().code != base::Code::kUnavailable)
      print_("dropped a client: " + received.error().message);
    clients_.erase(number);
    return;
  }
  if (!received->has_value()) return;
  KeeperMessage& request = **received;
  if (request.kind == KeeperKind::kStop) return BeginStop(number, request);
  if (request.kind == KeeperKind::kUpgrade) return BeginUpgrade(number, request);
  std::vector<int> fds;
  const KeeperMessage reply = Serve(number, request, fds);
  Send(number, reply, fds);
}

KeeperMessage Keeper::Serve(uint64_t client, KeeperMessage& request, std::vector<int>& fds) {
  KeeperMessage reply = ReplyTo(request);
  switch (request.kind) {
    case KeeperKind::kSpawn:
      return ReplyTo(request, Spawn(request));
    case KeeperKind::kList:
      List(request, reply);
      return reply;
    case KeeperKind::kHold: {
      Client& holder = clients_.at(client);
      holder.holds = true;
      for (const auto& [volume_id, path] : paths_) holder.unheld.insert(volume_id);
      reply.Add(KeeperTag::kInstance, instance_);
      return reply;
    }
    case KeeperKind::kAdopt:
      return ReplyTo(request, Adopt(request));
    case KeeperKind::kFds: {
      const auto path = paths_.find(request.Text(KeeperTag::kVolume));
      if (path == paths_.end() || !path->second.fuse)
        return ReplyTo(request, base::Fail(base::Code::kNotFound, "no such data path"));
      const KeptPath& kept = path->second;
      fds = {kept.fuse.get(), kept.memory.get(), kept.version.description.get()};
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
    bytes += path->first.size() + path->second.fault.size() + path->second.version.plugin.size() +
             kListFieldsBytes;
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
  KeptPath path;
  for (const auto& [tag, value] : request.fields)
    if (tag == KeeperTag::kArgument) path.arguments.push_back(value);
  if (path.arguments.empty() || path.arguments.size() > kArgumentsMax)
    return base::Fail(base::Code::kInvalidArgument, "spawn came with too few or many arguments");
  path.volume_id = volume_id;
  path.take_over = request.Number(KeeperTag::kTakeOver) != 0;
  path.warm = request.Number(KeeperTag::kStandby) != 0;
  path.version.plugin = request.Text(KeeperTag::kPlugin);
  if (path.version.plugin.size() > kPluginBytesMax)
    return base::Fail(base::Code::kInvalidArgument, "the plugin's name is too long");
  path.fuse = std::move(request.fds[0]);
  path.memory = std::move(request.fds[1]);
  path.version.description = std::move(request.fds[2]);
  GANTRY_TRY(Launch(path));
  TellChanged(paths_.emplace(volume_id, std::move(path)).first->second);
  return {};
}

// What an earlier keeper held. Its process serves on, or has died meanwhile: then its pidfd tells at
// once.
base::Status Keeper::Adopt(KeeperMessage& request) {
  const std::string volume(request.Text(KeeperTag::kVolume));
  // Before anything is taken of it: letting go of a child kills it.
  if (paths_.contains(volume))
    return base::Fail(base::Code::kAlreadyExists, "volume " + volume + " has a data path");
  if (paths_.size() >= wire::kDataPathsMax)
    return base::Fail(base::Code::kResourceExhausted, "there are too many data paths");
  base::UniqueFd log;
  GANTRY_TRY_ASSIGN(KeptPath path, FromHeld(request, &log));
  path.process.started_at = Now();
  if (path.previous) path.previous->until = Now() + kYoungMax;
  if (log) ReadLogFrom(path.process, path.volume_id, std::move(log));
  const std::string volume_id = path.volume_id;
  KeptPath& kept = paths_.emplace(volume_id, std::move(path)).first->second;
  print_(volume_id + ": adopted from an earlier keeper");
  // The earlier one died between a death and the next launch.
  if (!kept.process.child && kept.take_over && kept.served && kept.fault.empty())
    kept.launch_at = Now();
  // Nobody waits for the upgrade any more, and nobody would go back from it: the old version follows.
  if (request.Number(KeeperTag::kTrial) != 0 && kept.process.child)
    (void)kept.process.child.Kill(SIGKILL);
  WantStandby(kept);
  TellChanged(kept);
  return {};
}

void Keeper::BeginStop(uint64_t client, const KeeperMessage& request) {
  const auto found = paths_.find(request.Text(KeeperTag::kVolume));
  if (found == paths_.end()) return Send(client, ReplyTo(request));
  KeptPath& path = found->second;
  EndStandby(path);
  if (path.upgrade)
    EndUpgrade(path, base::Fail(base::Code::kAborted, "the volume is being stopped"));
  if (!path.process.child) {
    Forget(found->first);
    return Send(client, ReplyTo(request));
  }
  if (path.stopping)
    Answer(path.stopping->client, path.stopping->request,
           base::Fail(base::Code::kAborted, "another stop has come"));
  const uint64_t timeout_ms = std::min(request.Number(KeeperTag::kTimeoutMs), kStopMsMax);
  KeeperMessage stop;
  stop.kind = KeeperKind::kStopServing;
  stop.Add(KeeperTag::kTimeoutMs, timeout_ms);
  const bool told =
      path.process.control && wire::SendKeeper(path.process.control.get(), stop).has_value();
  path.stopping =
      Stopping{request.id, client, Now() + std::chrono::milliseconds(told ? timeout_ms : 0), false};
}

void Keeper::Answer(uint64_t client, uint64_t request, const base::Status& status) {
  KeeperMessage asked;
  asked.id = request;
  Send(client, ReplyTo(asked, status));
}

void Keeper::TellChanged(const KeptPath& path) {
  KeeperMessage event;
  event.kind = KeeperKind::kChanged;
  AddState(event, path);
  std::vector<uint64_t> numbers;
  for (auto& [number, client] : clients_) {
    numbers.push_back(number);
    if (client.holds) client.unheld.insert(path.volume_id);
  }
  // The copy before the news: who acts on the news may outlive this keeper.
  for (const uint64_t number : numbers) {
    SendHeld(number);
    Send(number, event);
  }
}

void Keeper::TellForgotten(const std::string& volume_id) {
  KeeperMessage event;
  event.kind = KeeperKind::kForgotten;
  event.Add(KeeperTag::kVolume, volume_id);
  std::vector<uint64_t> numbers;
  for (auto& [number, client] : clients_) {
    client.unheld.erase(volume_id);
    if (client.holds) numbers.push_back(number);
  }
  for (const uint64_t number : numbers) Send(number, event);
}

// What does not fit into its socket now is sent when there is room.
void Keeper::SendHeld(uint64_t number) {
  const auto found = clients_.find(number);
  if (found == clients_.end() || !found->second.holds) return;
  Client& client = found->second;
  for (int i = 0; i < kHeldPerTurnMax && !client.unheld.empty(); ++i) {
    const auto path = paths_.find(*client.unheld.begin());
    if (path != paths_.end()) {
      std::vector<int> fds;
      const KeeperMessage held = ToHeld(path->second, fds);
      const auto sent = wire::SendKeeper(client.socket.get(), held, fds);
      if (!sent && sent.error().code == base::Code::kResourceExhausted) return;
    }
    client.unheld.erase(client.unheld.begin());
  }
}

}  // namespace gantry::keeper
