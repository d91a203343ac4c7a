// SPDX-License-Identifier: Apache-2.0
// Which plugins may be loaded: those whose digest the configuration lists, and those that carry a
// signature by a key it names. To trust all must be said in a word, since it is what one gets by
// leaving things out elsewhere.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/trust/digest.hpp"

namespace gantry::trust {

struct Policy {
  bool any = false;
  std::vector<Digest> digests;
  std::vector<std::filesystem::path> keys;  // PEM files, read at every judgement: keys rotate
  bool operator==(const Policy&) const = default;
};

// How a plugin was found good, for logs: "its sha256 is listed", "signed by key /k.pem (id ...)".
struct Verdict {
  std::string reason;
};

// `plugin` names the file as the operator knows it; its signature is looked for beside it. `digest`
// is that of the bytes that will be loaded, so it must have been taken of a copy that nobody else
// can change. PERMISSION_DENIED names the file, its digest, and what was tried with each key;
// INVALID_ARGUMENT: a key file is no key, which is an error even where another key would do, since
// it is the one that will be missed.
base::Result<Verdict> Judge(const Policy& policy, const std::filesystem::path& plugin,
                            const Digest& digest);

}  // namespace gantry::trust
