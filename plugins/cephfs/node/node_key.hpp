// SPDX-License-Identifier: Apache-2.0
// With which entity and key a node opens a volume: the volume's own, which ControllerPublishVolume has
// sealed in the publish context, else the one for all volumes in NodeStageVolume's secrets. Asked for
// twice: by attach, so that what is missing is said to the CO, and by the data path, which gets the same
// secrets and the sealed key among its parameters.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/cephfs/context/context.hpp"
#include "plugins/cephfs/keys/seal.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

struct NodeKey {
  std::string user;  // without "client."
  SecretText key;
};

// What it returns may end with the next call.
using SecretLookup = std::function<std::optional<std::string_view>(std::string_view name)>;

// For whom a sealed key was made.
struct SealedFor {
  std::string handle;
  std::string incarnation;
  std::string node_id;
};

// `published`: nothing without ControllerPublishVolume. INVALID_ARGUMENT names the secret that is
// missing; UNAUTHENTICATED: the sealed key is not for this volume on this node, or the seal key is
// another one.
plugin::Result<NodeKey> NodeKeyOf(const std::optional<PublishContext>& published,
                                  const SealedFor& owner, const SecretLookup& secret);

}  // namespace gantry::cephfs
