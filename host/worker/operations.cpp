// SPDX-License-Identifier: Apache-2.0
#include "host/worker/operations.hpp"

namespace gantry::worker {
namespace {

constexpr uint32_t Bit(channel::Emit::ItemCase item) { return 1u << item; }
constexpr uint32_t kNothing = 0;
constexpr uint32_t kVolume = Bit(channel::Emit::kVolume);
constexpr uint32_t kSnapshot = Bit(channel::Emit::kSnapshot);
constexpr uint32_t kGroup = Bit(channel::Emit::kGroup) | Bit(channel::Emit::kSnapshot);
constexpr uint32_t kCapacity = Bit(channel::Emit::kCapacity);
constexpr uint32_t kContext = Bit(channel::Emit::kPublishContext);
constexpr uint32_t kRange = Bit(channel::Emit::kBlockRange);
constexpr uint32_t kSource = Bit(channel::Emit::kSource);
constexpr uint32_t kProgress = Bit(channel::Emit::kProgress);
constexpr uint32_t kState = Bit(channel::Emit::kState);

// The request's type is read off the slot's signature, so that a converter of another type does
// not compile.
template <class RequestStruct>
constexpr RequestStruct RequestOf(void (*)(gantry_instance*, gantry_call, const RequestStruct*));

template <auto Table, auto Slot>
constexpr OperationTraits Describe(channel::Operation operation, const char* extension,
                                   const char* slot, uint32_t emits) {
  using RequestStruct = decltype(RequestOf((Extensions{}.*Table).*Slot));
  return {
      operation,
      extension,
      slot,
      [](const Extensions& e) { return (e.*Table).*Slot != nullptr; },
      &ConvertTo<RequestStruct>,
      [](const Extensions& e, gantry_instance* instance, gantry_call call, const void* request) {
        ((e.*Table).*Slot)(instance, call, static_cast<const RequestStruct*>(request));
      },
      emits};
}

#define GANTRY_OPERATION(OPERATION, EXTENSION, table, slot, emits)                       \
  Describe<&Extensions::table, &std::remove_cvref_t<decltype(Extensions::table)>::slot>( \
      channel::OPERATION, EXTENSION, #slot, emits)

constexpr OperationTraits kOperations[] = {
    GANTRY_OPERATION(CREATE_VOLUME, GANTRY_EXT_CONTROLLER, controller, create_volume, kVolume),
    GANTRY_OPERATION(DELETE_VOLUME, GANTRY_EXT_CONTROLLER, controller, delete_volume, kNothing),
    GANTRY_OPERATION(GET_VOLUME, GANTRY_EXT_CONTROLLER, controller, get_volume, kVolume),
    GANTRY_OPERATION(LIST_VOLUMES, GANTRY_EXT_CONTROLLER, controller, list_volumes, kVolume),
    GANTRY_OPERATION(GET_CAPACITY, GANTRY_EXT_CONTROLLER, controller, get_capacity, kCapacity),
    GANTRY_OPERATION(EXPAND_VOLUME, GANTRY_EXT_CONTROLLER, controller, expand_volume, kVolume),
    GANTRY_OPERATION(MODIFY_VOLUME, GANTRY_EXT_CONTROLLER, controller, modify_volume, kNothing),
    GANTRY_OPERATION(RECOGNIZE_VOLUME, GANTRY_EXT_CONTROLLER, controller, recognize_volume,
                     kNothing),
    GANTRY_OPERATION(PUBLISH_VOLUME, GANTRY_EXT_PUBLISH, publish, publish_volume, kContext),
    GANTRY_OPERATION(UNPUBLISH_VOLUME, GANTRY_EXT_PUBLISH, publish, unpublish_volume, kNothing),
    GANTRY_OPERATION(CREATE_SNAPSHOT, GANTRY_EXT_SNAPSHOT, snapshot, create_snapshot, kSnapshot),
    GANTRY_OPERATION(DELETE_SNAPSHOT, GANTRY_EXT_SNAPSHOT, snapshot, delete_snapshot, kNothing),
    GANTRY_OPERATION(GET_SNAPSHOT, GANTRY_EXT_SNAPSHOT, snapshot, get_snapshot, kSnapshot),
    GANTRY_OPERATION(LIST_SNAPSHOTS, GANTRY_EXT_SNAPSHOT, snapshot, list_snapshots, kSnapshot),
    GANTRY_OPERATION(CREATE_GROUP, GANTRY_EXT_GROUP, group, create_group, kGroup),
    GANTRY_OPERATION(DELETE_GROUP, GANTRY_EXT_GROUP, group, delete_group, kNothing),
    GANTRY_OPERATION(GET_GROUP, GANTRY_EXT_GROUP, group, get_group, kGroup),
    GANTRY_OPERATION(GET_ALLOCATED, GANTRY_EXT_METADATA, metadata, get_allocated, kRange),
    GANTRY_OPERATION(GET_DELTA, GANTRY_EXT_METADATA, metadata, get_delta, kRange),
    GANTRY_OPERATION(ATTACH, GANTRY_EXT_NODE, node, attach, kSource),
    GANTRY_OPERATION(DETACH, GANTRY_EXT_NODE, node, detach, kNothing),
    GANTRY_OPERATION(RESCAN, GANTRY_EXT_NODE, node, rescan, kSource),
    GANTRY_OPERATION(LIST_TASKS, GANTRY_EXT_TASK, task, list_tasks, kNothing),
    GANTRY_OPERATION(RUN_TASK, GANTRY_EXT_TASK, task, run_task, kProgress),
    GANTRY_OPERATION(EXPORT_STATE, GANTRY_EXT_STATE, state, export_state, kState),
    GANTRY_OPERATION(IMPORT_STATE, GANTRY_EXT_STATE, state, import_state, kNothing),
    GANTRY_OPERATION(USE_FORMATS, GANTRY_EXT_STATE, state, use_formats, kNothing),
};

#undef GANTRY_OPERATION

}  // namespace

std::span<const OperationTraits> AllOperations() { return kOperations; }

const OperationTraits* FindOperation(channel::Operation operation) {
  for (const OperationTraits& traits : kOperations)
    if (traits.operation == operation) return &traits;
  return nullptr;
}

bool MayEmit(channel::Operation operation, channel::Emit::ItemCase item) {
  if (item == channel::Emit::kTask) return true;
  const OperationTraits* traits = FindOperation(operation);
  return traits != nullptr && (traits->emits & Bit(item)) != 0;
}

}  // namespace gantry::worker
