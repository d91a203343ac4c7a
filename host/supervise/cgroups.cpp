// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/cgroups.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>
#include <system_error>
#include <utility>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"

namespace gantry::supervise {
namespace {

namespace fs = std::filesystem;

constexpr size_t kListBytesMax = 1024 * 1024;
constexpr char kHostGroup[] = "host";
constexpr char kWorkerPrefix[] = "gw-";  // tells our groups from whoever else's
// What a group has that nobody sets anything for.
constexpr uint64_t kDefaultSharesV1 = 1024;
constexpr uint64_t kDefaultWeightV2 = 100;

// A file of the kernel's: never created, written in one call.
base::Status Write(const fs::path& file, const std::string& text) {
  const base::UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open " + file.string());
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return base::FailErrno(errno, "write " + text + " to " + file.string());
  return {};
}

struct Limit {
  const char* controller;
  const char* file;
  std::string value;
  bool is_optional;  // nothing worth telling where it is missing
};

std::vector<Limit> LimitsV2(const wire::WorkerLimits& limits) {
  const std::string memory = std::to_string(limits.memory_mib * wire::kBytesPerMib);
  return {{"memory", "memory.max", memory, false},
          {"memory", "memory.swap.max", "0", true},
          {"memory", "memory.oom.group", "1", true},
          {"pids", "pids.max", std::to_string(limits.threads), false},
          {"cpu", "cpu.weight", std::to_string(limits.cpu_weight), false}};
}

std::vector<Limit> LimitsV1(const wire::WorkerLimits& limits) {
  const std::string memory = std::to_string(limits.memory_mib * wire::kBytesPerMib);
  const std::string shares =
      std::to_string(limits.cpu_weight * kDefaultSharesV1 / kDefaultWeightV2);
  return {{"memory", "memory.limit_in_bytes", memory, false},
          {"memory", "memory.memsw.limit_in_bytes", memory, true},
          {"pids", "pids.max", std::to_string(limits.threads), false},
          {"cpu", "cpu.shares", shares, false}};
}

base::Status MakeGroup(const fs::path& group) {
  std::error_code error;
  fs::create_directories(group, error);
  if (error) return base::FailErrno(error.value(), "make " + group.string());
  return {};
}

// rmdir takes a group that has neither processes nor groups below, and only that.
void RemoveLeftovers(const fs::path& parent) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error))
    if (entry.path().filename().string().starts_with(kWorkerPrefix)) rmdir(entry.path().c_str());
}

constexpr std::array kControllersV1{"memory", "pids", "cpu"};

}  // namespace

WorkerCgroup& WorkerCgroup::operator=(WorkerCgroup&& other) noexcept {
  std::swap(paths_, other.paths_);
  std::swap(not_enforced_, other.not_enforced_);
  return *this;
}

WorkerCgroup::~WorkerCgroup() {
  for (const auto& path : paths_) rmdir(path.c_str());
}

base::Result<Cgroups> Cgroups::Open(const core::CgroupConfig& config) {
  Cgroups cgroups;
  if (config.path.empty()) return cgroups;
  cgroups.root_ = config.root;
  cgroups.path_ = config.path;
  std::error_code error;
  if (fs::exists(config.root / "cgroup.controllers", error)) {
    cgroups.version_ = Version::kV2;
    GANTRY_TRY(cgroups.PrepareV2());
    return cgroups;
  }
  cgroups.version_ = Version::kV1;
  bool found = false;
  for (const char* controller : kControllersV1) {
    const fs::path group = config.root / controller / config.path;
    found = found || fs::is_directory(group, error);
    RemoveLeftovers(group);
  }
  if (!found)
    return base::Fail(base::Code::kFailedPrecondition,
                      "cgroup: " + config.root.string() + " has no " + config.path.string() +
                          " of cgroup v2, nor of a v1 controller memory, pids or cpu");
  return cgroups;
}

base::Status Cgroups::PrepareV2() {
  const fs::path group = root_ / path_;
  std::error_code error;
  if (!fs::is_directory(group, error))
    return base::Fail(base::Code::kFailedPrecondition,
                      "cgroup: " + group.string() + ": expected a delegated cgroup");
  RemoveLeftovers(group);
  const fs::path host = group / kHostGroup;
  GANTRY_TRY_ASSIGN(const std::string processes,
                    base::ReadFile(group / "cgroup.procs", kListBytesMax));
  if (!processes.empty()) {
    GANTRY_TRY(MakeGroup(host));
    std::istringstream pids(processes);
    for (std::string pid; pids >> pid;)
      if (const auto moved = Write(host / "cgroup.procs", pid);
          !moved && moved.error().code != base::Code::kNotFound)  // ESRCH: it has ended
        return tl::unexpected(base::Wrap(moved.error(), "cgroup"));
  }
  // One by one, since one that is not there would refuse all.
  for (const char* controller : kControllersV1)
    (void)Write(group / "cgroup.subtree_control", std::string("+") + controller);
  return {};
}

WorkerCgroup Cgroups::Make(const std::string& backend, uint64_t generation,
                           const wire::WorkerLimits& limits) const {
  WorkerCgroup made;
  if (version_ == Version::kNone) {
    made.not_enforced_.emplace_back(
        "cgroup: none is delegated; memory and threads are watched instead");
    return made;
  }
  const std::string name = kWorkerPrefix + backend + "." + std::to_string(generation);
  for (const Limit& limit : version_ == Version::kV2 ? LimitsV2(limits) : LimitsV1(limits)) {
    const fs::path group =
        (version_ == Version::kV2 ? root_ / path_ : root_ / limit.controller / path_) / name;
    // Not the parents: what was not delegated is not made.
    base::Status status;
    if (mkdir(group.c_str(), 0755) != 0 && errno != EEXIST)
      status = base::FailErrno(errno, "make " + group.string());
    else if (std::find(made.paths_.begin(), made.paths_.end(), group) == made.paths_.end())
      made.paths_.push_back(group);
    if (status) status = Write(group / limit.file, limit.value);
    if (!status && !limit.is_optional)
      made.not_enforced_.push_back(std::string(limit.file) + ": " + status.error().message);
  }
  return made;
}

}  // namespace gantry::supervise
