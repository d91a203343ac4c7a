/* SPDX-License-Identifier: Apache-2.0 */
/* A throw-away process for one blocking job (gantry.job/1): a call into a library that cannot be
 * cancelled, such as one that waits for a cluster that is away. The host starts the same .so once
 * more, in a sandbox like the worker's, has it run one job, and kills it at the deadline; nothing
 * of the plugin's worker is lost with it.
 *
 * Both sides have the same id. The plugin asks the host with gantry_job_api.run; in the fresh
 * process the host asks the plugin for gantry_job_ops and calls run. Between the two go the input,
 * the output and the log, nothing else: there is no instance, no call and no host service in the
 * fresh process, and what the job needs to know stands in its input.
 *
 * A job that is killed has changed what it has changed: name it so that a second one can tell, as a
 * replayed call does. The jobs of a worker that dies are ended before its calls are replayed. */
#ifndef GANTRY_JOB_H
#define GANTRY_JOB_H

#include <gantry/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_JOB "gantry.job/1"
#define GANTRY_JOB_NAME_BYTES_MAX 32u
#define GANTRY_JOB_INPUT_BYTES_MAX 1048576u
#define GANTRY_JOB_OUTPUT_BYTES_MAX 1048576u
#define GANTRY_JOBS_MAX 2u /* of one backend at once; more wait for their turn */

typedef struct gantry_job_request {
  uint32_t size;
  uint32_t reserved;
  gantry_str name;     /* the plugin's word, shown in logs; [a-z0-9-], at most 32 bytes */
  gantry_bytes input;  /* may hold a credential: it is never logged, and wiped by the host */
  int64_t deadline_ns; /* at most 10 minutes from now */
} gantry_job_request;

/* The host's side. */
typedef struct gantry_job_api {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* Runs the job and blocks until it has ended or was killed. The output is written to `output` as
   * far as it fits and *length is its whole length. The code is the job's own, or
   * DEADLINE_EXCEEDED: killed at the deadline, or still waiting for its turn then; UNAVAILABLE: it
   * died by itself; RESOURCE_EXHAUSTED: 64 wait already, or the output was too long; UNIMPLEMENTED:
   * the plugin has no gantry_job_ops. No output but with OK.
   * [any thread but a cancel callback] */
  gantry_code (*run)(void* ctx, gantry_call call, const gantry_job_request* request, void* output,
                     size_t capacity, size_t* length);
} gantry_job_api;

/* The plugin's side, in the fresh process. */
typedef struct gantry_job_run {
  uint32_t size;
  uint32_t reserved;
  gantry_str name;
  gantry_bytes input;
  int64_t deadline_ns; /* the process is killed then */
  void* ctx;
  /* Appends to the output. 1, or 0: it would be more than GANTRY_JOB_OUTPUT_BYTES_MAX, and the job
   * is RESOURCE_EXHAUSTED. */
  int32_t (*write)(void* ctx, gantry_bytes bytes);
} gantry_job_run;

/* Asked for with gantry_plugin.extension and a NULL instance: create is never called there. */
typedef struct gantry_job_ops {
  uint32_t size;
  uint32_t reserved;
  /* Runs one job on the process's main thread; the process ends when it returns. Of `host` only
   * log works. */
  gantry_code (*run)(const gantry_host* host, const gantry_job_run* job);
} gantry_job_ops;

#ifdef __cplusplus
}
#endif
#endif
