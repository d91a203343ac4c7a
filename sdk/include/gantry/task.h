/* SPDX-License-Identifier: Apache-2.0 */
/* Work outside any CSI call (gantry.task/1): emptying trash, copying, reconciling. A plugin never
 * starts such work itself; it says what is to be done, and the host runs it, on the active
 * generation only, one run at a time for each kind and key, with retries, and resumes it from its
 * cursor. Two controllers may run the same task at once unless the plugin keeps a lease on the
 * storage. All slots: [dispatch]; end with finish. */
#ifndef GANTRY_TASK_H
#define GANTRY_TASK_H

#include <gantry/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_TASK "gantry.task/1"

typedef struct gantry_task_run {
  uint32_t size;
  uint32_t reserved;
  gantry_str kind;
  gantry_str key;
  gantry_bytes cursor; /* the last one emitted, or empty */
} gantry_task_run;

typedef struct gantry_task_ops {
  uint32_t size;
  uint32_t reserved;
  /* Emits every task that the storage says is to be done: asked for after activate and then
   * periodically, so that work survives every crash; what is emitted before an error counts. A call
   * may emit a task as well (emit_task): it is then run soon, whatever the call finishes with. */
  void (*list_tasks)(gantry_instance*, gantry_call, const gantry_task_run* unused);
  /* OK: done. ABORTED: not finished, go on later from the cursor. NOT_FOUND: nothing to do. Others:
   * tried again with backoff. Poll cancelled: a cancelled task stops within a second. */
  void (*run_task)(gantry_instance*, gantry_call, const gantry_task_run*);
} gantry_task_ops;

#ifdef __cplusplus
}
#endif
#endif
