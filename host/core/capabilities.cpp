// SPDX-License-Identifier: Apache-2.0
#include <gantry/controller.h>
#include <gantry/node.h>
#include <gantry/snapshot.h>
#include <gantry/state.h>
#include <gantry/task.h>

#include "host/core/backend.hpp"

namespace gantry::core {
namespace {

struct Slot {
  const char* extension = nullptr;
  const char* name = nullptr;
};

Slot SlotOf(channel::Operation operation) {
  switch (operation) {
    case channel::CREATE_VOLUME:
      return {GANTRY_EXT_CONTROLLER, "create_volume"};
    case channel::DELETE_VOLUME:
      return {GANTRY_EXT_CONTROLLER, "delete_volume"};
    case channel::GET_VOLUME:
      return {GANTRY_EXT_CONTROLLER, "get_volume"};
    case channel::LIST_VOLUMES:
      return {GANTRY_EXT_CONTROLLER, "list_volumes"};
    case channel::GET_CAPACITY:
      return {GANTRY_EXT_CONTROLLER, "get_capacity"};
    case channel::EXPAND_VOLUME:
      return {GANTRY_EXT_CONTROLLER, "expand_volume"};
    case channel::MODIFY_VOLUME:
      return {GANTRY_EXT_CONTROLLER, "modify_volume"};
    case channel::RECOGNIZE_VOLUME:
      return {GANTRY_EXT_CONTROLLER, "recognize_volume"};
    case channel::PUBLISH_VOLUME:
      return {GANTRY_EXT_PUBLISH, "publish_volume"};
    case channel::UNPUBLISH_VOLUME:
      return {GANTRY_EXT_PUBLISH, "unpublish_volume"};
    case channel::CREATE_SNAPSHOT:
      return {GANTRY_EXT_SNAPSHOT, "create_snapshot"};
    case channel::DELETE_SNAPSHOT:
      return {GANTRY_EXT_SNAPSHOT, "delete_snapshot"};
    case channel::GET_SNAPSHOT:
      return {GANTRY_EXT_SNAPSHOT, "get_snapshot"};
    case channel::LIST_SNAPSHOTS:
      return {GANTRY_EXT_SNAPSHOT, "list_snapshots"};
    case channel::CREATE_GROUP:
      return {GANTRY_EXT_GROUP, "create_group"};
    case channel::DELETE_GROUP:
      return {GANTRY_EXT_GROUP, "delete_group"};
    case channel::GET_GROUP:
      return {GANTRY_EXT_GROUP, "get_group"};
    case channel::GET_ALLOCATED:
      return {GANTRY_EXT_METADATA, "get_allocated"};
    case channel::GET_DELTA:
      return {GANTRY_EXT_METADATA, "get_delta"};
    case channel::ATTACH:
      return {GANTRY_EXT_NODE, "attach"};
    case channel::DETACH:
      return {GANTRY_EXT_NODE, "detach"};
    case channel::RESCAN:
      return {GANTRY_EXT_NODE, "rescan"};
    case channel::LIST_TASKS:
      return {GANTRY_EXT_TASK, "list_tasks"};
    case channel::RUN_TASK:
      return {GANTRY_EXT_TASK, "run_task"};
    case channel::EXPORT_STATE:
      return {GANTRY_EXT_STATE, "export_state"};
    case channel::IMPORT_STATE:
      return {GANTRY_EXT_STATE, "import_state"};
    case channel::USE_FORMATS:
      return {GANTRY_EXT_STATE, "use_formats"};
    default:
      return {};
  }
}

}  // namespace

Capabilities::Capabilities(channel::Description description)
    : known_(true), description_(std::move(description)) {
  slots_.insert(description_.slots().begin(), description_.slots().end());
  for (size_t operation = 0; operation < offers_.size(); ++operation) {
    const Slot slot = SlotOf(static_cast<channel::Operation>(operation));
    offers_[operation] = slot.extension != nullptr && Has(slot.extension, slot.name);
  }
}

base::Status Backend::Known() const {
  if (capabilities().known()) return {};
  return base::Fail(base::Code::kUnavailable, "backend " + name() + " has not started yet");
}

bool Capabilities::Has(std::string_view extension, std::string_view slot) const {
  return slots_.contains(std::string(extension) + ":" + std::string(slot));
}

bool Capabilities::Offers(channel::Operation operation) const {
  return channel::Operation_IsValid(operation) && offers_[static_cast<size_t>(operation)];
}

}  // namespace gantry::core
