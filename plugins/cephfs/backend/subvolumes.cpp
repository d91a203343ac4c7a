// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/subvolumes.hpp"

#include <cerrno>
#include <charconv>
#include <ctime>
#include <utility>

#include "plugins/cephfs/cluster/ceph_error.hpp"

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

constexpr const char* kInfo = "fs subvolume info";

// A manager that has just started has no module yet, and says so by EINVAL.
bool IsUnknownCommand(const Reply& reply) {
  return reply.number == EINVAL && reply.words.find("No handler found") != std::string::npos;
}

// Or, a moment later, by EOPNOTSUPP: that must not be taken for "cannot", which is final.
bool IsWithoutModule(const Reply& reply) {
  return reply.number == EOPNOTSUPP &&
         reply.words.find("is not enabled/loaded") != std::string::npos;
}

// The module has moved its directory into the trash, and then could not write down that it did.
bool IsWithoutDirectory(const Reply& reply) {
  return reply.number == ENOENT && reply.words.find("mount path missing") != std::string::npos;
}

// ENOENT tells of the filesystem too, and what was in one that cannot be found is not gone.
bool IsWithoutFilesystem(const Reply& reply, const std::string& fs_name) {
  return reply.number == ENOENT &&
         (reply.words.find("FS '" + fs_name + "' not found") != std::string::npos ||
          reply.words.find("olume '" + fs_name + "' not found") != std::string::npos);
}

// The module keeps what it knows of a subvolume in a file of the data pool, and where that cannot be
// written it says EINVAL and why, in words or by a number in a traceback.
int NumberOf(const Reply& reply) {
  if (reply.number != EINVAL) return reply.number;
  for (const int number : {ENOSPC, EDQUOT})
    if (reply.words.find("Exception: -" + std::to_string(number) + " ") != std::string::npos)
      return number;
  if (reply.words.find("No space left on device") != std::string::npos) return ENOSPC;
  if (reply.words.find("Disk quota exceeded") != std::string::npos) return EDQUOT;
  return reply.number;
}

tl::unexpected<plugin::Error> Failed(const char* prefix, const Reply& reply) {
  if (IsUnknownCommand(reply))
    return Fail(code::kUnavailable,
                std::string("the cluster's manager does not know the command ") + prefix);
  return tl::unexpected(FromErrno(reply.number, prefix, reply.words));
}

Status Done(const char* prefix, const Result<Reply>& reply, int also_fine = 0) {
  if (!reply) return tl::unexpected(reply.error());
  if (reply->ok() || reply->number == also_fine) return {};
  return Failed(prefix, *reply);
}

json Arguments(const SubvolumeAt& at) { return {{"sub_name", at.name}, {"group_name", at.group}}; }
json Arguments(const SnapshotAt& at) {
  return {{"sub_name", at.subvolume}, {"group_name", at.group}, {"snap_name", at.name}};
}

CloneState ParseState(const std::string& name) {
  if (name == "pending") return CloneState::kPending;
  if (name == "in-progress") return CloneState::kInProgress;
  if (name == "complete") return CloneState::kComplete;
  if (name == "canceled") return CloneState::kCanceled;
  return CloneState::kFailed;
}

std::string OctalOf(uint32_t mode) {
  std::string text;
  for (; mode != 0; mode >>= 3) text.insert(text.begin(), static_cast<char>('0' + (mode & 7)));
  return text;
}

std::string TextOf(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// "12.5%", as releases from 19 on say.
std::optional<uint64_t> ParsePercent(const std::string& text) {
  uint64_t percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc() || percent > 100) return std::nullopt;
  return percent;
}

}  // namespace

Subvolumes::Subvolumes(Cluster* cluster, std::string fs_name)
    : cluster_(cluster), fs_name_(std::move(fs_name)) {}

