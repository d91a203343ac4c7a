/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots (gantry.snapshot/1), snapshots of several volumes at one moment (gantry.group/1), and
 * which blocks are allocated or have changed (gantry.metadata/1).
 * All slots: [dispatch]; end with finish; NULL: the backend lacks the capability. */
#ifndef GANTRY_SNAPSHOT_H
#define GANTRY_SNAPSHOT_H

#include <gantry/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_SNAPSHOT "gantry.snapshot/1"
#define GANTRY_EXT_GROUP "gantry.group/1"
#define GANTRY_EXT_METADATA "gantry.metadata/1"

typedef struct gantry_create_snapshot {
  uint32_t size;
  uint32_t reserved;
  gantry_str name;
  gantry_str key; /* as in gantry_create_volume */
  gantry_str source_volume_handle;
  gantry_map parameters;
} gantry_create_snapshot;

typedef struct gantry_snapshot_ref {
  uint32_t size;
  uint32_t reserved;
  gantry_str handle;
} gantry_snapshot_ref;

typedef struct gantry_list_snapshots {
  uint32_t size;
  uint32_t max_entries; /* 0: all */
  gantry_str after;
  gantry_str source_volume_handle; /* only of this volume; empty: of all */
} gantry_list_snapshots;

typedef struct gantry_snapshot_ops {
  uint32_t size;
  uint32_t reserved;
  /* Emits one snapshot. Same name and source again: the same one; other source: ALREADY_EXISTS. */
  void (*create_snapshot)(gantry_instance*, gantry_call, const gantry_create_snapshot*);
  /* Not there: OK. INVALID_ARGUMENT: a member of a group. FAILED_PRECONDITION: in use. */
  void (*delete_snapshot)(gantry_instance*, gantry_call, const gantry_snapshot_ref*);
  void (*get_snapshot)(gantry_instance*, gantry_call, const gantry_snapshot_ref*);
  /* Ordered by the bytes of the handles. */
  void (*list_snapshots)(gantry_instance*, gantry_call, const gantry_list_snapshots*);
} gantry_snapshot_ops;

typedef struct gantry_create_group {
  uint32_t size;
  uint32_t reserved;
  gantry_str name;
  gantry_str key;
  gantry_list source_volume_handles;
  gantry_map parameters;
} gantry_create_group;

typedef struct gantry_group_ref {
  uint32_t size;
  uint32_t reserved;
  gantry_str handle;
  gantry_list snapshot_handles; /* the members as the caller knows them */
} gantry_group_ref;

typedef struct gantry_group_ops {
  uint32_t size;
  uint32_t reserved;
  /* All members cut at one point in write order, or FAILED_PRECONDITION. Emits the group, then each
   * member. */
  void (*create_group)(gantry_instance*, gantry_call, const gantry_create_group*);
  /* INVALID_ARGUMENT: the handles are not the members. */
  void (*delete_group)(gantry_instance*, gantry_call, const gantry_group_ref*);
  void (*get_group)(gantry_instance*, gantry_call, const gantry_group_ref*);
} gantry_group_ops;

typedef struct gantry_block_query {
  uint32_t size;
  uint32_t max_results;   /* a hint for one message of the stream */
  gantry_str base_handle; /* delta: the older snapshot; allocated: empty */
  gantry_str handle;
  uint64_t starting_offset; /* emit ranges from here on, rising, not overlapping */
} gantry_block_query;

enum { GANTRY_BLOCKS_FIXED_LENGTH = 1, GANTRY_BLOCKS_VARIABLE_LENGTH = 2 };

typedef struct gantry_metadata_ops {
  uint32_t size;
  int32_t block_type; /* GANTRY_BLOCKS_* */
  void (*get_allocated)(gantry_instance*, gantry_call, const gantry_block_query*);
  /* FAILED_PRECONDITION: the backend cannot tell for these two. */
  void (*get_delta)(gantry_instance*, gantry_call, const gantry_block_query*);
} gantry_metadata_ops;

#ifdef __cplusplus
}
#endif
#endif
