// SPDX-License-Identifier: Apache-2.0
// A driver without storage, for tests of whatever stands on core::Driver: a backend that answers by
// script and remembers what it was asked, a broker whose mounts are a table, a node state in
// memory. All of them pass through one Steps, which can crash the host between any two of their
// effects. Nothing here knows a test framework.
#pragma once

#include <gantry/abi.h>
#include <gantry/controller.h>
#include <gantry/node.h>
#include <gantry/snapshot.h>
#include <gantry/task.h>

#include <algorithm>
#include <cctype>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "host/core/driver.hpp"

namespace gantry::core::testing {

// Counts effects and crashes the host at one of them: that effect happens or not, and everything
// after it fails until Revive.
class Steps {
 public:
  void CrashAt(int step, bool after_its_effect) {
    const std::lock_guard lock(mutex_);
    at_ = step;
    after_ = after_its_effect;
    count_ = 0;
    crashed_ = false;
  }
  void Revive() { CrashAt(0, false); }
  bool crashed() const {
    const std::lock_guard lock(mutex_);
    return crashed_;
  }

  base::Status Do(const std::function<base::Status()>& effect) {
    bool crash_after = false;
    {
      const std::lock_guard lock(mutex_);
      const bool is_here = !crashed_ && ++count_ == at_;
      crashed_ = crashed_ || (is_here && !after_);
      if (crashed_) return base::Fail(base::Code::kUnavailable, "the host crashed");
      crash_after = is_here;
    }
    auto status = effect();
    if (!crash_after) return status;
    const std::lock_guard lock(mutex_);
    crashed_ = true;
    return base::Fail(base::Code::kUnavailable, "the host crashed");
  }

 private:
  mutable std::mutex mutex_;
  int at_ = 0;
  int count_ = 0;
  bool after_ = false;
  bool crashed_ = false;
};

inline const char* ExtensionOf(channel::Operation operation) {
  if (operation < channel::PUBLISH_VOLUME) return GANTRY_EXT_CONTROLLER;
  if (operation < channel::CREATE_SNAPSHOT) return GANTRY_EXT_PUBLISH;
  if (operation < channel::CREATE_GROUP) return GANTRY_EXT_SNAPSHOT;
  if (operation < channel::GET_ALLOCATED) return GANTRY_EXT_GROUP;
  if (operation < channel::ATTACH) return GANTRY_EXT_METADATA;
  if (operation < channel::LIST_TASKS) return GANTRY_EXT_NODE;
  return GANTRY_EXT_TASK;
}

inline std::vector<channel::Operation> AllOperations() {
  std::vector<channel::Operation> all;
  for (int i = channel::CREATE_VOLUME; i <= channel::RESCAN; ++i)
    if (channel::Operation_IsValid(i) && i != channel::RECOGNIZE_VOLUME)
      all.push_back(static_cast<channel::Operation>(i));
  return all;
}

inline channel::Description Describe(const std::vector<channel::Operation>& offered) {
  channel::Description description;
  for (const auto operation : offered) {
    std::string slot = channel::Operation_Name(operation);
    for (auto& c : slot) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    description.add_slots(std::string(ExtensionOf(operation)) + ":" + slot);
  }
  for (int mode = GANTRY_SINGLE_NODE_WRITER; mode <= GANTRY_SINGLE_NODE_MULTI_WRITER; ++mode)
    description.set_access_modes(description.access_modes() | GANTRY_ACCESS_MODE_BIT(mode));
  description.set_access_types(GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT) |
                               GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_BLOCK));
  description.set_controller_flags(GANTRY_CONTROLLER_CLONES | GANTRY_CONTROLLER_RESTORES |
                                   GANTRY_CONTROLLER_CONDITIONS);
  description.set_publish_flags(GANTRY_PUBLISH_READONLY | GANTRY_PUBLISH_LISTS_NODES);
  description.set_block_type(GANTRY_BLOCKS_VARIABLE_LENGTH);
  return description;
}

using Emits = std::vector<channel::Emit>;
using Answer = base::Result<Emits>;

// Answers OK with nothing where no script is set. Thread-safe.
class FakeBackend final : public Backend {
 public:
  using Script = std::function<Answer(const BackendCall&)>;
  struct Seen {
    channel::Call message;
    std::map<std::string, std::string> secrets;
  };

