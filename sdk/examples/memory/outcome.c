/* SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct outcome outcome_ok(void) {
  const struct outcome outcome = {GANTRY_OK, ""};
  return outcome;
}

struct outcome outcome_fail(gantry_code code, const char* format, ...) {
  struct outcome outcome = {code, ""};
  va_list values;
  va_start(values, format);
  if (vsnprintf(outcome.message, sizeof outcome.message, format, values) < 0)
    outcome.message[0] = '\0';
  va_end(values);
  return outcome;
}

void outcome_finish(const gantry_call_api* calls, gantry_call call, struct outcome outcome) {
  const gantry_str message = {outcome.message, strlen(outcome.message)};
  calls->finish(calls->ctx, call, outcome.code, message);
}
