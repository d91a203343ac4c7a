// SPDX-License-Identifier: Apache-2.0
#include "host/services/mount_plan.hpp"

#include <fnmatch.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;
using base::Status;

constexpr size_t kOptionsMax = 128;
// fsconfig(2) copies at most 256 bytes of a value, the terminating NUL included.
constexpr size_t kOptionValueBytesMax = 255;

enum class Effect {
  kNothing,     // what is so anyway, or mount(8)'s own business
  kAttribute,   // a MOUNT_ATTR_*
  kSuperblock,  // a flag that every filesystem understands
  kReadOnly,
  kNever,  // would take back nosuid or nodev, or is another operation than mounting
};

struct Generic {
  std::string_view name;
  Effect effect;
  uint64_t attribute = 0;
};

constexpr std::array kGeneric = {
    Generic{"ro", Effect::kReadOnly},
    Generic{"rw", Effect::kNothing},
    Generic{"defaults", Effect::kNothing},
    Generic{"async", Effect::kNothing},
    Generic{"exec", Effect::kNothing},
    Generic{"nosuid", Effect::kNothing},
    Generic{"nodev", Effect::kNothing},
    Generic{"_netdev", Effect::kNothing},
    Generic{"nofail", Effect::kNothing},
    Generic{"noexec", Effect::kAttribute, MOUNT_ATTR_NOEXEC},
    Generic{"noatime", Effect::kAttribute, MOUNT_ATTR_NOATIME},
    Generic{"strictatime", Effect::kAttribute, MOUNT_ATTR_STRICTATIME},
    Generic{"relatime", Effect::kAttribute, MOUNT_ATTR_RELATIME},
    Generic{"nodiratime", Effect::kAttribute, MOUNT_ATTR_NODIRATIME},
    Generic{"nosymfollow", Effect::kAttribute, MOUNT_ATTR_NOSYMFOLLOW},
    Generic{"sync", Effect::kSuperblock},
    Generic{"dirsync", Effect::kSuperblock},
    Generic{"lazytime", Effect::kSuperblock},
    Generic{"suid", Effect::kNever},
    Generic{"dev", Effect::kNever},
    Generic{"remount", Effect::kNever},
    Generic{"bind", Effect::kNever},
    Generic{"rbind", Effect::kNever},
    Generic{"move", Effect::kNever},
    Generic{"shared", Effect::kNever},
    Generic{"rshared", Effect::kNever},
    Generic{"slave", Effect::kNever},
    Generic{"rslave", Effect::kNever},
    Generic{"private", Effect::kNever},
    Generic{"rprivate", Effect::kNever},
    Generic{"unbindable", Effect::kNever},
    Generic{"runbindable", Effect::kNever},
};

std::string_view KeyOf(std::string_view option) { return option.substr(0, option.find('=')); }

// "nfsvers=4" -> "nfsvers=…": what may be shown of an option.
std::string Shown(std::string_view option) {
  const auto key = KeyOf(option);
  constexpr size_t kShownBytesMax = 64;
  return "\"" + std::string(key.substr(0, kShownBytesMax)) +
         (key.size() < option.size() ? "=...\"" : "\"");
}

// As mount -o: one flag may hold several, separated by commas.
base::Result<std::vector<std::string>> AllOptions(const core::StageMount& mount) {
  std::vector<std::string> all;
  const auto split = [&all](const std::string& words) {
    for (size_t start = 0; start <= words.size();) {
      const size_t end = std::min(words.find(',', start), words.size());
      if (end > start) all.push_back(words.substr(start, end - start));
      start = end + 1;
    }
  };
  for (const auto& words : mount.source.options()) split(words);
  for (const auto& words : mount.mount_flags) split(words);
  if (all.size() > kOptionsMax)
    return Fail(Code::kInvalidArgument, "mount_flags: " + std::to_string(all.size()) +
                                            " options: expected at most " +
                                            std::to_string(kOptionsMax));
  return all;
}

