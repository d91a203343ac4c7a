// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/backend/kernel_initiator.hpp"

#include <algorithm>
#include <utility>

#include "plugins/iscsi/target_client/exec_transport.hpp"

namespace gantry::iscsi {

using plugin::Result;
namespace code = plugin::code;

Result<std::string> KernelInitiator::Exchange(Call& call, const initiator::Request& request) const {
  const auto now = std::chrono::steady_clock::now();
  const auto deadline = std::min(call.deadline(), now + kInitiatorSecondsMax);
  const auto left = std::chrono::floor<std::chrono::milliseconds>(deadline - now);
  // The program gives up so long before its caller, to have told what it did.
  if (left <= target_client::kReplyMs)
    return plugin::Fail(code::kDeadlineExceeded, "gantry-initiator: no time left to ask anything");
  std::string line = initiator::EncodeRequest(left - target_client::kReplyMs, request);
  auto reply =
      transport_->Exchange(line, {call.id(), deadline, [&call] { return call.Cancelled(); }});
  target::WipeText(&line);
  return reply;
}

Result<std::unique_ptr<KernelInitiator>> MakeKernelInitiator(const Host& host,
                                                             const KernelInitiatorConfig& config) {
  const auto* exec = host.Extension<gantry_exec_api>(GANTRY_EXT_EXEC);
  if (exec == nullptr)
    return plugin::Fail(code::kFailedPrecondition,
                        std::string("the host has no ") + GANTRY_EXT_EXEC);
  return std::make_unique<KernelInitiator>(std::make_unique<target_client::ExecTransport>(
      *exec, config.program, config.process, "gantry-initiator"));
}

}  // namespace gantry::iscsi
