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
#include "host/version.hpp"

namespace gantry {
namespace {

constexpr size_t kWorkersStartedAtOnce = 8;

base::Result<base::UniqueFd> LockDirectory(const std::filesystem::path& directory) {
  const auto file = directory / "gantryd.lock";
  base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return base::FailErrno(errno, "open " + file.string());
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return base::Fail(base::Code::kFailedPrecondition,
                      "another gantryd works in " + directory.string());
  return fd;
}

supervise::WorkerSpec MakeWorkerSpec(const core::BackendConfig& backend,
                                     const base::PinnedBinary& worker,
                                     const std::filesystem::path& plugin,
                                     const supervise::PluginStore& store,
                                     const std::filesystem::path& state_directory,
                                     const supervise::Cgroups& cgroups) {
  supervise::WorkerSpec spec;
  spec.worker = &worker;
  spec.plugin = plugin;
  spec.verify_plugin = [&store](const std::filesystem::path& file) { return store.Verify(file); };
  spec.lease = state_directory / "leases" / (backend.name + ".lock");
  spec.backend = backend;
  spec.drop_privileges = geteuid() == 0;
  spec.cgroups = cgroups;
  return spec;
}

// Starts all of them, some at once, and returns the first error. A plugin that does not come up for
// another reason than its configuration costs the other backends nothing where `must_all` is not
// set: it is tried again and again, and its calls are UNAVAILABLE meanwhile.
base::Status StartAll(const std::map<std::string, std::unique_ptr<supervise::Supervisor>>& all,
                      bool must_all) {
  std::vector<supervise::Supervisor*> waiting;
  for (const auto& [name, supervisor] : all) waiting.push_back(supervisor.get());
  std::mutex mutex;
  base::Status status;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < std::min(kWorkersStartedAtOnce, waiting.size()); ++i)
    threads.emplace_back([&] {
      std::unique_lock lock(mutex);
      while (!waiting.empty()) {
        auto* supervisor = waiting.back();
        waiting.pop_back();
        lock.unlock();
        auto started = supervisor->Start();
        if (!started && !must_all && started.error().code != base::Code::kInvalidArgument) {
          spdlog::critical("{}: going on without it", started.error().message);
          supervisor->KeepTrying();
          started = {};
        }
        lock.lock();
        if (!started && status) status = std::move(started);
      }
    });
  for (auto& thread : threads) thread.join();
  return status;
}

}  // namespace

base::Status Assembly::OpenState() {
  const auto& state = config_.state_directory;
  GANTRY_TRY(base::MakeDirectories(state, 0755));
  GANTRY_TRY_ASSIGN(state_lock_, LockDirectory(state));
  GANTRY_TRY(base::MakeDirectories(state / "leases", 0700));
  GANTRY_TRY_ASSIGN(auto worker, base::PinnedBinary::Open(options_.libexec / "gantry-worker"));
  worker_ = std::make_unique<base::PinnedBinary>(std::move(worker));
  GANTRY_TRY_ASSIGN(auto store, supervise::PluginStore::Open(state / "store"));
  store_ = std::make_unique<supervise::PluginStore>(std::move(store));
  for (const auto& [name, backend] : config_.backends) {
    GANTRY_TRY_ASSIGN(auto stored, store_->Add(config_.plugin_directory / (backend.plugin + ".so"),
                                               backend.trust));
    spdlog::info("backend {}: plugin {} sha256 {}: {}", name, backend.plugin, stored.digest,
                 stored.trusted);
    plugins_[name] = std::move(stored.path);
  }
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
        const auto& plugin = plugins_.at(backend);
        GANTRY_TRY(store_->Verify(plugin));
        return plugin;
      }});
  return {};
}

base::Status Assembly::StartBackends(bool must_all) {
  supervise::InstanceSpec instance;
  instance.node_id = config_.node_id;
  instance.controller = options_.roles.controller;
  instance.node = options_.roles.node;
  for (const auto& [name, backend] : config_.backends)
    backends_[name] = std::make_unique<supervise::Supervisor>(
        MakeWorkerSpec(backend, *worker_, plugins_.at(name), *store_, config_.state_directory,
                       cgroups_),
        instance, *host_calls_);
  return StartAll(backends_, must_all);
}

base::Status Assembly::StartDrivers() {
  cursors_ = std::make_unique<services::FileTaskCursors>(config_.state_directory / "tasks");
  tasks_ = std::make_unique<core::TaskRunner>(clock_, locks_, cursors_.get());
  if (options_.roles.controller)
    for (const auto& [name, backend] : backends_) tasks_->Add(*backend);
  for (const auto& driver_config : config_.drivers) {
    core::DriverParts parts;
    parts.config = driver_config;
    parts.version = kVersion;
    parts.roles = options_.roles;
    parts.node_id = config_.node_id;
    parts.topology = config_.topology;
    parts.max_volumes_per_node = config_.max_volumes_per_node;
    for (const auto& name : driver_config.backends) {
      parts.backends[name] = backends_.at(name).get();
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
  return assembly;
}

Assembly::~Assembly() { Stop(); }

void Assembly::Stop() {
  std::vector<std::thread> stopping;
  for (const auto& server : servers_)
    stopping.emplace_back([&server] { server->Stop(kStopGraceMsMax); });
  for (auto& thread : stopping) thread.join();
  if (tasks_) tasks_->Stop();
  for (const auto& [name, backend] : backends_) backend->Stop();
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
