/* SPDX-License-Identifier: Apache-2.0 */
/* Texts as the ABI has them, pointer and length: what this backend does with them. */
#ifndef MEMORY_TEXT_H
#define MEMORY_TEXT_H

#include <gantry/abi.h>

/* A gantry_str of a string literal, whose length the compiler knows. */
#define STR(literal) \
  { literal, sizeof(literal) - 1 }

/* 1: the text has these bytes. */
int text_is(gantry_str text, const char* bytes);

/* How much of a text from outside a message shows, for "%.*s": bounded, and never half a
 * character. */
int text_shown(gantry_str text);

/* Reads decimal digits without a leading zero from the beginning of `text`, at most `limit`.
 * Returns how many there were; 0: no such number. */
size_t text_number(gantry_str text, uint64_t limit, uint64_t* number);

#endif
