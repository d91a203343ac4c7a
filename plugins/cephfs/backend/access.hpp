// SPDX-License-Identifier: Apache-2.0
// A cephx entity for one volume on one node: made, and taken away so that nothing of it can still
// write. Any thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "plugins/cephfs/backend/pause.hpp"
#include "plugins/cephfs/backend/records.hpp"
#include "plugins/cephfs/cluster/cluster.hpp"
#include "plugins/cephfs/cluster/sessions.hpp"
#include "plugins/cephfs/keys/seal.hpp"

namespace gantry::cephfs {

class Access {
 public:
  // Runs EvictSessions in a throw-away process.
  using Evict = std::function<plugin::Result<std::vector<std::string>>(const EvictRequest&,
                                                                       TimePoint deadline)>;

  explicit Access(Cluster* cluster) : cluster_(cluster) {}

  // Of one publication alone: what comes late for one that has ended hits none that came after it.
  static std::string NewUser(const VolumeRecord& volume, const std::string& node_id);

  // Makes it, or finds it, with what it may do; its key. FAILED_PRECONDITION: the volume is to have
  // objects that are its own, and they are not.
  plugin::Result<SecretText> Open(const VolumeRecord& volume, const std::string& user,
                                  bool readonly, TimePoint deadline) const;
  // Nothing there is success.
  plugin::Status Remove(const std::string& user, TimePoint deadline) const;
  // Takes the entity away, ends its sessions, and returns when the map of OSDs says that none of
  // their addresses may write any more. Nothing there is success. CANCELLED: `pause` said so.
  plugin::Status Close(const std::string& user, const Evict& evict, const Pause& pause,
                       TimePoint deadline) const;

 private:
  plugin::Result<std::vector<std::string>> ServingMds(TimePoint deadline) const;
  plugin::Status WaitForBlocklist(const std::vector<std::string>& addresses, const Pause& pause,
                                  TimePoint deadline) const;

  Cluster* const cluster_;
};

}  // namespace gantry::cephfs
