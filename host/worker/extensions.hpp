// SPDX-License-Identifier: Apache-2.0
// What the instance offers: copies of its extension tables, made once after create by abi.h's rule
// 1, so that a slot which an older plugin does not know is NULL.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "gantry/gantry.h"

namespace gantry::worker {

struct Extensions {
  gantry_controller controller;
  gantry_publish publish;
  gantry_snapshot_ops snapshot;
  gantry_group_ops group;
  gantry_metadata_ops metadata;
  gantry_node_ops node;
  gantry_task_ops task;
  gantry_state_ops state;
  gantry_datapath datapath;
};

// min(size, sizeof(T)) bytes of what the other side filled in, over zeros.
template <class T>
T CopyStruct(const T* from) {
  T copy{};
  if (from == nullptr) return copy;
  const size_t size = from->size;
  std::memcpy(&copy, from, size < sizeof(T) ? size : sizeof(T));
  return copy;
}

// Asks the instance for every extension this host knows.
Extensions AskExtensions(const gantry_plugin& plugin, gantry_instance* instance);

// "gantry.controller/1:create_volume" for each slot that is not NULL.
std::vector<std::string> SlotNames(const Extensions& extensions);

}  // namespace gantry::worker
