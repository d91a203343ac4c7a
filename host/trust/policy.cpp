// SPDX-License-Identifier: Apache-2.0
#include "host/trust/policy.hpp"

#include <algorithm>

#include "host/trust/signature.hpp"

namespace gantry::trust {
namespace {

using base::Code;

std::string Named(const PublicKey& key) { return key.file().string() + " (id " + key.id() + ")"; }

base::Result<std::vector<PublicKey>> LoadAll(const std::vector<std::filesystem::path>& files) {
  std::vector<PublicKey> keys;
  for (const auto& file : files) {
    GANTRY_TRY_ASSIGN(auto key, PublicKey::Load(file));
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace

base::Result<Verdict> Judge(const Policy& policy, const std::filesystem::path& plugin,
                            const Digest& digest) {
  if (policy.any) return Verdict{"trust: any"};
  if (std::find(policy.digests.begin(), policy.digests.end(), digest) != policy.digests.end())
    return Verdict{"its sha256 is listed"};

  const auto refuse = [&](const std::string& why) {
    return base::Fail(Code::kPermissionDenied, "plugin " + plugin.string() + " (sha256 " +
                                                   Hex(digest) + ") is not trusted: " + why);
  };
  const std::string listed =
      policy.digests.empty()
          ? "no sha256 is listed"
          : "its sha256 is none of the " + std::to_string(policy.digests.size()) + " listed";
  GANTRY_TRY_ASSIGN(const auto keys, LoadAll(policy.keys));
  if (keys.empty()) return refuse(listed + ", and no key is configured");
  const auto signature = ReadSignature(SignatureFile(plugin));
  if (!signature) return refuse(listed + ", and " + signature.error().message);
  std::string tried;
  for (const auto& key : keys) {
    if (key.Verifies(digest, *signature)) return Verdict{"signed by key " + Named(key)};
    tried += (tried.empty() ? "" : ", ") + Named(key);
  }
  return refuse(listed + ", and signature " + SignatureFile(plugin).string() +
                " is by none of the keys tried: " + tried);
}

}  // namespace gantry::trust
