// SPDX-License-Identifier: Apache-2.0
#include "host/wire/frame.hpp"

#include <string>

namespace gantry::wire {
namespace {

std::string Hex(uint8_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  return {'0', 'x', kDigits[value >> 4], kDigits[value & 15]};
}

}  // namespace

std::string KindName(Kind kind) {
  const KindTraits* traits = FindKind(static_cast<uint8_t>(kind));
  return traits ? traits->name : "kind " + std::to_string(static_cast<int>(kind));
}

base::Status CheckHeader(const FrameHeader& header) {
  const auto violation = [](std::string message) {
    return base::Fail(base::Code::kInternal, "channel protocol violation: " + std::move(message));
  };
  if (header.version != kFrameVersion)
    return violation("frame begins with " + Hex(header.version) + ", expected " +
                     Hex(kFrameVersion));
  const KindTraits* traits = FindKind(header.kind);
  if (traits == nullptr)
    return violation("kind " + std::to_string(header.kind) + " is unknown, expected 1 to " +
                     std::to_string(kKindCount));
  const std::string name = traits->name;
  if ((header.flags & ~kFlagsKnown) != 0)
    return violation("flags " + Hex(header.flags) + " of a " + name + " frame, known are " +
                     Hex(kFlagsKnown));
  if (header.length > kFrameBytesMax)
    return violation("length " + std::to_string(header.length) + " of a " + name +
                     " frame, at most " + std::to_string(kFrameBytesMax) + " is allowed");
  if ((header.flags & kFlagMore) != 0 && header.length == 0)
    return violation("an empty chunk of a " + name + " message says that more follow");
  if (header.fd_count > 0 && !traits->fds)
    return violation(std::to_string(header.fd_count) + " fds with a " + name +
                     " frame, which carries none");
  if (header.fd_count > kMessageFdsMax)
    return violation(std::to_string(header.fd_count) + " fds with a " + name + " frame, at most " +
                     std::to_string(kMessageFdsMax) + " are allowed");
  return {};
}

}  // namespace gantry::wire
