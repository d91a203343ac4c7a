/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "text.h"

#define CAPACITY_BYTES_DEFAULT (UINT64_C(1) << 30)

struct cursor {
  const char* at;
  const char* end;
};

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static char next_char(struct cursor* cursor) { /* behind blanks; '\0' at the end */
  while (cursor->at < cursor->end && is_blank(*cursor->at)) ++cursor->at;
  return cursor->at < cursor->end ? *cursor->at : '\0';
}

static int take(struct cursor* cursor, char expected) {
  if (next_char(cursor) != expected) return 0;
  ++cursor->at;
  return 1;
}

/* Reads as much JSON as two whole numbers need, and refuses all else. A backend with more to
 * configure takes a JSON library; it is linked into the plugin and nobody's business but its own.
 */
struct outcome config_read(gantry_str json, struct config* config) {
  const struct {
    const char* key;
    uint64_t* value;
  } known[] = {{"capacity_bytes", &config->capacity_bytes}, {"max_bytes", &config->max_bytes}};
  struct cursor cursor = {json.ptr, json.len > 0 ? json.ptr + json.len : json.ptr};
  config->capacity_bytes = config->max_bytes = 0;
  int is_open = json.len > 0 && take(&cursor, '{');
  if (!is_open) return outcome_fail(GANTRY_INVALID_ARGUMENT, "config: expected a JSON object");
  if (take(&cursor, '}')) is_open = 0;
  while (is_open) {
    if (!take(&cursor, '"')) return outcome_fail(GANTRY_INVALID_ARGUMENT, "config: expected a key");
    gantry_str key = {cursor.at, 0};
    while (cursor.at < cursor.end && *cursor.at != '"') ++cursor.at;
    key.len = (size_t)(cursor.at - key.ptr);
    uint64_t* value = NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i)
      if (text_is(key, known[i].key)) value = known[i].value;
    if (value == NULL)
      return outcome_fail(GANTRY_INVALID_ARGUMENT,
                          "config.%.*s: unknown: expected capacity_bytes or max_bytes",
                          text_shown(key), key.ptr);
    if (*value != 0)
      return outcome_fail(GANTRY_INVALID_ARGUMENT, "config.%.*s: given twice", text_shown(key),
                          key.ptr);
    const int has_value = take(&cursor, '"') && take(&cursor, ':');
    (void)next_char(&cursor);
    gantry_str given = {cursor.at, 0};
    while (cursor.at < cursor.end && *cursor.at != ',' && *cursor.at != '}') ++cursor.at;
    given.len = (size_t)(cursor.at - given.ptr);
    while (given.len > 0 && is_blank(given.ptr[given.len - 1])) --given.len;
    const int is_number =
        given.len > 0 && text_number(given, CAPACITY_BYTES_MAX, value) == given.len;
    is_open = take(&cursor, ',');
    if (!has_value || !is_number || *value < PAGE_BYTES || (!is_open && !take(&cursor, '}')))
      return outcome_fail(GANTRY_INVALID_ARGUMENT,
                          "config.%.*s: %.*s: expected a whole number from %" PRIu64 " to %" PRIu64,
                          text_shown(key), key.ptr, text_shown(given), given.ptr, PAGE_BYTES,
                          CAPACITY_BYTES_MAX);
  }
  if (next_char(&cursor) != '\0')
    return outcome_fail(GANTRY_INVALID_ARGUMENT, "config: expected nothing behind the JSON object");
  if (config->capacity_bytes == 0) config->capacity_bytes = CAPACITY_BYTES_DEFAULT;
  if (config->max_bytes == 0) config->max_bytes = config->capacity_bytes;
  config->capacity_bytes -= config->capacity_bytes % PAGE_BYTES;
  config->max_bytes -= config->max_bytes % PAGE_BYTES;
  return outcome_ok();
}
