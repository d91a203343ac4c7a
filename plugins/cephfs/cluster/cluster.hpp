// SPDX-License-Identifier: Apache-2.0
// A Ceph cluster, as the controller asks it: commands to the manager and to the monitors, and records
// in omap. Credentials are in memory only; no ceph.conf and no keyring is read. Every request has a
// deadline that its wait for others counts against, and a cluster that was away is served again
// without anything being restarted.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugins/cephfs/cluster/blocking.hpp"
#include "plugins/cephfs/cluster/throwaway_client.hpp"
#include "plugins/cephfs/keys/seal.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

// What the cluster answered to a command.
struct Reply {
  int number = 0;     // an errno, positive; 0: done
  std::string out;    // JSON where the command has any
  std::string words;  // for people

  bool ok() const { return number == 0; }
  // DATA_LOSS: no JSON.
  plugin::Result<nlohmann::json> Json(const std::string& what) const;
};

struct ClusterConfig {
  std::string mon_host;
  std::string user;  // without "client."
  std::string fs_name;
  std::string records_pool;       // empty: the filesystem's metadata pool
  std::string records_namespace;  // one installation's own
  std::chrono::seconds timeout{};
};

// Any thread.
class Cluster {
 public:
  using KeyReader = std::function<plugin::Result<SecretText>(TimePoint deadline)>;

  Cluster(ClusterConfig config, KeyReader read_key);
  ~Cluster();

  // Fails only when there is no answer: UNAVAILABLE, or UNAUTHENTICATED when the key is refused.
  plugin::Result<Reply> AskManager(nlohmann::json command, TimePoint deadline);
  plugin::Result<Reply> AskMonitor(nlohmann::json command, TimePoint deadline);
  plugin::Result<std::string> Fsid(TimePoint deadline);

  // One value of an object's omap; none: not there.
  plugin::Result<std::optional<std::string>> Read(const std::string& object, const std::string& key,
                                                  TimePoint deadline);
  // Compare and swap: true when the value was `expected` (empty: not there) and is `value` now
  // (empty: removed). Values that are written are never the same twice, so an answer that was lost
  // is found out by reading.
  plugin::Result<bool> Swap(const std::string& object, const std::string& key,
                            const std::string& expected, const std::string& value,
                            TimePoint deadline);
  // Removes the value if it is `expected`, after this has returned, or, if the cluster is away, never.
  void RemoveLater(const std::string& object, const std::string& key, const std::string& expected);
  // At most `entries_max` after this key, in the order of the keys.
  plugin::Result<std::vector<std::pair<std::string, std::string>>> Page(const std::string& object,
                                                                        const std::string& after,
                                                                        size_t entries_max,
                                                                        TimePoint deadline);

  const ClusterConfig& config() const { return config_; }
  // For a throw-away process, which connects by itself. Its key is the caller's to wipe.
  plugin::Result<ClientIdentity> Identity(TimePoint deadline) const;

 private:
  class Connection;
  using Shared = std::shared_ptr<Connection>;
  enum class Whom : uint8_t { kManager, kMonitor };

  plugin::Result<Shared> Connect(TimePoint deadline);
  plugin::Result<Shared> ConnectAnew(TimePoint deadline);
  plugin::Result<Reply> Ask(Whom whom, const nlohmann::json& command, TimePoint deadline);
  plugin::Status FindRecordsPool(const Shared& connection, TimePoint deadline);
  // Runs an operation on the records' pool.
  plugin::Result<int> Operate(TimePoint deadline, const std::function<int(void* ioctx)>& operation);
  // The same when there is a connection, and without waiting for it.
  void OperateLater(const std::function<int(void* ioctx)>& operation);
  void Drop(const Shared& connection);

  const ClusterConfig config_;
  const KeyReader read_key_;
  Blocking manager_;
  Blocking monitor_;
  Blocking objects_;
  std::timed_mutex connecting_;
  std::mutex mutex_;
  Shared connection_;
};

}  // namespace gantry::cephfs
