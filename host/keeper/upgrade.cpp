// SPDX-License-Identifier: Apache-2.0
// One volume's data path goes over to another version of its plugin, and back when that one does not
// come to serve:
//
//   loading       a process of the new version is started as a standby; one that does not load costs
//                 nobody anything
//   handing over  the old one ends what is under way, for a moment, and then itself; what is left
//                 lies in the slots, as after any death
//   trial         the new one is told to serve. When it does, it stays
//   going back    when it dies first, says that it cannot, or lets its time pass, it is killed and
//                 the old version follows it
//
// Callers wait meanwhile and see no error. A new version that has served and then crashes again and
// again while it is young is followed by the one before as well.
// Rejected: to let both serve for a while, each a part of the requests. One volume has one server, or
// nothing that is kept for a successor could be believed.
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
using Step = Upgrade::Step;

}  // namespace

void Keeper::BeginUpgrade(uint64_t client, KeeperMessage& request) {
  if (const auto begun = PrepareUpgrade(client, request); !begun) Answer(client, request.id, begun);
}

base::Status Keeper::PrepareUpgrade(uint64_t client, KeeperMessage& request) {
  const std::string volume_id(request.Text(KeeperTag::kVolume));
  const auto found = paths_.find(volume_id);
  if (found == paths_.end())
    return base::Fail(base::Code::kNotFound, "volume " + volume_id + " has no data path");
  KeptPath& path = found->second;
  const std::string plugin(request.Text(KeeperTag::kPlugin));
  if (request.fds.size() != 1 || plugin.empty() || plugin.size() > kPluginBytesMax)
    return base::Fail(base::Code::kInvalidArgument,
                      "an upgrade comes with one fd, a description, and the name of a plugin");
  if (!path.take_over)
    return base::Fail(base::Code::kFailedPrecondition,
                      "the data path of " + volume_id +
                          " cannot have a successor: its plugin does not say takeOver");
  if (path.upgrade)
    return base::Fail(base::Code::kAborted, "another upgrade of " + volume_id + " is under way");
  if (!path.serving || path.stopping)
    return base::Fail(base::Code::kUnavailable,
                      "the data path of " + volume_id + " does not serve at present");
  const uint64_t time_ms =
      std::clamp<uint64_t>(request.Number(KeeperTag::kTimeoutMs), 1, kUpgradeMsMax);
  Upgrade upgrade;
  upgrade.request = request.id;
  upgrade.client = client;
  upgrade.serve_by = upgrade.deadline = Now() + std::chrono::milliseconds(time_ms);
  upgrade.version = {std::move(request.fds[0]), plugin};
  GANTRY_TRY_ASSIGN(upgrade.next.process, StartProcess(path, upgrade.version, /*is_standby=*/true));
  path.upgrade = std::move(upgrade);
  return {};
}

// Once the one is ready and the other one serves: a successor that is itself on its way has time.
void Keeper::HandOver(KeptPath& path) {
  if (!path.upgrade || path.upgrade->step != Step::kLoading || !path.upgrade->next.waits ||
      !path.serving || path.stopping)
    return;
  // Too late: its time is over soon, and nothing has been asked of the old one.
  if (Now() + std::chrono::milliseconds(2 * kHandOverMsMax) > path.upgrade->serve_by) return;
  KeeperMessage message;
  message.kind = KeeperKind::kHandOver;
  message.Add(KeeperTag::kTimeoutMs, kHandOverMsMax);
  const bool told = path.process.control && wire::SendKeeper(path.process.control.get(), message);
  path.upgrade->step = Step::kHandingOver;
  path.upgrade->deadline = Now() + std::chrono::milliseconds(told ? 2 * kHandOverMsMax : 0);
}

bool Keeper::PromoteNext(KeptPath& path) {
  if (!path.upgrade || path.upgrade->step != Step::kHandingOver) return false;
  Upgrade& upgrade = *path.upgrade;
  if (!Promote(path, upgrade.next)) {
    EndUpgrade(path, base::Fail(base::Code::kFailedPrecondition,
                                "the new version's process has ended before it could serve"));
    return false;
  }
  upgrade.step = Step::kTrial;
  upgrade.deadline = upgrade.serve_by;
  return true;
}

void Keeper::OnNextExit(KeptPath& path) {
  std::optional<base::ExitStatus> ended;
  const auto how = Reap(path.upgrade->next.process, ended);
  if (!how) return;
  path.upgrade->next.process.child.Abandon();
  path.upgrade->next.process.control.Reset();
  // While the other one ends: PromoteNext finds it dead.
  if (path.upgrade->step != Step::kLoading) return;
  EndUpgrade(path, base::Fail(base::Code::kFailedPrecondition,
                              "the new version's process " + *how + ", before it was to serve"));
}

void Keeper::CheckUpgrade(KeptPath& path) {
  Upgrade& upgrade = *path.upgrade;
  const auto late = [&](const std::string& what) {
    EndUpgrade(path, base::Fail(base::Code::kDeadlineExceeded, what));
  };
  switch (upgrade.step) {
    case Step::kLoading:
      return late("the new version is not loaded in time");
    case Step::kHandingOver:
      // First: whoever is killed is followed, and who ends by itself late would end the volume.
      (void)path.process.child.Kill(SIGKILL);
      if (Now() >= upgrade.serve_by)
        return GoBack(path, "the old version did not hand over in time");
      upgrade.deadline = std::min(upgrade.serve_by, Now() + std::chrono::milliseconds(kKillMsMax));
      return;
    case Step::kTrial:
      return GoBack(path, "it does not serve in time");
    case Step::kGoingBack:  // whenever it ends, the old version follows it
      return late("its process cannot be killed: " + upgrade.why);
  }
}

void Keeper::GoBack(KeptPath& path, std::string why) {
  path.upgrade->step = Step::kGoingBack;
  path.upgrade->why = std::move(why);
  path.upgrade->deadline = Now() + std::chrono::milliseconds(kKillMsMax);
  if (path.process.child) (void)path.process.child.Kill(SIGKILL);
}

// It serves.
void Keeper::KeepUpgrade(KeptPath& path) {
  path.previous = Previous{std::move(path.version), Now() + kYoungMax};
  path.version = std::move(path.upgrade->version);
  path.crashes = path.deaths = 0;
  EndStandby(path);  // of the old version
  EndUpgrade(path, {});
}

void Keeper::EndUpgrade(KeptPath& path, const base::Status& status) {
  print_(path.volume_id + ": " +
         (status
              ? "upgraded to " + path.version.plugin
              : "not upgraded to " + path.upgrade->version.plugin + ": " + status.error().message));
  const uint64_t client = path.upgrade->client;
  const uint64_t request = path.upgrade->request;
  End(std::move(path.upgrade->next.process.child));
  path.upgrade.reset();
  WantStandby(path);
  // First: a keeper that has a copy from before would go back.
  TellChanged(path);
  Answer(client, request, status);
}

bool Keeper::FallBack(KeptPath& path) {
  if (!path.previous) return false;
  print_(path.volume_id + ": " + path.version.plugin + " crashes again and again, back to " +
         path.previous->version.plugin);
  path.version = std::move(path.previous->version);
  path.previous.reset();
  path.crashes = 0;
  EndStandby(path);
  return true;
}

}  // namespace gantry::keeper
