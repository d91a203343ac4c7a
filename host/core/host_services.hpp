// SPDX-License-Identifier: Apache-2.0
// What a plugin may ask of the host beside its calls: kv, exec, credentials, metrics. supervise/
// receives the request on the channel and passes it here; services/ implements it.
#pragma once

#include <gantry/channel.pb.h>

#include <string>

#include "host/base/clock.hpp"
#include "host/core/backend.hpp"

namespace gantry::core {

class HostServices {
 public:
  virtual ~HostServices() = default;
  // Blocks at most until `deadline`; any thread. Cancelled when whoever asked is dead: what was
  // started for it is gone when this returns. The reply of a kSecretGet holds a credential in its
  // value: the caller sends it as a kSecretReply and wipes it.
  virtual channel::HostReply Serve(const std::string& backend, const channel::HostCall& request,
                                   base::TimePoint deadline, Cancellation* cancellation) = 0;
};

}  // namespace gantry::core
