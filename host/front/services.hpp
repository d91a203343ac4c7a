// SPDX-License-Identifier: Apache-2.0
// The five CSI services on the wire: each method runs what core/ has for it and does nothing
// else. A role that gantryd does not have is not registered, so its methods are
// UNIMPLEMENTED without a line of code.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <vector>

#include "host/core/driver.hpp"
#include "host/front/call_log.hpp"
#include "host/front/calls.hpp"

namespace gantry::front {

// The services that the driver's roles ask for. Driver, calls and log outlive them.
std::vector<std::unique_ptr<grpc::Service>> MakeServices(const core::Driver& driver, Calls& calls,
                                                         CallLog& log);

}  // namespace gantry::front
