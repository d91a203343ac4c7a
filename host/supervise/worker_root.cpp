// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/worker_root.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "host/base/sync.hpp"
#include "host/wire/socket_pair.hpp"

namespace gantry::supervise {

base::Result<base::UniqueFd> PrepareWorkerRoot(const base::PinnedBinary& worker,
                                               const std::filesystem::path& plugin_folder) {
  GANTRY_TRY_ASSIGN(auto pair, wire::MakeChannelPair());
  base::SpawnOptions options;
  options.arguments = {"gantry-worker", "--prepare-root", plugin_folder.string()};
  options.pass_fds = {pair.theirs.get()};
  options.new_session = true;
  // Killed and reaped at the end, whatever it is at.
  GANTRY_TRY_ASSIGN(const auto child, base::Spawn(worker, options));
  pair.theirs.Reset();
  pollfd said{pair.ours.get(), POLLIN, 0};
  if (base::Poll(&said, 1, static_cast<int>(kPrepareRootMsMax.count())) <= 0)
    return base::Fail(base::Code::kDeadlineExceeded, "the workers' root is not ready in time");
  char byte = 0;
  if (recv(pair.ours.get(), &byte, sizeof byte, 0) != sizeof byte)
    return base::Fail(base::Code::kUnavailable, "the workers' root could not be made");
  // Not reaped yet, so the number is its own.
  const std::string path = "/proc/" + std::to_string(child.pid()) + "/ns/mnt";
  base::UniqueFd root(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!root) return base::FailErrno(errno, "open " + path);
  return root;
}

void PassRoot(int root, base::SpawnOptions& options) {
  if (root < 0) return;
  constexpr size_t kFirstPassedFd = 3;  // base::SpawnOptions
  const size_t number = kFirstPassedFd + options.pass_fds.size();
  options.pass_fds.push_back(root);
  options.arguments.insert(options.arguments.end(), {"--root-fd", std::to_string(number)});
}

}  // namespace gantry::supervise
