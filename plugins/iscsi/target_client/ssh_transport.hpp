// SPDX-License-Identifier: Apache-2.0
// gantry-target on another machine. Connections are kept and used again, since a new one costs more
// than most requests; a few at once, because each serves one request at a time.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "plugins/iscsi/target_client/ssh_connection.hpp"
#include "plugins/iscsi/target_client/transport.hpp"

namespace gantry::iscsi::target_client {

inline constexpr size_t kSshConnectionsMax = 8;  // sshd's MaxStartups lets 10 log in at once
inline constexpr std::chrono::seconds kSshIdleSecondsMax{300};

class SshTransport final : public Transport {
 public:
  // The private key, read anew for each connection, so that a changed one is used at once. It is
  // wiped after use.
  using ReadKey = std::function<plugin::Result<std::string>(const Asked& asked)>;

  SshTransport(SshConfig config, ReadKey read_key)
      : config_(std::move(config)), read_key_(std::move(read_key)) {}

  plugin::Result<std::string> Exchange(const std::string& line, const Asked& asked) override;

 private:
  struct Idle {
    std::unique_ptr<SshConnection> connection;
    TimePoint since;
  };
  // Waits for a place. Nothing: a new one is to be opened.
  plugin::Result<std::unique_ptr<SshConnection>> Take(const Asked& asked);
  void GiveBack(std::unique_ptr<SshConnection> connection);
  plugin::Result<std::unique_ptr<SshConnection>> OpenNew(const Asked& asked);

  const SshConfig config_;
  const ReadKey read_key_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t in_use_ = 0;
  std::vector<Idle> idle_;
};

}  // namespace gantry::iscsi::target_client