  // Instead of the scripts; set before the first call.
  std::function<base::Status(const BackendCall&, const std::function<bool(const channel::Emit&)>&)>
      streams;

  explicit FakeBackend(std::string name,
                       channel::Description description = Describe(AllOperations()),
                       Steps* steps = nullptr)
      : name_(std::move(name)), capabilities_(std::move(description)), steps_(steps) {}

  // As if no worker of it had come up yet.
  void BeUnknown() { capabilities_ = Capabilities(); }

  void On(channel::Operation operation, Script script) {
    const std::lock_guard lock(mutex_);
    scripts_[operation] = std::move(script);
  }
  void Answers(channel::Operation operation, Answer answer) {
    On(operation, [answer = std::move(answer)](const BackendCall&) { return answer; });
  }
  std::vector<Seen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  std::vector<Seen> seen(channel::Operation operation) const {
    auto all = seen();
    std::erase_if(all, [&](const Seen& s) { return s.message.operation() != operation; });
    return all;
  }

  const std::string& name() const override { return name_; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Answer Call(const BackendCall& call) override {
    Script script;
    {
      const std::lock_guard lock(mutex_);
      Seen seen{call.message, {}};
      if (call.secrets != nullptr)
        for (const auto& [key, value] : *call.secrets) seen.secrets.emplace(key, value.view());
      seen_.push_back(std::move(seen));
      const auto found = scripts_.find(call.message.operation());
      if (found != scripts_.end()) script = found->second;
    }
    Answer answer{Emits{}};
    const auto run = [&]() -> base::Status {
      if (script) answer = script(call);
      if (answer && call.on_task) PassTasks(call, *answer);
      return {};
    };
    if (steps_ == nullptr) {
      (void)run();
      return answer;
    }
    if (const auto done = steps_->Do(run); !done) return tl::unexpected(done.error());
    return answer;
  }
  static void PassTasks(const BackendCall& call, Emits& emits) {
    for (const auto& emit : emits)
      if (emit.has_task()) call.on_task(emit.task());
    std::erase_if(emits, [](const channel::Emit& emit) { return emit.has_task(); });
  }
  base::Status Stream(const BackendCall& call,
                      const std::function<bool(const channel::Emit&)>& on_emit) override {
    if (streams) return streams(call, on_emit);
    GANTRY_TRY_ASSIGN(const auto emits, Call(call));
    for (const auto& emit : emits)
      if (!on_emit(emit)) break;
    return {};
  }

 private:
  const std::string name_;
  Capabilities capabilities_;
  Steps* const steps_;
  mutable std::mutex mutex_;
  std::map<channel::Operation, Script> scripts_;
  std::vector<Seen> seen_;
};

// A mount table. Its operations are thread-safe, its tables are for tests with nothing under way.
class FakeBroker final : public Broker {
 public:
  struct Mount {
    std::string source;  // of a stage: the source; of a publish: the staging path
    bool readonly = false;
    std::map<std::string, std::string> secrets;
    StageMount stage;  // as asked, without its secrets
  };
  explicit FakeBroker(Steps& steps) : steps_(steps) {}

  std::map<std::string, Mount> mounts;
  std::set<std::string> paths;  // directories and files made by Publish
  std::map<std::string, std::string> faults;
  std::set<std::string> gone;  // with a fault: for good
  std::optional<VolumeUsage> usage = VolumeUsage();
  // The next of that name fails with it, once, without an effect.
  std::map<std::string, base::Error> failing;

