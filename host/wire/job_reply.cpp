// SPDX-License-Identifier: Apache-2.0
#include "host/wire/job_reply.hpp"

#include <cstring>

namespace gantry::wire {

base::Result<std::string> ParseJobReply(std::string_view bytes) {
  using base::Code;
  JobReply header{};
  if (bytes.size() < sizeof(header)) return base::Fail(Code::kUnavailable, "no answer");
  std::memcpy(&header, bytes.data(), sizeof(header));
  bytes.remove_prefix(sizeof(header));
  if (header.magic != kJobReplyMagic || header.length != bytes.size())
    return base::Fail(Code::kUnavailable, "an unreadable answer");
  const auto code = static_cast<Code>(header.code);
  if (code == Code::kOk) return std::string(bytes);
  return base::Fail(base::IsKnown(code) ? code : Code::kUnavailable,
                    "finished with " + base::CodeName(code));
}

}  // namespace gantry::wire
