// SPDX-License-Identifier: Apache-2.0
// A LUN that somebody else has made, as the attributes of its PersistentVolume describe it. The names
// are those of csi-driver-iscsi (getISCSIInfo in its pkg/iscsi/iscsi.go) and of the fields of
// Kubernetes' in-tree volume, so that a cluster that changes over keeps its attributes:
//
//   targetPortal       "host[:port]", an IPv6 address in brackets
//   portals            more of them, a JSON array of strings, or with commas between; one of the two
//                      is required
//   iqn                the target's name; required
//   lun                its number, 0 to 16383; required
//   initiatorName      as which nodes log in; left out: each by a name of its own (config.hpp)
//   iscsiInterface     "default" or "tcp": the userspace initiator has no interfaces to choose from
//   discoveryCHAPAuth  "true": the target has to be found by discovery, with the secrets
//                      discovery.sendtargets.auth.{username, password, username_in, password_in}, or
//                      node.sendtargets.auth.* as csi-driver-iscsi has them
//   sessionCHAPAuth    "true": logs in with node.session.auth.{username, password}; the target proves
//                      itself where username_in and password_in are given as well
//   identity           which of its names in VPD page 0x83 (or 0x80) the LUN must have; left out:
//                      what it has when a node first stages it, until that node unstages it
//   mounter, ioTimeoutSeconds, mkfsOptions, encrypted
//                      as the parameters of a StorageClass
//
// Secrets come in the call's secrets; "secret", where csi-driver-iscsi has them as an attribute that
// everybody may read, is refused.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "plugins/iscsi/backend/config.hpp"
#include "plugins/iscsi/scsi/portal.hpp"

namespace gantry::iscsi {

struct StaticLun {
  std::vector<scsi::Portal> portals;
  std::string iqn;
  uint32_t lun = 0;
  std::string initiator;  // Empty: the node's own.
  bool discovery_chap = false;
  bool session_chap = false;
  std::string identity;  // Empty: whichever it has.
  uint32_t io_timeout_seconds = 0;
};

// INVALID_ARGUMENT names the attribute, its value and what was expected: also where the backend does
// not serve the portal or the target.
plugin::Result<StaticLun> ParseStaticLun(const Config& config,
                                         const std::map<std::string, std::string>& attributes);

// Could a volume with these attributes be the backend's to serve, or to refuse with a reason? A call
// without attributes (a delete, an unpublish) says nothing against it.
bool MayServe(const StaticTarget& target, const std::map<std::string, std::string>& attributes);

}  // namespace gantry::iscsi
