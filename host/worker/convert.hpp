// SPDX-License-Identifier: Apache-2.0
// From a call of the channel to the struct that the plugin's slot takes: the one place where CSI's
// protobuf becomes the ABI. One file a family of requests (convert_*.cpp). Everything is copied
// into the call's arena and the protobuf is gone before the plugin is entered: a request has one
// owner and one lifetime.
#pragma once

#include <string_view>

#include "gantry/channel.pb.h"
#include "gantry/gantry.h"
#include "host/base/error.hpp"
#include "host/worker/arena.hpp"

namespace gantry::worker {

struct Request {
  const void* body = nullptr;  // the struct, in the arena
  // What the plugin is asked for the fault domain with (controller.h, gantry_domain_query).
  gantry_str domain_handle{};
  gantry_map domain_parameters{};
};

// Defined for each request struct of the extensions' slots. INVALID_ARGUMENT names the field, the
// value and what was expected; INTERNAL: the bytes are no such CSI request.
template <class RequestStruct>
base::Result<Request> ConvertTo(const channel::Call& call, Arena& arena);

template <>
base::Result<Request> ConvertTo<gantry_create_volume>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_volume_ref>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_list_volumes>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_get_capacity>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_expand_volume>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_modify_volume>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_publish_volume>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_create_snapshot>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_snapshot_ref>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_list_snapshots>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_create_group>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_group_ref>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_block_query>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_attach>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_task_run>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_state>(const channel::Call&, Arena&);
template <>
base::Result<Request> ConvertTo<gantry_formats>(const channel::Call&, Arena&);

// For create: not from a CSI request.
gantry_create* ConvertInstance(const channel::Instance& instance, Arena& arena);

}  // namespace gantry::worker
