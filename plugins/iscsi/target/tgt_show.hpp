// SPDX-License-Identifier: Apache-2.0
// tgtd tells its state only as text for people; this is what is read out of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::iscsi::target {

struct TgtUnit {
  uint64_t lun = 0;
  std::string path;
  std::string scsi_id;
};

struct TgtTarget {
  int32_t tid = 0;
  std::string iqn;
  std::vector<TgtUnit> units;
  std::vector<std::string> accounts;  // incoming, in tgtd's order
  std::vector<std::string> outgoing;
  std::vector<std::string> acl;
};

// Of `show` in mode target.
std::vector<TgtTarget> ParseTargets(std::string_view text);

struct TgtConnection {
  uint64_t session = 0;
  uint32_t connection = 0;
  std::string initiator;
};

// Of `show` in mode connection.
std::vector<TgtConnection> ParseConnections(std::string_view text);

}  // namespace gantry::iscsi::target