Result<Reply> Subvolumes::Ask(const char* prefix, json arguments, TimePoint deadline) const {
  arguments["prefix"] = prefix;
  arguments["vol_name"] = fs_name_;
  GANTRY_PLUGIN_TRY_ASSIGN(Reply reply, cluster_->AskManager(arguments, deadline));
  if (IsWithoutModule(reply))
    return Fail(code::kUnavailable,
                std::string(prefix) +
                    ": the cluster's manager has not loaded its module volumes; "
                    "it has just started, or the module is disabled");
  if (IsWithoutDirectory(reply) && prefix != kInfo)
    return Fail(code::kDataLoss, std::string(prefix) + ": subvolume " +
                                     arguments.value("sub_name", "") + " has lost its directory");
  if (IsWithoutFilesystem(reply, fs_name_))
    return Fail(code::kFailedPrecondition, std::string(prefix) + ": fsName is \"" + fs_name_ +
                                               "\"; the cluster has no such filesystem");
  reply.number = NumberOf(reply);
  return reply;
}

Result<std::vector<std::string>> Subvolumes::Names(const char* prefix, json arguments,
                                                   TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, Ask(prefix, std::move(arguments), deadline));
  std::vector<std::string> names;
  if (reply.number == ENOENT) return names;
  if (!reply.ok()) return Failed(prefix, reply);
  GANTRY_PLUGIN_TRY_ASSIGN(const json list, reply.Json(prefix));
  for (const auto& item : list) names.push_back(TextOf(item, "name"));
  return names;
}

Status Subvolumes::MakeGroup(const std::string& group, TimePoint deadline) const {
  const char* prefix = "fs subvolumegroup create";
  const auto reply = Ask(prefix, {{"group_name", group}}, deadline);
  if (reply && reply->number == ENOENT)
    return Fail(code::kFailedPrecondition,
                "fsName is \"" + fs_name_ + "\"; the cluster has no such filesystem");
  return Done(prefix, reply);
}

Status Subvolumes::Create(const SubvolumeSpec& spec, TimePoint deadline) const {
  const char* prefix = "fs subvolume create";
  json arguments = Arguments(spec.at);
  arguments["size"] = spec.size_bytes;
  if (spec.mode != 0) arguments["mode"] = OctalOf(spec.mode);
  if (spec.uid) arguments["uid"] = *spec.uid;
  if (spec.gid) arguments["gid"] = *spec.gid;
  if (!spec.pool_layout.empty()) arguments["pool_layout"] = spec.pool_layout;
  if (spec.namespace_isolated) arguments["namespace_isolated"] = true;
  auto reply = Ask(prefix, arguments, deadline);
  if (reply && reply->number == ENOENT) {
    GANTRY_PLUGIN_TRY(MakeGroup(spec.at.group, deadline));
    reply = Ask(prefix, std::move(arguments), deadline);
  }
  return Done(prefix, reply);
}

Result<std::optional<SubvolumeInfo>> Subvolumes::Info(const SubvolumeAt& at,
                                                      TimePoint deadline) const {
  const char* prefix = kInfo;
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, Ask(prefix, Arguments(at), deadline));
  if (reply.number == ENOENT) return std::nullopt;
  if (!reply.ok()) return Failed(prefix, reply);
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, reply.Json(prefix));
  SubvolumeInfo info;
  info.path = TextOf(object, "path");
  info.data_pool = TextOf(object, "data_pool");
  info.pool_namespace = TextOf(object, "pool_namespace");
  if (const auto quota = object.find("bytes_quota");
      quota != object.end() && quota->is_number_unsigned())
    info.quota_bytes = quota->get<uint64_t>();
  if (const auto used = object.find("bytes_used");
      used != object.end() && used->is_number_unsigned())
    info.used_bytes = used->get<uint64_t>();
  // The directory's mtime is that of its newest entry.
  const std::string created = TextOf(object, "created_at");
  info.untouched = info.used_bytes == 0 && !created.empty() && TextOf(object, "mtime") == created;
  return info;
}

Result<std::vector<std::string>> Subvolumes::Groups(TimePoint deadline) const {
  return Names("fs subvolumegroup ls", json::object(), deadline);
}

