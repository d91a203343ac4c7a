// SPDX-License-Identifier: Apache-2.0
// What a StorageClass says of block volumes to the host rather than to the backend. The parameters
// become part of the volume's context, which every node gets, so that all of them do the same. The
// backend sees them as well, and has to let them pass: were they taken out, a backend that can do
// nothing with them would make a volume that is not encrypted and say nothing.
#pragma once

#include <google/protobuf/map.h>

#include <string>

#include "host/base/error.hpp"

namespace gantry::core {

constexpr const char* kMkfsOptionsParameter = "mkfsOptions";       // words separated by blanks
constexpr const char* kEncryptedParameter = "encrypted";           // "true": LUKS2
constexpr const char* kPassphraseSecret = "encryptionPassphrase";  // of NodeStageVolume
constexpr size_t kMkfsOptionsBytesMax = 1024;

struct BlockParameters {
  std::string mkfs_options;
  bool encrypted = false;
};

using TextMap = google::protobuf::Map<std::string, std::string>;

// INVALID_ARGUMENT names `field`, the parameter and what was expected.
base::Result<BlockParameters> ReadBlockParameters(const TextMap& from, const char* field);
// Those that are there and that the backend has not set itself.
void CopyBlockParameters(const TextMap& parameters, TextMap* context);

}  // namespace gantry::core
