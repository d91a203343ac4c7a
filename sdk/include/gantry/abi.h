/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the ABI: what crosses the line between a storage backend and the Gantry host.
 *
 * A backend ("plugin") is one shared object. It is loaded by gantry-worker, an unprivileged process
 * that serves exactly one backend, and speaks to the host through C structs and function pointers
 * alone: no C++ type, no protobuf, no exception, no memory ownership ever crosses.
 *
 * The rules that hold everywhere:
 *
 *  1. Structs begin with `size`, which whoever fills the struct sets to sizeof. The reader copies
 *     min(size, its own sizeof) over zeros, so a field that the other side did not know is zero.
 *     Requests to a plugin lie in zeroed memory with slack behind them; GANTRY_HAS tells whether the
 *     host knew a field. Structs that are elements of arrays have no `size` and never change.
 *  2. Who allocates frees. What the host passes in is borrowed and lives until the plugin's own
 *     finish of that call, also when the host has already answered its caller. What a plugin passes
 *     to an emit function is copied before the function returns.
 *  3. A call ends exactly once, by finish, from any thread, during or after the operation's function.
 *     A second or a late finish is counted as misbehaviour and does nothing else.
 *  4. Cancellation and deadlines are advice to the plugin and law to the host: when the deadline is
 *     over the host answers its caller, and the call keeps its volume locked until finish.
 *  5. A plugin starts no work of its own in the background (tasks are asked for, see task.h), changes
 *     nothing process-wide (signal handlers, umask, working directory, locale, environment), never
 *     forks, execs, calls exit, or lets an exception or longjmp leave it.
 *  6. Strings are UTF-8 as (ptr, len), and ptr[len] is a NUL that len does not count. A string from
 *     the host holds no NUL inside. A string to the host needs no NUL behind it. Absent: {NULL, 0}.
 *  7. Enums are int32_t constants. An unknown value in a request: finish INVALID_ARGUMENT.
 *
 * Thread tags: [any thread] may be called at any time from any thread; [dispatch] is called by one
 * of the worker's threads as the manifest's thread model allows; [control] is called by the worker's
 * one control thread, never two at a time. Nothing is called before create or after destroy.
 *
 * Sizes are 64-bit little-endian. C11; no header but stddef.h and stdint.h. This is ABI 0: it may
 * change between releases until vendors outside the project have passed the validator; then it
 * becomes 1 and only ever grows at the end of structs and by new extension ids. */
#ifndef GANTRY_ABI_H
#define GANTRY_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_ABI_MAJOR 0u
#define GANTRY_ABI_MINOR 4u
#define GANTRY_MAGIC 0x47544e59u /* "GTNY" */

#if defined(__GNUC__)
#define GANTRY_EXPORT __attribute__((visibility("default")))
#else
#define GANTRY_EXPORT
#endif

/* Did whoever filled *p know this field? */
#define GANTRY_HAS(p, field) \
  ((size_t)((const char*)&(p)->field - (const char*)(p)) + sizeof((p)->field) <= (p)->size)

typedef struct gantry_str {
  const char* ptr;
  size_t len;
} gantry_str;

typedef struct gantry_bytes {
  const void* ptr;
  size_t len;
} gantry_bytes;

typedef struct gantry_pair { /* element of arrays: frozen */
  gantry_str key;
  gantry_str value;
} gantry_pair;

typedef struct gantry_map { /* keys are unique; the order means nothing */
  const gantry_pair* items;
  size_t count;
} gantry_map;

typedef struct gantry_list {
  const gantry_str* items;
  size_t count;
} gantry_list;

/* One call of the host into the plugin: an id, looked up in a table, never a pointer; 0 is no call. */
typedef uint64_t gantry_call;

/* The plugin's own object, made by create; opaque to the host. */
typedef struct gantry_instance gantry_instance;

/* Outcome of a call: the numbers of gRPC status codes (CSI spec, "Error Scheme"). */
typedef int32_t gantry_code;
enum {
  GANTRY_OK = 0,
  GANTRY_CANCELLED = 1,
  GANTRY_UNKNOWN = 2,
  GANTRY_INVALID_ARGUMENT = 3,
  GANTRY_DEADLINE_EXCEEDED = 4,
  GANTRY_NOT_FOUND = 5,
  GANTRY_ALREADY_EXISTS = 6,
  GANTRY_PERMISSION_DENIED = 7,
  GANTRY_RESOURCE_EXHAUSTED = 8,
  GANTRY_FAILED_PRECONDITION = 9,
  GANTRY_ABORTED = 10,
  GANTRY_OUT_OF_RANGE = 11,
  GANTRY_UNIMPLEMENTED = 12,
  GANTRY_INTERNAL = 13,
  GANTRY_UNAVAILABLE = 14,
  GANTRY_DATA_LOSS = 15,
  GANTRY_UNAUTHENTICATED = 16
};

/* How a volume is to be used (CSI VolumeCapability.AccessMode.Mode, same numbers). */
typedef int32_t gantry_access_mode;
enum {
  GANTRY_SINGLE_NODE_WRITER = 1,
  GANTRY_SINGLE_NODE_READER_ONLY = 2,
  GANTRY_MULTI_NODE_READER_ONLY = 3,
  GANTRY_MULTI_NODE_SINGLE_WRITER = 4,
  GANTRY_MULTI_NODE_MULTI_WRITER = 5,
  GANTRY_SINGLE_NODE_SINGLE_WRITER = 6,
  GANTRY_SINGLE_NODE_MULTI_WRITER = 7
};
#define GANTRY_ACCESS_MODE_BIT(mode) (1u << (mode))

typedef int32_t gantry_access_type;
enum { GANTRY_ACCESS_MOUNT = 1, GANTRY_ACCESS_BLOCK = 2 };
#define GANTRY_ACCESS_TYPE_BIT(type) (1u << (type))

/* Element of arrays: frozen. */
typedef struct gantry_capability {
  gantry_access_type access_type;
  gantry_access_mode access_mode;
  gantry_str fs_type;            /* mount: the wish, may be empty */
  gantry_list mount_flags;       /* mount: may be sensitive, never log them */
  gantry_str volume_mount_group; /* mount: a gid in decimal, or empty */
} gantry_capability;

typedef int32_t gantry_content_kind;
enum { GANTRY_CONTENT_EMPTY = 0, GANTRY_CONTENT_SNAPSHOT = 1, GANTRY_CONTENT_VOLUME = 2 };

#ifdef __cplusplus
}
#endif
#endif
