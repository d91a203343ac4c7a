// SPDX-License-Identifier: Apache-2.0
#include "host/services/mount_plan.hpp"

#include <fnmatch.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "host/core/argument_pattern.hpp"
#include "host/core/export_pattern.hpp"
#include "host/core/option_pattern.hpp"
#include "host/core/server_pattern.hpp"
#include "host/services/ceph_options.hpp"
#include "host/services/nfs_options.hpp"

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
  std::string shown(key.substr(0, kShownBytesMax));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return "\"" + shown + (key.size() < option.size() ? "=...\"" : "\"");
}

// What a control character means to the kernel, to mountinfo and to people differs.
bool HoldsControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
}

struct Option {
  std::string text;
  bool is_cos = false;  // from mount_flags, not from the plugin
};

// As mount -o: one flag may hold several, separated by commas, except within double quotes.
void Split(std::string_view words, bool is_cos, std::vector<Option>* options) {
  bool quoted = false;
  size_t start = 0;
  for (size_t i = 0; i <= words.size(); ++i) {
    if (i < words.size() && words[i] == '"') quoted = !quoted;
    if (i < words.size() && (quoted || words[i] != ',')) continue;
    if (i > start) options->push_back({std::string(words.substr(start, i - start)), is_cos});
    start = i + 1;
  }
}

base::Result<std::vector<Option>> AllOptions(const core::StageMount& mount) {
  std::vector<Option> all;
  for (const auto& words : mount.source.options()) Split(words, false, &all);
  for (const auto& words : mount.mount_flags) Split(words, true, &all);
  for (const auto& option : all)
    if (HoldsControl(option.text))
      return Fail(Code::kInvalidArgument,
                  "mount option " + Shown(KeyOf(option.text)) + ": expected no control characters");
  if (all.size() > kOptionsMax)
    return Fail(Code::kInvalidArgument, "mount_flags: " + std::to_string(all.size()) +
                                            " options: expected at most " +
                                            std::to_string(kOptionsMax));
  return all;
}

// SELinux' label of the whole mount, with which kubelet saves itself a relabelling of every file:
// context="user:role:type:s0:c1,c2". False when it is another option, or none of the CO's.
base::Result<bool> ApplyLabel(const Option& option, const KernelFeatures& kernel, MountPlan* plan) {
  constexpr std::string_view kLabel = "context=";
  if (!option.is_cos || !option.text.starts_with(kLabel)) return false;
  if (!kernel.selinux)
    return Fail(Code::kInvalidArgument,
                "mount option \"context=...\": this kernel has no SELinux, expected none");
  std::string_view label = std::string_view(option.text).substr(kLabel.size());
  if (label.size() >= 2 && label.front() == '"' && label.back() == '"')
    label = label.substr(1, label.size() - 2);
  if (label.empty() || label.size() > kOptionValueBytesMax ||
      label.find('"') != std::string_view::npos)
    return Fail(Code::kInvalidArgument, "mount option \"context=...\": expected a label of 1 to " +
                                            std::to_string(kOptionValueBytesMax) + " bytes");
  plan->options.push_back(std::string(kLabel) + std::string(label));
  return true;
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

// Options by which a filesystem's client is sent elsewhere than its source says.
bool NamesServers(std::string_view key) {
  return key == "addr" || key == "mountaddr" || key == "mounthost" || key == "mon_addr" ||
         key == "ip";
}

// Options by which a filesystem uses a further device.
bool NamesDevice(std::string_view key) {
  return key == "journal_dev" || key == "journal_path" || key == "logdev" || key == "rtdev" ||
         key == "device";
}

// Options that would replace the source that was judged.
bool ReplacesSource(std::string_view key) {
  return key == "source" || key == "unc" || key == "device" || key == "target";
}

Status AddEach(std::string_view list, char separator, std::vector<core::ServerName>* servers) {
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(separator, start), list.size());
    GANTRY_TRY_ASSIGN(auto server, core::ParseServer(list.substr(start, end - start)));
    servers->push_back(std::move(server));
    start = end + 1;
  }
  return {};
}

