// SPDX-License-Identifier: Apache-2.0
// All the parts of one gantryd, in the order in which they need each other; destroyed in reverse.
// The only place that knows every library.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "host/admin/http.hpp"
#include "host/admin/log_output.hpp"
#include "host/admin/metrics.hpp"
#include "host/admin/server.hpp"
#include "host/base/process.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/core/config.hpp"
#include "host/core/driver.hpp"
#include "host/front/call_log.hpp"
#include "host/front/server.hpp"
#include "host/options.hpp"
#include "host/services/broker.hpp"
#include "host/services/counters.hpp"
#include "host/services/helper.hpp"
#include "host/services/host_services.hpp"
#include "host/services/keeper_client.hpp"
#include "host/services/kubelet_directory.hpp"
#include "host/services/kv.hpp"
#include "host/services/node_state.hpp"
#include "host/services/task_cursors.hpp"
#include "host/supervise/cgroups.hpp"
#include "host/supervise/host_call_pool.hpp"
#include "host/supervise/plugin_store.hpp"
#include "host/swap/fleet.hpp"

namespace gantry {

constexpr std::chrono::milliseconds kStopGraceMsMax{30'000};

// Where gantryd's log goes.
struct Log {
  const admin::LogRing* ring = nullptr;
  const admin::LogOutput* output = nullptr;
};

class Assembly {
 public:
  // Starts every backend and then every driver's socket. On an error nothing is left running.
  // `log` outlives it.
  static base::Result<std::unique_ptr<Assembly>> Start(const core::Config& config,
                                                       const Options& options, const Log& log);
  // Starts and ends the backends only: whether their plugins accept their configuration.
  static base::Status LoadOnly(const core::Config& config, const Options& options);
  ~Assembly();

  // Reads the configuration file again and swaps the backends whose plugin or `config:` is another
  // one now; what needs a restart is refused, with nothing done.
  base::Status Reload();
  // Lets calls finish, stops tasks, ends workers in order.
  void Stop();

 private:
  Assembly(const core::Config& config, const Options& options)
      : config_(config), options_(options) {}

  base::Status OpenMetrics(const Log& log);
  admin::HttpReply AnswerHttp(std::string_view path) const;
  base::Status OpenAdmin(const Log& log);

  base::Status OpenState();
  void PrepareRoot();
  base::Status OpenNode();
  base::Status StartBackends(bool must_all);
  swap::SwapperParts PartsOf(const core::BackendConfig& backend);
  base::Result<std::string> UpgradeDataPath(const core::NodeVolume& volume,
                                            const std::filesystem::path& file,
                                            base::TimePoint deadline);
  std::filesystem::path StoredPlugin(const std::string& sha256) const;
  base::Status StartDrivers();
  void Reconcile();

  const core::Config config_;
  const Options options_;
  base::SystemClock clock_;
  base::UniqueFd state_lock_;  // one gantryd a state directory
  supervise::Cgroups cgroups_;
  std::unique_ptr<base::PinnedBinary> worker_;
  std::unique_ptr<supervise::PluginStore> store_;
  base::UniqueFd worker_root_;
  std::unique_ptr<services::FileKv> kv_;
  services::Counters counters_;
  std::unique_ptr<base::PinnedBinary> helper_;
  std::unique_ptr<services::HostServiceDesk> desk_;
  std::unique_ptr<services::FileNodeState> node_state_;
  std::unique_ptr<services::KubeletDirectory> kubelet_;
  std::unique_ptr<services::HelperRunner> helpers_;
  std::unique_ptr<services::KeeperClient> keeper_;
  std::unique_ptr<services::MountBroker> broker_;
  std::string boot_id_;
  std::unique_ptr<supervise::HostCallPool> host_calls_;
  std::unique_ptr<swap::BackendFleet> fleet_;
  core::KeyLocks locks_;
  std::unique_ptr<services::FileTaskCursors> cursors_;
  std::unique_ptr<core::TaskRunner> tasks_;
  std::vector<std::unique_ptr<core::Driver>> drivers_;
  std::atomic<const core::Fleet*> seen_fleet_{nullptr};  // once there is one to look at
  std::atomic<bool> ready_{false};
  std::unique_ptr<admin::Metrics> metrics_;
  std::unique_ptr<admin::HttpServer> http_;
  std::unique_ptr<front::CallLog> call_log_;
  std::vector<std::unique_ptr<front::Server>> servers_;
  std::unique_ptr<admin::Server> admin_;
  core::CancelFlag reconciling_;
  std::thread reconciler_;
};

// Loads each backend's plugin in a throw-away worker and lets it judge its configuration.
base::Status CheckBackends(const core::Config& config, const Options& options);

}  // namespace gantry
