// SPDX-License-Identifier: Apache-2.0
// gantry-helper: one operation that may hang, or one granted program, then the end. Started by
// gantryd for each, killed by it when it takes too long.
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "host/base/open_files.hpp"
#include "host/services/helper_operations.hpp"
#include "host/services/helper_program.hpp"

namespace {

// Mounts must not appear after a gantryd that would have looked at them has gone. The signal is
// sent when the thread that started this process ends (PR_SET_PDEATHSIG), which waits for it.
bool ParentIsGone() {
  pollfd socket{gantry::services::kHelperSocketFd, 0, 0};
  return poll(&socket, 1, 0) != 0;
}

}  // namespace

int main(int argc, char** argv, char** environment) {
  using namespace gantry::services;
  if (argc > 1 && argv[1] == kProgramWord) _exit(RunProgram(argc, argv, environment));
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)gantry::base::LimitOpenFiles();  // for the programs it runs
  std::vector<gantry::base::UniqueFd> fds;
  const auto bytes = ReceiveMessage(kHelperSocketFd, &fds);
  if (!bytes) {
    std::fprintf(stderr,
                 "gantry-helper: %s\nIt is started by gantryd with a socket at fd %d and the "
                 "kubelet directory at fd %d, and is of no use by hand.\n",
                 bytes.error().message.c_str(), kHelperSocketFd, kHelperRootFd);
    return 2;
  }
  if (ParentIsGone()) return 1;
  auto request = DecodeRequest(*bytes);
  if (request && !fds.empty()) request->fd = fds[0].get();
  HelperReply reply;
  if (request) {
    reply = Perform(*request, kHelperRootFd);
  } else {
    reply.error_number = EINVAL;
    reply.message = request.error().message;
  }
  std::vector<int> sent_along;
  if (reply.fd) sent_along.push_back(reply.fd.get());
  const auto sent = SendMessage(kHelperSocketFd, Encode(reply), sent_along);
  _exit(sent ? 0 : 1);
}
