// SPDX-License-Identifier: Apache-2.0
#include "host/services/name_hash.hpp"

#include <openssl/evp.h>

#include <array>

namespace gantry::services {

base::Result<std::string> HashOf(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1)
    return base::Fail(base::Code::kInternal, "sha256 failed");
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

}  // namespace gantry::services
