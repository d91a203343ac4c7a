// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/transport.hpp"

#include <chrono>
#include <string>
#include <utility>

#include "plugins/iscsi/target_client/exec_transport.hpp"
#include "plugins/iscsi/target_client/ssh_transport.hpp"

namespace gantry::iscsi {
namespace {

using plugin::Result;
using target_client::Asked;
using target_client::Transport;
namespace code = plugin::code;

constexpr size_t kPrivateKeyBytesMax = 16 * 1024;

Result<std::string> ReadCredential(const gantry_secret_api& api, const std::string& name,
                                   const Asked& asked) {
  const int64_t deadline_ns =
      asked.deadline == target_client::TimePoint::max()
          ? INT64_MAX
          : std::chrono::nanoseconds(asked.deadline.time_since_epoch()).count();
  std::string key(kPrivateKeyBytesMax, '\0');
  size_t length = 0;
  const gantry_code got =
      api.get(api.ctx, ToStr(name), key.data(), key.size(), &length, deadline_ns);
  if (got == GANTRY_OK && length <= key.size()) {
    key.resize(length);
    return key;
  }
  target::WipeText(&key);
  if (got == GANTRY_OK)
    return plugin::Fail(code::kFailedPrecondition,
                        "the credential " + name + " has " + std::to_string(length) +
                            " bytes; expected at most " + std::to_string(kPrivateKeyBytesMax));
  return plugin::Fail(got, "the backend's credential " + name + " cannot be read");
}

Result<std::unique_ptr<Transport>> MakeSsh(const Host& host, const SshTarget& target) {
  const auto* secrets = host.Extension<gantry_secret_api>(GANTRY_EXT_SECRET);
  if (secrets == nullptr)
    return plugin::Fail(code::kFailedPrecondition,
                        std::string("the host has no ") + GANTRY_EXT_SECRET);
  target_client::SshConfig config;
  config.host = target.host;
  config.port = target.port;
  config.user = target.user;
  config.host_keys = {target.host_key};
  config.subsystem = target.subsystem;
  GANTRY_PLUGIN_TRY(target_client::CheckSshConfig(config));
  return std::make_unique<target_client::SshTransport>(
      std::move(config), [secrets, name = target.credential](const Asked& asked) {
        return ReadCredential(*secrets, name, asked);
      });
}

}  // namespace

Result<std::unique_ptr<Transport>> MakeTransport(const Host& host, const Config& config) {
  if (config.ssh) return MakeSsh(host, *config.ssh);
  const auto* exec = host.Extension<gantry_exec_api>(GANTRY_EXT_EXEC);
  if (exec == nullptr)
    return plugin::Fail(code::kFailedPrecondition,
                        std::string("the host has no ") + GANTRY_EXT_EXEC);
  return std::make_unique<target_client::ExecTransport>(*exec, config.local->program,
                                                        config.local->config);
}

}  // namespace gantry::iscsi
