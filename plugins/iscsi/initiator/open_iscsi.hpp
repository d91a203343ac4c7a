// SPDX-License-Identifier: Apache-2.0
// Logging in and out by the node's iscsiadm, in the hidden /etc/iscsi of namespaces.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugins/iscsi/initiator/protocol.hpp"

namespace gantry::iscsi::initiator {

struct LoginWish {
  std::string target;
  std::string initiator;
  std::vector<target::Portal> portals;
  uint32_t login_s_max = 15;  // of one portal
  const target::Chap* chap = nullptr;
};

// Blocks until each portal has a session or has refused; OK when all have one. UNAUTHENTICATED: a
// target refused initiator or secret; UNAVAILABLE: a portal does not answer; FAILED_PRECONDITION: no
// iscsid, no module.
plugin::Status Login(const LoginWish& wish, TimePoint deadline);
// iscsiadm knows a session's interface by its record only, also when it logs out.
plugin::Status WriteInterface(const std::string& initiator);
// Needs WriteInterface. Not there any more: OK. I/O that waits for the session fails.
plugin::Status Logout(const std::string& session, TimePoint deadline);
// FAILED_PRECONDITION: nobody listens where iscsiadm reaches iscsid, or the socket that starts it.
plugin::Status ProbeDaemon();

// The interface record's name for an initiator: several gantryds of a machine may have one each.
std::string InterfaceName(const std::string& initiator);
// "192.0.2.1:3260", "[2001:db8::1]:3260"
std::string PortalText(const target::Portal& portal);
// What the records of a login are made with, as lines of an iscsid.conf.
std::string LoginSettings(const LoginWish& wish);

}  // namespace gantry::iscsi::initiator
