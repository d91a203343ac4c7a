/* SPDX-License-Identifier: Apache-2.0 */
/* Throw-away processes (gantry/job.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_job_request, 48);
FIELD(gantry_job_request, size, 0);
FIELD(gantry_job_request, reserved, 4);
FIELD(gantry_job_request, name, 8);
FIELD(gantry_job_request, input, 24);
FIELD(gantry_job_request, deadline_ns, 40);

SIZE(gantry_job_api, 24);
FIELD(gantry_job_api, size, 0);
FIELD(gantry_job_api, reserved, 4);
FIELD(gantry_job_api, ctx, 8);
FIELD(gantry_job_api, run, 16);

SIZE(gantry_job_run, 64);
FIELD(gantry_job_run, size, 0);
FIELD(gantry_job_run, reserved, 4);
FIELD(gantry_job_run, name, 8);
FIELD(gantry_job_run, input, 24);
FIELD(gantry_job_run, deadline_ns, 40);
FIELD(gantry_job_run, ctx, 48);
FIELD(gantry_job_run, write, 56);

SIZE(gantry_job_ops, 16);
FIELD(gantry_job_ops, size, 0);
FIELD(gantry_job_ops, reserved, 4);
FIELD(gantry_job_ops, run, 8);

TEXT(GANTRY_EXT_JOB, "gantry.job/1");
VALUE(GANTRY_JOB_NAME_BYTES_MAX, 32);
VALUE(GANTRY_JOB_INPUT_BYTES_MAX, 1048576);
VALUE(GANTRY_JOB_OUTPUT_BYTES_MAX, 1048576);
VALUE(GANTRY_JOBS_MAX, 2);
