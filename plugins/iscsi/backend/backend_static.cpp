// SPDX-License-Identifier: Apache-2.0
// LUNs that somebody else has made (static_lun.hpp). There is no record of theirs, so the node asks the
// LUN itself who it is before it emits it: the host writes that down in the node record, and from then
// until the unstage only a LUN that says the same is taken. Asked in the attach and not by the data
// path, because a data path only ever opens what it has been told to expect.
#include <algorithm>
#include <optional>

#include "plugins/common/json_config.hpp"
#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/backend/static_lun.hpp"
#include "plugins/iscsi/scsi/unit.hpp"

namespace gantry::iscsi {
namespace {

using plugin::Result;
using std::chrono::steady_clock;
namespace code = plugin::code;

constexpr std::chrono::seconds kGoodbye{2};  // The target notices a closed connection too.
constexpr std::string_view kInTree = "discovery.sendtargets.auth.";
constexpr std::string_view kCsiDriverIscsi = "node.sendtargets.auth.";
constexpr std::string_view kSession = "node.session.auth.";

struct ChapPair {
  std::optional<scsi::Chap> own;
  std::optional<scsi::Chap> target;
};

Result<std::optional<scsi::Chap>> ReadChap(const Call& call, const std::string& user_key,
                                           const std::string& password_key, bool is_needed,
                                           const std::string& asked_by) {
  const auto user = call.Secret(user_key);
  const auto password = call.Secret(password_key);
  const bool has_user = user && !user->empty();
  const bool has_password = password && !password->empty();
  if (!has_user && !has_password && !is_needed) return std::nullopt;
  if (!has_user || !has_password)
    return plugin::Fail(
        code::kInvalidArgument,
        "secrets[\"" + (has_user ? password_key : user_key) +
            "\"] is missing; expected it among the secrets of NodeStageVolume, since " + asked_by);
  return scsi::Chap(*user, *password);
}

// The target's own pair is an option of whoever wrote the Secret.
Result<ChapPair> ReadPairs(const Call& call, std::string_view prefix,
                           const std::string& attribute) {
  const std::string name(prefix);
  const std::string asked_by = "volume_context[\"" + attribute + "\"] is true";
  ChapPair pair;
  GANTRY_PLUGIN_TRY_ASSIGN(pair.own,
                           ReadChap(call, name + "username", name + "password", true, asked_by));
  GANTRY_PLUGIN_TRY_ASSIGN(pair.target, ReadChap(call, name + "username_in", name + "password_in",
                                                 false, "its other half is given"));
  return pair;
}

// NOT_FOUND would say to the CO that there is no such volume.
plugin::Error ForNode(const scsi::ScsiError& error) {
  plugin::Error out = scsi::ToError(error);
  if (out.code == code::kNotFound) out.code = code::kFailedPrecondition;
  return out;
}

#define GANTRY_STATIC_TRY_ASSIGN(declaration, expression) \
  GANTRY_PLUGIN_TRY_ASSIGN(declaration, (expression).map_error(ForNode))

plugin::Status FindTarget(const StaticLun& lun, scsi::LoginOptions options, ChapPair chap,
                          const scsi::Wait& wait) {
  options.chap = std::move(chap.own);
  options.mutual = std::move(chap.target);
  GANTRY_STATIC_TRY_ASSIGN(const auto found, scsi::DiscoverTargets(options, lun.portals, wait));
  std::vector<std::string> names;
  for (const auto& target : found) names.push_back(target.name);
  if (std::find(names.begin(), names.end(), lun.iqn) != names.end()) return {};
  return plugin::Fail(code::kFailedPrecondition,
                      "volume_context[\"iqn\"] is \"" + lun.iqn +
                          "\", which the portals do not show to " + options.initiator +
                          "; expected one of: " + plugin::JoinNames(names));
}

struct Seen {
  std::string identity;
  uint64_t size_bytes = 0;
};

Result<Seen> LookAt(scsi::Session& session, const StaticLun& lun, const scsi::Wait& wait) {
  const std::string name = "LUN " + std::to_string(lun.lun) + " of " + lun.iqn;
  GANTRY_STATIC_TRY_ASSIGN(const auto inquiry, scsi::ReadInquiry(session, lun.lun, wait));
  if (inquiry.qualifier != 0) return plugin::Fail(code::kFailedPrecondition, "there is no " + name);
  if (inquiry.type != 0)
    return plugin::Fail(
        code::kFailedPrecondition,
        name + " is a device of type " + std::to_string(inquiry.type) + "; expected a disk");
  GANTRY_STATIC_TRY_ASSIGN(const auto identities, scsi::ReadIdentities(session, lun.lun, wait));
  Seen seen;
  seen.identity = lun.identity.empty() ? identities.front() : lun.identity;
  if (std::find(identities.begin(), identities.end(), seen.identity) == identities.end())
    return plugin::Fail(code::kFailedPrecondition, name + " is \"" + identities.front() +
                                                       "\"; expected \"" + lun.identity +
                                                       "\" (volume_context[\"identity\"])");
  GANTRY_STATIC_TRY_ASSIGN(const auto capacity, scsi::ReadCapacity(session, lun.lun, wait));
  seen.size_bytes = capacity.size_bytes();
  return seen;
}

Result<Seen> AskLun(const StaticLun& lun, const scsi::LoginOptions& options,
                    const scsi::Wait& wait) {
  GANTRY_STATIC_TRY_ASSIGN(auto session, scsi::Session::Login(options, lun.portals, wait));
  auto seen = LookAt(session, lun, wait);
  session.Logout({std::min(wait.deadline, steady_clock::now() + kGoodbye)});
  return seen;
}

#undef GANTRY_STATIC_TRY_ASSIGN

bool SeveralWrite(int32_t mode) {
  return mode == GANTRY_MULTI_NODE_SINGLE_WRITER || mode == GANTRY_MULTI_NODE_MULTI_WRITER;
}

}  // namespace

const void* IscsiBackend::Narrow(std::string_view extension, const void* table) const {
  if (extension == GANTRY_EXT_CONTROLLER) {
    const auto& whole = *static_cast<const gantry_controller*>(table);
    static const gantry_controller kMade = [&whole] {
      gantry_controller made = whole;
      made.recognize_volume = nullptr;
      return made;
    }();
    static const gantry_controller kFound = [&whole] {
      gantry_controller found{};
      found.size = sizeof found;
      found.domain = whole.domain;
      found.delete_volume = whole.delete_volume;  // To say that it does not.
      found.recognize_volume = whole.recognize_volume;
      return found;
    }();
    return config_.fixed ? &kFound : &kMade;
  }
  if (extension == GANTRY_EXT_PUBLISH && config_.fixed) {
    const auto& whole = *static_cast<const gantry_publish*>(table);
    static const gantry_publish kFound = [&whole] {
      gantry_publish found = whole;
      found.flags = 0;
      return found;
    }();
    return &kFound;
  }
  return table;
}

Status IscsiBackend::RecognizeVolume(Call&, const gantry_volume_ref& request) {
  if (config_.fixed && MayServe(*config_.fixed, ToMap(request.context))) return Ok();
  return Refuse(code::kNotFound, "no LUN of a static target that is served here");
}

Status IscsiBackend::EmitStaticSource(Call& call, const gantry_attach& request) const {
  const auto lun = ParseStaticLun(config_, ToMap(request.context));
  if (!lun) return ToStatus(lun.error());
  scsi::LoginOptions options;
  options.target = lun->iqn;
  options.initiator = lun->initiator.empty()
                          ? InitiatorName(config_.initiator_prefix, View(request.node_id))
                          : lun->initiator;
  const scsi::Wait wait{std::min(call.deadline(), steady_clock::now() + config_.timeout)};
  if (lun->discovery_chap) {
    const std::string_view prefix =
        call.Secret(std::string(kCsiDriverIscsi) + "username") ? kCsiDriverIscsi : kInTree;
    auto pairs = ReadPairs(call, prefix, "discoveryCHAPAuth");
    if (!pairs) return ToStatus(pairs.error());
    if (const auto found = FindTarget(*lun, options, std::move(*pairs), wait); !found)
      return ToStatus(found.error());
  }
  if (lun->session_chap) {
    auto pairs = ReadPairs(call, kSession, "sessionCHAPAuth");
    if (!pairs) return ToStatus(pairs.error());
    options.chap = std::move(pairs->own);
    options.mutual = std::move(pairs->target);
  }
  const auto seen = AskLun(*lun, options, wait);
  if (!seen) return ToStatus(seen.error());

  std::vector<std::string> portals;
  for (const auto& portal : lun->portals) portals.push_back(portal.ToString());
  const bool reserve = config_.fixed->reserve && !SeveralWrite(request.capability.access_mode);
  const std::map<std::string, std::string> parameters = {
      {"portals", plugin::JoinNames(portals, ",")},
      {"target", lun->iqn},
      {"lun", std::to_string(lun->lun)},
      {"initiator", options.initiator},
      {"chap", !options.chap    ? "none"
               : options.mutual ? "mutual"
                                : "oneWay"},
      {"ioTimeoutSeconds",
       lun->io_timeout_seconds == 0 ? "wait" : std::to_string(lun->io_timeout_seconds)},
      {"fence", reserve ? "reservation" : "none"}};
  const MapRef map(parameters);
  gantry_source source{};
  source.kind = GANTRY_SOURCE_DISK;
  source.identity = ToStr(seen->identity);
  source.size_bytes = seen->size_bytes;
  source.flags = config_.fixed->may_format ? GANTRY_SOURCE_MAY_FORMAT : 0;
  source.parameters = map.get();
  call.Emit(source);
  return Ok();
}

}  // namespace gantry::iscsi
