/* SPDX-License-Identifier: Apache-2.0 */
/* The node's side of a backend (gantry.node/1). A backend says how a volume is reached; staging,
 * checking, formatting, growing, binding, measuring and taking down are the host's work.
 * All slots: [dispatch]; end with finish. */
#ifndef GANTRY_NODE_H
#define GANTRY_NODE_H

#include <gantry/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_NODE "gantry.node/1"

typedef struct gantry_attach {
  uint32_t size;
  int32_t readonly;
  gantry_str handle;
  gantry_str node_id;
  gantry_capability capability;
  gantry_map context;         /* of the volume */
  gantry_map publish_context; /* from ControllerPublishVolume */
} gantry_attach;

typedef struct gantry_node_ops {
  uint32_t size;
  uint32_t reserved;
  /* Makes the volume reachable from this node and emits exactly one source. */
  void (*attach)(gantry_instance*, gantry_call, const gantry_attach*);
  /* Undoes attach after the host has unmounted; nothing there to undo: OK. `context` and
   * `publish_context` are those of the attach. NULL: nothing to undo. */
  void (*detach)(gantry_instance*, gantry_call, const gantry_attach*);
  /* BLOCK: makes the node see the device's new size, by all its paths; DISK: nothing to be done, the
   * host asks the data path. Emits the source with the size that it has now. NULL for all others. */
  void (*rescan)(gantry_instance*, gantry_call, const gantry_attach*);
} gantry_node_ops;

#ifdef __cplusplus
}
#endif
#endif
