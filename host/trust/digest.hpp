// SPDX-License-Identifier: Apache-2.0
// SHA-256 of what is read, in pieces: plugins are large and are digested while they are copied.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "host/base/error.hpp"

struct evp_md_ctx_st;

namespace gantry::trust {

using Digest = std::array<unsigned char, 32>;

class Sha256 {
 public:
  Sha256();
  void Update(std::string_view bytes);
  // Once. INTERNAL: the library failed somewhere on the way.
  base::Result<Digest> Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
  bool good_ = false;
};

// 64 lower-case hexadecimal digits, and back; INVALID_ARGUMENT for anything else.
std::string Hex(const Digest& digest);
base::Result<Digest> ParseHex(std::string_view text);

// Of the rest of a file from its present position; RESOURCE_EXHAUSTED when that is more than
// bytes_max. `name` is for errors.
base::Result<Digest> DigestOf(int fd, size_t bytes_max, std::string_view name);

}  // namespace gantry::trust