  base::Status Stage(const StageMount& mount, base::TimePoint) override {
    return Step("Stage", [&]() -> base::Status {
      const auto found = mounts.find(mount.staging_path);
      if (found != mounts.end() && found->second.source != mount.source.source())
        return base::Fail(base::Code::kFailedPrecondition, "something else is mounted there");
      faults.erase(mount.staging_path);
      gone.erase(mount.staging_path);
      Mount& made = mounts[mount.staging_path];
      made.source = mount.source.source();
      made.readonly = mount.readonly;
      made.stage = mount;
      made.stage.secrets = nullptr;
      for (const auto& [key, value] : *mount.secrets) made.secrets.emplace(key, value.view());
      if (!mount.source.identity().empty())
        return mount.remember({mount.source.source(), mount.source.identity(),
                               mount.source.size_bytes(), false, mount.block, mount.encrypted, ""});
      return {};
    });
  }
  base::Status Unstage(const std::string&, const std::string& staging_path,
                       const std::optional<NodeDevice>&, base::TimePoint) override {
    return Step("Unstage", [&]() -> base::Status {
      mounts.erase(staging_path);
      return {};
    });
  }
  base::Status Publish(const PublishMount& mount, base::TimePoint) override {
    return Step("Publish", [&]() -> base::Status {
      if (!mounts.contains(mount.staging_path))
        return base::Fail(base::Code::kFailedPrecondition, "nothing is staged there");
      if (faults.contains(mount.staging_path))
        return base::Fail(base::Code::kUnavailable, faults.at(mount.staging_path));
      mounts[mount.target_path] = Mount{mount.staging_path, mount.readonly, {}, {}};
      paths.insert(mount.target_path);
      return {};
    });
  }
  base::Status Unpublish(const std::string& target_path, base::TimePoint) override {
    GANTRY_TRY(Step("Unmount", [&]() -> base::Status {
      mounts.erase(target_path);
      return {};
    }));
    return Step("Unpublish", [&]() -> base::Status {
      paths.erase(target_path);
      return {};
    });
  }
  base::Result<MountState> State(const std::string& path, base::TimePoint) override {
    MountState state;
    GANTRY_TRY(Step("State", [&]() -> base::Status {
      const auto found = mounts.find(path);
      state.mounted = found != mounts.end();
      if (state.mounted) state.readonly = found->second.readonly;
      if (faults.contains(path)) state.fault = faults.at(path);
      state.gone = gone.contains(path);
      state.usage = usage;
      return {};
    }));
    return state;
  }
  base::Result<bool> IsMounted(const std::string& path) override {
    bool mounted = false;
    GANTRY_TRY(Step("IsMounted", [&]() -> base::Status {
      mounted = mounts.contains(path);
      return {};
    }));
    return mounted;
  }

  uint64_t expanded_bytes = 0;  // what Expand finds
  base::Result<MountState> DeviceState(const std::string&, const NodeDevice& device,
                                       base::TimePoint) override {
    MountState state;
    GANTRY_TRY(Step("DeviceState", [&]() -> base::Status {
      for (const auto& [path, mount] : mounts)
        state.mounted = state.mounted || mount.source == device.origin;
      return {};
    }));
    return state;
  }
  base::Result<uint64_t> Expand(const ExpandMount&, base::TimePoint) override {
    GANTRY_TRY(Step("Expand", []() -> base::Status { return {}; }));
    return expanded_bytes;
  }

 private:
  base::Status Step(const std::string& name, const std::function<base::Status()>& effect) {
    return steps_.Do([&]() -> base::Status {
      const std::lock_guard lock(mutex_);
      if (auto failure = failing.extract(name)) return tl::unexpected(failure.mapped());
      return effect();
    });
  }
  Steps& steps_;
  std::mutex mutex_;
};

class FakeNodeState final : public NodeState {
 public:
  explicit FakeNodeState(Steps& steps) : steps_(steps) {}
  std::map<std::string, NodeVolume> volumes;

  base::Result<std::optional<NodeVolume>> Load(const std::string& volume_id) override {
    std::optional<NodeVolume> found;
    GANTRY_TRY(steps_.Do([&]() -> base::Status {
      const std::lock_guard lock(mutex_);
      if (volumes.contains(volume_id)) found = volumes.at(volume_id);
      return {};
    }));
    return found;
  }
  base::Status Save(const NodeVolume& volume) override {
    return steps_.Do([&]() -> base::Status {
      const std::lock_guard lock(mutex_);
      volumes[volume.volume_id] = volume;
      return {};
    });
  }
  base::Status Remove(const std::string& volume_id) override {
    return steps_.Do([&]() -> base::Status {
      const std::lock_guard lock(mutex_);
      volumes.erase(volume_id);
      return {};
    });
  }
  base::Result<std::vector<NodeVolume>> LoadAll() override {
    const std::lock_guard lock(mutex_);
    std::vector<NodeVolume> all;
    for (const auto& [id, volume] : volumes) all.push_back(volume);
    return all;
  }

