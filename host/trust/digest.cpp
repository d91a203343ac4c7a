// SPDX-License-Identifier: Apache-2.0
#include "host/trust/digest.hpp"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>

namespace gantry::trust {
namespace {

using base::Code;
using base::Fail;

constexpr size_t kReadBytes = 1U << 16;

int Nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  good_ = context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
}

void Sha256::Update(std::string_view bytes) {
  good_ = good_ && EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1;
}

base::Result<Digest> Sha256::Finish() {
  Digest digest{};
  unsigned int length = 0;
  if (!good_ || EVP_DigestFinal_ex(context_.get(), digest.data(), &length) != 1 ||
      length != digest.size())
    return Fail(Code::kInternal, "sha256 failed");
  return digest;
}

std::string Hex(const Digest& digest) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

base::Result<Digest> ParseHex(std::string_view text) {
  Digest digest{};
  bool good = text.size() == 2 * digest.size();
  for (size_t i = 0; good && i < digest.size(); ++i) {
    const int high = Nibble(text[2 * i]);
    const int low = Nibble(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    digest[i] = static_cast<unsigned char>(high << 4 | low);
  }
  if (!good)
    return Fail(Code::kInvalidArgument, "sha256 \"" + std::string(text.substr(0, 80)) +
                                            "\": expected 64 hexadecimal digits, 0-9 and a-f");
  return digest;
}

base::Result<Digest> DigestOf(int fd, size_t bytes_max, std::string_view name) {
  Sha256 sum;
  std::string buffer(kReadBytes, '\0');
  size_t total = 0;
  for (;;) {
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read " + std::string(name));
    if (n == 0) return sum.Finish();
    total += static_cast<size_t>(n);
    if (total > bytes_max)
      return Fail(Code::kResourceExhausted,
                  std::string(name) + " is larger than " + std::to_string(bytes_max) + " bytes");
    sum.Update(std::string_view(buffer.data(), static_cast<size_t>(n)));
  }
}

}  // namespace gantry::trust
