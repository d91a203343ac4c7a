// SPDX-License-Identifier: Apache-2.0
// Detached ed25519 signatures of plugins (RFC 8032, PureEdDSA), in a file beside the plugin:
// <plugin>.so.sig, the 64 bytes of the signature and nothing else. Raw rather than base64, so that
// there is one spelling of a signature and `openssl pkeyutl` makes and checks it too.
//
// What is signed is 59 bytes, the same for every plugin but its digest:
//
//   "gantry plugin signature v1\n"   27 bytes of ASCII, so that a key which signs other things too
//                                    can't be made to sign a plugin unawares
//   sha256 of the plugin             32 bytes
//
// By hand:
//   { printf 'gantry plugin signature v1\n'; openssl dgst -sha256 -binary nfs.so; } >message
//   openssl pkeyutl -sign -rawin -inkey key.pem -in message -out nfs.so.sig
//
// Rejected: X.509 chains and CMS (dates, revocation and a parser that is larger than the host), a
// signature over the file itself (ed25519 reads its message twice, so it would have to be mapped).
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>

#include "host/base/error.hpp"
#include "host/trust/digest.hpp"

struct evp_pkey_st;

namespace gantry::trust {

constexpr size_t kSignatureBytes = 64;
constexpr size_t kKeyFileBytesMax = 16 * 1024;

using Signature = std::array<unsigned char, kSignatureBytes>;

// The bytes that are signed for a plugin of this digest.
std::string SignedBytes(const Digest& plugin);

// <plugin>.sig
std::filesystem::path SignatureFile(const std::filesystem::path& plugin);

// NOT_FOUND: there is none; INVALID_ARGUMENT: not kSignatureBytes bytes, or not a regular file.
base::Result<Signature> ReadSignature(const std::filesystem::path& file);

// An ed25519 public key. Any thread.
class PublicKey {
 public:
  // A PEM file "BEGIN PUBLIC KEY" (RFC 8410). INVALID_ARGUMENT names the file and what is wrong:
  // no PEM, another algorithm, or a private key, which has no place in a configuration.
  static base::Result<PublicKey> Load(const std::filesystem::path& pem);

  bool Verifies(const Digest& plugin, const Signature& signature) const;

  const std::filesystem::path& file() const { return file_; }
  // For people: the first 16 hexadecimal digits of the sha256 of the raw 32 bytes.
  const std::string& id() const { return id_; }

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  friend class PrivateKey;
  using Handle = std::unique_ptr<evp_pkey_st, Free>;
  PublicKey(Handle key, std::filesystem::path file, std::string id)
      : key_(std::move(key)), file_(std::move(file)), id_(std::move(id)) {}
  Handle key_;
  std::filesystem::path file_;
  std::string id_;
};

class PrivateKey {
 public:
  // A PEM file "BEGIN PRIVATE KEY" without a passphrase (RFC 8410); errors as PublicKey::Load, and
  // hold nothing of the content.
  static base::Result<PrivateKey> Load(const std::filesystem::path& pem);
  base::Result<Signature> Sign(const Digest& plugin) const;
  const std::string& id() const { return id_; }  // of its public half

 private:
  PrivateKey(PublicKey::Handle key, std::string id) : key_(std::move(key)), id_(std::move(id)) {}
  PublicKey::Handle key_;
  std::string id_;
};

}  // namespace gantry::trust
