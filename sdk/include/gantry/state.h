/* SPDX-License-Identifier: Apache-2.0 */
/* What passes from one generation to its successor (gantry.state/1). What belongs to a volume belongs
 * on the storage; this is for what a process knows and could not find there, and for the moment
 * from which new formats may be written. Every slot may be NULL; a backend that keeps no state and
 * has one format needs none of this. All slots: [dispatch]; end with finish. */
#ifndef GANTRY_STATE_H
#define GANTRY_STATE_H

#include <gantry/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_STATE "gantry.state/1"
#define GANTRY_STATE_BYTES_MAX 4194304u /* of all chunks together */
#define GANTRY_STATE_CHUNK_BYTES_MAX 1048576u

typedef struct gantry_formats {
  uint32_t size;
  uint32_t record_format; /* to be written from now on */
  uint32_t context_format;
  uint32_t reserved;
} gantry_formats;

typedef struct gantry_state_ops {
  uint32_t size;
  uint32_t reserved;
  /* Emits the state in chunks (emit_state), in a form that says its own version: the successor may
   * be older (a rollback) or newer. No other operation runs meanwhile. */
  void (*export_state)(gantry_instance*, gantry_call, const gantry_state* unused);
  /* Once, after start and before activate: all chunks in one. An error refuses the successor. */
  void (*import_state)(gantry_instance*, gantry_call, const gantry_state*);
  /* Nobody can go back to an older release any more: these formats may be written. A plugin without
   * this slot is told by gantry_create at its worker's next start. */
  void (*use_formats)(gantry_instance*, gantry_call, const gantry_formats*);
} gantry_state_ops;

#ifdef __cplusplus
}
#endif
#endif
