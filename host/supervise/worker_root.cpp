// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/worker_root.hpp"

#include <poll.h>

#include <string>

#include "host/base/sync.hpp"
#include "host/wire/worker_root.hpp"

namespace gantry::supervise {

base::Result<base::UniqueFd> PrepareWorkerRoot(const base::PinnedBinary& worker,
                                               const std::filesystem::path& plugin_folder) {
  // Killed and reaped at the end, whatever it is at.
  GANTRY_TRY_ASSIGN(const wire::RootMaker maker, wire::BeginRoot(worker, plugin_folder));
  pollfd said{maker.said.get(), POLLIN, 0};
  if (base::Poll(&said, 1, static_cast<int>(wire::kPrepareRootMsMax.count())) <= 0)
    return base::Fail(base::Code::kDeadlineExceeded, "the workers' root is not ready in time");
  return wire::FinishRoot(maker);
}

void PassRoot(int root, base::SpawnOptions& options) {
  if (root < 0) return;
  constexpr size_t kFirstPassedFd = 3;  // base::SpawnOptions
  const size_t number = kFirstPassedFd + options.pass_fds.size();
  options.pass_fds.push_back(root);
  options.arguments.insert(options.arguments.end(), {"--root-fd", std::to_string(number)});
}

}  // namespace gantry::supervise
