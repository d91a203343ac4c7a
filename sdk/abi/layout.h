/* SPDX-License-Identifier: Apache-2.0 */
/* The golden layout: the numbers that a vendor's compiled plugin has in it. They are checked by the
 * compiler, so that no build can exist that breaks them. Not derived from the headers at build
 * time: what follows every change pins nothing. */
#pragma once

#include <gantry/gantry.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "sizeof " #type)
#define FIELD(type, field, at) _Static_assert(offsetof(type, field) == (at), #type "." #field)
#define VALUE(constant, value) _Static_assert((constant) == (value), #constant)
/* GCC and Clang fold the comparison of two literals. */
#define TEXT(constant, text) _Static_assert(__builtin_strcmp(constant, text) == 0, #constant)

_Static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8, "64-bit");
