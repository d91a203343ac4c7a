// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/tgt_kind.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "plugins/iscsi/target/crypto.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kProbeMsMax{2000};
constexpr milliseconds kGrowMsMax{2000};  // of waiting for an idle moment
constexpr int kPollMsMin = 1;
constexpr int kPollMsMax = 50;
constexpr int kTidTriesMax = 8;

// Waits longer each time, until the deadline.
class Patience {
 public:
  explicit Patience(Deadline deadline) : deadline_(deadline) {}
  bool Wait() {
    if (steady_clock::now() >= deadline_) return false;
    (void)poll(nullptr, 0, ms_);
    ms_ = std::min(2 * ms_, kPollMsMax);
    return true;
  }

 private:
  const Deadline deadline_;
  int ms_ = kPollMsMin;
};

bool Has(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

const TgtUnit* UnitOf(const TgtTarget& target) {
  const auto unit = std::find_if(target.units.begin(), target.units.end(),
                                 [](const TgtUnit& one) { return one.lun == kLun; });
  return unit == target.units.end() ? nullptr : &*unit;
}

// tgtd makes its NAA name of these 32 digits.
std::string ScsiId(const Identity& identity) { return identity.naa.substr(4); }

int32_t RandomTid() {
  // Positive, and beyond what an administrator numbers by hand.
  constexpr uint64_t kTidMin = 1U << 20;
  return static_cast<int32_t>(
      std::strtoul(RandomHex(4).c_str(), nullptr, 16) % (INT32_MAX - kTidMin) + kTidMin);
}

}  // namespace

Result<TgtReply> TgtKind::Ask(const TgtRequest& request, Deadline deadline) const {
  return AskTgt(config_.socket, request, deadline);
}

plugin::Status TgtKind::Do(const TgtRequest& request, const std::string& what, Deadline deadline,
                           std::initializer_list<TgtError> fine) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto reply, Ask(request, deadline));
  if (reply.error == TgtError::kNone ||
      std::find(fine.begin(), fine.end(), reply.error) != fine.end())
    return {};
  return Fail(code::kInternal, "tgtd: " + what + ": " + TextOf(reply.error));
}

Result<std::vector<TgtTarget>> TgtKind::Show(Deadline deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto reply, Ask({}, deadline));
  if (reply.error != TgtError::kNone)
    return Fail(code::kInternal, "tgtd: show: " + TextOf(reply.error));
  return ParseTargets(reply.text);
}

Result<std::optional<TgtTarget>> TgtKind::Find(const std::string& iqn, Deadline deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto targets, Show(deadline));
  for (auto& target : targets)
    if (target.iqn == iqn) return std::optional<TgtTarget>(std::move(target));
  return std::optional<TgtTarget>();
}

plugin::Status TgtKind::Probe() {
  // A number that no target has: the shortest answer that proves that somebody answers.
  return Do({.operation = TgtOperation::kShow, .mode = TgtMode::kConnection, .tid = INT32_MAX},
            "probe", steady_clock::now() + kProbeMsMax, {TgtError::kNoTarget});
}

plugin::Status TgtKind::Check(const Export& wanted) const {
  for (const auto& access : wanted.access) {
    const auto& first = wanted.access.front();
    if (access.readonly != first.readonly)
      return Fail(code::kFailedPrecondition,
                  "tgt: read-only is for all nodes of a volume or for none of them");
    if (access.chap.has_value() != first.chap.has_value())
      return Fail(code::kFailedPrecondition,
                  "tgt: CHAP is for all nodes of a volume or for none of them");
    if (access.chap && (access.chap->user_in != first.chap->user_in ||
                        access.chap->password_in != first.chap->password_in))
      return Fail(code::kFailedPrecondition,
                  "tgt: chap.user_in and chap.password_in are one for all nodes of a volume");
  }
  return {};
}

