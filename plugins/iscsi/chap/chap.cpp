// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/chap/chap.hpp"

#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include <array>

#include "plugins/common/sha256.hpp"

namespace gantry::iscsi {
namespace {

constexpr size_t kPasswordBytes = 16;  // as twice as many hex digits
constexpr size_t kNameDigits = 12;

void WipeString(std::string* text) {
  OPENSSL_cleanse(text->data(), text->size());
  text->clear();
}

// Lengths before the parts, so that no two owners give the same bytes.
std::string Message(std::string_view purpose, const ChapOwner& owner) {
  std::string message = "gantry iscsi chap 1";
  for (const std::string_view part :
       {purpose, std::string_view(owner.handle), std::string_view(owner.incarnation),
        std::string_view(owner.node_id)}) {
    message += '\0' + std::to_string(part.size()) + ':';
    message += part;
  }
  return message;
}

plugin::Result<std::string> Derive(std::string_view key, std::string_view purpose,
                                   const ChapOwner& owner) {
  const std::string message = Message(purpose, owner);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest.data(),
           &length) == nullptr)
    return plugin::Fail(plugin::code::kInternal, "HMAC-SHA-256 failed");
  std::string password;
  password.reserve(2 * kPasswordBytes);
  for (size_t i = 0; i < kPasswordBytes; ++i) {
    password += "0123456789abcdef"[digest[i] >> 4];
    password += "0123456789abcdef"[digest[i] & 0xf];
  }
  OPENSSL_cleanse(digest.data(), digest.size());
  return password;
}

}  // namespace

ChapSecrets::~ChapSecrets() {
  WipeString(&password);
  WipeString(&password_in);
}

plugin::Result<ChapSecrets> DeriveChap(std::string_view key, const ChapOwner& owner, bool mutual) {
  if (key.size() < kChapKeyBytesMin || key.size() > kChapKeyBytesMax)
    return plugin::Fail(plugin::code::kInvalidArgument,
                        "secrets[\"" + std::string(kChapKeySecret) + "\"] has " +
                            std::to_string(key.size()) + " bytes; expected " +
                            std::to_string(kChapKeyBytesMin) + " to " +
                            std::to_string(kChapKeyBytesMax));
  ChapSecrets secrets;
  // The target knows users by name alone, for all its volumes.
  const std::string node = plugin::Sha256Hex(owner.node_id).substr(0, kNameDigits);
  secrets.user = owner.handle + "." + node;
  GANTRY_PLUGIN_TRY_ASSIGN(secrets.password, Derive(key, "initiator", owner));
  if (!mutual) return secrets;
  secrets.user_in = owner.handle + ".target." + node;
  GANTRY_PLUGIN_TRY_ASSIGN(secrets.password_in, Derive(key, "target", owner));
  return secrets;
}

}  // namespace gantry::iscsi
