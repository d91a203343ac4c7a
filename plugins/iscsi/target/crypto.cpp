// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/crypto.hpp"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "plugins/common/sha256.hpp"
#include "plugins/iscsi/target/files.hpp"
#include "plugins/iscsi/target/json_fields.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr size_t kSealedBytesMax = 4096;
constexpr size_t kIqnIncarnationDigits = 12;

using Bytes = std::vector<unsigned char>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

std::string ToHex(const unsigned char* data, size_t size) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    text += kDigits[data[i] >> 4U];
    text += kDigits[data[i] & 15U];
  }
  return text;
}

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Nothing for what is no hex.
Bytes FromHex(std::string_view text) {
  Bytes bytes;
  if (text.size() % 2 != 0) return bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = Digit(text[i]);
    const int low = Digit(text[i + 1]);
    if (high < 0 || low < 0) return {};
    bytes.push_back(static_cast<unsigned char>(high * 16 + low));
  }
  return bytes;
}

const unsigned char* Raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

std::string RandomHex(size_t bytes) {
  Bytes random(bytes);
  // Not OpenSSL's, whose first use costs a program that lives for a request two milliseconds.
  if (getrandom(random.data(), bytes, 0) != static_cast<ssize_t>(bytes))
    throw std::runtime_error("the system has no random numbers");
  return ToHex(random.data(), random.size());
}

std::string IqnOf(const std::string& prefix, const std::string& handle,
                  const std::string& incarnation) {
  std::string name = handle;
  // RFC 3722: names are in lower case; '_' is none of its characters.
  for (char& c : name)
    c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return prefix + ":" + name + "." + incarnation.substr(0, kIqnIncarnationDigits);
}

Identity IdentityOf(const std::string& handle, const std::string& incarnation) {
  const std::string hash =
      plugin::Sha256Hex("gantry volume " + handle + " " + incarnation).substr(0, 32);
  return {"naa.6001405" + hash.substr(0, 25), hash};
}

Result<SealKey> SealKey::Read(const std::string& path) {
  const auto fd = OpenFile(AT_FDCWD, path, O_RDONLY);
  if (!fd) return Fail(code::kFailedPrecondition, "chap_key_file: " + fd.error().message);
  GANTRY_PLUGIN_TRY(CheckPrivate(fd->get(), path));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto status, Status(fd->get(), path));
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return Fail(code::kFailedPrecondition, path + ": expected that only its owner may read it");
  constexpr size_t kKeyFileBytesMax = 256;
  GANTRY_PLUGIN_TRY_ASSIGN(std::string text, ReadFile(AT_FDCWD, path, kKeyFileBytesMax));
  std::erase_if(text, [](unsigned char c) { return std::isspace(c) != 0; });
  Bytes bytes = FromHex(text);
  WipeText(&text);
  std::array<unsigned char, 32> key;
  if (bytes.size() != key.size())
    return Fail(code::kFailedPrecondition, path + ": expected 64 hex digits (32 random bytes)");
  std::copy(bytes.begin(), bytes.end(), key.begin());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  SealKey made(key);
  OPENSSL_cleanse(key.data(), key.size());
  return made;
}

SealKey::~SealKey() { OPENSSL_cleanse(key_.data(), key_.size()); }

Result<std::string> SealKey::Seal(const Chap& chap, std::string_view context) const {
  std::string plain = Dump(FieldWriter::Write(chap));
  Bytes out(kNonceBytes + plain.size() + kTagBytes);
  const CipherContext cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int size = 0;
  const bool done =
      cipher && RAND_bytes(out.data(), kNonceBytes) == 1 &&
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), out.data()) == 1 &&
      EVP_EncryptUpdate(cipher.get(), nullptr, &size, Raw(context),
                        static_cast<int>(context.size())) == 1 &&
      EVP_EncryptUpdate(cipher.get(), out.data() + kNonceBytes, &size, Raw(plain),
                        static_cast<int>(plain.size())) == 1 &&
      EVP_EncryptFinal_ex(cipher.get(), out.data() + kNonceBytes + size, &size) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes,
                          out.data() + out.size() - kTagBytes) == 1;
  WipeText(&plain);
  if (!done) return Fail(code::kInternal, "sealing a secret failed");
  return ToHex(out.data(), out.size());
}

Result<Chap> SealKey::Open(std::string_view sealed, std::string_view context) const {
  const auto refused = [] {
    return Fail(
        code::kFailedPrecondition,
        "a CHAP secret of a record cannot be opened: expected the key of chap_key_file that "
        "it was sealed with");
  };
  if (sealed.size() > kSealedBytesMax) return refused();
  Bytes in = FromHex(sealed);
  if (in.size() < kNonceBytes + kTagBytes) return refused();
  std::string plain(in.size() - kNonceBytes - kTagBytes, '\0');
  const CipherContext cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int size = 0;
  const bool done =
      cipher &&
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), in.data()) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &size, Raw(context),
                        static_cast<int>(context.size())) == 1 &&
      EVP_DecryptUpdate(cipher.get(), reinterpret_cast<unsigned char*>(plain.data()), &size,
                        in.data() + kNonceBytes, static_cast<int>(plain.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes,
                          in.data() + in.size() - kTagBytes) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), reinterpret_cast<unsigned char*>(plain.data()) + size,
                          &size) == 1;
  if (!done) return refused();
  auto chap = FieldReader::Read<Chap>(nlohmann::json::parse(plain, nullptr, false), "");
  WipeText(&plain);
  if (!chap) return refused();
  return chap;
}

}  // namespace gantry::iscsi::target
