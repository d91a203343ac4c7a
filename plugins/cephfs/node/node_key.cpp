// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/node/node_key.hpp"

#include <utility>

namespace gantry::cephfs {
namespace {

// A volume that died is staged anew by NodePublishVolume, which has secrets of its own.
plugin::Result<std::string_view> Need(const SecretLookup& secret, std::string_view name) {
  const auto found = secret(name);
  if (found && !found->empty()) return *found;
  return plugin::Fail(
      plugin::code::kInvalidArgument,
      "secrets[\"" + std::string(name) +
          "\"] is missing; expected it in the Secret that the StorageClass names for "
          "node-stage, and for node-publish where a dead mount shall be healed");
}

}  // namespace

plugin::Result<NodeKey> NodeKeyOf(const std::optional<PublishContext>& published,
                                  const SealedFor& owner, const SecretLookup& secret) {
  if (published) {
    const auto seal_key = Need(secret, kSealKeySecret);
    if (!seal_key) return tl::make_unexpected(seal_key.error());
    auto key = Unseal(*seal_key, {owner.handle, owner.incarnation, owner.node_id, published->user},
                      published->sealed_key);
    if (!key) return tl::make_unexpected(plugin::Wrap(key.error(), "publish_context"));
    return NodeKey{published->user, *std::move(key)};
  }
  const auto found = Need(secret, kUserSecret);
  if (!found) return tl::make_unexpected(found.error());
  std::string user(*found);  // before the next lookup
  const auto key = Need(secret, kKeySecret);
  if (!key) return tl::make_unexpected(key.error());
  return NodeKey{std::move(user), SecretText(std::string(*key))};
}

}  // namespace gantry::cephfs
