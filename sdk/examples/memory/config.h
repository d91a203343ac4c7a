/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's configuration, which the host hands over as JSON. */
#ifndef MEMORY_CONFIG_H
#define MEMORY_CONFIG_H

#include "outcome.h"

#define PAGE_BYTES UINT64_C(4096) /* tmpfs rounds sizes up to pages: so does what is promised */
#define CAPACITY_BYTES_MAX (UINT64_C(1) << 50)

/* For the manifest; says the same as config_read. */
#define CONFIG_SCHEMA                                                   \
  "{\"$schema\":\"http://json-schema.org/draft-07/schema#\","           \
  "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{" \
  "\"capacity_bytes\":{\"type\":\"integer\",\"minimum\":4096,"          \
  "\"maximum\":1125899906842624,\"default\":1073741824},"               \
  "\"max_bytes\":{\"type\":\"integer\",\"minimum\":4096,"               \
  "\"maximum\":1125899906842624}}}"

struct config {
  uint64_t capacity_bytes; /* of all volumes together; whole pages */
  uint64_t max_bytes;      /* of one volume; whole pages */
};

/* INVALID_ARGUMENT names the key, its value and what was expected. */
struct outcome config_read(gantry_str json, struct config* config);

#endif
