// SPDX-License-Identifier: Apache-2.0
// The desk at which plugins ask: hands a request to kv, exec, credentials or counters with the
// asking backend's name and grants, which the plugin cannot choose.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "host/base/process.hpp"
#include "host/core/config.hpp"
#include "host/core/host_services.hpp"
#include "host/services/counters.hpp"
#include "host/services/credentials.hpp"
#include "host/services/kv.hpp"

namespace gantry::services {

// Any thread.
class HostServiceDesk final : public core::HostServices {
 public:
  // All must outlive it. `helper` is gantry-helper, which runs granted programs.
  HostServiceDesk(const core::Config& config, FileKv& kv, Counters& counters,
                  const base::PinnedBinary& helper);

  channel::HostReply Serve(const std::string& backend, const channel::HostCall& request,
                           base::TimePoint deadline, core::Cancellation* cancellation) override;

 private:
  base::Status ServeInto(const core::BackendConfig& backend, const channel::HostCall& request,
                         base::TimePoint deadline, core::Cancellation* cancellation,
                         channel::HostReply* reply);

  const core::Config& config_;
  FileKv& kv_;
  Counters& counters_;
  const base::PinnedBinary& helper_;
  std::map<std::string, std::unique_ptr<CredentialFiles>> credentials_;
};

}  // namespace gantry::services