Result<TgtTarget> TgtKind::FindOrMake(const std::string& iqn, Deadline deadline) const {
  for (int i = 0; i < kTidTriesMax; ++i) {
    const int32_t tid = RandomTid();
    GANTRY_PLUGIN_TRY_ASSIGN(
        const auto made,
        Ask({.operation = TgtOperation::kNew, .tid = tid, .words = "targetname=" + iqn}, deadline));
    if (made.error == TgtError::kNone) return TgtTarget{tid, iqn, {}, {}, {}, {}};
    if (made.error != TgtError::kTargetExists)
      return Fail(code::kInternal, "tgtd: make target " + iqn + ": " + TextOf(made.error));
    // The name or the number.
    GANTRY_PLUGIN_TRY_ASSIGN(auto found, Find(iqn, deadline));
    if (found) return std::move(*found);
  }
  return Fail(code::kInternal, "tgtd: make target " + iqn + ": no number is free");
}

plugin::Status TgtKind::MakeUnit(int32_t tid, const Export& wanted, Deadline deadline) const {
  return Do({.operation = TgtOperation::kNew,
             .mode = TgtMode::kUnit,
             .tid = tid,
             .lun = kLun,
             .words = "path=" + wanted.file + ",bstype=" + config_.backing},
            "make the LUN of " + wanted.file, deadline);
}

plugin::Status TgtKind::SetUnit(int32_t tid, const Export& wanted, Deadline deadline) const {
  const bool readonly = !wanted.access.empty() && wanted.access.front().readonly;
  return Do({.operation = TgtOperation::kUpdate,
             .mode = TgtMode::kUnit,
             .tid = tid,
             .lun = kLun,
             .words = "targetOps vendor_id=GANTRY,product_id=VOLUME,scsi_sn=" +
                      wanted.identity.serial + ",scsi_id=" + ScsiId(wanted.identity) +
                      ",thin_provisioning=" + (config_.backing == "rdwr" ? "1" : "0") +
                      ",readonly=" + (readonly ? "1" : "0") + ","},
            "set up the LUN of " + wanted.file, deadline);
}

plugin::Status TgtKind::EnsureUnit(const TgtTarget& target, const Export& wanted,
                                   Deadline deadline) const {
  const TgtUnit* unit = UnitOf(target);
  if (unit != nullptr && unit->path != wanted.file)
    return Fail(code::kInternal, "tgtd: target " + target.iqn + " has the LUN of " + unit->path +
                                     ", expected that of " + wanted.file);
  if (unit == nullptr) GANTRY_PLUGIN_TRY(MakeUnit(target.tid, wanted, deadline));
  return SetUnit(target.tid, wanted, deadline);
}

plugin::Status TgtKind::DeleteAccount(const std::string& user, Deadline deadline) const {
  // Unbinds it too.
  return Do(
      {.operation = TgtOperation::kDelete, .mode = TgtMode::kAccount, .words = "user=" + user},
      "delete account " + user, deadline, {TgtError::kNoUser});
}

plugin::Status TgtKind::RemoveAccount(const TgtTarget& target, const std::string& user,
                                      Deadline deadline) const {
  GANTRY_PLUGIN_TRY(DeleteAccount(user, deadline));
  // tgtd leaves a gap in the target's list and looks at one entry less from now on: the last account
  // would not be let in any more (measured). Bound again, it fills the gap.
  // Also where the account is gone already: whoever deleted it may have died here.
  if (target.accounts.empty() || target.accounts.back() == user) return {};
  const std::string& last = target.accounts.back();
  for (const TgtOperation operation : {TgtOperation::kUnbind, TgtOperation::kBind})
    GANTRY_PLUGIN_TRY(Do({.operation = operation,
                          .mode = TgtMode::kAccount,
                          .tid = target.tid,
                          .words = "user=" + last},
                         "bind account " + last + " again", deadline));
  return {};
}

plugin::Status TgtKind::EnsureAccount(int32_t tid, const std::string& user,
                                      const std::string& password, bool outgoing,
                                      Deadline deadline) const {
  // One that is there may have another password, left by a death before the target's end.
  GANTRY_PLUGIN_TRY(DeleteAccount(user, deadline));
  TgtRequest make{.operation = TgtOperation::kNew,
                  .mode = TgtMode::kAccount,
                  .words = "user=" + user + ",password=" + password};
  const auto made = Do(make, "make account " + user, deadline);
  WipeText(&make.words);
  GANTRY_PLUGIN_TRY(made);
  return Do({.operation = TgtOperation::kBind,
             .mode = TgtMode::kAccount,
             .tid = tid,
             .account_direction = outgoing ? 1U : 0U,
             .words = "user=" + user},
            "bind account " + user, deadline);
}

