// SPDX-License-Identifier: Apache-2.0
#include "host/trust/signature.hpp"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/secret.hpp"

namespace gantry::trust {
namespace {

using base::Code;
using base::Fail;

constexpr std::string_view kDomain = "gantry plugin signature v1\n";
constexpr size_t kKeyIdChars = 16;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// No prompt: a key with a passphrase is refused.
int NoPassphrase(char*, int, int, void*) { return -1; }

base::Result<base::SecretBytes> ReadKeyFile(const std::filesystem::path& pem) {
  const base::UniqueFd fd(open(pem.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return base::FailErrno(errno, "open key " + pem.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat key " + pem.string());
  if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(kKeyFileBytesMax))
    return Fail(Code::kInvalidArgument, "key " + pem.string() +
                                            ": expected a regular file of at most " +
                                            std::to_string(kKeyFileBytesMax) + " bytes");
  base::SecretBytes text;
  text.Resize(kKeyFileBytesMax);
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t n = read(fd.get(), text.data() + length, text.size() - length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read key " + pem.string());
    if (n == 0) break;
    length += static_cast<size_t>(n);
  }
  text.Resize(length);
  return text;
}

// What OpenSSL says is left out: its texts speak of decoders, not of the file.
tl::unexpected<base::Error> NotAKey(const std::filesystem::path& pem, const char* expected) {
  ERR_clear_error();
  return Fail(Code::kInvalidArgument, "key " + pem.string() + ": expected " + expected);
}

base::Result<std::string> KeyId(evp_pkey_st* key, const std::filesystem::path& pem) {
  Digest raw{};
  size_t length = raw.size();
  if (EVP_PKEY_get_raw_public_key(key, raw.data(), &length) != 1 || length != raw.size())
    return NotAKey(pem, "an ed25519 key");
  Sha256 sum;
  sum.Update({reinterpret_cast<const char*>(raw.data()), raw.size()});
  GANTRY_TRY_ASSIGN(const Digest digest, sum.Finish());
  return Hex(digest).substr(0, kKeyIdChars);
}

using Reader = EVP_PKEY* (*)(BIO*, EVP_PKEY**, pem_password_cb*, void*);

evp_pkey_st* ReadPem(std::string_view text, Reader reader) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free);
  return bio ? reader(bio.get(), nullptr, NoPassphrase, nullptr) : nullptr;
}

}  // namespace

std::string SignedBytes(const Digest& plugin) {
  std::string bytes(kDomain);
  bytes.append(reinterpret_cast<const char*>(plugin.data()), plugin.size());
  return bytes;
}

std::filesystem::path SignatureFile(const std::filesystem::path& plugin) {
  return plugin.string() + ".sig";
}

base::Result<Signature> ReadSignature(const std::filesystem::path& file) {
  const base::UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return base::FailErrno(errno, "open signature " + file.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0)
    return base::FailErrno(errno, "stat signature " + file.string());
  // One byte more than there should be, so that a longer file shows.
  std::array<char, kSignatureBytes + 1> bytes{};
  size_t length = 0;
  while (S_ISREG(status.st_mode) && length < bytes.size()) {
    const ssize_t n = read(fd.get(), bytes.data() + length, bytes.size() - length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read signature " + file.string());
    if (n == 0) break;
    length += static_cast<size_t>(n);
  }
  if (length != kSignatureBytes)
    return Fail(Code::kInvalidArgument, "signature " + file.string() + ": expected a file of " +
                                            std::to_string(kSignatureBytes) +
                                            " bytes, the ed25519 signature as it is");
  Signature signature{};
  std::copy_n(bytes.begin(), kSignatureBytes, signature.begin());
  return signature;
}

void PublicKey::Free::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

base::Result<PublicKey> PublicKey::Load(const std::filesystem::path& pem) {
  constexpr const char* kExpected = "a PEM file with an ed25519 public key (BEGIN PUBLIC KEY)";
  GANTRY_TRY_ASSIGN(const base::SecretBytes text, ReadKeyFile(pem));
  if (text.view().find("PRIVATE KEY") != std::string_view::npos)
    return NotAKey(pem, "a PEM file with the public half only; this one holds a private key");
  Handle key(ReadPem(text.view(), PEM_read_bio_PUBKEY));
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) return NotAKey(pem, kExpected);
  GANTRY_TRY_ASSIGN(auto id, KeyId(key.get(), pem));
  return PublicKey(std::move(key), pem, std::move(id));
}

bool PublicKey::Verifies(const Digest& plugin, const Signature& signature) const {
  const std::string message = SignedBytes(plugin);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  const bool good =
      context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key_.get()) == 1 &&
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), Bytes(message),
                       message.size()) == 1;
  ERR_clear_error();
  return good;
}

base::Result<PrivateKey> PrivateKey::Load(const std::filesystem::path& pem) {
  constexpr const char* kExpected =
      "a PEM file with an ed25519 private key without a passphrase (BEGIN PRIVATE KEY)";
  GANTRY_TRY_ASSIGN(const base::SecretBytes text, ReadKeyFile(pem));
  PublicKey::Handle key(ReadPem(text.view(), PEM_read_bio_PrivateKey));
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) return NotAKey(pem, kExpected);
  GANTRY_TRY_ASSIGN(auto id, KeyId(key.get(), pem));
  return PrivateKey(std::move(key), std::move(id));
}

base::Result<Signature> PrivateKey::Sign(const Digest& plugin) const {
  const std::string message = SignedBytes(plugin);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  Signature signature{};
  size_t length = signature.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &length, Bytes(message), message.size()) !=
          1 ||
      length != signature.size()) {
    ERR_clear_error();
    return Fail(Code::kInternal, "ed25519 signing failed");
  }
  return signature;
}

}  // namespace gantry::trust