// Filesystems whose sources are understood, so that a wildcard may grant them. Any other type must
// be granted by its own name, because a wildcard would also match what shows the kernel (proc,
// debugfs) or other directories (overlay).
enum class Grammar {
  kNothing,   // tmpfs: the source is a label
  kHostPath,  // "server:/path"
  kUnc,       // "//server/share"
  kCeph,      // "mon1,mon2:/path", or "user@fsid.name=/path" with mon_addr=
};
struct KnownType {
  std::string_view name;
  Grammar grammar;
};
constexpr std::array kKnownTypes = {
    KnownType{"tmpfs", Grammar::kNothing}, KnownType{"nfs", Grammar::kHostPath},
    KnownType{"nfs4", Grammar::kHostPath}, KnownType{"cifs", Grammar::kUnc},
    KnownType{"smb3", Grammar::kUnc},      KnownType{"ceph", Grammar::kCeph},
};

const KnownType* FindType(std::string_view fs_type) {
  const auto* found =
      std::find_if(kKnownTypes.begin(), kKnownTypes.end(),
                   [fs_type](const KnownType& type) { return type.name == fs_type; });
  return found == kKnownTypes.end() ? nullptr : found;
}

bool TypeIsGranted(const core::Grants& grants, const std::string& fs_type) {
  const bool is_known = FindType(fs_type) != nullptr;
  return std::any_of(
      grants.fs_types.begin(), grants.fs_types.end(), [&](const std::string& pattern) {
        return pattern == fs_type ||
               (is_known && fnmatch(pattern.c_str(), fs_type.c_str(), FNM_NOESCAPE) == 0);
      });
}

Status AddServersOfSource(Grammar grammar, const std::string& source,
                          std::vector<core::ServerName>* servers) {
  switch (grammar) {
    case Grammar::kNothing:
      return {};
    case Grammar::kUnc:
      if (!source.starts_with("//")) return {};
      return AddEach(std::string_view(source).substr(2, source.find('/', 2) - 2), '\0', servers);
    case Grammar::kCeph:
      if (source.find('@') != std::string::npos) return {};
      [[fallthrough]];
    case Grammar::kHostPath: {
      const size_t colon = source.find(":/");
      if (colon == std::string::npos) return {};
      return AddEach(std::string_view(source).substr(0, colon),
                     grammar == Grammar::kCeph ? ',' : '\0', servers);
    }
  }
  return {};
}

// Who would be talked to. An option that redirects the client counts as much as the source.
base::Result<std::vector<core::ServerName>> ServersOf(const MountPlan& plan) {
  std::vector<core::ServerName> servers;
  const KnownType* const type = FindType(plan.fs_type);
  const Grammar grammar = type == nullptr ? Grammar::kHostPath : type->grammar;
  if (const auto added = AddServersOfSource(grammar, plan.source, &servers); !added)
    return tl::unexpected(base::Wrap(added.error(), "source \"" + plan.source + "\""));
  for (const auto& option : plan.options) {
    const auto key = KeyOf(option);
    if (!NamesServers(key)) continue;
    const auto value = std::string_view(option).substr(std::min(key.size() + 1, option.size()));
    if (const auto added = AddEach(value, key == "mon_addr" ? '/' : '\0', &servers); !added)
      return tl::unexpected(base::Wrap(added.error(), "mount option " + std::string(key)));
  }
  if (servers.empty() && grammar != Grammar::kNothing)
    return Fail(Code::kInvalidArgument, "source \"" + plan.source + "\" of filesystem type " +
                                            plan.fs_type + ": expected one that names a server");
  return servers;
}

// The directory that a source names on its server; empty: none that is understood.
std::string_view DirectoryOf(const MountPlan& plan) {
  const KnownType* const type = FindType(plan.fs_type);
  const Grammar grammar = type == nullptr ? Grammar::kHostPath : type->grammar;
  const std::string_view source = plan.source;
  const bool is_new_ceph = grammar == Grammar::kCeph && source.find('@') != std::string_view::npos;
  size_t begin = std::string_view::npos;
  if (grammar == Grammar::kUnc) {
    begin = source.find('/', 2);
  } else if (grammar != Grammar::kNothing) {
    begin = source.find(is_new_ceph ? "=/" : ":/");
    if (begin != std::string_view::npos) ++begin;
  }
  return begin == std::string_view::npos ? std::string_view() : source.substr(begin);
}

tl::unexpected<base::Error> Missing(const core::StageMount& mount, const std::string& grant,
                                    const std::string& what) {
  return Fail(Code::kPermissionDenied, what + " is not granted to backend " + mount.backend +
                                           " (backends." + mount.backend + ".grants." + grant +
                                           ")");
}

