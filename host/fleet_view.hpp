// SPDX-License-Identifier: Apache-2.0
// core::Fleet over supervisors that cannot swap: what an operator sees of them. Asked to change
// something, it says UNIMPLEMENTED.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "host/core/config.hpp"
#include "host/core/fleet.hpp"
#include "host/supervise/supervisor.hpp"

namespace gantry {

class FleetView final : public core::Fleet {
 public:
  using Supervisors = std::map<std::string, std::unique_ptr<supervise::Supervisor>>;
  // Both outlive it. `digests` by backend.
  FleetView(const core::Config& config, const Supervisors& supervisors,
            std::map<std::string, std::string> digests)
      : config_(config), supervisors_(supervisors), digests_(std::move(digests)) {}

  std::vector<core::BackendStatus> Status() const override;
  base::Result<core::SwapStatus> Swap(const core::SwapRequest&,
                                      const std::function<void(const core::SwapStep&)>&,
                                      core::Cancellation*) override;
  base::Result<core::SwapStatus> Rollback(
      const std::string&, const std::function<void(const core::SwapStep&)>&) override;
  base::Status Drain(const std::string&, std::chrono::milliseconds) override;
  base::Status Resume(const std::string&) override;

 private:
  const core::Config& config_;
  const Supervisors& supervisors_;
  const std::map<std::string, std::string> digests_;
};

}  // namespace gantry
