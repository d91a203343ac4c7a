// SPDX-License-Identifier: Apache-2.0
// The keeper's answers.
#pragma once

#include "host/keeper/kept_path.hpp"
#include "host/wire/keeper_protocol.hpp"

namespace gantry::keeper {

inline wire::KeeperMessage ReplyTo(const wire::KeeperMessage& request,
                                   const base::Status& status = {}) {
  wire::KeeperMessage reply;
  reply.kind = wire::KeeperKind::kReply;
  reply.id = request.id;
  if (!status) {
    reply.code = status.error().code;
    reply.Add(wire::KeeperTag::kMessage, status.error().message);
  }
  return reply;
}

}  // namespace gantry::keeper
