/* SPDX-License-Identifier: Apache-2.0 */
/* Loaded into tgtd (LD_PRELOAD): a write whose data begins with SLOW takes kSlowMs, as on a disk that
 * is overloaded, so that a test can look at what is done about running commands. The file that
 * GANTRY_SLOW_MARK names is there from the first one on. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { kSlowMs = 1500 };

typedef ssize_t (*write_function)(int, const void*, size_t, off64_t);

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  static write_function real;
  if (!real) real = (write_function)dlsym(RTLD_NEXT, "pwrite64");
  if (size >= 4 && memcmp(data, "SLOW", 4) == 0) {
    const char* mark = getenv("GANTRY_SLOW_MARK");
    if (mark) close(open(mark, O_CREAT | O_WRONLY, 0600));
    (void)poll(NULL, 0, kSlowMs);
  }
  return real(fd, data, size, offset);
}
