// SPDX-License-Identifier: Apache-2.0
// A whole message, as sent and as received; chunks are the channel's own affair.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/base/fd.hpp"
#include "host/base/secret.hpp"
#include "host/wire/frame.hpp"

namespace gantry::wire {

struct Message {
  Kind kind = Kind::kPing;
  uint64_t call_id = 0;
  std::string payload;       // opaque; empty for kinds that are secret
  base::SecretBytes secret;  // the payload of kSecrets and kSecretReply, else empty
  std::vector<base::UniqueFd> fds;
};

}  // namespace gantry::wire
