/* SPDX-License-Identifier: Apache-2.0 */
/* What the host does for a plugin. `gantry_host` comes with create and lives until the process ends;
 * everything beyond logging is an extension, asked for by id. A host without an extension answers
 * NULL, and the plugin then works without it or fails its create with a clear message. */
#ifndef GANTRY_HOST_H
#define GANTRY_HOST_H

#include <gantry/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GANTRY_LOG_DEBUG = 0, GANTRY_LOG_INFO = 1, GANTRY_LOG_WARNING = 2, GANTRY_LOG_ERROR = 3 };

typedef struct gantry_host {
  uint32_t size;
  uint32_t abi_minor;
  void* ctx;
  /* The table of an extension, or NULL. [any thread] */
  const void* (*extension)(void* ctx, const char* id);
  /* Never blocks; records are dropped, and the drops counted, when the pipe is full. Never log a
   * secret or a mount flag. `call` may be 0. [any thread] */
  void (*log)(void* ctx, gantry_call call, int32_t level, gantry_str message);
} gantry_host;

/* --- what a call brings out ------------------------------------------------------------------ */

enum { GANTRY_VOLUME_NODE_EXPANSION = 1u << 0 /* NodeExpandVolume has to follow */ };
enum { GANTRY_CONDITION_UNKNOWN = 0, GANTRY_CONDITION_NORMAL = 1, GANTRY_CONDITION_ABNORMAL = 2 };

typedef struct gantry_volume {
  uint32_t size;
  uint32_t flags;
  gantry_str handle; /* the plugin's name for the volume: [A-Za-z0-9._-], at most 80 bytes */
  uint64_t capacity_bytes;
  gantry_map context; /* given back on every node; no secrets; at most 4 KiB together */
  gantry_content_kind content_kind;
  int32_t condition; /* GANTRY_CONDITION_* */
  gantry_str content_handle;
  gantry_str condition_message; /* for people; says since when */
  const gantry_map* topologies; /* from where it can be reached; none: from everywhere */
  size_t topology_count;
  gantry_list published_node_ids;
} gantry_volume;

enum { GANTRY_SNAPSHOT_READY = 1u << 0 };

typedef struct gantry_snapshot {
  uint32_t size;
  uint32_t flags;
  gantry_str handle;
  gantry_str source_volume_handle;
  gantry_str group_handle;
  uint64_t size_bytes;
  int64_t created_ns; /* since 1970, UTC */
} gantry_snapshot;

typedef struct gantry_group_snapshot { /* followed by emit_snapshot for each member */
  uint32_t size;
  uint32_t flags; /* GANTRY_SNAPSHOT_READY */
  gantry_str handle;
  int64_t created_ns;
} gantry_group_snapshot;

typedef struct gantry_capacity {
  uint32_t size;
  uint32_t has_maximum; /* 1: maximum_volume_bytes is meant */
  uint64_t available_bytes;
  uint64_t maximum_volume_bytes;
  uint64_t minimum_volume_bytes; /* 0: no limit known */
} gantry_capacity;

typedef struct gantry_block_range {
  uint32_t size;
  uint32_t reserved;
  uint64_t offset_bytes;
  uint64_t length_bytes;
  uint64_t volume_capacity_bytes;
} gantry_block_range;

typedef int32_t gantry_source_kind;
enum {
  GANTRY_SOURCE_FILESYSTEM = 1,
  GANTRY_SOURCE_BLOCK = 2,
  GANTRY_SOURCE_USERSPACE = 3,
  /* FILESYSTEM where the node's kernel has that type, else USERSPACE. Nodes may choose differently:
   * not for a volume that several nodes write through clients with locks of their own. */
  GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE = 4,
  GANTRY_SOURCE_DISK = 5 /* a userspace disk (disk.h) under a loop device of the host's */
};
enum {
  /* BLOCK, DISK: the backend knows that nobody has ever written to it, so that a device that also
   * looks blank may be formatted. Without it only a filesystem that is there is mounted. */
  GANTRY_SOURCE_MAY_FORMAT = 1u << 0
};
enum { GANTRY_MULTIPATH_NONE = 0, GANTRY_MULTIPATH_REQUIRED = 1 };

/* What the host shall make reachable at the staging path. The host checks it against the backend's
 * grants before it believes any of it. */
