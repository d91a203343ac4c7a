// SPDX-License-Identifier: Apache-2.0
// CHAP secrets of one volume on one node. They are never stored nor sent by CSI: controller and node
// derive them from a key that both get in their calls' secrets, from one Secret that the StorageClass
// names for controller-publish and node-stage. So the publish context, which is not secret, tells
// nothing, and a repeated ControllerPublishVolume gives the same.
// Rejected: random secrets sealed under that key in the publish context: the same trust in the same
// key, and a retry would change what the target has.
#pragma once

#include <string>
#include <string_view>

#include "plugins/common/result.hpp"

namespace gantry::iscsi {

// In the calls' secrets: at least kChapKeyBytesMin bytes of anything.
inline constexpr std::string_view kChapKeySecret = "chapKey";
inline constexpr size_t kChapKeyBytesMin = 32;
inline constexpr size_t kChapKeyBytesMax = 4096;

// For whom it is. `incarnation`: a volume made again has other secrets.
struct ChapOwner {
  std::string handle;
  std::string incarnation;
  std::string node_id;
};

// Wiped when it ends.
struct ChapSecrets {
  std::string user;
  std::string password;
  std::string user_in;  // the target's, for mutual authentication
  std::string password_in;

  ChapSecrets() = default;
  ChapSecrets(ChapSecrets&&) = default;
  ChapSecrets& operator=(ChapSecrets&&) = default;
  ChapSecrets(const ChapSecrets&) = delete;
  ~ChapSecrets();
};

// INVALID_ARGUMENT: the key is too short or too long. Passwords are 32 characters of [0-9a-f], 128
// bits each, two that tell nothing of each other.
plugin::Result<ChapSecrets> DeriveChap(std::string_view key, const ChapOwner& owner, bool mutual);

}  // namespace gantry::iscsi
