// SPDX-License-Identifier: Apache-2.0
// The way to gantry-target that the configuration names.
#pragma once

#include <gantry/gantry.hpp>
#include <memory>

#include "plugins/iscsi/backend/config.hpp"
#include "plugins/iscsi/target_client/transport.hpp"

namespace gantry::iscsi {

// INVALID_ARGUMENT: an SSH key or name that is none; FAILED_PRECONDITION: the host lacks a service.
// Connects to nothing.
plugin::Result<std::unique_ptr<target_client::Transport>> MakeTransport(const Host& host,
                                                                        const Config& config);

}  // namespace gantry::iscsi
