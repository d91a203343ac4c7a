// SPDX-License-Identifier: Apache-2.0
// All that a data-path process has to know, in one sealed memfd that the keeper holds from stage to
// unstage: a successor starts from the same bytes when neither gantryd nor the CO is there to ask.
// It holds the volume's secrets, so it is on no disk, in no argument, and locked where it is
// mapped.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/secret.hpp"
#include "host/wire/worker_limits.hpp"

namespace gantry::wire {

constexpr uint32_t kDescriptionVersion = 3;
constexpr size_t kDescriptionBytesMax = 2 * 1024 * 1024;

struct DataPathDescription {
  std::string volume_id;
  std::string backend;
  std::string plugin;  // path
  std::string owner;
  std::string config_json;
  std::string node_id;
  std::map<std::string, std::string> parameters;
  std::vector<std::string> capabilities;
  uint32_t uid = 0;
  uint32_t gid = 0;
  WorkerLimits limits;
  bool readonly = false;
  bool disk = false;        // served by gantry.disk/1 instead of gantry.datapath/1
  std::string identity;     // of a disk: which one it must be; empty: the source named none
  uint64_t size_bytes = 0;  // of a disk: what it must have at least
  std::string mount_group;
  std::map<std::string, base::SecretBytes, std::less<>> secrets;
};

// A memfd sealed against every change. RESOURCE_EXHAUSTED beyond kDescriptionBytesMax.
base::Result<base::UniqueFd> SealDescription(const DataPathDescription& description);
// Refuses an fd that is not sealed, or of another version.
base::Result<DataPathDescription> ReadDescription(int fd);

}  // namespace gantry::wire
