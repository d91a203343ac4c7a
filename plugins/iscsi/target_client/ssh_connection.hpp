// SPDX-License-Identifier: Apache-2.0
// One SSH connection with one channel, on which the gantry-target of another machine answers one
// request after the other. libssh does the protocol, never blocking; every wait is here, with a
// deadline. Nothing of ~/.ssh is read, no agent is asked, no host key is learnt: the configuration
// names the key that the server must have.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target_client/transport.hpp"

namespace gantry::iscsi::target_client {

inline constexpr uint16_t kSshPort = 22;
inline constexpr size_t kHostKeysMax = 8;

struct SshConfig {
  std::string host;  // address or name
  uint16_t port = kSshPort;
  std::string user = "root";
  // As in known_hosts, without the host: "ssh-ed25519 AAAA...". One of them must be the server's.
  std::vector<std::string> host_keys;
  // What the server is asked to run; a forced command runs whatever it is. Fixed text, in which
  // nothing of a request ever is.
  std::string command = "gantry-target /etc/gantry/target.json";
  std::string subsystem;  // instead of the command
};

// INVALID_ARGUMENT names the field, the value and what was expected.
plugin::Status CheckSshConfig(const SshConfig& config);

class SshConnection {
 public:
  // `private_key`: in OpenSSH's or PEM format, without a passphrase. UNAUTHENTICATED: the server
  // has another host key, or does not take ours.
  static plugin::Result<std::unique_ptr<SshConnection>> Open(const SshConfig& config,
                                                             const std::string& private_key,
                                                             const Asked& asked);
  SshConnection(const SshConnection&) = delete;
  SshConnection& operator=(const SshConnection&) = delete;
  ~SshConnection();

  // After an error it is of no use any more. One thread at a time.
  plugin::Result<std::string> Exchange(const std::string& line, const Asked& asked);

 private:
  struct Parts;
  explicit SshConnection(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace gantry::iscsi::target_client
