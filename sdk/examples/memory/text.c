/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <string.h>

enum { SHOWN_BYTES_MAX = 64 };

int text_is(gantry_str text, const char* bytes) {
  return text.len == strlen(bytes) && (text.len == 0 || memcmp(text.ptr, bytes, text.len) == 0);
}

int text_shown(gantry_str text) {
  if (text.len <= SHOWN_BYTES_MAX) return (int)text.len;
  int bytes = SHOWN_BYTES_MAX;
  while (bytes > 0 && ((unsigned char)text.ptr[bytes] & 0xC0u) == 0x80u) --bytes;
  return bytes;
}

size_t text_number(gantry_str text, uint64_t limit, uint64_t* number) {
  size_t digits = 0;
  *number = 0;
  for (; digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9'; ++digits) {
    const uint64_t digit = (uint64_t)(text.ptr[digits] - '0');
    if (*number > (limit - digit) / 10 || (digits == 1 && text.ptr[0] == '0')) return 0;
    *number = *number * 10 + digit;
  }
  return digits;
}
