// SPDX-License-Identifier: Apache-2.0
// The way to gantry-initiator on this node (../initiator/protocol.hpp).
#pragma once

#include <gantry/gantry.hpp>
#include <memory>

#include "plugins/iscsi/backend/config.hpp"
#include "plugins/iscsi/initiator/protocol.hpp"
#include "plugins/iscsi/target_client/transport.hpp"

namespace gantry::iscsi {

// Where the call has no deadline of its own.
inline constexpr std::chrono::seconds kInitiatorSecondsMax{110};

class KernelInitiator {
 public:
  explicit KernelInitiator(std::unique_ptr<target_client::Transport> transport)
      : transport_(std::move(transport)) {}

  // One operation; blocks until it is answered. PERMISSION_DENIED: the program is not granted.
  template <class Operation>
  plugin::Result<typename Operation::Reply> Ask(Call& call, const Operation& operation) const {
    auto reply = Exchange(call, operation);
    if (!reply) return tl::unexpected(std::move(reply.error()));
    return initiator::DecodeReply<typename Operation::Reply>(*reply);
  }
  // Whether there is such a program for this backend, whatever it says.
  bool CanBeRun(Call& call) const { return bool(Exchange(call, initiator::Probe{})); }

 private:
  plugin::Result<std::string> Exchange(Call& call, const initiator::Request& request) const;

  const std::unique_ptr<target_client::Transport> transport_;
};

// FAILED_PRECONDITION: the host runs no programs.
plugin::Result<std::unique_ptr<KernelInitiator>> MakeKernelInitiator(
    const Host& host, const KernelInitiatorConfig& config);

}  // namespace gantry::iscsi
