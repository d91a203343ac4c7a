// SPDX-License-Identifier: Apache-2.0
// gantry-worker. Privileges go before the first line of vendor code is mapped.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "host/base/fd.hpp"
#include "host/base/open_files.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"
#include "host/worker/datapath_mode.hpp"
#include "host/worker/job_mode.hpp"
#include "host/worker/options.hpp"
#include "host/worker/own_root.hpp"
#include "host/worker/sandbox.hpp"
#include "host/worker/worker.hpp"

namespace gantry::worker {
namespace {

constexpr int kChannelFd = 3;
constexpr int kLogFd = 4;
constexpr int kLeaseFd = 5;
// Out of the way of plugins that close what they take for leftovers.
constexpr int kMovedFdMin = 900;

// A plugin writes no files, but can fill memfds, which nothing else counts.
constexpr uint64_t kFileBytesMax = wire::kBytesPerMib;
// For the secrets of the calls under way.
constexpr uint64_t kLockedBytesMax = 16 * wire::kBytesPerMib;
// Killed by the kernel before gantryd and before data paths: it costs no pod its volume.
constexpr int kOomScore = 600;

base::Result<base::UniqueFd> MoveUp(int fd) {
  base::UniqueFd old(fd);
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, kMovedFdMin);
  // Where the limit of fds is lower than that, any number must do.
  if (moved < 0 && (errno == EINVAL || errno == EMFILE)) moved = fcntl(fd, F_DUPFD_CLOEXEC, 6);
  if (moved < 0) return base::FailErrno(errno, "duplicate fd " + std::to_string(fd));
  return base::UniqueFd(moved);
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

base::Status Serve(const Options& options) {
  for (const int fd : {kChannelFd, kLogFd})
    if (!IsOpen(fd))
      return base::Fail(base::Code::kFailedPrecondition,
                        "fd " + std::to_string(fd) +
                            " is not open: the worker is started by gantryd, see --help");
  (void)base::LimitOpenFiles();  // plugins may use select
  if (dup2(kLogFd, STDERR_FILENO) < 0) return base::FailErrno(errno, "make the log stderr");

  SandboxOptions sandbox;
  sandbox.process_name = "gw:" + options.backend;
  sandbox.uid = options.uid;
  sandbox.gid = options.gid;
  sandbox.capabilities = options.capabilities;
  sandbox.last_fd = kLeaseFd;
  sandbox.plugin = options.plugin;
  sandbox.prepared_root = options.root_fd;
  sandbox.limits = options.limits;
  sandbox.file_bytes = kFileBytesMax;
  sandbox.locked_bytes = kLockedBytesMax;
  sandbox.oom_score = kOomScore;
  sandbox.cgroups = options.cgroups;
  sandbox.ends_with_parent = true;
  GANTRY_TRY_ASSIGN(const SandboxReport report, EnterSandbox(sandbox));

  GANTRY_TRY_ASSIGN(base::UniqueFd channel_fd, MoveUp(kChannelFd));
  GANTRY_TRY_ASSIGN(base::UniqueFd log_fd, MoveUp(kLogFd));
  base::UniqueFd lease;
  if (IsOpen(kLeaseFd)) {
    GANTRY_TRY_ASSIGN(lease, MoveUp(kLeaseFd));
  }
  GANTRY_TRY_ASSIGN(wire::LogPipe log, wire::LogPipe::Open(log_fd.get()));
  if (report.ids_kept)
    log.Write(wire::LogLevel::kWarning, "not started as root: the plugin runs as uid " +
                                            std::to_string(getuid()) + " and gid " +
                                            std::to_string(getgid()) + ", not as configured");
  if (!options.job.empty()) RunJobMode(options, std::move(channel_fd), std::move(log));
  if (!lease) log.Write(wire::LogLevel::kWarning, "started without a lease at fd 5");
  wire::ChannelOptions channel_options;
  channel_options.accept_fds = false;
  GANTRY_TRY_ASSIGN(auto channel, wire::Channel::Create(std::move(channel_fd), channel_options));
  // Never destroyed: the plugin's threads use it until _exit.
  auto* worker =
      new Worker(options.backend, report.not_enforced, std::move(channel), std::move(log));
  worker->Run(options.plugin);
}

// gantryd opens the namespace while this process holds it.
base::Status PrepareRootForOthers(const std::filesystem::path& plugin_folder) {
  GANTRY_TRY(PrepareRoot(plugin_folder));
  char byte = 0;
  if (send(kChannelFd, &byte, sizeof byte, MSG_NOSIGNAL) != sizeof byte)
    return base::FailErrno(errno, "say that the root is ready");
  pollfd end{kChannelFd, POLLIN, 0};
  while (poll(&end, 1, -1) < 0 && errno == EINTR) {
  }
  return {};
}

int Main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--datapath") RunDataPathMode({argv + 2, argv + argc});
  const auto options = ParseOptions({argv + 1, argv + argc});
  if (!options) {
    std::fprintf(stderr, "gantry-worker: %s\n", options.error().message.c_str());
    return kExitUsage;
  }
  if (options->help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (!options->prepare_root.empty()) {
    const auto prepared = PrepareRootForOthers(options->prepare_root);
    if (!prepared) std::fprintf(stderr, "gantry-worker: %s\n", prepared.error().message.c_str());
    return prepared ? 0 : kExitFailed;
  }
  const auto served = Serve(*options);  // returns only when it could not start
  std::fprintf(stderr, "gantry-worker: %s\n", served.error().message.c_str());
  // No destructors and no leak check: in the sandbox it could not look (seccomp).
  _exit(kExitFailed);
}

}  // namespace
}  // namespace gantry::worker

#if defined(GANTRY_SANITIZED_THREADS)
// A worker ends by _exit with its threads running, which ThreadSanitizer would call a leak of each.
extern "C" const char* __tsan_default_options() { return "report_thread_leaks=0"; }
// A plugin may bring a gRPC of its own, which is not instrumented; no file is to be seen in the sandbox.
extern "C" const char* __tsan_default_suppressions() {
  return "race:libgrpc\nrace:libgpr.so\nrace:libabsl_\nrace:libupb.so\n";
}
#endif

int main(int argc, char** argv) { return gantry::worker::Main(argc, argv); }