typedef struct gantry_source {
  uint32_t size;
  gantry_source_kind kind;
  /* FILESYSTEM: what mount(8) would be given. */
  gantry_str fs_type;
  gantry_str source;
  gantry_list options;
  /* BLOCK: which device it must prove to be; device names are resolved by the host at every use. */
  gantry_str identity; /* BLOCK, DISK: as in VPD page 0x83 */
  uint64_t size_bytes; /* likewise */
  gantry_list paths;
  int32_t multipath; /* GANTRY_MULTIPATH_* */
  uint32_t flags;    /* GANTRY_SOURCE_MAY_* */
  /* USERSPACE, DISK: what gantry.datapath/1 or gantry.disk/1 is opened with, in a process of the
   * volume's own. */
  gantry_map parameters;
} gantry_source;

typedef struct gantry_task {
  uint32_t size;
  uint32_t run_s_max; /* how long one run may take, at most a day; 0: a minute. Few of those that
                         take longer run at once. */
  gantry_str kind;    /* the plugin's word, e.g. "trash"; [a-z0-9-], at most 32 bytes */
  gantry_str key;     /* which one of that kind; at most 128 bytes */
  gantry_str lock;    /* a volume handle whose lock the host holds while it runs, or empty */
  uint64_t after_ms;  /* not before so long from now */
} gantry_task;

typedef struct gantry_task_progress {
  uint32_t size;
  uint32_t reserved;
  gantry_bytes cursor; /* where to go on after a crash; at most 4 KiB; kept by the host */
  uint64_t done;
  uint64_t total; /* 0: not known */
} gantry_task_progress;

/* A part of what one generation gives to the next (state.h). */
typedef struct gantry_state {
  uint32_t size;
  uint32_t reserved;
  gantry_bytes bytes;
} gantry_state;

/* --- gantry.call/1: the call itself ---------------------------------------------------------- */

#define GANTRY_EXT_CALL "gantry.call/1"

/* Every function: [any thread], from the call's begin to its finish. Emit functions copy, and
 * return 1 when more is wanted and 0 when the host wants no more (page full, call over): then emit
 * nothing further and finish OK. */
typedef struct gantry_call_api {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* Ends the call. `message` is for people and goes to the caller: no secrets, no stack traces. */
  void (*finish)(void* ctx, gantry_call call, gantry_code code, gantry_str message);
  /* CLOCK_MONOTONIC in ns; INT64_MAX: none. */
  int64_t (*deadline_ns)(void* ctx, gantry_call call);
  /* 1 on the first attempt. Above 1 an earlier one died with its worker somewhere on the way:
   * operations whose effects outlive the process verify first what has already happened. */
  uint32_t (*attempt)(void* ctx, gantry_call call);
  /* 1 once nobody waits for the answer any more. A cheap poll. */
  int32_t (*cancelled)(void* ctx, gantry_call call);
  /* Calls fn(arg) once when the call is cancelled or its deadline is over, from a thread of its own
   * (at once, when it is already), never after finish has returned. 0, or -1: one is set already. */
  int32_t (*on_cancel)(void* ctx, gantry_call call, void (*fn)(void* arg), void* arg);
  /* A secret of this call. 1 and *value, valid until finish and wiped then; 0: not given. */
  int32_t (*secret)(void* ctx, gantry_call call, gantry_str key, gantry_str* value);
  /* The CSI request as it came, protobuf bytes without its secrets: for fields newer than this ABI. */
  gantry_bytes (*request_bytes)(void* ctx, gantry_call call);
  /* Zeroed memory that lives until finish; NULL when the call's arena is used up (1 MiB). */
  void* (*alloc)(void* ctx, gantry_call call, size_t bytes, size_t alignment);
  int32_t (*emit_volume)(void* ctx, gantry_call call, const gantry_volume* volume);
  int32_t (*emit_snapshot)(void* ctx, gantry_call call, const gantry_snapshot* snapshot);
  int32_t (*emit_group_snapshot)(void* ctx, gantry_call call, const gantry_group_snapshot* group);
  int32_t (*emit_capacity)(void* ctx, gantry_call call, const gantry_capacity* capacity);
  int32_t (*emit_publish_context)(void* ctx, gantry_call call, const gantry_map* context);
  int32_t (*emit_block_range)(void* ctx, gantry_call call, const gantry_block_range* range);
  int32_t (*emit_source)(void* ctx, gantry_call call, const gantry_source* source);
  int32_t (*emit_task)(void* ctx, gantry_call call, const gantry_task* task);
  int32_t (*emit_progress)(void* ctx, gantry_call call, const gantry_task_progress* progress);
  int32_t (*emit_state)(void* ctx, gantry_call call, const gantry_state* state);
} gantry_call_api;

