// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/granted_program.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>

namespace gantry::iscsi::target {

void KeepToYourself() {
  const rlimit none{0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  (void)prctl(PR_SET_DUMPABLE, 0);
  (void)signal(SIGPIPE, SIG_IGN);
  umask(S_IRWXG | S_IRWXO);
}

bool WriteLine(std::string text) {
  text += '\n';
  for (std::string_view left = text; !left.empty();) {
    const ssize_t n = write(STDOUT_FILENO, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    left.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace gantry::iscsi::target