plugin::Status TgtKind::Ensure(const Export& wanted, Deadline deadline) {
  GANTRY_PLUGIN_TRY(Check(wanted));
  GANTRY_PLUGIN_TRY_ASSIGN(const TgtTarget target, FindOrMake(wanted.iqn, deadline));
  std::set<std::string> names;
  for (const auto& access : wanted.access) names.insert(access.initiator);
  for (const auto& initiator : target.acl)
    if (!names.contains(initiator))
      GANTRY_PLUGIN_TRY(CloseInitiator(target.tid, initiator, deadline));
  GANTRY_PLUGIN_TRY(EnsureUnit(target, wanted, deadline));
  bool has_outgoing = false;
  for (const auto& access : wanted.access) {
    // Access comes last: who has it has all the rest.
    if (Has(target.acl, access.initiator)) continue;
    if (access.chap) {
      GANTRY_PLUGIN_TRY(
          EnsureAccount(target.tid, access.chap->user, access.chap->password, false, deadline));
      const std::string& outgoing = access.chap->user_in;
      // One for all nodes of the volume; those that have access already have it too.
      if (!outgoing.empty() && !has_outgoing && !Has(target.outgoing, outgoing))
        GANTRY_PLUGIN_TRY(
            EnsureAccount(target.tid, outgoing, access.chap->password_in, true, deadline));
      has_outgoing = true;
    }
    GANTRY_PLUGIN_TRY(Do({.operation = TgtOperation::kBind,
                          .tid = target.tid,
                          .words = "initiator-name=" + access.initiator},
                         "bind " + access.initiator, deadline, {TgtError::kAclExists}));
  }
  return {};
}

plugin::Status TgtKind::DropConnections(int32_t tid, const std::string& initiator,
                                        Deadline deadline) const {
  Patience patience(deadline);
  for (;;) {
    GANTRY_PLUGIN_TRY_ASSIGN(
        const auto reply,
        Ask({.operation = TgtOperation::kShow, .mode = TgtMode::kConnection, .tid = tid},
            deadline));
    if (reply.error == TgtError::kNoTarget) return {};
    if (reply.error != TgtError::kNone)
      return Fail(code::kInternal, "tgtd: show connections: " + TextOf(reply.error));
    size_t left = 0;
    for (const auto& connection : ParseConnections(reply.text)) {
      if (!initiator.empty() && connection.initiator != initiator) continue;
      ++left;
      GANTRY_PLUGIN_TRY(Do({.operation = TgtOperation::kDelete,
                            .mode = TgtMode::kConnection,
                            .tid = tid,
                            .sid = connection.session,
                            .cid = connection.connection},
                           "drop a connection", deadline,
                           {TgtError::kNoSession, TgtError::kNoConnection, TgtError::kNoTarget}));
    }
    if (left == 0) return {};
    if (!patience.Wait())
      return Fail(code::kDeadlineExceeded, "tgtd: " + std::to_string(left) + " connections of " +
                                               (initiator.empty() ? "initiators" : initiator) +
                                               " are dropped and still have commands running");
  }
}

plugin::Status TgtKind::CloseInitiator(int32_t tid, const std::string& initiator,
                                       Deadline deadline) const {
  GANTRY_PLUGIN_TRY(
      Do({.operation = TgtOperation::kUnbind, .tid = tid, .words = "initiator-name=" + initiator},
         "unbind " + initiator, deadline, {TgtError::kNoAcl, TgtError::kNoTarget}));
  return DropConnections(tid, initiator, deadline);
}

plugin::Status TgtKind::Close(const std::string& iqn, const std::string& initiator,
                              const std::string& chap_user, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto target, Find(iqn, deadline));
  if (!target) return {};
  GANTRY_PLUGIN_TRY(CloseInitiator(target->tid, initiator, deadline));
  if (!chap_user.empty()) return RemoveAccount(*target, chap_user, deadline);
  return {};
}

