/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes: made, found, grown, removed (gantry.controller/1) and opened to nodes
 * (gantry.publish/1). The host has already validated the request, holds the lock of its key (create:
 * the name; all others: the volume), and calls again with the same request until it gets an answer
 * that is final: every operation is idempotent and can be finished after a crash at any point.
 *
 * All slots: [dispatch]; end with finish; NULL: the backend lacks the capability. */
#ifndef GANTRY_CONTROLLER_H
#define GANTRY_CONTROLLER_H

#include <gantry/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_CONTROLLER "gantry.controller/1"
#define GANTRY_EXT_PUBLISH "gantry.publish/1"

typedef struct gantry_create_volume {
  uint32_t size;
  uint32_t reserved;
  gantry_str name; /* as asked for; any Unicode, at most 128 bytes */
  gantry_str key; /* 32 hex digits from a hash of kind, owner and name: two controllers agree on it.
                      The handle is made of it (a prefix is allowed), and of nothing that changes. */
  uint64_t required_bytes; /* 0: no wish */
  uint64_t limit_bytes;    /* 0: no limit */
  const gantry_capability* capabilities;
  size_t capability_count;
  gantry_map parameters; /* durable ones, without the csi.storage.k8s.io/ keys */
  gantry_map mutable_parameters;
  gantry_map
      hints; /* what the CO says of its own objects, keys without the prefix csi.storage.k8s.io/:
                       "pvc/name", "pvc/namespace", "pv/name"; may differ between retries */
  gantry_content_kind content_kind;
  uint32_t reserved2;
  gantry_str content_handle;
  const gantry_map* requisite; /* topologies, as in CSI TopologyRequirement */
  size_t requisite_count;
  const gantry_map* preferred;
  size_t preferred_count;
} gantry_create_volume;

typedef struct gantry_volume_ref {
  uint32_t size;
  uint32_t reserved;
  gantry_str handle;  /* the plugin's own; of a static volume: its id as it came */
  gantry_map context; /* where the call carries one, else empty */
  gantry_map parameters;
} gantry_volume_ref;

typedef struct gantry_expand_volume {
  uint32_t size;
  uint32_t reserved;
  gantry_str handle;
  uint64_t required_bytes;
  uint64_t limit_bytes;
  gantry_capability capability; /* access_type 0: not given */
} gantry_expand_volume;

typedef struct gantry_modify_volume {
  uint32_t size;
  uint32_t reserved;
  gantry_str handle;
  gantry_map mutable_parameters; /* only these change: all of them or, on INVALID_ARGUMENT, none */
} gantry_modify_volume;

typedef struct gantry_list_volumes {
  uint32_t size;
  uint32_t max_entries; /* 0: all */
  gantry_str after;     /* emit what sorts after this handle (memcmp); empty: from the beginning */
} gantry_list_volumes;

typedef struct gantry_get_capacity {
  uint32_t size;
  uint32_t reserved;
  const gantry_capability* capabilities;
  size_t capability_count;
  gantry_map parameters;
  gantry_map topology;
} gantry_get_capacity;

typedef struct gantry_domain_query {
  uint32_t size;
  uint32_t reserved;
  gantry_str handle;     /* of the volume or snapshot, or empty */
  gantry_map parameters; /* of the StorageClass, or empty */
} gantry_domain_query;

enum {
  GANTRY_CONTROLLER_CLONES = 1u << 0,    /* create_volume takes a volume as content */
  GANTRY_CONTROLLER_RESTORES = 1u << 1,  /* ... and a snapshot */
  GANTRY_CONTROLLER_CONDITIONS = 1u << 2 /* get and list emit conditions */
};

typedef struct gantry_controller {
  uint32_t size;
  uint32_t flags; /* GANTRY_CONTROLLER_* */
  /* The fault domain of an operation (a server, a portal): the worker lets only domain_calls_max of
   * them run at once, so that a dead one cannot take every thread. At once, without I/O; the string
   * lives as long as the instance. NULL or "": one domain. [any thread] */
  gantry_str (*domain)(gantry_instance* instance, const gantry_domain_query* query);
  /* Emits one volume. Same name again: the same volume when size, source and parameters are
   * compatible, else ALREADY_EXISTS. ABORTED while a copy is still running. NOT_FOUND: the source.
   * OUT_OF_RANGE: the size. RESOURCE_EXHAUSTED: no room, or not in this topology. */
  void (*create_volume)(gantry_instance*, gantry_call, const gantry_create_volume*);
  /* What is not there is removed: OK. FAILED_PRECONDITION: in use or a snapshot depends on it. */
  void (*delete_volume)(gantry_instance*, gantry_call, const gantry_volume_ref*);
  /* Emits the volume with its condition; NOT_FOUND. */
  void (*get_volume)(gantry_instance*, gantry_call, const gantry_volume_ref*);
  /* Emits volumes ordered by the bytes of their handles, all that exist or an error: never a short
   * list because a server is away. */
  void (*list_volumes)(gantry_instance*, gantry_call, const gantry_list_volumes*);
  void (*get_capacity)(gantry_instance*, gantry_call, const gantry_get_capacity*);
  /* Emits the volume with the capacity that it now has; already as large: OK. */
  void (*expand_volume)(gantry_instance*, gantry_call, const gantry_expand_volume*);
  void (*modify_volume)(gantry_instance*, gantry_call, const gantry_modify_volume*);
  /* Is a volume that was made elsewhere, and whose id no backend's name begins, on storage that this
   * backend serves? Asked before the first of its operations, with its id as handle and with the
   * context where the call carries one; all its operations then get the id as handle and emit any.
   * OK: yes. NOT_FOUND: no, and nothing more. Without I/O. NULL: the backend knows of no such
   * volumes but those that a context sends to it by name. */
  void (*recognize_volume)(gantry_instance*, gantry_call, const gantry_volume_ref*);
} gantry_controller;

typedef struct gantry_publish_volume {
  uint32_t size;
  int32_t readonly;
  gantry_str handle;
  gantry_str node_id; /* unpublish: empty means every node */
  gantry_capability capability;
  gantry_map context;
} gantry_publish_volume;

typedef struct gantry_publish {
  uint32_t size;
  uint32_t flags; /* GANTRY_PUBLISH_* */
  /* Opens the volume to the node and emits its publish context. FAILED_PRECONDITION names the node
   * that has it; RESOURCE_EXHAUSTED: the node has as many as it can. */
  void (*publish_volume)(gantry_instance*, gantry_call, const gantry_publish_volume*);
  /* Closes it, and OK only when no write of that node can land any more: the fence of a lost node. */
  void (*unpublish_volume)(gantry_instance*, gantry_call, const gantry_publish_volume*);
} gantry_publish;
enum {
  GANTRY_PUBLISH_READONLY = 1u << 0,   /* read-only publishing is enforced */
  GANTRY_PUBLISH_LISTS_NODES = 1u << 1 /* list and get emit published_node_ids */
};

#ifdef __cplusplus
}
#endif
#endif
