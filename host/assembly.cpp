// SPDX-License-Identifier: Apache-2.0
#include "host/assembly.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "host/admin/convert.hpp"
#include "host/admin_view.hpp"
#include "host/base/file.hpp"
#include "host/core/reconcile.hpp"
#include "host/services/boot_id.hpp"
#include "host/supervise/generation.hpp"
#include "host/supervise/lease.hpp"
#include "host/supervise/worker_root.hpp"
#include "host/version.hpp"

namespace gantry {
namespace {

constexpr std::chrono::milliseconds kAdminStopMsMax{500};
constexpr std::chrono::milliseconds kReconcileMsMax{30'000};  // for one volume

base::Result<base::UniqueFd> LockDirectory(const std::filesystem::path& directory) {
  const auto file = directory / "gantryd.lock";
  base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return base::FailErrno(errno, "open " + file.string());
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return base::Fail(base::Code::kFailedPrecondition,
                      "another gantryd works in " + directory.string());
  return fd;
}

}  // namespace

base::Status Assembly::OpenState() {
  const auto& state = config_.state_directory;
  GANTRY_TRY(base::MakeDirectories(state, 0755));
  GANTRY_TRY_ASSIGN(state_lock_, LockDirectory(state));
  GANTRY_TRY(base::MakeDirectories(state / "leases", 0700));
  GANTRY_TRY(base::MakeDirectories(state / "swap", 0700));
  GANTRY_TRY_ASSIGN(auto worker, base::PinnedBinary::Open(options_.libexec / "gantry-worker"));
  worker_ = std::make_unique<base::PinnedBinary>(std::move(worker));
  GANTRY_TRY_ASSIGN(auto store, supervise::PluginStore::Open(state / "store"));
  store_ = std::make_unique<supervise::PluginStore>(std::move(store));
  PrepareRoot();
  GANTRY_TRY(base::MakeDirectories(state / "kv", 0700));
  kv_ = std::make_unique<services::FileKv>(state / "kv");
  GANTRY_TRY_ASSIGN(auto helper, base::PinnedBinary::Open(options_.libexec / "gantry-helper"));
  helper_ = std::make_unique<base::PinnedBinary>(std::move(helper));
  desk_ = std::make_unique<services::HostServiceDesk>(config_, *kv_, counters_, *helper_);
  host_calls_ = std::make_unique<supervise::HostCallPool>(*desk_, clock_);
  return {};
}

void Assembly::PrepareRoot() {
  if (geteuid() != 0) return;  // workers have the mounts that there are
  auto root = supervise::PrepareWorkerRoot(*worker_, config_.state_directory / "store");
  if (root)
    worker_root_ = std::move(*root);
  else
    spdlog::warn("each worker copies the node's mounts: {}", root.error().message);
}

base::Status Assembly::OpenNode() {
  if (!options_.roles.node) return {};
  GANTRY_TRY_ASSIGN(boot_id_, services::ReadBootId());
  GANTRY_TRY_ASSIGN(auto node_state,
                    services::FileNodeState::Open(config_.state_directory / "node"));
  node_state_ = std::make_unique<services::FileNodeState>(std::move(node_state));
  GANTRY_TRY_ASSIGN(auto kubelet, services::KubeletDirectory::Open(config_.kubelet_directory));
  kubelet_ = std::make_unique<services::KubeletDirectory>(std::move(kubelet));
  GANTRY_TRY_ASSIGN(auto helper, base::PinnedBinary::Open(options_.libexec / "gantry-helper"));
  helpers_ = std::make_unique<services::HelperRunner>(std::move(helper), kubelet_->fd());
  services::KeeperClientOptions keeper;
  keeper.socket = config_.keeper_socket;
  if (config_.start_keeper) keeper.keeper = options_.libexec / "gantry-keeper";
  keeper.worker = options_.libexec / "gantry-worker";
  keeper.hold = true;
  keeper_ = std::make_unique<services::KeeperClient>(std::move(keeper));
  broker_ = std::make_unique<services::MountBroker>(services::MountBroker::Parts{
      config_, *kubelet_, *helpers_, *keeper_,
      [this](const std::string& backend) -> base::Result<std::filesystem::path> {
        GANTRY_TRY_ASSIGN(const auto release, fleet_->serving(backend));
        const auto plugin = StoredPlugin(release.sha256);
        GANTRY_TRY(store_->Verify(plugin));
        return plugin;
      },
      services::ReadKernelFeatures()});
  return {};
}

base::Status Assembly::OpenMetrics(const Log& log) {
  admin::MetricSources sources;
  sources.version = kVersion;
  sources.backends = [this] {
    const core::Fleet* fleet = seen_fleet_;
    return fleet == nullptr ? std::vector<core::BackendStatus>() : fleet->Status();
  };
  sources.tasks = [this] { return ready_ ? tasks_->List() : std::vector<core::TaskStatus>(); };
  sources.plugin_counters = [this] { return counters_.Read(); };
  sources.plugin_counters_dropped = [this] { return counters_.dropped(); };
  if (helpers_) {
    sources.stuck_helpers = [this] { return helpers_->Stuck().size(); };
    sources.abandoned_helpers = [this] { return helpers_->abandoned(); };
  }
  if (log.output != nullptr)
    sources.log_lines_dropped = [output = log.output] { return output->dropped(); };
  sources.ready = [this] { return ready_.load(); };
  metrics_ = std::make_unique<admin::Metrics>(std::move(sources));
  call_log_ = std::make_unique<front::CallLog>(metrics_.get(), config_.log.slow_call);
  if (config_.metrics_address.empty()) return {};
  GANTRY_TRY_ASSIGN(
      http_, admin::HttpServer::Start(config_.metrics_address,
                                      [this](std::string_view path) { return AnswerHttp(path); }));
  spdlog::info("metrics at http://{}/metrics", http_->address());
  return {};
}

// A backend that is down makes neither of the probes fail: the others serve, and a restart of
// gantryd would not help it. A host whose supervision hangs answers none of them, and is restarted.
admin::HttpReply Assembly::AnswerHttp(std::string_view path) const {
  constexpr int kNotFound = 404;
  constexpr int kUnavailable = 503;
  admin::HttpReply reply;
  if (path == "/metrics") {
    reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
    reply.body = metrics_->Text();
  } else if (path == "/healthz") {
    reply.body = "ok\n";
    if (const core::Fleet* fleet = seen_fleet_)
      for (const auto& backend : fleet->Status())
        reply.body += "backend " + backend.name + ": " + admin::NameOf(backend.health) + "\n";
  } else if (path == "/readyz") {
    reply.code = ready_ ? reply.code : kUnavailable;
    reply.body = ready_ ? "ready\n" : "the sockets do not serve\n";
  } else {
    reply.code = kNotFound;
    reply.body = "expected /metrics, /healthz or /readyz\n";
  }
  return reply;
}

base::Status Assembly::OpenAdmin(const Log& log) {
  admin::Parts parts;
  parts.version = kVersion;
  std::error_code error;
  parts.config_file = std::filesystem::absolute(options_.config, error);
  parts.config = config_;
  parts.boot_id = boot_id_;
  if (http_) parts.metrics_address = http_->address();
  parts.fleet = fleet_.get();
  for (const auto& driver : drivers_) parts.drivers.push_back(driver.get());
  for (const auto& [name, backend] : config_.backends)
    parts.backends[name] = &fleet_->backend(name);
  parts.tasks = tasks_.get();
  parts.node_state = node_state_.get();
  parts.broker = broker_.get();
  parts.log = log.ring;
  if (kubelet_) {
    parts.mounts = [this] { return admin_view::MountsBeneath(*kubelet_); };
    parts.mount_point = [this](const std::string& path) {
      const auto relative = kubelet_->Relative(path);
      return relative ? kubelet_->MountPoint(*relative) : path;
    };
  }
  if (helpers_) parts.stuck_helpers = [this] { return admin_view::StuckHelpers(*helpers_); };
  if (keeper_) {
    parts.data_paths = [this](base::TimePoint deadline) {
      return admin_view::DataPaths(*keeper_, deadline);
    };
    parts.upgrade_volume = [this](const core::NodeVolume& volume, const std::filesystem::path& file,
                                  base::TimePoint deadline) {
      return UpgradeDataPath(volume, file, deadline);
    };
  }
  parts.check_config = [this](const core::Config& config) {
    return CheckBackends(config, options_);
  };
  if (log.output != nullptr)
    parts.log_lines_dropped = [output = log.output] { return output->dropped(); };
  parts.ready = [this] { return ready_.load(); };
  GANTRY_TRY_ASSIGN(admin_, admin::Server::Start(std::move(parts)));
  return {};
}

base::Result<std::string> Assembly::UpgradeDataPath(const core::NodeVolume& volume,
                                                    const std::filesystem::path& file,
                                                    base::TimePoint deadline) {
  const auto backend = config_.backends.find(volume.backend);
  if (backend == config_.backends.end())
    return base::Fail(base::Code::kFailedPrecondition,
                      "backend " + volume.backend + " is not configured");
  std::string digest;
  if (file.empty()) {
    GANTRY_TRY_ASSIGN(const auto release, fleet_->serving(volume.backend));
    digest = release.sha256;
  } else {
    GANTRY_TRY_ASSIGN(const auto stored, store_->Add(file, backend->second.trust));
    digest = stored.digest;
  }
  const auto plugin = StoredPlugin(digest);
  GANTRY_TRY(store_->Verify(plugin));
  GANTRY_TRY(keeper_->Upgrade(volume.volume_id, plugin, deadline));
  spdlog::info("volume {}: its data path has gone over to {}", volume.volume_id, digest);
  return digest;
}

std::filesystem::path Assembly::StoredPlugin(const std::string& sha256) const {
  return config_.state_directory / "store" / (sha256 + ".so");
}

swap::SwapperParts Assembly::PartsOf(const core::BackendConfig& backend) {
  const auto& name = backend.name;
  swap::SwapperParts parts;
  parts.backend = backend;
  for (const auto& driver : config_.drivers)
    if (std::find(driver.backends.begin(), driver.backends.end(), name) != driver.backends.end())
      parts.driver = driver.name;
  parts.instance.node_id = config_.node_id;
  parts.instance.controller = options_.roles.controller;
  parts.instance.node = options_.roles.node;
  parts.journal_directory = config_.state_directory / "swap";
  parts.pace.standby = config_.swap.standby;
  parts.pace.drain = config_.swap.drain;
  parts.stage =
      [this, name, trust = backend.trust](
          const std::string& plugin,
          const std::optional<std::filesystem::path>& file) -> base::Result<swap::Release> {
    const auto path = file.value_or(config_.plugin_directory / (plugin + ".so"));
    GANTRY_TRY_ASSIGN(const auto stored, store_->Add(path, trust));
    swap::Release release;
    release.plugin = file ? path.stem().string() : plugin;
    release.sha256 = stored.digest;
    spdlog::info("backend {}: plugin {} sha256 {}: {}", name, release.plugin, stored.digest,
                 stored.trusted);
    return release;
  };
  parts.verify = [this](const swap::Release& release) -> base::Status {
    GANTRY_TRY(store_->Find(release.sha256));
    return {};
  };
  parts.spawner = [this, backend](const swap::Release& release, uint32_t slot) {
    supervise::WorkerSpec spec;
    spec.worker = worker_.get();
    spec.plugin = StoredPlugin(release.sha256);
    spec.verify_plugin = [this](const std::filesystem::path& file) { return store_->Verify(file); };
    spec.lease = supervise::LeaseFile(config_.state_directory / "leases", backend.name, slot);
    spec.backend = backend;
    spec.root = worker_root_.get();
    spec.drop_privileges = geteuid() == 0;
    spec.cgroups = cgroups_;
    return supervise::MakeSpawner(std::move(spec), *host_calls_);
  };
  return parts;
}

base::Status Assembly::StartBackends(bool must_all) {
  std::vector<swap::SwapperParts> parts;
  for (const auto& [name, backend] : config_.backends) {
    GANTRY_TRY(
        supervise::EndHolders(config_.state_directory / "leases", name, supervise::kLeaseMsMax));
    parts.push_back(PartsOf(backend));
  }
  fleet_ = std::make_unique<swap::BackendFleet>(std::move(parts));
  seen_fleet_ = fleet_.get();
  return fleet_->Start(must_all);
}

base::Status Assembly::Reload() { return admin_->Reload(); }

base::Status Assembly::StartDrivers() {
  cursors_ = std::make_unique<services::FileTaskCursors>(config_.state_directory / "tasks");
  tasks_ = std::make_unique<core::TaskRunner>(clock_, locks_, cursors_.get());
  if (options_.roles.controller)
    for (const auto& [name, backend] : config_.backends) tasks_->Add(fleet_->backend(name));
  for (const auto& driver_config : config_.drivers) {
    core::DriverParts parts;
    parts.config = driver_config;
    parts.version = kVersion;
    parts.roles = options_.roles;
    parts.node_id = config_.node_id;
    parts.topology = config_.topology;
    parts.max_volumes_per_node = config_.max_volumes_per_node;
    for (const auto& name : driver_config.backends) {
      parts.backends[name] = &fleet_->backend(name);
      parts.owners[name] = config_.backends.at(name).owner;
    }
    parts.broker = broker_.get();
    parts.node_state = node_state_.get();
    parts.locks = &locks_;
    parts.tasks = tasks_.get();
    parts.boot_id = boot_id_;
    drivers_.push_back(std::make_unique<core::Driver>(std::move(parts)));
    GANTRY_TRY_ASSIGN(auto server, front::Server::Start(*drivers_.back(), *call_log_));
    servers_.push_back(std::move(server));
    spdlog::info("driver {} at {}", driver_config.name, driver_config.endpoint);
  }
  return {};
}

base::Result<std::unique_ptr<Assembly>> Assembly::Start(const core::Config& config,
                                                        const Options& options, const Log& log) {
  std::unique_ptr<Assembly> assembly(new Assembly(config, options));
  GANTRY_TRY_ASSIGN(assembly->cgroups_, supervise::Cgroups::Open(config.cgroup));
  GANTRY_TRY(assembly->OpenState());
  GANTRY_TRY(assembly->OpenNode());
  GANTRY_TRY(assembly->OpenMetrics(log));
  GANTRY_TRY(assembly->StartBackends(/*must_all=*/false));
  GANTRY_TRY(assembly->StartDrivers());
  GANTRY_TRY(assembly->fleet_->Watch(config.plugin_directory));
  GANTRY_TRY(assembly->OpenAdmin(log));
  assembly->ready_ = true;
  if (options.roles.node)
    assembly->reconciler_ = std::thread([part = assembly.get()] { part->Reconcile(); });
  return assembly;
}

void Assembly::Reconcile() {
  std::vector<const core::Driver*> drivers;
  for (const auto& driver : drivers_) drivers.push_back(driver.get());
  const auto found = core::Reconcile(drivers, *node_state_, [this] {
    return core::CallContext{clock_.Now() + kReconcileMsMax, &reconciling_};
  });
  for (const auto& note : found.notes) spdlog::warn("node state: {}", note);
  if (found.records > 0)
    spdlog::info("node state: {} volumes, {} of them forgotten since the machine was rebooted",
                 found.records, found.forgotten);
}

Assembly::~Assembly() { Stop(); }

void Assembly::Stop() {
  ready_ = false;
  reconciling_.Cancel();
  if (admin_) admin_->Stop(kAdminStopMsMax);
  std::vector<std::thread> stopping;
  for (const auto& server : servers_)
    stopping.emplace_back([&server] { server->Stop(kStopGraceMsMax); });
  for (auto& thread : stopping) thread.join();
  if (reconciler_.joinable()) reconciler_.join();
  if (tasks_) tasks_->Stop();
  if (fleet_) fleet_->Stop();
}

base::Status CheckBackends(const core::Config& config, const Options& options) {
  std::string pattern = (std::filesystem::temp_directory_path() / "gantry-check-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) return base::FailErrno(errno, "make " + pattern);
  const std::filesystem::path scratch(pattern);
  // Workers of other uids read their plugin from here.
  std::filesystem::permissions(scratch, std::filesystem::perms(0755));
  core::Config checked = config;
  checked.state_directory = scratch;
  Options controller = options;
  controller.roles = {true, false};
  const auto status = [&]() -> base::Status {
    for (const auto& [name, backend] : config.backends) {
      const auto plugin = config.plugin_directory / (backend.plugin + ".so");
      if (access(plugin.c_str(), R_OK) != 0)
        return base::Fail(base::Code::kInvalidArgument,
                          "backends." + name + ".plugin: \"" + backend.plugin +
                              "\": expected a plugin at " + plugin.string());
    }
    return Assembly::LoadOnly(checked, controller);
  }();
  std::error_code ignored;
  std::filesystem::remove_all(scratch, ignored);
  return status;
}

base::Status Assembly::LoadOnly(const core::Config& config, const Options& options) {
  Assembly assembly(config, options);
  GANTRY_TRY(assembly.OpenState());
  return assembly.StartBackends(/*must_all=*/true);
}

}  // namespace gantry