plugin::Status TgtKind::Remove(const std::string& iqn, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto target, Find(iqn, deadline));
  if (!target) return {};
  for (const auto& initiator : target->acl)
    GANTRY_PLUGIN_TRY(Do({.operation = TgtOperation::kUnbind,
                          .tid = target->tid,
                          .words = "initiator-name=" + initiator},
                         "unbind " + initiator, deadline, {TgtError::kNoAcl}));
  Patience patience(deadline);
  for (;;) {
    GANTRY_PLUGIN_TRY(DropConnections(target->tid, "", deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(const auto unit, Ask({.operation = TgtOperation::kDelete,
                                                   .mode = TgtMode::kUnit,
                                                   .tid = target->tid,
                                                   .lun = kLun},
                                                  deadline));
    if (unit.error != TgtError::kUnitActive && unit.error != TgtError::kNone &&
        unit.error != TgtError::kNoUnit)
      return Fail(code::kInternal, "tgtd: delete LUN: " + TextOf(unit.error));
    if (unit.error != TgtError::kUnitActive) break;
    if (!patience.Wait())
      return Fail(code::kDeadlineExceeded, "tgtd: " + iqn + " still has commands running");
  }
  for (const auto* users : {&target->accounts, &target->outgoing})
    for (const auto& user : *users) GANTRY_PLUGIN_TRY(DeleteAccount(user, deadline));
  return Do({.operation = TgtOperation::kDelete, .tid = target->tid}, "delete target " + iqn,
            deadline, {TgtError::kNoTarget});
}

plugin::Status TgtKind::Grow(const Export& wanted, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto target, Find(wanted.iqn, deadline));
  if (!target) return {};
  Patience patience(std::min<Deadline>(deadline, steady_clock::now() + kGrowMsMax));
  for (;;) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto unit, Ask({.operation = TgtOperation::kDelete,
                                                   .mode = TgtMode::kUnit,
                                                   .tid = target->tid,
                                                   .lun = kLun},
                                                  deadline));
    if (unit.error == TgtError::kNone || unit.error == TgtError::kNoUnit) break;
    if (unit.error != TgtError::kUnitActive)
      return Fail(code::kInternal, "tgtd: delete LUN: " + TextOf(unit.error));
    if (!patience.Wait())
      return Fail(code::kAborted,
                  "tgtd cannot resize a LUN that is in use, and this one was not idle "
                  "for a moment");
  }
  // However late it is: without its LUN the volume cannot be left.
  const Deadline late = std::max<Deadline>(deadline, steady_clock::now() + kProbeMsMax);
  GANTRY_PLUGIN_TRY(MakeUnit(target->tid, wanted, late));
  return SetUnit(target->tid, wanted, late);
}

Result<TargetKind::Difference> TgtKind::Compare(const std::string& iqn_prefix,
                                                const std::vector<Export>& wanted) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto targets, Show(steady_clock::now() + kProbeMsMax));
  std::map<std::string, const TgtTarget*> by_name;
  for (const auto& target : targets) by_name[target.iqn] = &target;
  Difference difference;
  std::set<std::string> names;
  for (const auto& one : wanted) {
    names.insert(one.iqn);
    const auto found = by_name.find(one.iqn);
    const TgtUnit* unit = found == by_name.end() ? nullptr : UnitOf(*found->second);
    // tgtd sets all parameters of a LUN at once, so a right id stands for the others.
    bool whole = unit != nullptr && unit->path == one.file &&
                 unit->scsi_id == ScsiId(one.identity) &&
                 found->second->acl.size() == one.access.size();
    for (const auto& access : one.access)
      whole = whole && Has(found->second->acl, access.initiator);
    if (!whole) difference.missing.push_back(one.iqn);
  }
  for (const auto& target : targets)
    if (target.iqn.starts_with(iqn_prefix + ":") && !names.contains(target.iqn))
      difference.surplus.push_back(target.iqn);
  return difference;
}

std::optional<std::string> TgtKind::Generation() {
  struct stat status {};
  if (stat(config_.socket.c_str(), &status) != 0) return std::nullopt;
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) + ":" +
         std::to_string(status.st_ctim.tv_sec) + "." + std::to_string(status.st_ctim.tv_nsec);
}

}  // namespace gantry::iscsi::target