Result<std::vector<std::string>> Subvolumes::List(const std::string& group,
                                                  TimePoint deadline) const {
  return Names("fs subvolume ls", {{"group_name", group}}, deadline);
}

Result<Removed> Subvolumes::Remove(const SubvolumeAt& at, TimePoint deadline) const {
  const char* prefix = "fs subvolume rm";
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, Ask(prefix, Arguments(at), deadline));
  if (reply.ok() || reply.number == ENOENT) return Removed::kGone;
  if (reply.number == ENOTEMPTY) return Removed::kHasSnapshots;
  if (reply.number == EAGAIN) return Removed::kBusy;
  return Failed(prefix, reply);
}

Status Subvolumes::RemoveAllButSnapshots(const SubvolumeAt& at, TimePoint deadline) const {
  const char* prefix = "fs subvolume rm";
  json arguments = Arguments(at);
  arguments["retain_snapshots"] = true;
  const auto reply = Ask(prefix, std::move(arguments), deadline);
  if (reply && (reply->number == ENOTEMPTY || reply->number == EEXIST))
    return Fail(code::kAborted, "what " + at.name + " held is still being purged");
  return Done(prefix, reply, ENOENT);
}

Result<Removed> Subvolumes::RemoveClone(const SubvolumeAt& at, TimePoint deadline) const {
  const char* prefix = "fs subvolume rm";
  json arguments = Arguments(at);
  arguments["force"] = true;
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, Ask(prefix, std::move(arguments), deadline));
  if (reply.ok() || reply.number == ENOENT) return Removed::kGone;
  if (reply.number == ENOTEMPTY) return Removed::kHasSnapshots;
  if (reply.number == EAGAIN) return Removed::kBusy;
  return Failed(prefix, reply);
}

Status Subvolumes::Resize(const SubvolumeAt& at, uint64_t size_bytes, TimePoint deadline) const {
  const char* prefix = "fs subvolume resize";
  json arguments = Arguments(at);
  arguments["new_size"] = std::to_string(size_bytes);
  arguments["no_shrink"] = true;
  return Done(prefix, Ask(prefix, std::move(arguments), deadline));
}

Status Subvolumes::Pin(const SubvolumeAt& at, const std::string& type, const std::string& setting,
                       TimePoint deadline) const {
  const char* prefix = "fs subvolume pin";
  json arguments = Arguments(at);
  arguments["pin_type"] = type;
  arguments["pin_setting"] = setting;
  return Done(prefix, Ask(prefix, std::move(arguments), deadline));
}

Status Subvolumes::ShowSnapshots(const SubvolumeAt& at, bool visible, TimePoint deadline) const {
  const char* prefix = "fs subvolume snapshot-visibility set";
  json arguments = Arguments(at);
  arguments["value"] = visible ? "true" : "false";
  const auto reply = Ask(prefix, std::move(arguments), deadline);
  if (reply && (IsUnknownCommand(*reply) || reply->number == EOPNOTSUPP))
    return Fail(code::kInvalidArgument,
                "mutable_parameters[\"snapshotsVisible\"]: this release of Ceph cannot hide "
                "snapshots");
  return Done(prefix, reply);
}

Status Subvolumes::CreateSnapshot(const SnapshotAt& at, TimePoint deadline) const {
  const char* prefix = "fs subvolume snapshot create";
  return Done(prefix, Ask(prefix, Arguments(at), deadline), EEXIST);
}

Result<std::optional<int64_t>> Subvolumes::SnapshotWallTime(const SnapshotAt& at,
                                                            TimePoint deadline) const {
  const char* prefix = "fs subvolume snapshot info";
  GANTRY_PLUGIN_TRY_ASSIGN(const Reply reply, Ask(prefix, Arguments(at), deadline));
  if (reply.number == ENOENT) return std::nullopt;
  if (!reply.ok()) return Failed(prefix, reply);
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, reply.Json(prefix));
  return ParseTime(TextOf(object, "created_at"));
}

