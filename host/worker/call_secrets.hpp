// SPDX-License-Identifier: Apache-2.0
// The secrets of one call, readable by the plugin until its finish. They are parsed by hand from
// the locked buffer they came in, because protobuf would make copies that nobody wipes.
#pragma once

#include <string_view>
#include <vector>

#include "gantry/abi.h"
#include "host/base/error.hpp"
#include "host/base/secret.hpp"

namespace gantry::worker {

constexpr size_t kSecretsOfCallMax = 256;

class CallSecrets {
 public:
  CallSecrets() = default;
  // From the bytes of a gantry.channel.Secrets message. Errors never quote the content.
  static base::Result<CallSecrets> Parse(const base::SecretBytes& message);

  // {NULL, 0} and false when there is none of that name. The value lies NUL-terminated in locked
  // memory that stays mapped as long as this object, but is zero after Wipe.
  bool Find(std::string_view key, gantry_str* value) const;
  void Wipe();

 private:
  struct Entry {
    size_t key, key_length, value, value_length;  // offsets into bytes_
  };
  base::SecretBytes bytes_;  // key NUL value NUL ...
  std::vector<Entry> entries_;
};

}  // namespace gantry::worker
