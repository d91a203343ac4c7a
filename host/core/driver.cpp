// SPDX-License-Identifier: Apache-2.0
#include "host/core/driver.hpp"

#include <gantry/abi.h>

#include <algorithm>
#include <optional>

#include "host/base/call_scope.hpp"
#include "host/core/redact.hpp"

namespace gantry::core {

std::vector<std::string> Driver::BackendNames() const {
  std::vector<std::string> names;
  for (const auto& [name, backend] : parts_.backends) names.push_back(name);
  return names;
}

bool Driver::AnyOffers(channel::Operation operation) const {
  return std::any_of(parts_.backends.begin(), parts_.backends.end(), [&](const auto& item) {
    return item.second->capabilities().Offers(operation);
  });
}

bool Driver::AnyHasAccessMode(csi::v1::VolumeCapability::AccessMode::Mode mode) const {
  return std::any_of(parts_.backends.begin(), parts_.backends.end(), [&](const auto& item) {
    return (item.second->capabilities().description().access_modes() &
            GANTRY_ACCESS_MODE_BIT(mode)) != 0;
  });
}

base::Result<Backend*> Driver::BackendNamed(const std::string& name) const {
  const auto found = parts_.backends.find(name);
  if (found != parts_.backends.end()) {
    base::CallScope::NoteBackend(name);
    GANTRY_TRY(found->second->Known());
    return found->second;
  }
  std::string known;
  for (const auto& [other, backend] : parts_.backends) known += (known.empty() ? "" : ", ") + other;
  return base::Fail(base::Code::kInvalidArgument, "parameters.backend: \"" + name +
                                                      "\": expected a backend of driver " +
                                                      parts_.config.name + ": " + known);
}

base::Result<Backend*> Driver::BackendOf(
    const google::protobuf::Map<std::string, std::string>& parameters) const {
  const auto named = parameters.find("backend");
  return BackendNamed(named == parameters.end() ? parts_.config.default_backend : named->second);
}

base::Result<Backend*> Driver::BackendHolding(const std::string& name,
                                              const std::string& id) const {
  const auto found = parts_.backends.find(name);
  if (found != parts_.backends.end()) {
    base::CallScope::NoteBackend(name);
    GANTRY_TRY(found->second->Known());
    return found->second;
  }
  return base::Fail(
      base::Code::kFailedPrecondition,
      id + ": backend " + name + " is not configured for driver " + parts_.config.name);
}

base::Result<Driver::Located> Driver::Locate(
    IdKind kind, const std::string& id,
    const google::protobuf::Map<std::string, std::string>* context) const {
  if (const auto parsed = ParseId(kind, id)) {
    GANTRY_TRY_ASSIGN(Backend * backend, BackendHolding(parsed->backend, id));
    return Located{backend, parsed->handle};
  }
  if (kind == IdKind::kVolume && parts_.node_state != nullptr) {
    GANTRY_TRY_ASSIGN(const auto volume, parts_.node_state->Load(id));
    if (volume) {
      GANTRY_TRY_ASSIGN(Backend * backend, BackendHolding(volume->backend, id));
      return Located{backend, volume->handle};
    }
  }
  if (kind == IdKind::kVolume && context != nullptr) {
    GANTRY_TRY_ASSIGN(Backend * backend, BackendOf(*context));
    return Located{backend, id};
  }
  return base::Fail(base::Code::kNotFound, id + " is not known to driver " + parts_.config.name);
}

// Nobody: nullptr, or the error of one that could not be asked.
base::Result<Backend*> Driver::Recognizing(
    const std::string& id, const CallContext& context,
    const google::protobuf::Map<std::string, std::string>* volume_context) const {
  csi::v1::ValidateVolumeCapabilitiesRequest question;
  question.set_volume_id(id);
  if (volume_context != nullptr) *question.mutable_volume_context() = *volume_context;
  Backend* found = nullptr;
  std::optional<base::Error> unasked;
  for (const auto& [name, backend] : parts_.backends) {
    if (const auto known = backend->Known(); !known) {
      unasked = known.error();
      continue;
    }
    if (!backend->capabilities().Offers(channel::RECOGNIZE_VOLUME)) continue;
    channel::Call message;
    message.set_operation(channel::RECOGNIZE_VOLUME);
    message.set_handle(id);
    const auto answer = Invoke(*backend, std::move(message), question, nullptr, context, {});
    if (answer) {
      if (found != nullptr)
        return base::Fail(base::Code::kFailedPrecondition,
                          std::string(id)
                              .append(": both backend ")
                              .append(found->name())
                              .append(" and backend ")
                              .append(name)
                              .append(" serve the storage that it is on; \"backend\" in its "
                                      "context would say which is meant"));
      found = backend;
    } else if (answer.error().code != base::Code::kNotFound) {
      unasked = answer.error();
    }
  }
  if (found == nullptr && unasked) return tl::unexpected(*unasked);
  return found;
}

base::Result<Driver::Located> Driver::LocateVolume(
    const std::string& id, const CallContext& context,
    const google::protobuf::Map<std::string, std::string>* volume_context) const {
  auto located = Locate(IdKind::kVolume, id);
  if (located || located.error().code != base::Code::kNotFound) return located;
  if (volume_context != nullptr && volume_context->contains("backend"))
    return Locate(IdKind::kVolume, id, volume_context);
  const auto recognizing = Recognizing(id, context, volume_context);
  if (recognizing && *recognizing != nullptr) {
    base::CallScope::NoteBackend((*recognizing)->name());
    return Located{*recognizing, id};
  }
  // Also where the context would lead to the default backend: a node would remember that.
  if (!recognizing) return tl::unexpected(recognizing.error());
  return Locate(IdKind::kVolume, id, volume_context);
}

base::Status Driver::RequireAnyOffers(channel::Operation operation) const {
  if (AnyOffers(operation)) return {};
  for (const auto& [name, backend] : parts_.backends) GANTRY_TRY(backend->Known());
  return base::Fail(base::Code::kUnimplemented, "no backend of driver " + parts_.config.name +
                                                    " offers " +
                                                    channel::Operation_Name(operation));
}

base::Status Driver::RequireOffered(const Backend& backend, channel::Operation operation) const {
  if (backend.capabilities().Offers(operation)) return {};
  GANTRY_TRY(RequireAnyOffers(operation));
  return base::Fail(base::Code::kInvalidArgument, "backend " + backend.name() + " does not offer " +
                                                      channel::Operation_Name(operation));
}

bool Driver::ListsAll(channel::Operation list, channel::Operation make) const {
  return AnyOffers(list) &&
         std::all_of(parts_.backends.begin(), parts_.backends.end(), [&](const auto& item) {
           const auto& capabilities = item.second->capabilities();
           return capabilities.Offers(list) || !capabilities.Offers(make);
         });
}

base::Status Driver::RequireListsAll(channel::Operation list, channel::Operation make) const {
  GANTRY_TRY(RequireAnyOffers(list));
  for (const auto& [name, backend] : parts_.backends) GANTRY_TRY(backend->Known());
  if (ListsAll(list, make)) return {};
  return base::Fail(base::Code::kUnimplemented,
                    "not every backend of driver " + parts_.config.name + " offers " +
                        channel::Operation_Name(list) + ", so a list would not be complete");
}

base::Status Driver::CheckAccess(const Backend& backend,
                                 const csi::v1::VolumeCapability& capability,
                                 const char* field) const {
  const auto& description = backend.capabilities().description();
  const auto mode = capability.access_mode().mode();
  if ((description.access_modes() & GANTRY_ACCESS_MODE_BIT(mode)) == 0)
    return base::Fail(base::Code::kInvalidArgument,
                      std::string(field) + ".access_mode.mode: " +
                          csi::v1::VolumeCapability::AccessMode::Mode_Name(mode) +
                          ": expected a mode that backend " + backend.name() + " offers");
  const auto type = capability.has_block() ? GANTRY_ACCESS_BLOCK : GANTRY_ACCESS_MOUNT;
  if ((description.access_types() & GANTRY_ACCESS_TYPE_BIT(type)) == 0)
    return base::Fail(base::Code::kInvalidArgument,
                      std::string(field) +
                          ".access_type: " + (capability.has_block() ? "block" : "mount") +
                          ": expected " + (capability.has_block() ? "mount" : "block") +
                          ", the only one that backend " + backend.name() + " offers");
  return {};
}

base::Result<std::vector<channel::Emit>> Driver::Invoke(
    Backend& backend, channel::Call message, const google::protobuf::MessageLite& request,
    const SecretMap* secrets, const CallContext& context, std::shared_ptr<void> hold) const {
  message.set_request(request.SerializeAsString());
  BackendCall call;
  call.message = std::move(message);
  call.secrets = secrets;
  call.deadline = context.deadline;
  call.cancellation = context.cancellation;
  call.hold = std::move(hold);
  // Not only of calls that went well: ABORTED may mean that the task is the work.
  call.on_task = [&](const channel::Task& task) { parts_.tasks->Schedule(backend, task); };
  auto emits = backend.Call(call);
  if (!emits) return tl::unexpected(WithoutSecrets(std::move(emits.error()), secrets));
  return emits;
}

}  // namespace gantry::core
