// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/open_iscsi.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "plugins/common/sha256.hpp"
#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/initiator/program.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Status;
namespace code = plugin::code;

constexpr const char* kConfiguration = "/etc/iscsi/iscsid.conf";
constexpr size_t kInterfaceDigits = 12;

// Of open-iscsi's include/iscsi_err.h: what iscsiadm exits with.
enum Exit {
  kDone = 0,
  kNoSession = 2,
  kNoTransport = 12,
  kSessionExists = 15,
  kDaemonTalk = 18,
  kNoDaemon = 20,
  kNothingFound = 21,
  kNotAuthorized = 24,
};

Status ToStatus(const ToolEnd& end) {
  switch (end.exit_code) {
    case kDone:
    case kSessionExists:
      return {};
    case kNotAuthorized:
      return Fail(code::kUnauthenticated,
                  "the target refuses this initiator or its CHAP secret: " + end.output);
    case kNoTransport:
      return Fail(code::kFailedPrecondition,
                  "the kernel has no iSCSI over TCP (module iscsi_tcp): " + end.output);
    case kNoDaemon:
    case kDaemonTalk:
      return Fail(code::kFailedPrecondition, "iscsid does not answer on this node: " + end.output);
    default:
      return Fail(code::kUnavailable,
                  "iscsiadm exited with " + std::to_string(end.exit_code) + ": " + end.output);
  }
}

Status WriteFile(const std::string& path, int flags, std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto file,
                           target::OpenFile(AT_FDCWD, path, O_WRONLY | O_CREAT | flags, 0600));
  return target::WriteAll(file.get(), text, path);
}

}  // namespace

std::string InterfaceName(const std::string& initiator) {
  return "gantry." + plugin::Sha256Hex(initiator).substr(0, kInterfaceDigits);
}

std::string PortalText(const target::Portal& portal) {
  const bool is_v6 = portal.address.find(':') != std::string::npos;
  return (is_v6 ? "[" + portal.address + "]" : portal.address) + ":" + std::to_string(portal.port);
}

std::string LoginSettings(const LoginWish& wish) {
  // Later lines count, so what the administrator has set otherwise for all stands before these.
  std::string text =
      "node.startup = manual\n"
      "node.leading_login = No\n"
      "node.session.scan = manual\n"
      "node.session.nr_sessions = 1\n"
      "node.session.initial_login_retry_max = 1\n";
  text += "node.conn[0].timeo.login_timeout = " + std::to_string(wish.login_s_max) + "\n";
  if (wish.chap == nullptr) return text + "node.session.auth.authmethod = None\n";
  text += "node.session.auth.authmethod = CHAP\n";
  text += "node.session.auth.username = " + wish.chap->user + "\n";
  text += "node.session.auth.password = " + wish.chap->password + "\n";
  if (wish.chap->user_in.empty()) return text;
  text += "node.session.auth.username_in = " + wish.chap->user_in + "\n";
  text += "node.session.auth.password_in = " + wish.chap->password_in + "\n";
  return text;
}

Status WriteInterface(const std::string& initiator) {
  const std::string name = InterfaceName(initiator);
  return WriteFile("/etc/iscsi/ifaces/" + name, O_TRUNC,
                   "iface.iscsi_ifacename = " + name +
                       "\niface.transport_name = tcp\niface.initiatorname = " + initiator + "\n");
}

Status Login(const LoginWish& wish, TimePoint deadline) {
  GANTRY_PLUGIN_TRY(WriteInterface(wish.initiator));
  // What a record does not say is what the configuration says.
  std::string settings = LoginSettings(wish);
  const Status written = WriteFile(kConfiguration, O_APPEND, settings);
  target::WipeText(&settings);
  GANTRY_PLUGIN_TRY(written);
  const std::string interface = InterfaceName(wish.initiator);
  for (const auto& portal : wish.portals) {
    GANTRY_PLUGIN_TRY_ASSIGN(const ToolEnd made,
                             RunTool({"iscsiadm", "-m", "node", "-T", wish.target, "-p",
                                      PortalText(portal), "-I", interface, "-o", "new"},
                                     deadline));
    GANTRY_PLUGIN_TRY(ToStatus(made));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(
      const ToolEnd end,
      RunTool({"iscsiadm", "-m", "node", "-T", wish.target, "-I", interface, "--login"}, deadline));
  return ToStatus(end);
}

Status Logout(const std::string& session, TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      const ToolEnd end,
      RunTool({"iscsiadm", "-m", "session", "-r", session, "--logout"}, deadline));
  if (end.exit_code == kNoSession || end.exit_code == kNothingFound) return {};
  return ToStatus(end);
}

Status ProbeDaemon() {
  constexpr std::string_view kSocket = "ISCSIADM_ABSTRACT_NAMESPACE";
  const plugin::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(kSocket.begin(), kSocket.end(), address.sun_path + 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + kSocket.size());
  // Full is there, too.
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 ||
      errno == EAGAIN)
    return {};
  return Fail(code::kFailedPrecondition,
              "iscsid does not answer on this node: " + std::string(std::strerror(errno)));
}

}  // namespace gantry::iscsi::initiator
