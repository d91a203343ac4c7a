// SPDX-License-Identifier: Apache-2.0
// As whom the storage sees a request. `caller`: the uid and gid of the process that asked; its
// supplementary groups are not known here (an unprivileged process of another pid namespace cannot
// read them), which costs access that only they would give. `fixed(uid,gid)`: always the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::datapath {

class Identity {
 public:
  struct Ids {
    uint32_t uid;
    uint32_t gid;
  };

  // `text` is "" or "caller", or "fixed(1000,1000)"; `mount_group` a gid in decimal or "", which
  // every request then has as a supplementary group (CSI spec, volume_mount_group).
  static base::Result<Identity> Parse(std::string_view text, std::string_view mount_group);

  Ids For(Ids caller) const { return fixed_.value_or(caller); }
  const std::vector<uint32_t>& groups() const { return groups_; }

 private:
  std::optional<Ids> fixed_;
  std::vector<uint32_t> groups_;
};

}  // namespace gantry::datapath
