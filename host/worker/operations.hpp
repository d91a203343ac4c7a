// SPDX-License-Identifier: Apache-2.0
// The operations of the channel and the slots of the ABI, matched once: which extension and slot,
// how the CSI request becomes the slot's struct, and what it may emit. What is not in this table
// does not exist, and the host learns its capabilities from the same table.
#pragma once

#include <span>

#include "gantry/channel.pb.h"
#include "gantry/gantry.h"
#include "host/base/error.hpp"
#include "host/worker/arena.hpp"
#include "host/worker/convert.hpp"
#include "host/worker/extensions.hpp"

namespace gantry::worker {

struct OperationTraits {
  channel::Operation operation;
  const char* extension;
  const char* slot;
  bool (*offered)(const Extensions&);
  base::Result<Request> (*convert)(const channel::Call&, Arena&);
  // `request` is what convert made.
  void (*enter)(const Extensions&, gantry_instance*, gantry_call, const void* request);
  // Emit::ItemCase numbers of what it may emit, as bits; every operation may emit tasks.
  uint32_t emits;
};

// Operations that enter the plugin by an extension; not the instance's life.
std::span<const OperationTraits> AllOperations();
// nullptr for all others.
const OperationTraits* FindOperation(channel::Operation operation);
bool MayEmit(channel::Operation operation, channel::Emit::ItemCase item);

}  // namespace gantry::worker
