// SPDX-License-Identifier: Apache-2.0
// A protobuf interface as sorted lines, one for every message, field, enum, value, service and rpc,
// so that two interfaces can be compared and a difference read. Rejected: comparing serialized
// descriptors, which also change with the order of declarations and say nothing to a reader.
#pragma once

#include <google/protobuf/descriptor.h>

#include <set>
#include <string>
#include <vector>

namespace gantry::proto {

using Lines = std::set<std::string>;

enum class Detail {
  kWire,  // what decides the bytes: messages, fields, enums
  kFull,  // and the package, services, extensions, the marks `secret` and `alpha`
};

Lines LinesOf(const google::protobuf::FileDescriptor& file, Detail detail);
Lines LinesOf(const google::protobuf::Descriptor& message, Detail detail);

// "- line" for what only `want` has, "+ line" for what only `have` has.
std::vector<std::string> Differences(const Lines& want, const Lines& have);

}  // namespace gantry::proto