// Applies an option that is not the filesystem's own; false when it is.
base::Result<bool> ApplyGeneric(const std::string& option, MountPlan* plan) {
  if (option.starts_with("x-")) return true;  // comments for userspace (mount(8))
  const auto* generic = std::find_if(kGeneric.begin(), kGeneric.end(),
                                     [&](const Generic& g) { return g.name == option; });
  if (generic == kGeneric.end()) return false;
  switch (generic->effect) {
    case Effect::kNothing:
      break;
    case Effect::kReadOnly:
      plan->readonly = true;
      break;
    case Effect::kAttribute:
      if ((generic->attribute & MOUNT_ATTR__ATIME) != 0 || generic->attribute == 0)
        plan->attributes &= ~static_cast<uint64_t>(MOUNT_ATTR__ATIME);
      plan->attributes |= generic->attribute;
      break;
    case Effect::kSuperblock:
      plan->options.push_back(option);
      break;
    case Effect::kNever:
      return Fail(Code::kInvalidArgument,
                  "mount option " + Shown(option) +
                      ": volumes are mounted nosuid and nodev, and by no other operation");
  }
  return true;
}

base::Result<MountPlan> PlanCommon(const core::StageMount& mount) {
  MountPlan plan;
  plan.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  plan.readonly = mount.readonly;
  if (!mount.mount_group.empty()) {
    const char* const end = mount.mount_group.data() + mount.mount_group.size();
    uint32_t group = 0;
    const auto [stop, error] = std::from_chars(mount.mount_group.data(), end, group);
    // (gid_t)-1 means "leave as it is" to chown(2).
    if (error != std::errc() || stop != end || group == UINT32_MAX)
      return Fail(Code::kInvalidArgument, "volume_mount_group: \"" +
                                              mount.mount_group.substr(0, 64) +
                                              "\": expected a group id in decimal");
    plan.group = group;
  }
  return plan;
}

// "[::1]:2049" and "::1" -> "::1"; "host:2049" -> "host".
std::string WithoutPort(std::string server) {
  if (server.starts_with('[')) return server.substr(1, server.find(']') - 1);
  if (std::count(server.begin(), server.end(), ':') == 1) server.resize(server.find(':'));
  return server;
}

void AddEach(std::string_view list, char separator, std::vector<std::string>* servers) {
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(separator, start), list.size());
    if (end > start) servers->push_back(WithoutPort(std::string(list.substr(start, end - start))));
    start = end + 1;
  }
}

// Who would be talked to. An option that redirects the client counts as much as the source.
base::Result<std::vector<std::string>> ServersOf(const MountPlan& plan) {
  std::vector<std::string> servers;
  const std::string& source = plan.source;
  const auto is = [&plan](std::initializer_list<const char*> types) {
    return std::any_of(types.begin(), types.end(),
                       [&plan](const char* type) { return plan.fs_type == type; });
  };
  if (is({"tmpfs"})) return servers;
  if (is({"nfs", "nfs4"})) {
    const size_t colon = source.find(":/");
    if (colon != std::string::npos) servers.push_back(WithoutPort(source.substr(0, colon)));
  } else if (is({"cifs", "smb3"})) {
    if (source.starts_with("//"))
      servers.push_back(WithoutPort(source.substr(2, source.find('/', 2) - 2)));
  } else if (is({"ceph"})) {
    // "mon1,mon2:/path", or "user@fsid.name=/path" with mon_addr=.
    const size_t colon = source.find(":/");
    if (source.find('@') == std::string::npos && colon != std::string::npos)
      AddEach(std::string_view(source).substr(0, colon), ',', &servers);
  } else if (!source.starts_with('/')) {
    servers.push_back(source);
  }
  for (const auto& option : plan.options) {
    const auto key = KeyOf(option);
    if (key != "addr" && key != "mountaddr" && key != "mon_addr" && key != "ip") continue;
    const auto value = std::string_view(option).substr(std::min(key.size() + 1, option.size()));
    AddEach(value, key == "mon_addr" ? '/' : ',', &servers);
  }
  if (servers.empty())
    return Fail(Code::kInvalidArgument, "source \"" + source + "\" of filesystem type " +
                                            plan.fs_type + ": expected one that names a server");
  return servers;
}

