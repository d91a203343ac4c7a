/* SPDX-License-Identifier: Apache-2.0 */
/* The node side (gantry/node.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_attach, 128);
FIELD(gantry_attach, size, 0);
FIELD(gantry_attach, readonly, 4);
FIELD(gantry_attach, handle, 8);
FIELD(gantry_attach, node_id, 24);
FIELD(gantry_attach, capability, 40);
FIELD(gantry_attach, context, 96);
FIELD(gantry_attach, publish_context, 112);

SIZE(gantry_node_ops, 32);
FIELD(gantry_node_ops, size, 0);
FIELD(gantry_node_ops, reserved, 4);
FIELD(gantry_node_ops, attach, 8);
FIELD(gantry_node_ops, detach, 16);
FIELD(gantry_node_ops, rescan, 24);

TEXT(GANTRY_EXT_NODE, "gantry.node/1");
