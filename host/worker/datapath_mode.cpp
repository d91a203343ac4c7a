// SPDX-License-Identifier: Apache-2.0
#include "host/worker/datapath_mode.hpp"

#include <unistd.h>

#include <cstdio>

#include "host/base/error.hpp"
#include "host/datapath/data_path.hpp"
#include "host/datapath/nodes.hpp"
#include "host/datapath/slots.hpp"
#include "host/wire/data_path_description.hpp"
#include "host/wire/keeper_protocol.hpp"
#include "host/worker/load.hpp"
#include "host/worker/sandbox.hpp"

namespace gantry::worker {
namespace {

constexpr int kExitRefused = 2;
// The requests under way are locked, so that writing back memory does not wait for itself.
constexpr uint64_t kLockedBytesMax = 128 * wire::kBytesPerMib;
// Killed by the kernel before gantryd, but after workers: a pod's volume goes with it.
constexpr int kOomScore = 300;

base::Status Serve(const datapath::Serving& serving) {
  GANTRY_TRY_ASSIGN(const wire::DataPathDescription description,
                    wire::ReadDescription(datapath::kDescriptionFd));
  SandboxOptions sandbox;
  sandbox.process_name = "gd:" + description.backend;
  sandbox.uid = description.uid;
  sandbox.gid = description.gid;
  sandbox.capabilities = description.capabilities;
  sandbox.last_fd = datapath::kDescriptionFd;
  sandbox.plugin = description.plugin;
  sandbox.prepared_root = serving.has_root ? datapath::kRootFd : -1;
  sandbox.limits = description.limits;
  sandbox.file_bytes = datapath::kSlotsBytes + datapath::NodesBytes(datapath::kNodesMax);
  sandbox.locked_bytes = description.disk ? datapath::kDiskLockedBytesMax : kLockedBytesMax;
  sandbox.io_flusher = description.disk;
  sandbox.oom_score = kOomScore;
  GANTRY_TRY_ASSIGN(const SandboxReport report, EnterSandbox(sandbox));
  for (const auto& part : report.not_enforced)
    std::fprintf(stderr, "not enforced: %s\n", part.c_str());
  GANTRY_TRY_ASSIGN(const LoadedPlugin plugin, LoadPlugin(description.plugin));
  GANTRY_TRY_ASSIGN(const int code, datapath::RunDataPath(plugin.table, description, serving));
  // Its error has been told already. Threads of the plugin may still run: no destructors.
  _exit(code);
}

// Of a successor's beginnings: the node is short of something now, which is no fault of the volume's.
bool IsShortage(base::Code code) {
  return code == base::Code::kResourceExhausted || code == base::Code::kUnavailable ||
         code == base::Code::kDeadlineExceeded;
}

}  // namespace

void RunDataPathMode(const std::vector<std::string>& arguments) {
  const auto serving = datapath::ParseServing(arguments);
  const base::Status served = serving ? Serve(*serving) : tl::unexpected(serving.error());
  std::fprintf(stderr, "gantry-worker --datapath: %s\n", served.error().message.c_str());
  // No destructors and no leak check: in the sandbox it could not look (seccomp).
  _exit(serving && serving->successor && IsShortage(served.error().code) ? wire::kTryAgainExit
                                                                         : kExitRefused);
}

}  // namespace gantry::worker
