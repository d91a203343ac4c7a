// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/access.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "plugins/cephfs/cluster/ceph_error.hpp"
#include "plugins/cephfs/cluster/mds_map.hpp"
#include "plugins/common/sha256.hpp"

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

constexpr size_t kNodeDigits = 16;
// A client that was just evicted may have come once more with the ticket that it had.
constexpr int kEvictRoundsMax = 5;
constexpr std::chrono::milliseconds kMapPollMs{50};

// "…/.snap/<snapshot>/<directory>" can only be reached through what is above it.
std::string AllowedPath(const VolumeRecord& volume) {
  return volume.path.substr(0, volume.path.find("/.snap/"));
}

bool IsToBeIsolated(const VolumeRecord& volume) {
  const auto found = volume.parameters.find("namespaceIsolated");
  return found != volume.parameters.end() && found->second == "true";
}

tl::unexpected<plugin::Error> Failed(const json& command, const Reply& reply) {
  return tl::unexpected(FromErrno(reply.number, command.value("prefix", ""), reply.words));
}

}  // namespace

std::string Access::NewUser(const VolumeRecord& volume, const std::string& node_id) {
  return "gantry." + volume.handle + "." + volume.incarnation + "." +
         plugin::Sha256Hex(node_id).substr(0, kNodeDigits) + "." + MakeNonce();
}

Result<SecretText> Access::Open(const VolumeRecord& volume, const std::string& user, bool readonly,
                                TimePoint deadline) const {
  if (volume.pool_namespace.empty() && IsToBeIsolated(volume))
    return Fail(code::kFailedPrecondition,
                "parameters[\"namespaceIsolated\"] of volume " + volume.handle +
                    " is \"true\", but its objects are in no namespace of their own: a key for it "
                    "would open all of pool " +
                    volume.data_pool);
  const std::string rights = readonly ? "allow r" : "allow rw";
  const std::string in_fs = " fsname=" + cluster_->config().fs_name;
  std::string objects = rights + " pool=" + volume.data_pool;
  if (!volume.pool_namespace.empty()) objects += " namespace=" + volume.pool_namespace;
  json command = {{"prefix", "auth get-or-create"},
                  {"entity", "client." + user},
                  {"caps",
                   {"mon", "allow r" + in_fs, "mds",
                    rights + in_fs + " path=" + AllowedPath(volume), "osd", objects}}};
  GANTRY_PLUGIN_TRY_ASSIGN(Reply reply, cluster_->AskMonitor(command, deadline));
  if (reply.number == EINVAL) {
    // It is there with other rights.
    command["prefix"] = "auth caps";
    GANTRY_PLUGIN_TRY_ASSIGN(reply, cluster_->AskMonitor(command, deadline));
    if (!reply.ok()) return Failed(command, reply);
    command = {{"prefix", "auth get"}, {"entity", "client." + user}};
    GANTRY_PLUGIN_TRY_ASSIGN(reply, cluster_->AskMonitor(command, deadline));
  }
  if (!reply.ok()) return Failed(command, reply);
  GANTRY_PLUGIN_TRY_ASSIGN(const json entities, reply.Json("auth"));
  SecretText whole(std::move(reply.out));  // so that it is wiped
  if (!entities.is_array() || entities.empty() || !entities[0].contains("key"))
    return Fail(code::kUnavailable, "the monitors told no key of client." + user);
  return SecretText(entities[0]["key"].get<std::string>());
}

Status Access::Remove(const std::string& user, TimePoint deadline) const {
  const json command = {{"prefix", "auth rm"}, {"entity", "client." + user}};
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply removed, cluster_->AskMonitor(command, deadline));
  if (!removed.ok() && removed.number != ENOENT) return Failed(command, removed);
  return {};
}

Status Access::Close(const std::string& user, const Evict& evict, const Pause& pause,
                     TimePoint deadline) const {
  GANTRY_PLUGIN_TRY(Remove(user, deadline));
  EvictRequest request;
  request.entity = user;
  GANTRY_PLUGIN_TRY_ASSIGN(request.mds, ServingMds(deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(request.as, cluster_->Identity(deadline));
  Status closed = {};
  for (int round = 0; closed; ++round) {
    const auto addresses = evict(request, deadline);
    if (!addresses) {
      closed = tl::unexpected(addresses.error());
      break;
    }
    if (addresses->empty()) break;
    closed = WaitForBlocklist(*addresses, pause, deadline);
    if (closed && round == kEvictRoundsMax)
      closed = Fail(code::kUnavailable, "client." + user + " comes back as often as it is evicted");
  }
  const SecretText wiped(std::move(request.as.key));
  return closed;
}

Result<std::vector<std::string>> Access::ServingMds(TimePoint deadline) const {
  const json command = {{"prefix", "fs get"}, {"fs_name", cluster_->config().fs_name}};
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, cluster_->AskMonitor(command, deadline));
  if (!reply.ok()) return Failed(command, reply);
  GANTRY_PLUGIN_TRY_ASSIGN(const json filesystem, reply.Json("fs get"));
  return HoldersOfRanks(filesystem);
}

Status Access::WaitForBlocklist(const std::vector<std::string>& addresses, const Pause& pause,
                                TimePoint deadline) const {
  const json command = {{"prefix", "osd blocklist ls"}};
  while (true) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, cluster_->AskMonitor(command, deadline));
    if (!reply.ok()) return Failed(command, reply);
    const auto listed = [&](const std::string& address) {
      return reply.out.find("\"" + address + "\"") != std::string::npos;
    };
    if (std::all_of(addresses.begin(), addresses.end(), listed)) return {};
    if (std::chrono::steady_clock::now() + kMapPollMs > deadline)
      return Fail(code::kUnavailable,
                  "an evicted session's address is not in the blocklist: " + addresses.front() +
                      "; is mds_session_blocklist_on_evict off?");
    if (!pause(kMapPollMs)) return Fail(code::kCancelled, "the call was cancelled");
  }
}

}  // namespace gantry::cephfs
