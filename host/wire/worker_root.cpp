// SPDX-License-Identifier: Apache-2.0
#include "host/wire/worker_root.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "host/wire/socket_pair.hpp"

namespace gantry::wire {

base::Result<RootMaker> BeginRoot(const base::PinnedBinary& worker,
                                  const std::filesystem::path& plugin_folder) {
  GANTRY_TRY_ASSIGN(auto pair, MakeChannelPair());
  base::SpawnOptions options;
  options.arguments = {"gantry-worker", "--prepare-root", plugin_folder.string()};
  options.pass_fds = {pair.theirs.get()};
  options.new_session = true;
  GANTRY_TRY_ASSIGN(base::Child child, base::Spawn(worker, options));
  return RootMaker{std::move(child), std::move(pair.ours)};
}

base::Result<base::UniqueFd> FinishRoot(const RootMaker& maker) {
  char byte = 0;
  if (recv(maker.said.get(), &byte, sizeof byte, MSG_DONTWAIT) != sizeof byte)
    return base::Fail(base::Code::kUnavailable, "the workers' root could not be made");
  // Not reaped yet, so the number is its own.
  const std::string path = "/proc/" + std::to_string(maker.child.pid()) + "/ns/mnt";
  base::UniqueFd root(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!root) return base::FailErrno(errno, "open " + path);
  return root;
}

}  // namespace gantry::wire
