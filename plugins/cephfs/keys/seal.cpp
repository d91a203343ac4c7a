// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/keys/seal.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

namespace gantry::cephfs {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr size_t kKeyBytes = 32;
constexpr size_t kVectorBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

using Bytes = std::vector<unsigned char>;
using Digest = std::array<unsigned char, kKeyBytes>;

struct ContextFree {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, ContextFree>;

struct Wiped {
  Digest bytes{};
  ~Wiped() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
};

const unsigned char* Begin(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

bool Mac(std::string_view key, std::string_view message, Digest* out) {
  unsigned length = 0;
  return HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), Begin(message),
              message.size(), out->data(), &length) != nullptr;
}

std::string_view AsText(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

// Lengths before the parts, so that no two owners give the same bytes.
std::string Describe(const KeyOwner& owner) {
  std::string text = "gantry cephfs seal 1";
  for (const std::string& part : {owner.handle, owner.incarnation, owner.node_id, owner.user})
    text += '\0' + std::to_string(part.size()) + ':' + part;
  return text;
}

plugin::Status CheckSealKey(std::string_view key) {
  if (key.size() >= kSealKeyBytesMin && key.size() <= kSealKeyBytesMax) return {};
  return Fail(code::kInvalidArgument, "secrets[\"" + std::string(kSealKeySecret) + "\"] has " +
                                          std::to_string(key.size()) + " bytes; expected " +
                                          std::to_string(kSealKeyBytesMin) + " to " +
                                          std::to_string(kSealKeyBytesMax));
}

tl::unexpected<plugin::Error> Broken() {
  return Fail(code::kInternal, "libcrypto could not seal or open a key");
}

// RFC 4648, 5, without padding.
std::string ToBase64(const Bytes& bytes) {
  std::string text;
  uint32_t held = 0;
  int bits = 0;
  for (const unsigned char byte : bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 6; bits -= 6) text += kAlphabet[(held >> (bits - 6)) & 0x3f];
  }
  if (bits > 0) text += kAlphabet[(held << (6 - bits)) & 0x3f];
  return text;
}

bool FromBase64(std::string_view text, Bytes* bytes) {
  uint32_t held = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return false;
    held = (held << 6) | static_cast<uint32_t>(value);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes->push_back(static_cast<unsigned char>((held >> bits) & 0xff));
  }
  return true;
}

}  // namespace

// Copied, because a short string that is moved from keeps its bytes.
SecretText::SecretText(SecretText&& other) noexcept {
  text_ = other.text_;
  other.Wipe();
}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  if (this != &other) {
    Wipe();
    text_ = other.text_;
    other.Wipe();
  }
  return *this;
}

SecretText::~SecretText() { Wipe(); }

void SecretText::Wipe() {
  OPENSSL_cleanse(text_.data(), text_.size());
  text_.clear();
}

Result<std::string> Seal(std::string_view seal_key, const KeyOwner& owner,
                         std::string_view ceph_key) {
  GANTRY_PLUGIN_TRY(CheckSealKey(seal_key));
  if (ceph_key.empty() || ceph_key.size() > kCephKeyBytesMax)
    return Fail(code::kInternal, "a cephx key has " + std::to_string(ceph_key.size()) + " bytes");
  const std::string whom = Describe(owner);
  Wiped key;
  Wiped vector_key;
  Wiped vector;
  if (!Mac(seal_key, "cipher", &key.bytes) || !Mac(seal_key, "vector", &vector_key.bytes))
    return Broken();
  std::string message = whom + '\0';
  message += ceph_key;
  const bool has_vector = Mac(AsText(vector_key.bytes), message, &vector.bytes);
  OPENSSL_cleanse(message.data(), message.size());
  if (!has_vector) return Broken();

  Bytes sealed(vector.bytes.begin(), vector.bytes.begin() + kVectorBytes);
  sealed.resize(kVectorBytes + ceph_key.size() + kTagBytes);
  unsigned char* body = sealed.data() + kVectorBytes;
  const Cipher cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  if (cipher == nullptr ||
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.bytes.data(),
                         sealed.data()) != 1 ||
      EVP_EncryptUpdate(cipher.get(), nullptr, &length, Begin(whom),
                        static_cast<int>(whom.size())) != 1 ||
      EVP_EncryptUpdate(cipher.get(), body, &length, Begin(ceph_key),
                        static_cast<int>(ceph_key.size())) != 1 ||
      EVP_EncryptFinal_ex(cipher.get(), body + length, &length) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, body + ceph_key.size()) !=
          1)
    return Broken();
  return ToBase64(sealed);
}

Result<SecretText> Unseal(std::string_view seal_key, const KeyOwner& owner,
                          std::string_view sealed) {
  GANTRY_PLUGIN_TRY(CheckSealKey(seal_key));
  const auto refused = Fail(code::kUnauthenticated,
                            "publish_context[\"sealedKey\"] does not open: it was sealed under "
                            "another " +
                                std::string(kSealKeySecret) +
                                ", for another volume or node, or altered; expected the Secret "
                                "that ControllerPublishVolume had");
  Bytes bytes;
  if (sealed.size() > 2 * kCephKeyBytesMax || !FromBase64(sealed, &bytes) ||
      bytes.size() <= kVectorBytes + kTagBytes)
    return refused;
  const std::string whom = Describe(owner);
  Wiped key;
  if (!Mac(seal_key, "cipher", &key.bytes)) return Broken();
  const size_t text_bytes = bytes.size() - kVectorBytes - kTagBytes;
  std::string text(text_bytes, '\0');
  auto* out = reinterpret_cast<unsigned char*>(text.data());
  const Cipher cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  const bool opened = cipher != nullptr &&
                      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.bytes.data(),
                                         bytes.data()) == 1 &&
                      EVP_DecryptUpdate(cipher.get(), nullptr, &length, Begin(whom),
                                        static_cast<int>(whom.size())) == 1 &&
                      EVP_DecryptUpdate(cipher.get(), out, &length, bytes.data() + kVectorBytes,
                                        static_cast<int>(text_bytes)) == 1 &&
                      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes,
                                          bytes.data() + kVectorBytes + text_bytes) == 1 &&
                      EVP_DecryptFinal_ex(cipher.get(), out + length, &length) == 1;
  SecretText secret(std::move(text));
  if (!opened) return refused;
  return secret;
}

}  // namespace gantry::cephfs
