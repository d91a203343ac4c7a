// SPDX-License-Identifier: Apache-2.0
// What a disk is opened with: the parameters of the DISK source that attach emits, read strictly,
// because a misread address or fence is found out too late.
//
//   portals           "host:port,[IPv6]:port,...", tried in order, going on behind the one that
//                     was lost; required
//   target            the target's name (iqn.); required
//   lun               its number, 0 to 16383; required
//   initiator         this node's initiator name; required
//   chap              "none" (default); "oneWay": the session logs in with the secrets
//                     node.session.auth.username and node.session.auth.password; "mutual": the
//                     target has to prove itself with node.session.auth.username_in and
//                     node.session.auth.password_in, too
//   chapHandle, chapIncarnation, chapNode
//                     the secrets are not given but derived for these (chap.hpp), from chapKey
//   headerDigest      "None" (default) or "CRC32C", used where the target has it
//   dataDigest        "None" (default); the initiator has no other
//   ioTimeoutSeconds  "wait" (default): I/O waits for its target for ever; a number from 1 on: it
//                     ends with EIO after so long
//   fence             "reservation" (default): one writer, by a persistent reservation; a target
//                     that has none is refused. "none": others may write, or nobody else can; old
//                     writes of a dead process are then only kept out by a target that ends the
//                     old session when the same initiator logs in again (LIO does, tgtd does not)
//
// A disk that is opened read-only takes no reservation. Other keys are somebody else's and ignored.
#pragma once

#include <gantry/datapath.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/iscsi/chap/chap.hpp"
#include "plugins/iscsi/scsi/login.hpp"
#include "plugins/iscsi/scsi/portal.hpp"

namespace gantry::iscsi {

inline constexpr std::string_view kSecretUser = "node.session.auth.username";
inline constexpr std::string_view kSecretPassword = "node.session.auth.password";
inline constexpr std::string_view kSecretUserIn = "node.session.auth.username_in";
inline constexpr std::string_view kSecretPasswordIn = "node.session.auth.password_in";
inline constexpr int64_t kIoTimeoutSecondsMax = 86'400;

enum class ChapMode : uint8_t { kNone, kOneWay, kMutual };

struct DiskOptions {
  std::vector<scsi::Portal> portals;
  scsi::LoginOptions login;  // Without secrets; they come by AddSecrets.
  uint32_t lun = 0;
  ChapMode chap = ChapMode::kNone;
  std::optional<ChapOwner> chap_owner;             // Whose secrets are derived.
  std::optional<std::chrono::seconds> io_timeout;  // Nothing: wait.
  bool reserve = true;
  // Names the disk these options lead to, for memory that outlives the process.
  uint64_t fingerprint = 0;
  uint16_t owner = 0;  // 12 bits that tell this node and volume from others.
};

// INVALID_ARGUMENT with a sentence that names the parameter, its value and what was expected. The
// ISID comes from the volume's key and the initiator's name, so that every session of a volume on
// a node, in whichever process, is the same to the target.
plugin::Result<DiskOptions> ParseOptions(const gantry_map& parameters, std::string_view volume_key);

// Takes what `chap` needs from the host; UNAUTHENTICATED with the name of what is missing.
plugin::Status AddSecrets(const gantry_datapath_host& host, DiskOptions* options);

}  // namespace gantry::iscsi