Result<bool> Subvolumes::RemoveSnapshot(const SnapshotAt& at, TimePoint deadline) const {
  const char* prefix = "fs subvolume snapshot rm";
  json arguments = Arguments(at);
  GANTRY_PLUGIN_TRY_ASSIGN(Reply reply, Ask(prefix, arguments, deadline));
  if (reply.number == EAGAIN && reply.words.find("pending clones") == std::string::npos) {
    // It cannot write down that the snapshot has no notes any more: the pool is full. Clones are
    // looked for all the same.
    arguments["force"] = true;
    GANTRY_PLUGIN_TRY_ASSIGN(reply, Ask(prefix, std::move(arguments), deadline));
  }
  if (reply.ok() || reply.number == ENOENT) return true;
  if (reply.number == EAGAIN) return false;
  return Failed(prefix, reply);
}

Result<std::vector<std::string>> Subvolumes::ListSnapshots(const SubvolumeAt& at,
                                                           TimePoint deadline) const {
  return Names("fs subvolume snapshot ls", Arguments(at), deadline);
}

Status Subvolumes::Clone(const SnapshotAt& from, const SubvolumeAt& to,
                         const std::string& pool_layout, TimePoint deadline) const {
  const char* prefix = "fs subvolume snapshot clone";
  json arguments = Arguments(from);
  arguments["target_sub_name"] = to.name;
  arguments["target_group_name"] = to.group;
  if (!pool_layout.empty()) arguments["pool_layout"] = pool_layout;
  auto reply = Ask(prefix, arguments, deadline);
  if (reply && reply->number == ENOENT) {
    // The source's or the target's group is meant; the latter can be made.
    GANTRY_PLUGIN_TRY(MakeGroup(to.group, deadline));
    reply = Ask(prefix, std::move(arguments), deadline);
  }
  return Done(prefix, reply, EEXIST);
}

Result<CloneStatus> Subvolumes::StatusOfClone(const SubvolumeAt& at, TimePoint deadline) const {
  const char* prefix = "fs clone status";
  GANTRY_PLUGIN_TRY_ASSIGN(
      const Reply reply,
      Ask(prefix, {{"clone_name", at.name}, {"group_name", at.group}}, deadline));
  CloneStatus status;
  if (reply.number == ENOENT) return status;
  if (!reply.ok()) return Failed(prefix, reply);
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, reply.Json(prefix));
  const json said = object.value("status", json::object());
  status.state = ParseState(TextOf(said, "state"));
  if (said.contains("failure")) {
    const json& failure = said["failure"];
    status.failure = ForPeople(TextOf(failure, "error_msg"));
    const std::string number = TextOf(failure, "errno");
    status.no_room = number == std::to_string(ENOSPC) || number == std::to_string(EDQUOT);
  }
  if (said.contains("progress_report"))
    status.done_percent = ParsePercent(TextOf(said["progress_report"], "percentage cloned"));
  return status;
}

Status Subvolumes::CancelClone(const SubvolumeAt& at, TimePoint deadline) const {
  const char* prefix = "fs clone cancel";
  const auto reply = Ask(prefix, {{"clone_name", at.name}, {"group_name", at.group}}, deadline);
  if (reply && (reply->number == EINVAL || reply->number == ENOENT)) return {};
  return Done(prefix, reply);
}

int64_t ParseTime(std::string_view text) {
  std::tm parts{};
  const std::string whole(text.substr(0, 19));
  const char* end = strptime(whole.c_str(), "%Y-%m-%d %H:%M:%S", &parts);
  if (end == nullptr || *end != '\0') return 0;
  int64_t nanoseconds = 0;
  int64_t unit = 100'000'000;
  if (text.size() > 20 && text[19] == '.')
    for (const char c : text.substr(20, 9)) {
      if (c < '0' || c > '9') break;
      nanoseconds += (c - '0') * unit;
      unit /= 10;
    }
  return static_cast<int64_t>(timegm(&parts)) * 1'000'000'000 + nanoseconds;
}

}  // namespace gantry::cephfs
