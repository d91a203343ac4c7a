/* SPDX-License-Identifier: Apache-2.0 */
/* How an operation ended: the values that finish is given. An error is made once, where it is
 * found, and handed up. */
#ifndef MEMORY_OUTCOME_H
#define MEMORY_OUTCOME_H

#include <gantry/host.h>

enum { MESSAGE_BYTES_MAX = 256 };

struct outcome {
  gantry_code code;
  char message[MESSAGE_BYTES_MAX]; /* for people; goes to the caller: no secrets, no mount flags */
};

struct outcome outcome_ok(void);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
struct outcome
outcome_fail(gantry_code code, const char* format, ...);

/* Ends the call. */
void outcome_finish(const gantry_call_api* calls, gantry_call call, struct outcome outcome);

#endif
