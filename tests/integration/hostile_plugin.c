// SPDX-License-Identifier: Apache-2.0
// What does its harm before anybody has asked it for anything: while it is loaded.
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void Harm(void) {
#ifdef HOSTILE_HANGS
  for (;;) (void)pause();
#else
  // Text that would drive a terminal, a line that looks like the host's, rubbish in the channel.
  static const char kText[] = "\033[2J2026-01-01T00:00:00.000Z info all is well\n";
  (void)!write(2, kText, sizeof(kText) - 1);
  for (int fd = 3; fd < 1000; ++fd) (void)!write(fd, "rubbish", 7);
  abort();
#endif
}