tl::unexpected<base::Error> Missing(const core::StageMount& mount, const std::string& grant,
                                    const std::string& what) {
  return Fail(Code::kPermissionDenied, what + " is not granted to backend " + mount.backend +
                                           " (backends." + mount.backend + ".grants." + grant +
                                           ")");
}

Status JudgeOption(const core::StageMount& mount, const core::Grants& grants,
                   const std::string& option) {
  if (KeyOf(option).empty()) return Fail(Code::kInvalidArgument, "mount option without a name");
  if (option.size() - KeyOf(option).size() > kOptionValueBytesMax + 1)
    return Fail(Code::kInvalidArgument, "mount option " + Shown(option) +
                                            ": expected a value of at most " +
                                            std::to_string(kOptionValueBytesMax) + " bytes");
  if (!MatchesAny(grants.mount_options, option))
    return Missing(mount, "mount_options", "mount option " + Shown(option));
  return {};
}

}  // namespace

bool MatchesAny(const std::vector<std::string>& patterns, const std::string& text) {
  return std::any_of(patterns.begin(), patterns.end(), [&text](const std::string& pattern) {
    return fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
  });
}

base::Result<MountPlan> PlanFilesystem(const core::StageMount& mount, const core::Grants& grants) {
  GANTRY_TRY_ASSIGN(MountPlan plan, PlanCommon(mount));
  plan.fs_type = mount.source.fs_type();
  plan.source = mount.source.source();
  if (plan.fs_type.empty())
    return Fail(Code::kInternal,
                "backend " + mount.backend + " gave a FILESYSTEM source without a filesystem type");
  if (plan.fs_type.starts_with("fuse"))
    return Fail(Code::kInvalidArgument,
                "filesystem type " + plan.fs_type + ": expected a USERSPACE source for it");
  if (!mount.fs_type.empty() && mount.fs_type != plan.fs_type)
    return Fail(Code::kInvalidArgument, "fs_type: \"" + mount.fs_type + "\": this volume is " +
                                            plan.fs_type + ", expected that or none");
  if (!MatchesAny(grants.fs_types, plan.fs_type))
    return Missing(mount, "fs_types", "filesystem type \"" + plan.fs_type + "\"");
  GANTRY_TRY_ASSIGN(const auto options, AllOptions(mount));
  for (const auto& option : options) {
    GANTRY_TRY_ASSIGN(const bool generic, ApplyGeneric(option, &plan));
    if (generic) continue;
    GANTRY_TRY(JudgeOption(mount, grants, option));
    plan.options.push_back(option);
  }
  GANTRY_TRY_ASSIGN(const auto servers, ServersOf(plan));
  for (const auto& server : servers)
    if (!MatchesAny(grants.servers, server))
      return Missing(mount, "servers", "server \"" + server + "\"");
  if (plan.readonly) {
    plan.attributes |= MOUNT_ATTR_RDONLY;
    plan.options.push_back("ro");
  }
  return plan;
}

base::Result<MountPlan> PlanUserspace(const core::StageMount& mount, const core::Grants& grants) {
  if (!grants.userspace) return Missing(mount, "userspace", "a USERSPACE source");
  GANTRY_TRY_ASSIGN(MountPlan plan, PlanCommon(mount));
  plan.fs_type = "fuse.gantry";
  plan.source = mount.volume_id;
  GANTRY_TRY_ASSIGN(const auto options, AllOptions(mount));
  for (const auto& option : options)
    if (auto generic = ApplyGeneric(option, &plan); !generic)
      return tl::unexpected(generic.error());
  if (plan.readonly) {
    plan.attributes |= MOUNT_ATTR_RDONLY;
    plan.options.push_back("ro");
  }
  return plan;
}

}  // namespace gantry::services
