/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks (gantry/task.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_task_run, 56);
FIELD(gantry_task_run, size, 0);
FIELD(gantry_task_run, reserved, 4);
FIELD(gantry_task_run, kind, 8);
FIELD(gantry_task_run, key, 24);
FIELD(gantry_task_run, cursor, 40);

SIZE(gantry_task_ops, 24);
FIELD(gantry_task_ops, size, 0);
FIELD(gantry_task_ops, reserved, 4);
FIELD(gantry_task_ops, list_tasks, 8);
FIELD(gantry_task_ops, run_task, 16);

TEXT(GANTRY_EXT_TASK, "gantry.task/1");
