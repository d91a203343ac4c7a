/* SPDX-License-Identifier: Apache-2.0 */
/* The records of the volumes, in the host's key-value store: "volume.<handle>" -> a short text,
 * only ever changed by compare-and-swap on its version. */
#ifndef MEMORY_STORE_H
#define MEMORY_STORE_H

#include "outcome.h"

#define HANDLE_PREFIX "m-"
enum {
  KEY_DIGITS = 32, /* of gantry_create_volume.key */
  HANDLE_BYTES = sizeof HANDLE_PREFIX - 1 + KEY_DIGITS,
  RECORD_FORMAT = 1, /* the only one there is */
  OWNER_BYTES_MAX = 64,
  VOLUMES_MAX = 1024,
};

struct store {
  const gantry_call_api* calls;
  const gantry_kv_api* kv;
  char owner[OWNER_BYTES_MAX + 1]; /* of the records */
};

/* *version 0: there is no such volume. DATA_LOSS: a record that is not of this volume and owner. */
struct outcome store_load(const struct store* store, gantry_call call, gantry_str handle,
                          uint64_t* size_bytes, uint64_t* version);

/* expected_version 0: a new record. Done means durable; ABORTED: somebody was faster. */
struct outcome store_save(const struct store* store, gantry_call call, gantry_str handle,
                          uint64_t size_bytes, uint64_t expected_version);

/* Only the very record that was loaded; ABORTED: it is another one by now. */
struct outcome store_remove(const struct store* store, gantry_call call, gantry_str handle,
                            uint64_t version);

struct handles {
  char (*items)[HANDLE_BYTES]; /* in the call's memory, which goes with the call */
  size_t count;
  int is_strange; /* a key that this backend does not write, or too many of them */
};

/* Every handle there is, in the order of their bytes. */
struct outcome store_list(const struct store* store, gantry_call call, struct handles* handles);

#endif
