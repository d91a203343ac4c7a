// SPDX-License-Identifier: Apache-2.0
#include "host/core/ids.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "host/core/limits.hpp"

namespace gantry::core {
namespace {

std::string_view Prefix(IdKind kind) {
  switch (kind) {
    case IdKind::kSnapshot:
      return "s:";
    case IdKind::kGroup:
      return "g:";
    case IdKind::kVolume:
      break;
  }
  return "";
}

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

}  // namespace

bool IsBackendName(std::string_view name) {
  return !name.empty() && name.size() <= kBackendBytesMax &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return IsLowerOrDigit(c) || c == '-'; });
}

bool IsHandle(std::string_view handle) {
  return !handle.empty() && handle.size() <= kHandleBytesMax &&
         std::all_of(handle.begin(), handle.end(), [](char c) {
           return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
         });
}

std::optional<Id> ParseId(IdKind kind, std::string_view id) {
  const size_t colon = id.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view backend = id.substr(0, colon);
  std::string_view rest = id.substr(colon + 1);
  const std::string_view prefix = Prefix(kind);
  if (!rest.starts_with(prefix)) return std::nullopt;
  rest.remove_prefix(prefix.size());
  if (!IsBackendName(backend) || !IsHandle(rest)) return std::nullopt;
  return Id{std::string(backend), std::string(rest)};
}

base::Result<std::string> FormatId(IdKind kind, std::string_view backend, std::string_view handle) {
  if (!IsHandle(handle))
    return base::Fail(base::Code::kUnavailable, "backend " + std::string(backend) +
                                                    " made the handle \"" +
                                                    std::string(handle.substr(0, kHandleBytesMax)) +
                                                    "\": expected 1 to 80 of [A-Za-z0-9._-]");
  std::string id = std::string(backend) + ":" + std::string(Prefix(kind)) + std::string(handle);
  static_assert(kBackendBytesMax + 3 + kHandleBytesMax <= kIdBytesMax);
  return id;
}

std::string Sha256Hex(std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  EVP_Digest(data.data(), data.size(), digest.data(), &length, EVP_sha256(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += kHex[digest[i] >> 4];
    hex += kHex[digest[i] & 15];
  }
  return hex;
}

std::string MakeKey(IdKind kind, std::string_view owner, std::string_view name) {
  // Lengths in front of the parts, so that no two different triples give the same bytes.
  const std::string bytes = "gantry-key-1 " + std::to_string(static_cast<int>(kind)) + " " +
                            std::to_string(owner.size()) + " " + std::string(owner) +
                            std::string(name);
  constexpr size_t kKeyHexDigits = 32;
  return Sha256Hex(bytes).substr(0, kKeyHexDigits);
}

}  // namespace gantry::core
