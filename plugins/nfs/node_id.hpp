// SPDX-License-Identifier: Apache-2.0
// What the storages for records and for trees have in common: a node's id is its file handle.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "plugins/common/storage.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline FileHandle HandleOf(const plugin::NodeId& id) {
  FileHandle handle;
  handle.size = static_cast<uint32_t>(std::min(id.size(), handle.bytes.size()));
  std::memcpy(handle.bytes.data(), id.data(), handle.size);
  return handle;
}

inline plugin::NodeId IdOf(const FileHandle& handle) {
  return {reinterpret_cast<const char*>(handle.bytes.data()), handle.size};
}

inline int64_t NsOf(const Time& time) {
  return int64_t{time.seconds} * 1'000'000'000 + time.nanoseconds;
}

}  // namespace gantry::nfs
