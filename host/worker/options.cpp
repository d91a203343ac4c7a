// SPDX-License-Identifier: Apache-2.0
#include "host/worker/options.hpp"

#include <charconv>
#include <limits>

namespace gantry::worker {
namespace {

constexpr size_t kBackendBytesMax = 32;
// Behind the descriptors with fixed numbers.
constexpr uint64_t kRootFdMin = 5;
constexpr uint64_t kRootFdMax = 9;

tl::unexpected<base::Error> Bad(const std::string& option, const std::string& value,
                                const char* expected) {
  return base::Fail(base::Code::kInvalidArgument,
                    option + ": \"" + value + "\", expected " + expected);
}

base::Result<unsigned> ParseId(const std::string& option, const std::string& value) {
  unsigned id = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, id);
  if (error != std::errc() || stop != end || id == 0 || id == std::numeric_limits<unsigned>::max())
    return Bad(option, value, "a number above 0: a plugin never runs as root");
  return id;
}

base::Result<uint64_t> ParseNumber(const std::string& option, const std::string& value,
                                   uint64_t low, uint64_t high) {
  uint64_t number = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || number < low || number > high)
    return Bad(option, value,
               ("a number from " + std::to_string(low) + " to " + std::to_string(high)).c_str());
  return number;
}

// One of the options that say how much the process may use; false when it is none of them.
base::Result<bool> ParseLimit(const std::string& name, const std::string& value,
                              wire::WorkerLimits& limits) {
  if (name == "--memory-mib") {
    GANTRY_TRY_ASSIGN(limits.memory_mib,
                      ParseNumber(name, value, wire::kMemoryMibMin, wire::kMemoryMibMax));
  } else if (name == "--threads") {
    GANTRY_TRY_ASSIGN(limits.threads,
                      ParseNumber(name, value, wire::kThreadsMin, wire::kThreadsMax));
  } else if (name == "--open-files") {
    GANTRY_TRY_ASSIGN(limits.open_files,
                      ParseNumber(name, value, wire::kOpenFilesMin, wire::kOpenFilesMax));
  } else {
    return false;
  }
  return true;
}

base::Status ParseBackend(const std::string& value) {
  if (!value.empty() && value.size() <= kBackendBytesMax &&
      value.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos)
    return {};
  return Bad("--backend", value, "1 to 32 of [a-z0-9-]");
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

bool IsOption(const std::string& name) {
  for (const char* known :
       {"--backend", "--plugin", "--uid", "--gid", "--capabilities", "--memory-mib", "--threads",
        "--open-files", "--cgroup", "--job", "--job-deadline-ns", "--root-fd", "--prepare-root"})
    if (name == known) return true;
  return false;
}

}  // namespace

const char kHelp[] =
    R"(gantry-worker: the process in which one storage plugin runs, for one backend.

It is started by gantryd and of no use on its own: file descriptor 3 is its channel to gantryd, 4 its
log, 5 the lease of its backend, which the kernel lets go when the process ends.

  gantry-worker --backend NAME --plugin PATH --uid N --gid N [--capabilities NAME,...]
                [--job NAME --job-deadline-ns N]
                [--memory-mib N] [--threads N] [--open-files N] [--cgroup PATH]... [--root-fd N]
  gantry-worker --prepare-root PATH

  --backend NAME        the backend's name in the configuration; ps shows "gw:NAME"
  --plugin PATH         the plugin, a shared object that exports gantry_plugin_entry_v0
  --uid N, --gid N      who to become before the plugin is loaded; never 0. Without root's rights the
                        worker keeps the ids that it was started with, and logs that.
  --capabilities NAMES  Linux capabilities to keep, e.g. net_bind_service; all others are dropped.
                        Those that are as good as root are refused.
  --job NAME            runs this one job of the plugin and ends: descriptor 3 brings its input and
                        takes its output (gantry/job.h)
  --job-deadline-ns N   when it will be killed, on the monotonic clock
  --memory-mib N        RLIMIT_DATA is this and 2 MiB more for each thread (512)
  --threads N           how many it is counted for (256)
  --open-files N        RLIMIT_NOFILE (1024)
  --cgroup PATH         a control group to join, more than one with cgroup v1
  --root-fd N           this descriptor is the mount namespace of a prepared root, whose tree is taken
  --prepare-root PATH   makes such a root for plugins in this directory, says so on descriptor 3 and
                        waits for its end
  --help                this text

It gives up its privileges first and loads the plugin after: it leaves the host's mounts for a tree of
its own, becomes another user, and lets landlock and seccomp refuse what no plugin needs. What this
machine cannot enforce it tells gantryd, which shows it. A plugin that cannot be loaded is the
answer to gantryd's first call. The worker ignores SIGINT, SIGTERM and SIGHUP: it ends when gantryd
says so, or at once when gantryd is gone.

Exit codes: 0 stopped by gantryd, 1 could not start, 2 wrong options, 3 gantryd is gone, 4 gantryd
broke the protocol.
)";

base::Result<Options> ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (name == "--help") {
      options.help = true;
      return options;
    }
    if (!IsOption(name))
      return base::Fail(base::Code::kInvalidArgument, name + ": unknown option, see --help");
    if (++i == arguments.size())
      return base::Fail(base::Code::kInvalidArgument, name + ": expected a value");
    const std::string& value = arguments[i];
    GANTRY_TRY_ASSIGN(const bool is_limit, ParseLimit(name, value, options.limits));
    if (is_limit) continue;
    if (name == "--backend") {
      GANTRY_TRY(ParseBackend(value));
      options.backend = value;
    } else if (name == "--plugin") {
      options.plugin = value;
      if (!options.plugin.is_absolute()) return Bad(name, value, "an absolute path");
    } else if (name == "--uid") {
      GANTRY_TRY_ASSIGN(options.uid, ParseId(name, value));
    } else if (name == "--gid") {
      GANTRY_TRY_ASSIGN(options.gid, ParseId(name, value));
    } else if (name == "--job") {
      options.job = value;
    } else if (name == "--job-deadline-ns") {
      const char* const end = value.data() + value.size();
      const auto [stop, error] = std::from_chars(value.data(), end, options.job_deadline_ns);
      if (error != std::errc() || stop != end) return Bad(name, value, "a number");
    } else if (name == "--root-fd") {
      GANTRY_TRY_ASSIGN(const uint64_t fd, ParseNumber(name, value, kRootFdMin, kRootFdMax));
      options.root_fd = static_cast<int>(fd);
    } else if (name == "--prepare-root") {
      options.prepare_root = value;
      if (!options.prepare_root.is_absolute()) return Bad(name, value, "an absolute path");
    } else if (name == "--cgroup") {
      options.cgroups.emplace_back(value);
      if (!options.cgroups.back().is_absolute()) return Bad(name, value, "an absolute path");
    } else {
      options.capabilities = Split(value);
    }
  }
  if (!options.prepare_root.empty()) return options;
  const auto missing = [](const char* name) {
    return base::Fail(base::Code::kInvalidArgument, std::string(name) + ": missing, see --help");
  };
  if (options.backend.empty()) return missing("--backend");
  if (options.plugin.empty()) return missing("--plugin");
  if (options.uid == 0) return missing("--uid");
  if (options.gid == 0) return missing("--gid");
  return options;
}

}  // namespace gantry::worker