// By servers as a whole, or by the directory on each of them. An option that redirects the client
// makes the source's directory one of that server.
Status JudgeServers(const core::StageMount& mount, const core::Grants& grants,
                    const MountPlan& plan) {
  GANTRY_TRY_ASSIGN(const auto servers, ServersOf(plan));
  const std::string_view directory = DirectoryOf(plan);
  for (const auto& server : servers) {
    const bool is_granted =
        std::any_of(grants.servers.begin(), grants.servers.end(),
                    [&](const auto& pattern) { return core::MatchesServer(pattern, server); }) ||
        std::any_of(grants.exports.begin(), grants.exports.end(), [&](const auto& pattern) {
          return core::MatchesExport(pattern, server, directory);
        });
    if (is_granted) continue;
    if (grants.exports.empty()) return Missing(mount, "servers", "server \"" + server.text + "\"");
    return Missing(
        mount, "exports",
        "directory \"" + std::string(directory) + "\" of server \"" + server.text + "\"");
  }
  return {};
}

Status JudgeOption(const core::StageMount& mount, const core::Grants& grants,
                   const std::string& option) {
  if (KeyOf(option).empty()) return Fail(Code::kInvalidArgument, "mount option without a name");
  if (option.size() - KeyOf(option).size() > kOptionValueBytesMax + 1)
    return Fail(Code::kInvalidArgument, "mount option " + Shown(option) +
                                            ": expected a value of at most " +
                                            std::to_string(kOptionValueBytesMax) + " bytes");
  if (ReplacesSource(KeyOf(option)))
    return Fail(Code::kInvalidArgument,
                "mount option " + Shown(option) + ": expected the source in the source alone");
  const bool is_nfs = mount.source.fs_type() == "nfs" || mount.source.fs_type() == "nfs4";
  if (is_nfs && IsPlainNfsOption(option)) return {};
  if (mount.source.fs_type() == "ceph" && IsPlainCephOption(option)) return {};
  const bool granted = std::any_of(
      grants.mount_options.begin(), grants.mount_options.end(), [&](const std::string& pattern) {
        return core::MatchesOption(pattern, option, NamesServers(KeyOf(option)));
      });
  if (!granted) return Missing(mount, "mount_options", "mount option " + Shown(option));
  return {};
}

}  // namespace

// The directory is there while SELinux is on, also where nothing is mounted on it.
KernelFeatures ReadKernelFeatures() {
  std::error_code ignored;
  return {std::filesystem::exists("/sys/fs/selinux", ignored)};
}

base::Result<MountPlan> PlanFilesystem(const core::StageMount& mount, const core::Grants& grants,
                                       const KernelFeatures& kernel) {
  GANTRY_TRY_ASSIGN(MountPlan plan, PlanCommon(mount));
  plan.fs_type = mount.source.fs_type();
  plan.source = mount.source.source();
  if (plan.fs_type.empty())
    return Fail(Code::kInternal,
                "backend " + mount.backend + " gave a FILESYSTEM source without a filesystem type");
  if (HoldsControl(plan.fs_type) || HoldsControl(plan.source))
    return Fail(Code::kInvalidArgument,
                "backend " + mount.backend +
                    " gave a filesystem type or source with control characters in it");
  if (plan.fs_type.starts_with("fuse"))
    return Fail(Code::kInvalidArgument,
                "filesystem type " + plan.fs_type + ": expected a USERSPACE source for it");
  if (!mount.fs_type.empty() && mount.fs_type != plan.fs_type)
    return Fail(Code::kInvalidArgument, "fs_type: \"" + mount.fs_type + "\": this volume is " +
                                            plan.fs_type + ", expected that or none");
  if (!TypeIsGranted(grants, plan.fs_type))
    return Missing(mount, "fs_types", "filesystem type \"" + plan.fs_type + "\"");
  GANTRY_TRY_ASSIGN(const auto options, AllOptions(mount));
  for (const auto& option : options) {
    GANTRY_TRY_ASSIGN(bool applied, ApplyGeneric(option.text, &plan));
    if (!applied) {
      GANTRY_TRY_ASSIGN(applied, ApplyLabel(option, kernel, &plan));
    }
    if (applied) continue;
    GANTRY_TRY(JudgeOption(mount, grants, option.text));
    plan.options.push_back(option.text);
  }
  GANTRY_TRY(JudgeServers(mount, grants, plan));
  if (plan.readonly) {
    plan.attributes |= MOUNT_ATTR_RDONLY;
    plan.options.push_back("ro");
  }
  return plan;
}

