// SPDX-License-Identifier: Apache-2.0
// A warm standby: a second process of a volume that has confined itself and loaded the plugin, and
// waits for the moment in which the one that serves has died. What fences it is that it has nothing
// to touch: the fuse fd and the memory of requests and nodes come with the message that tells it to
// serve, which is sent once the other process is reaped.
//
// It is not handed to the next keeper. It ends with the socket of this one, and the next starts
// another.
// Rejected: a standby that waits for the lock of the request slots by itself. It would be in line
// before anybody has decided whether there is to be a successor.
#include <algorithm>
#include <utility>

#include "host/keeper/keeper.hpp"
#include "host/keeper/replies.hpp"

namespace gantry::keeper {
namespace {

using wire::KeeperKind;
using wire::KeeperMessage;

}  // namespace

void Keeper::WantStandby(KeptPath& path) {
  if (!path.warm || !path.take_over || !path.serving || path.stopping || path.upgrade ||
      path.standby || path.standby_at)
    return;
  path.standby_at = Now() + kStandbyAfter;
}

void Keeper::LaunchStandby(KeptPath& path) {
  path.standby_at.reset();
  // Whoever serves next asks for it again.
  if (!path.serving || path.stopping || path.standby) return;
  auto started = StartProcess(path, path.version, /*is_standby=*/true);
  if (started) {
    path.standby.emplace(Standby{std::move(*started), false});
    return;
  }
  print_(path.volume_id + ": no standby: " + started.error().message);
  path.standby_at = Now() + kStandbyPauseMax;
}

void Keeper::OnStandbyControl(KeptPath& path, Role role) {
  for (int i = 0; i < kControlMessagesPerTurnMax; ++i) {
    // What it says may be the end of the upgrade that it belongs to.
    Standby* standby = nullptr;
    if (role == Role::kStandby && path.standby) standby = &*path.standby;
    if (role == Role::kNext && path.upgrade) standby = &path.upgrade->next;
    if (standby == nullptr || !standby->process.control) return;
    auto received = wire::ReceiveKeeper(standby->process.control.get());
    if (!received) return standby->process.control.Reset();
    if (!received->has_value()) return;
    KeeperMessage& message = **received;
    switch (message.kind) {
      case KeeperKind::kWaiting:
        standby->waits = true;
        if (role == Role::kNext)
          HandOver(path);
        else
          TellChanged(path);
        break;
      case KeeperKind::kFault:  // which its log has said as well
        break;
      default:
        (void)wire::SendKeeper(
            standby->process.control.get(),
            ReplyTo(message, base::Fail(base::Code::kFailedPrecondition,
                                        "a standby has nothing of the volume's yet")));
    }
    for (base::UniqueFd& foreign : message.fds)
      if (foreign) closer_.Close(std::move(foreign));
  }
}

void Keeper::OnStandbyExit(KeptPath& path) {
  std::optional<base::ExitStatus> ended;
  const auto how = Reap(path.standby->process, ended);
  if (!how) return;
  print_(path.volume_id + ": its standby " + *how);
  const auto lived = Now() - path.standby->process.started_at;
  path.standby_deaths = lived < kStandbyPauseMax ? path.standby_deaths + 1 : 0;
  path.standby->process.child.Abandon();
  path.standby.reset();
  constexpr int kDoublingsMax = 16;
  const int doublings = std::min(path.standby_deaths, kDoublingsMax);
  path.standby_at = Now() + std::min(kStandbyPauseMax, kLaunchPauseMin * (1 << doublings));
  TellChanged(path);
}

// False: it is dead already. Its time counts from now.
bool Keeper::Promote(KeptPath& path, Standby& standby) {
  KeeperMessage serve;
  serve.kind = KeeperKind::kServe;
  if (!standby.process.control ||
      !wire::SendKeeper(standby.process.control.get(), serve, {path.fuse.get(), path.memory.get()}))
    return false;
  path.process = std::move(standby.process);
  path.process.started_at = Now();
  path.taken_by = Now() + kTakenMsMax;
  return true;
}

bool Keeper::PromoteStandby(KeptPath& path) {
  if (!path.standby) return false;
  if (Promote(path, *path.standby)) {
    path.standby.reset();
    return true;
  }
  EndStandby(path);
  return false;
}

void Keeper::EndStandby(KeptPath& path) {
  path.standby_at.reset();
  if (!path.standby) return;
  End(std::move(path.standby->process.child));
  path.standby.reset();
}

}  // namespace gantry::keeper
