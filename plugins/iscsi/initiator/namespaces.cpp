// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/namespaces.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

constexpr const char* kConfiguration = "/etc/iscsi/iscsid.conf";
constexpr size_t kConfigurationBytesMax = 256 * 1024;
// Some distributions keep records in the second; in the third iscsiadm has its lock, which it leaves
// behind when it is killed, and then waits for.
constexpr std::array<const char*, 3> kHidden = {"/etc/iscsi", "/var/lib/iscsi", "/run/lock"};

tl::unexpected<plugin::Error> Failed(const std::string& what) {
  return Fail(code::kFailedPrecondition, target::FromErrno(errno, what).message);
}

}  // namespace

Status EnterNamespaces(const std::filesystem::path& process) {
  if (process == "/proc/self") return {};
  struct Namespace {
    const char* name;
    int type;
  };
  // Both are opened before the first is entered, which may have another /proc.
  plugin::UniqueFd network(open((process / "ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!network) return Failed("open " + (process / "ns/net").string());
  plugin::UniqueFd mounts(open((process / "ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
  if (!mounts) return Failed("open " + (process / "ns/mnt").string());
  if (setns(network.get(), CLONE_NEWNET) != 0) return Failed("enter the node's network namespace");
  if (setns(mounts.get(), CLONE_NEWNS) != 0) return Failed("enter the node's mount namespace");
  if (chdir("/") != 0) return Failed("chdir /");
  return {};
}

std::string KeptSettings(const std::string& configuration) {
  std::string kept;
  for (size_t at = 0; at < configuration.size();) {
    const size_t end = std::min(configuration.find('\n', at), configuration.size());
    const std::string_view line(configuration.data() + at, end - at);
    const size_t begin = line.find_first_not_of(" \t");
    at = end + 1;
    if (begin == std::string_view::npos) continue;
    const std::string_view setting = line.substr(begin);
    if (!setting.starts_with("node.") || setting.starts_with("node.session.auth.")) continue;
    kept.append(setting).append("\n");
  }
  return kept;
}

Status HideRecords() {
  const auto configuration = target::ReadFile(AT_FDCWD, kConfiguration, kConfigurationBytesMax);
  if (!configuration && configuration.error().code != code::kNotFound)
    return tl::unexpected(configuration.error());
  if (unshare(CLONE_NEWNS) != 0) return Failed("unshare the mount namespace");
  // Mounts of the node go on to appear here, and none of these there.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return Failed("make the mounts private");
  for (const char* place : kHidden) {
    if (mount("gantry", place, "ramfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0)
      continue;
    if (errno != ENOENT || std::string_view(place) == "/etc/iscsi")
      return Failed(std::string("hide ") + place + " (is open-iscsi installed on this node?)");
  }
  if (mkdir("/etc/iscsi/ifaces", 0700) != 0) return Failed("make /etc/iscsi/ifaces");
  GANTRY_PLUGIN_TRY_ASSIGN(const auto file, target::OpenFile(AT_FDCWD, kConfiguration,
                                                             O_WRONLY | O_CREAT | O_EXCL, 0600));
  return target::WriteAll(file.get(), configuration ? KeptSettings(*configuration) : "",
                          kConfiguration);
}

}  // namespace gantry::iscsi::initiator
