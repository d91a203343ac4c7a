// SPDX-License-Identifier: Apache-2.0
// How a node gets the cephx key that ControllerPublishVolume had made for one volume on it: in the
// publish context, which is not secret, sealed under a key that both get in their calls' secrets,
// from one Secret that the StorageClass names for controller-publish and node-stage. Ceph makes
// cephx keys itself, so that they cannot be derived as CHAP passwords are.
//
// AES-256-GCM with an initialization vector made from what is sealed (as RFC 5297 does for SIV): a
// repeated ControllerPublishVolume gives the same, and no vector serves two messages. For whom the
// key is goes in as additional data: what was sealed for one node opens on no other.
#pragma once

#include <string>
#include <string_view>

#include "plugins/common/result.hpp"

namespace gantry::cephfs {

// In the calls' secrets: at least kSealKeyBytesMin bytes of anything.
inline constexpr std::string_view kSealKeySecret = "sealKey";
inline constexpr size_t kSealKeyBytesMin = 32;
inline constexpr size_t kSealKeyBytesMax = 4096;
inline constexpr size_t kCephKeyBytesMax = 512;

// A string that is wiped when it ends; moved, never copied.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(SecretText&& other) noexcept;
  SecretText& operator=(SecretText&& other) noexcept;
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  ~SecretText();

  const std::string& text() const { return text_; }
  bool empty() const { return text_.empty(); }

 private:
  void Wipe();

  std::string text_;
};

// For whom a cephx key is.
struct KeyOwner {
  std::string handle;
  std::string incarnation;  // a volume made again has other keys
  std::string node_id;
  std::string user;  // the entity, without "client."
};

// Text of [A-Za-z0-9_-]. INVALID_ARGUMENT: the seal key is too short or too long.
plugin::Result<std::string> Seal(std::string_view seal_key, const KeyOwner& owner,
                                 std::string_view ceph_key);
// UNAUTHENTICATED: sealed under another key, for somebody else, or altered; the message tells nothing
// of either key. INVALID_ARGUMENT as above.
plugin::Result<SecretText> Unseal(std::string_view seal_key, const KeyOwner& owner,
                                  std::string_view sealed);

}  // namespace gantry::cephfs
