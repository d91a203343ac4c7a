// SPDX-License-Identifier: Apache-2.0
// Where gantry-initiator works: in the mount and network namespaces in which the node's iscsid and
// multipathd live, because iscsiadm of one version and an iscsid of another do not understand each
// other, and because both are reached by abstract sockets of their network namespace; and there in a
// copy of the mount namespace, in which /etc/iscsi is this process' alone.
//
// iscsiadm takes what it logs in with from files below /etc/iscsi and sends iscsid all of it, so
// nothing there has to outlive the login. Files of our own would have to be private, without their
// secret right after, found again after a crash, and would be read by whoever logs in to all records
// at boot. Here they are in a ramfs (which is never swapped out) that goes with this process, however
// that ends. An iscsid that is started anew takes the sessions, secrets too, from the kernel.
// Rejected: passwords as words of iscsiadm; the protocol between iscsiadm and iscsid, which is a
// structure of each version's own; an iscsid of our own, since the kernel has one owner of sessions.
#pragma once

#include <filesystem>
#include <string>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::initiator {

// `process`: a directory of /proc, whose mount and network namespaces are entered; "/proc/self" stays
// where it is. The caller has one thread.
plugin::Status EnterNamespaces(const std::filesystem::path& process);

// From here on /etc/iscsi, /var/lib/iscsi and /run/lock are empty and seen by this process and its
// children alone. The configuration's node.* lines are kept, but for secrets; its command to start
// iscsid is not, since what is started here would end with this process.
plugin::Status HideRecords();

// What is kept of an iscsid.conf.
std::string KeptSettings(const std::string& configuration);

}  // namespace gantry::iscsi::initiator
