// SPDX-License-Identifier: Apache-2.0
// A fleet that does what a test says, and the parts around it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "host/admin/parts.hpp"
#include "host/core/testing.hpp"

namespace gantry::admin::testing {

class FakeFleet final : public core::Fleet {
 public:
  std::vector<core::BackendStatus> backends;
  std::optional<base::Error> refusal;    // of everything that changes something
  std::optional<base::Error> roll_back;  // a swap ends with it
  bool waits_for_cancel = false;
  std::vector<core::SwapRequest> swaps;
  std::set<std::string> drained;
  std::atomic<bool> was_cancelled{false};

  std::vector<core::BackendStatus> Status() const override { return backends; }
  base::Result<core::SwapStatus> Swap(const core::SwapRequest& request,
                                      const std::function<void(const core::SwapStep&)>& on_step,
                                      core::Cancellation* cancellation) override {
    if (refusal) return tl::unexpected(*refusal);
    swaps.push_back(request);
    on_step({"preflight", {}, "loads"});
    if (waits_for_cancel) {
      AwaitCancel(*cancellation);
      return base::Fail(base::Code::kCancelled, "rolled back: the caller is gone");
    }
    on_step({"cut-over", {}, ""});
    return Done();
  }
  base::Result<core::SwapStatus> Rollback(
      const std::string&, const std::function<void(const core::SwapStep&)>& on_step) override {
    if (refusal) return tl::unexpected(*refusal);
    on_step({"rollback", {}, ""});
    return Done();
  }
  base::Status Drain(const std::string& backend, std::chrono::milliseconds) override {
    if (refusal) return tl::unexpected(*refusal);
    drained.insert(backend);
    return {};
  }
  base::Status Resume(const std::string& backend) override {
    drained.erase(backend);
    return {};
  }

 private:
  core::SwapStatus Done() const {
    core::SwapStatus status;
    status.id = "swap-1";
    status.to.plugin_version = "2.0.0";
    status.is_over = true;
    status.error = roll_back;
    return status;
  }
  void AwaitCancel(core::Cancellation& cancellation) {
    std::mutex mutex;
    std::condition_variable changed;
    bool is_cancelled = false;
    const auto registration = cancellation.OnCancel([&] {
      const std::lock_guard lock(mutex);
      is_cancelled = true;
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    was_cancelled = changed.wait_for(lock, std::chrono::seconds(20), [&] { return is_cancelled; });
  }
};

// Parts over core's fakes: one driver "test.gantry" with one backend "fast".
class FakeParts {
 public:
  FakeParts() {
    core::BackendStatus status;
    status.name = "fast";
    status.driver = "test.gantry";
    core::GenerationStatus generation;
    generation.number = 3;
    generation.phase = core::GenerationPhase::kActive;
    generation.release = {"nfs", "nfs", "1.0.0", "abc"};
    generation.pid = 42;
    status.generations = {generation};
    fleet.backends = {status};
    parts.version = "1.2.3";
    parts.config_file = "/etc/gantry/gantry.yaml";
    parts.config.node_id = "node-1";
    parts.config.drivers = {{"test.gantry", "unix:///csi.sock", {"fast"}, "fast", {}}};
    auto& backend = parts.config.backends["fast"];
    backend.name = "fast";
    backend.plugin = "nfs";
    backend.uid = 61001;
    parts.boot_id = "boot-1";
    parts.fleet = &fleet;
    parts.drivers = {&driver.driver()};
    parts.backends = {{"fast", &driver.backend()}};
    parts.tasks = &driver.tasks;
    parts.node_state = &driver.node_state;
    parts.broker = &driver.broker;
    parts.log = &log;
    parts.mounts = [this]() -> base::Result<std::vector<MountSeen>> { return mounts; };
    parts.check_config = [](const core::Config&) { return base::Status(); };
  }

  core::NodeVolume& Staged(const std::string& id, bool is_mounted = true) {
    core::NodeVolume volume;
    volume.volume_id = id;
    volume.backend = "fast";
    volume.handle = id.substr(id.find(':') + 1);
    volume.staging_path = "/kubelet/staging/" + volume.handle;
    volume.boot_id = "boot-1";
    volume.staged = true;
    if (is_mounted) Mount(volume.staging_path);
    return driver.node_state.volumes[id] = volume;
  }
  void Mount(const std::string& path, const std::string& fs_type = "fuse.gantry") {
    mounts.push_back({path, fs_type, "nas:/x", false});
    driver.broker.mounts[path] = {"nas:/x", false, {}, {}};
    driver.broker.paths.insert(path);
  }

  core::testing::FakeDriver driver;
  FakeFleet fleet;
  LogRing log;
  std::vector<MountSeen> mounts;
  Parts parts;
};

}  // namespace gantry::admin::testing