base::Result<MountPlan> PlanUserspace(const core::StageMount& mount, const core::Grants& grants,
                                      const KernelFeatures& kernel) {
  if (!grants.userspace) return Missing(mount, "userspace", "a USERSPACE source");
  GANTRY_TRY_ASSIGN(MountPlan plan, PlanCommon(mount));
  plan.fs_type = "fuse.gantry";
  plan.source = mount.volume_id;
  GANTRY_TRY_ASSIGN(const auto options, AllOptions(mount));
  for (const auto& option : options) {
    GANTRY_TRY_ASSIGN(const bool generic, ApplyGeneric(option.text, &plan));
    if (!generic) GANTRY_TRY(ApplyLabel(option, kernel, &plan));
  }
  if (plan.readonly) {
    plan.attributes |= MOUNT_ATTR_RDONLY;
    plan.options.push_back("ro");
  }
  return plan;
}

base::Result<MountPlan> PlanDevice(const core::StageMount& mount, const std::string& fs_type,
                                   const core::Grants& grants, const KernelFeatures& kernel) {
  GANTRY_TRY_ASSIGN(MountPlan plan, PlanCommon(mount));
  plan.attributes = 0;
  plan.fs_type = fs_type;
  const auto& granted = grants.block.fs_types;
  if (std::find(granted.begin(), granted.end(), fs_type) == granted.end())
    return Missing(mount, "block.fs_types", "filesystem type \"" + fs_type + "\"");
  GANTRY_TRY_ASSIGN(const auto options, AllOptions(mount));
  for (const auto& option : options) {
    if (option.text == "suid" || option.text == "dev" || option.text == "discard") {
      if (option.text == "discard") plan.options.push_back(option.text);
      continue;
    }
    if (option.text == "nosuid") plan.attributes |= MOUNT_ATTR_NOSUID;
    if (option.text == "nodev") plan.attributes |= MOUNT_ATTR_NODEV;
    GANTRY_TRY_ASSIGN(bool applied, ApplyGeneric(option.text, &plan));
    if (!applied) {
      GANTRY_TRY_ASSIGN(applied, ApplyLabel(option, kernel, &plan));
    }
    if (applied) continue;
    if (NamesDevice(KeyOf(option.text)))
      return Fail(Code::kInvalidArgument, "mount option " + Shown(option.text) +
                                              ": expected none that names another device");
    GANTRY_TRY(JudgeOption(mount, grants, option.text));
    plan.options.push_back(option.text);
  }
  // A clone has its source's UUID, and both may be on one node.
  if (fs_type == "xfs") plan.options.emplace_back("nouuid");
  if (plan.readonly) {
    plan.attributes |= MOUNT_ATTR_RDONLY;
    plan.options.emplace_back("ro");
    if (fs_type == "ext4") plan.options.emplace_back("noload");
    if (fs_type == "xfs") plan.options.emplace_back("norecovery");
    if (fs_type == "btrfs") plan.options.emplace_back("rescue=nologreplay");
  }
  return plan;
}

base::Result<std::vector<std::string>> PlanMkfsOptions(const core::StageMount& mount,
                                                       const core::Grants& grants) {
  std::vector<std::string> words;
  std::istringstream text(mount.mkfs_options);
  for (std::string word; text >> word;) words.push_back(word);
  const auto matches = [&](const std::vector<std::string>& line, size_t at) {
    if (words.size() - at < line.size()) return false;
    for (size_t i = 0; i < line.size(); ++i) {
      const auto pattern = core::ArgumentPattern::Parse(line[i]);
      if (!pattern || !pattern->Matches(words[at + i])) return false;
    }
    return true;
  };
  for (size_t at = 0; at < words.size();) {
    const auto& lines = grants.block.mkfs_options;
    const auto line = std::find_if(lines.begin(), lines.end(),
                                   [&](const auto& candidate) { return matches(candidate, at); });
    if (line == lines.end())
      return Missing(mount, "block.mkfs_options", "mkfs option \"" + words[at] + "\"");
    at += line->size();
  }
  return words;
}

}  // namespace gantry::services
