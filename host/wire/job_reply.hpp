// SPDX-License-Identifier: Apache-2.0
// How a job's throw-away process (sdk/include/gantry/job.h) answers: its socket carries the input to
// its end of stream, and this header with the output behind it back. Less than that is a job that
// died.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/base/error.hpp"

namespace gantry::wire {

struct JobReply {
  uint32_t magic;
  int32_t code;
  uint64_t length;  // bytes of output that follow
};
static_assert(sizeof(JobReply) == 16);
constexpr uint32_t kJobReplyMagic = 0x424f4a47;  // "GJOB"

// The output from all that a job's process has said, or the code that it finished with. UNAVAILABLE
// for what is no reply.
base::Result<std::string> ParseJobReply(std::string_view bytes);

}  // namespace gantry::wire
