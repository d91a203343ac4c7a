// SPDX-License-Identifier: Apache-2.0
// What ControllerPublishVolume tells the node of a LUN. Versioned like every context: an older node
// may have to read it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/backend/config.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi {

struct PublishContext {
  std::vector<std::string> portals;  // "10.0.0.1:3260", "[fd00::1]:3260"
  std::string iqn;                   // of the target
  uint32_t lun = 0;
  std::string initiator;  // IQN of the node's
  std::string identity;   // as in VPD page 0x83
  uint64_t size_bytes = 0;
  ChapMode chap = ChapMode::kNone;
  bool readonly = false;
  bool several_write = false;  // nodes at once: no reservation can fence one of them
  bool may_format = false;     // nobody has ever written to it
  bool operator==(const PublishContext&) const = default;
};

std::map<std::string, std::string> Encode(const PublishContext& context);
// INVALID_ARGUMENT names the key, the value and what was expected.
plugin::Result<PublishContext> DecodePublishContext(
    const std::map<std::string, std::string>& context);

std::string FormatPortal(const target::Portal& portal);

}  // namespace gantry::iscsi
