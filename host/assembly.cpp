// SPDX-License-Identifier: Apache-2.0
#include "host/assembly.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "host/base/file.hpp"
#include "host/services/boot_id.hpp"
#include "host/supervise/generation.hpp"
#include "host/supervise/lease.hpp"
#include "host/version.hpp"

namespace gantry {
namespace {

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
  GANTRY_TRY(base::MakeDirectories(state / "kv", 0700));
  kv_ = std::make_unique<services::FileKv>(state / "kv");
  GANTRY_TRY_ASSIGN(auto helper, base::PinnedBinary::Open(options_.libexec / "gantry-helper"));
  helper_ = std::make_unique<base::PinnedBinary>(std::move(helper));
  desk_ = std::make_unique<services::HostServiceDesk>(config_, *kv_, counters_, *helper_);
  host_calls_ = std::make_unique<supervise::HostCallPool>(*desk_, clock_);
  return {};
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
  keeper.keeper = options_.libexec / "gantry-keeper";
  keeper.worker = options_.libexec / "gantry-worker";
  keeper_ = std::make_unique<services::KeeperClient>(std::move(keeper));
  broker_ = std::make_unique<services::MountBroker>(services::MountBroker::Parts{
      config_, *kubelet_, *helpers_, *keeper_,
      [this](const std::string& backend) -> base::Result<std::filesystem::path> {
        GANTRY_TRY_ASSIGN(const auto release, fleet_->serving(backend));
        const auto plugin = StoredPlugin(release.sha256);
        GANTRY_TRY(store_->Verify(plugin));
        return plugin;
      }});
  return {};
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
  return fleet_->Start(must_all);
}

base::Status Assembly::Reload() {
  GANTRY_TRY_ASSIGN(const auto next, core::LoadConfig(options_.config));
  GANTRY_TRY_ASSIGN(const auto swapped, fleet_->Reload(reloaded_, next));
  for (const auto& name : swapped) spdlog::info("backend {}: reconfigured", name);
  reloaded_ = next;
  return {};
}

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
    GANTRY_TRY_ASSIGN(auto server, front::Server::Start(*drivers_.back()));
    servers_.push_back(std::move(server));
    spdlog::info("driver {} at {}", driver_config.name, driver_config.endpoint);
  }
  return {};
}

base::Result<std::unique_ptr<Assembly>> Assembly::Start(const core::Config& config,
                                                        const Options& options) {
  std::unique_ptr<Assembly> assembly(new Assembly(config, options));
  GANTRY_TRY_ASSIGN(assembly->cgroups_, supervise::Cgroups::Open(config.cgroup));
  GANTRY_TRY(assembly->OpenState());
  GANTRY_TRY(assembly->OpenNode());
  GANTRY_TRY(assembly->StartBackends(/*must_all=*/false));
  GANTRY_TRY(assembly->StartDrivers());
  GANTRY_TRY(assembly->fleet_->Watch(config.plugin_directory));
  return assembly;
}

Assembly::~Assembly() { Stop(); }

void Assembly::Stop() {
  std::vector<std::thread> stopping;
  for (const auto& server : servers_)
    stopping.emplace_back([&server] { server->Stop(kStopGraceMsMax); });
  for (auto& thread : stopping) thread.join();
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