/* --- gantry.kv/1: small durable values on this node ------------------------------------------- */

#define GANTRY_EXT_KV "gantry.kv/1"
#define GANTRY_KV_KEY_BYTES_MAX 128u
#define GANTRY_KV_VALUE_BYTES_MAX 65536u

/* A namespace of the backend's own, fsynced, for what belongs to this node; what belongs to a volume
 * belongs on the storage. Blocks until done or `deadline_ns`; UNAVAILABLE when the host is away.
 * Keys: [A-Za-z0-9._-]. [any thread but a cancel callback] */
typedef struct gantry_kv_api {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* *version is 0 and the code NOT_FOUND when the key is not there. The value is written to
   * `buffer` as far as it fits and *length is its whole length. */
  gantry_code (*get)(void* ctx, gantry_str key, void* buffer, size_t capacity, size_t* length,
                     uint64_t* version, int64_t deadline_ns);
  /* Compare and swap: only when the key's version is `expected_version` (0: not there), else
   * ABORTED. */
  gantry_code (*put)(void* ctx, gantry_str key, gantry_bytes value, uint64_t expected_version,
                     int64_t deadline_ns);
  gantry_code (*remove)(void* ctx, gantry_str key, uint64_t expected_version, int64_t deadline_ns);
  /* Calls visit for each key in order until it returns 0. */
  gantry_code (*scan)(void* ctx, gantry_str prefix, int32_t (*visit)(void* arg, gantry_str key),
                      void* arg, int64_t deadline_ns);
} gantry_kv_api;

/* --- gantry.exec/1: a helper program, run by the host ----------------------------------------- */

#define GANTRY_EXT_EXEC "gantry.exec/1"
#define GANTRY_EXEC_OUTPUT_BYTES_MAX 1048576u

typedef struct gantry_exec_request {
  uint32_t size;
  uint32_t reserved;
  gantry_list argv;   /* argv[0] is a name that the backend's grants map to a program */
  gantry_bytes input; /* its standard input */
  int64_t deadline_ns;
} gantry_exec_request;

typedef struct gantry_exec_result {
  uint32_t size;
  int32_t exit_status; /* exit code, or 128 + signal */
  size_t output_length;
  size_t error_length;
} gantry_exec_result;

typedef struct gantry_exec_api {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* Runs argv without a shell, killed at the deadline. PERMISSION_DENIED names the argument that no
   * grant allows. Output beyond the buffers is cut, the lengths are the whole. Blocks.
   * [any thread but a cancel callback] */
  gantry_code (*run)(void* ctx, gantry_call call, const gantry_exec_request* request, void* output,
                     size_t output_capacity, void* error, size_t error_capacity,
                     gantry_exec_result* result);
} gantry_exec_api;

/* --- gantry.secret/1: the backend's own credentials ------------------------------------------- */

#define GANTRY_EXT_SECRET "gantry.secret/1"

typedef struct gantry_secret_api {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* A credential that the configuration names for this backend (a file, read again when it has
   * changed). Written to `buffer` as far as it fits; the plugin wipes its copy. [any thread] */
  gantry_code (*get)(void* ctx, gantry_str name, void* buffer, size_t capacity, size_t* length,
                     int64_t deadline_ns);
} gantry_secret_api;

/* --- gantry.metric/1 -------------------------------------------------------------------------- */

#define GANTRY_EXT_METRIC "gantry.metric/1"

typedef struct gantry_metric_api {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* Adds to a counter that the host shows with the backend's name; [a-z0-9_], at most 64 bytes; a
   * backend has at most 64 of them. Never blocks. [any thread] */
  void (*count)(void* ctx, gantry_str name, uint64_t add);
} gantry_metric_api;

#ifdef __cplusplus
}
#endif
#endif
