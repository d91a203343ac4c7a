// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target_client/ssh_transport.hpp"

#include <utility>

namespace gantry::iscsi::target_client {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;
using std::chrono::steady_clock;

Result<std::unique_ptr<SshConnection>> SshTransport::Take(const Asked& asked) {
  constexpr std::chrono::milliseconds kWaitMsMax{100};
  std::vector<Idle> old;  // closed without the lock
  std::unique_lock lock(mutex_);
  while (in_use_ >= kSshConnectionsMax) {
    if (steady_clock::now() >= asked.deadline)
      return Fail(code::kDeadlineExceeded,
                  "ssh: all " + std::to_string(kSshConnectionsMax) + " connections are in use");
    if (asked.cancelled && asked.cancelled()) return Fail(code::kCancelled, "ssh: cancelled");
    changed_.wait_until(lock, std::min(asked.deadline, steady_clock::now() + kWaitMsMax));
  }
  ++in_use_;
  // The one used last is the one most likely to be alive.
  while (!idle_.empty()) {
    Idle last = std::move(idle_.back());
    idle_.pop_back();
    if (steady_clock::now() - last.since < kSshIdleSecondsMax) return std::move(last.connection);
    old.push_back(std::move(last));
  }
  return std::unique_ptr<SshConnection>();
}

void SshTransport::GiveBack(std::unique_ptr<SshConnection> connection) {
  {
    const std::lock_guard lock(mutex_);
    --in_use_;
    if (connection) idle_.push_back({std::move(connection), steady_clock::now()});
  }
  changed_.notify_one();
}

Result<std::unique_ptr<SshConnection>> SshTransport::OpenNew(const Asked& asked) {
  GANTRY_PLUGIN_TRY_ASSIGN(std::string key, read_key_(asked));
  auto connection = SshConnection::Open(config_, key, asked);
  target::WipeText(&key);
  return connection;
}

Result<std::string> SshTransport::Exchange(const std::string& line, const Asked& asked) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto connection, Take(asked));
  if (connection) {
    auto reply = connection->Exchange(line, asked);
    // An old connection may have died unnoticed; all requests may be repeated.
    if (reply || reply.error().code != code::kUnavailable) {
      GiveBack(reply ? std::move(connection) : nullptr);
      return reply;
    }
  }
  auto opened = OpenNew(asked);
  if (!opened) {
    GiveBack(nullptr);
    return tl::unexpected(std::move(opened.error()));
  }
  auto reply = (*opened)->Exchange(line, asked);
  GiveBack(reply ? std::move(*opened) : nullptr);
  return reply;
}

}  // namespace gantry::iscsi::target_client