 private:
  Steps& steps_;
  std::mutex mutex_;
};

// A driver "test.gantry" whose first backend is the default one.
class FakeDriver {
 public:
  explicit FakeDriver(const std::vector<std::pair<std::string, channel::Description>>& backends =
                          {{"fast", Describe(AllOperations())}},
                      Roles roles = {}, std::string endpoint = {})
      : broker(steps), node_state(steps) {
    DriverParts parts;
    parts.config.name = "test.gantry";
    parts.config.endpoint = std::move(endpoint);
    parts.config.default_backend = backends.front().first;
    parts.version = "1.2.3";
    parts.roles = roles;
    parts.node_id = "node-1";
    parts.boot_id = "boot-1";
    parts.broker = &broker;
    parts.node_state = &node_state;
    parts.locks = &locks;
    parts.tasks = &tasks;
    for (const auto& [name, description] : backends) {
      auto& made = backends_[name];
      made = std::make_unique<FakeBackend>(name, description, &steps);
      parts.config.backends.push_back(name);
      parts.backends[name] = made.get();
      parts.owners[name] = "owner";
    }
    parts_ = parts;
    driver_ = std::make_unique<Driver>(std::move(parts));
  }
  ~FakeDriver() { tasks.Stop(); }

  // Before driver() is asked for.
  void HasNodes(std::vector<std::string> patterns) {
    parts_.config.nodes = std::move(patterns);
    driver_ = std::make_unique<Driver>(parts_);
  }
  Driver& driver() { return *driver_; }
  FakeBackend& backend(const std::string& name = "fast") { return *backends_.at(name); }
  // The same node after a reboot: nothing is mounted any more.
  void Reboot() {
    broker.mounts.clear();
    parts_.boot_id += "+";
    driver_ = std::make_unique<Driver>(parts_);
  }

  base::SystemClock clock;
  Steps steps;
  FakeBroker broker;
  FakeNodeState node_state;
  KeyLocks locks;
  TaskRunner tasks{clock, locks};

 private:
  std::map<std::string, std::unique_ptr<FakeBackend>> backends_;
  DriverParts parts_;
  std::unique_ptr<Driver> driver_;
};

inline CallContext Soon() {
  constexpr std::chrono::seconds kTestCallS{20};
  return {std::chrono::steady_clock::now() + kTestCallS, nullptr};
}

template <class T>
base::Code CodeOf(const base::Result<T>& result) {
  return result ? base::Code::kOk : result.error().code;
}

inline channel::Emit VolumeEmit(const std::string& handle, uint64_t bytes = 1 << 20) {
  channel::Emit emit;
  emit.mutable_volume()->set_handle(handle);
  emit.mutable_volume()->set_capacity_bytes(bytes);
  return emit;
}
inline channel::Emit SnapshotEmit(const std::string& handle, const std::string& source) {
  channel::Emit emit;
  emit.mutable_snapshot()->set_handle(handle);
  emit.mutable_snapshot()->set_source_volume_handle(source);
  emit.mutable_snapshot()->set_created_ns(1'500'000'000);
  emit.mutable_snapshot()->set_ready(true);
  return emit;
}
inline channel::Emit SourceEmit(const std::string& source) {
  channel::Emit emit;
  emit.mutable_source()->set_source(source);
  emit.mutable_source()->set_fs_type("fake");
  return emit;
}
inline channel::Emit RangeEmit(uint64_t offset, uint64_t length) {
  channel::Emit emit;
  emit.mutable_block_range()->set_offset_bytes(offset);
  emit.mutable_block_range()->set_length_bytes(length);
  emit.mutable_block_range()->set_volume_capacity_bytes(1 << 30);
  return emit;
}
inline base::Error Refusal(base::Code code, std::string message = "as the script says") {
  return {code, std::move(message)};
}

using AccessMode = csi::v1::VolumeCapability::AccessMode;
inline csi::v1::VolumeCapability MountCapability(
    AccessMode::Mode mode = AccessMode::SINGLE_NODE_WRITER) {
  csi::v1::VolumeCapability capability;
  capability.mutable_mount();
  capability.mutable_access_mode()->set_mode(mode);
  return capability;
}

// Holds a scripted call until it is let go, so that a test can look while it is pending.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void AwaitArrival(int count = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= count; });
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  bool open_ = false;
};

}  // namespace gantry::core::testing
