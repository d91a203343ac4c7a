// SPDX-License-Identifier: Apache-2.0
// Big-endian numbers in bytes that came from a target or go to one. Reading beyond the end gives 0,
// because a reply that ends early is the normal way of SCSI to say "not reported".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gantry::iscsi::scsi {

template <class Number, class Byte, size_t kExtent>
Number Get(std::span<Byte, kExtent> bytes, size_t at) {
  uint64_t number = 0;
  for (size_t i = at; i < at + sizeof(Number); ++i) {
    number = number << 8 | (i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : 0);
  }
  return static_cast<Number>(number);
}

// The bytes are there.
template <class Number, class Byte, size_t kExtent>
void Put(std::span<Byte, kExtent> bytes, size_t at, Number number) {
  for (size_t i = sizeof(Number); i-- > 0;) {
    bytes[at + i] = static_cast<Byte>(number & 0xff);
    if constexpr (sizeof(Number) > 1) number >>= 8;
  }
}

}  // namespace gantry::iscsi::scsi
