// SPDX-License-Identifier: Apache-2.0
// The pieces that several requests share: strings, maps, capabilities, topologies.
#pragma once

#include <csi_lite.pb.h>

#include <string>
#include <string_view>

#include "gantry/abi.h"
#include "host/base/error.hpp"
#include "host/worker/arena.hpp"

namespace gantry::worker {

namespace csi = ::gantry::lite::csi::v1;
using StringMap = google::protobuf::Map<std::string, std::string>;
using StringList = google::protobuf::RepeatedPtrField<std::string>;

// What the CO says of its own objects comes among the parameters, under this prefix.
constexpr std::string_view kHintPrefix = "csi.storage.k8s.io/";

// `bytes` as a message of type M; INTERNAL when they are none.
template <class M>
base::Result<M> Parse(const std::string& bytes) {
  M message;
  if (!message.ParseFromString(bytes))
    return base::Fail(base::Code::kInternal, "the request is no " + message.GetTypeName());
  return message;
}

// All sorted by key, so that the same request is the same bytes.
gantry_map CopyMap(const StringMap& map, Arena& arena);
gantry_map CopyParameters(const StringMap& map, Arena& arena);  // those without the prefix
gantry_map CopyHints(const StringMap& map, Arena& arena);       // the others, prefix cut
gantry_list CopyList(const StringList& list, Arena& arena);

// CSI has int64 where only natural numbers make sense.
base::Result<uint64_t> Natural(int64_t value, std::string_view field);

base::Result<gantry_capability> CopyCapability(const csi::VolumeCapability& capability,
                                               std::string_view field, Arena& arena);
// Into *items and *count.
base::Status CopyCapabilities(const google::protobuf::RepeatedPtrField<csi::VolumeCapability>& from,
                              Arena& arena, const gantry_capability** items, size_t* count);
void CopyTopologies(const google::protobuf::RepeatedPtrField<csi::Topology>& from, Arena& arena,
                    const gantry_map** items, size_t* count);

}  // namespace gantry::worker
