// SPDX-License-Identifier: Apache-2.0
// One CSI driver: a name, a socket, its backends, and what all of its services share: which backend
// serves an id, how a call gets there with its lock, its secrets and its deadline.
#pragma once

#include <csi/v1/csi.pb.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/core/backend.hpp"
#include "host/core/broker.hpp"
#include "host/core/config.hpp"
#include "host/core/ids.hpp"
#include "host/core/locks.hpp"
#include "host/core/node_state.hpp"
#include "host/core/seen_volumes.hpp"
#include "host/core/tasks.hpp"

namespace gantry::core {

struct Roles {
  bool controller = true;
  bool node = true;
};

// Everything a driver is made of; all of it outlives the driver.
struct DriverParts {
  DriverConfig config;
  std::string version;
  Roles roles;
  std::string node_id;
  std::map<std::string, std::string> topology;
  uint32_t max_volumes_per_node = 0;
  std::map<std::string, std::string> owners;  // backend -> owner id
  std::map<std::string, Backend*> backends;
  Broker* broker = nullptr;
  NodeState* node_state = nullptr;
  KeyLocks* locks = nullptr;
  TaskRunner* tasks = nullptr;
  std::string boot_id;
  WallClock wall_clock = [] { return std::chrono::system_clock::now(); };
};

struct CallContext {
  base::TimePoint deadline;
  Cancellation* cancellation = nullptr;
};

// A request split in what may be kept and logged and what may not.
template <class Request>
struct Split {
  Request request;
  SecretMap secrets;
};

template <class Request>
Split<Request> SplitSecrets(const Request& request) {
  Split<Request> split;
  split.request = request;
  if constexpr (requires { request.secrets(); }) {
    for (const auto& [key, value] : request.secrets())
      split.secrets.emplace(key, base::SecretBytes(value));
    for (auto& [key, value] : *split.request.mutable_secrets())
      base::Wipe({value.data(), value.size()});
    split.request.clear_secrets();
  }
  return split;
}

class Driver {
 public:
  explicit Driver(DriverParts parts) : parts_(std::move(parts)), seen_volumes_(parts_.wall_clock) {}
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  const DriverParts& parts() const { return parts_; }
  SeenVolumes& seen_volumes() const { return seen_volumes_; }
  // Names in order, for paging.
  std::vector<std::string> BackendNames() const;
  // True when any backend has the slot: capabilities are a superset over backends.
  bool AnyOffers(channel::Operation operation) const;
  bool AnyHasAccessMode(csi::v1::VolumeCapability::AccessMode::Mode mode) const;

  // The backend that a StorageClass, a context or the default names. INVALID_ARGUMENT for a name
  // that is not one of this driver's.
  base::Result<Backend*> BackendNamed(const std::string& name) const;
  // The backend of something that exists: FAILED_PRECONDITION when it is not configured any more.
  base::Result<Backend*> BackendHolding(const std::string& name, const std::string& id) const;
  base::Result<Backend*> BackendOf(
      const google::protobuf::Map<std::string, std::string>& parameters) const;

  struct Located {
    Backend* backend = nullptr;
    std::string handle;
  };
  // Where an id leads: its prefix, else what this node has staged, else `backend` in the context,
  // else the driver's default. The default only where the call has a context to look into: a call
  // without one can't say that the volume is another backend's, and might delete the wrong one.
  // NOT_FOUND when it leads nowhere; FAILED_PRECONDITION when its backend is not configured any
  // more, which must never read as "absent".
  base::Result<Located> Locate(
      IdKind kind, const std::string& id,
      const google::protobuf::Map<std::string, std::string>* context = nullptr) const;

  // The same for a volume that may have been made elsewhere: after the context's `backend` and
  // before the default, the backends are asked who recognizes it. FAILED_PRECONDITION when several
  // do. UNAVAILABLE when none does, one could not be asked, and there is no context to go by.
  base::Result<Located> LocateVolume(
      const std::string& id, const CallContext& context,
      const google::protobuf::Map<std::string, std::string>* volume_context = nullptr) const;

  // INVALID_ARGUMENT when the backend lacks the operation though the driver has it, UNIMPLEMENTED
  // when no backend of the driver has it.
  base::Status RequireOffered(const Backend& backend, channel::Operation operation) const;
  base::Status RequireAnyOffers(channel::Operation operation) const;
  // What the manifest says of access types and modes.
  base::Status CheckAccess(const Backend& backend, const csi::v1::VolumeCapability& capability,
                           const char* field) const;

  // Whether a list over all backends is complete: every backend that makes such things lists them.
  // A list that leaves out a backend would read as "gone" (the attacher detaches what is missing).
  bool ListsAll(channel::Operation list, channel::Operation make) const;
  // UNIMPLEMENTED when not.
  base::Status RequireListsAll(channel::Operation list, channel::Operation make) const;

  // ABORTED while another operation on one of the keys is pending.
  base::Result<std::shared_ptr<void>> Lock(std::vector<std::string> keys) const {
    return parts_.locks->TryLock(std::move(keys));
  }

  // Runs the operation with the request as its bytes. Tasks that it emitted are scheduled.
  base::Result<std::vector<channel::Emit>> Invoke(Backend& backend, channel::Call message,
                                                  const google::protobuf::MessageLite& request,
                                                  const SecretMap* secrets,
                                                  const CallContext& context,
                                                  std::shared_ptr<void> hold) const;

 private:
  base::Result<Backend*> Recognizing(
      const std::string& id, const CallContext& context,
      const google::protobuf::Map<std::string, std::string>* volume_context) const;

  DriverParts parts_;
  mutable SeenVolumes seen_volumes_;  // thread-safe, and no part of what the driver is
};

}  // namespace gantry::core
