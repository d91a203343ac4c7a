// SPDX-License-Identifier: Apache-2.0
#include "host/worker/process_limits.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"

namespace gantry::worker {
namespace {

// Counts all tasks of the uid, data paths and other generations included, hence no use as the limit
// of one process: it only keeps a bomb from filling the machine before the watching sees it.
constexpr uint64_t kUserTasksMax = 16'384;
constexpr size_t kScoreBytesMax = 16;

base::Status Write(const std::filesystem::path& file, const std::string& text) {
  const base::UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open " + file.string());
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return base::FailErrno(errno, "write " + file.string());
  return {};
}

base::Status Limit(__rlimit_resource_t resource, const char* name, uint64_t value) {
  rlimit limit{value, value};
  if (setrlimit(resource, &limit) == 0) return {};
  if (errno != EPERM) return base::FailErrno(errno, std::string("setrlimit ") + name);
  if (getrlimit(resource, &limit) != 0)
    return base::FailErrno(errno, std::string("getrlimit ") + name);
  limit.rlim_cur = limit.rlim_max = std::min<rlim_t>(limit.rlim_max, value);
  if (setrlimit(resource, &limit) != 0)
    return base::FailErrno(errno, std::string("setrlimit ") + name);
  return {};
}

base::Status LimitStacks() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  int error = pthread_attr_setstacksize(&attributes, wire::kThreadStackBytes);
  if (error == 0) error = pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
  if (error != 0) return base::FailErrno(error, "set the size of stacks");
  return {};
}

}  // namespace

void JoinCgroups(const std::vector<std::filesystem::path>& cgroups,
                 std::vector<std::string>& not_enforced) {
  for (const auto& cgroup : cgroups)
    if (const auto joined = Write(cgroup / "cgroup.procs", "0"); !joined)
      not_enforced.push_back("cgroup: " + joined.error().message);
}

base::Status RaiseOomScore(int score) {
  const std::filesystem::path file = "/proc/self/oom_score_adj";
  GANTRY_TRY_ASSIGN(const std::string now, base::ReadFile(file, kScoreBytesMax));
  if (std::atoi(now.c_str()) >= score) return {};
  return Write(file, std::to_string(score));
}

base::Status LimitResources(const SandboxOptions& options,
                            [[maybe_unused]] std::vector<std::string>& not_enforced) {
#ifdef GANTRY_SANITIZED
  not_enforced.emplace_back("RLIMIT_DATA: a sanitizer needs terabytes");
#else
  GANTRY_TRY(Limit(RLIMIT_DATA, "RLIMIT_DATA",
                   options.limits.memory_mib * wire::kBytesPerMib +
                       options.limits.threads * wire::kThreadStackBytes));
#endif
  GANTRY_TRY(LimitStacks());
  GANTRY_TRY(Limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", options.limits.open_files));
  GANTRY_TRY(Limit(RLIMIT_NPROC, "RLIMIT_NPROC", kUserTasksMax));
  GANTRY_TRY(Limit(RLIMIT_FSIZE, "RLIMIT_FSIZE", options.file_bytes));
  GANTRY_TRY(Limit(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", options.locked_bytes));
  for (const auto resource : {RLIMIT_CORE, RLIMIT_MSGQUEUE, RLIMIT_RTPRIO, RLIMIT_NICE})
    GANTRY_TRY(Limit(resource, "a resource to 0", 0));
  return {};
}

}  // namespace gantry::worker
