/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes (gantry/controller.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_create_volume, 176);
FIELD(gantry_create_volume, size, 0);
FIELD(gantry_create_volume, reserved, 4);
FIELD(gantry_create_volume, name, 8);
FIELD(gantry_create_volume, key, 24);
FIELD(gantry_create_volume, required_bytes, 40);
FIELD(gantry_create_volume, limit_bytes, 48);
FIELD(gantry_create_volume, capabilities, 56);
FIELD(gantry_create_volume, capability_count, 64);
FIELD(gantry_create_volume, parameters, 72);
FIELD(gantry_create_volume, mutable_parameters, 88);
FIELD(gantry_create_volume, hints, 104);
FIELD(gantry_create_volume, content_kind, 120);
FIELD(gantry_create_volume, reserved2, 124);
FIELD(gantry_create_volume, content_handle, 128);
FIELD(gantry_create_volume, requisite, 144);
FIELD(gantry_create_volume, requisite_count, 152);
FIELD(gantry_create_volume, preferred, 160);
FIELD(gantry_create_volume, preferred_count, 168);

SIZE(gantry_volume_ref, 56);
FIELD(gantry_volume_ref, size, 0);
FIELD(gantry_volume_ref, reserved, 4);
FIELD(gantry_volume_ref, handle, 8);
FIELD(gantry_volume_ref, context, 24);
FIELD(gantry_volume_ref, parameters, 40);

SIZE(gantry_expand_volume, 96);
FIELD(gantry_expand_volume, size, 0);
FIELD(gantry_expand_volume, reserved, 4);
FIELD(gantry_expand_volume, handle, 8);
FIELD(gantry_expand_volume, required_bytes, 24);
FIELD(gantry_expand_volume, limit_bytes, 32);
FIELD(gantry_expand_volume, capability, 40);

SIZE(gantry_modify_volume, 40);
FIELD(gantry_modify_volume, size, 0);
FIELD(gantry_modify_volume, reserved, 4);
FIELD(gantry_modify_volume, handle, 8);
FIELD(gantry_modify_volume, mutable_parameters, 24);

SIZE(gantry_list_volumes, 24);
FIELD(gantry_list_volumes, size, 0);
FIELD(gantry_list_volumes, max_entries, 4);
FIELD(gantry_list_volumes, after, 8);

SIZE(gantry_get_capacity, 56);
FIELD(gantry_get_capacity, size, 0);
FIELD(gantry_get_capacity, reserved, 4);
FIELD(gantry_get_capacity, capabilities, 8);
FIELD(gantry_get_capacity, capability_count, 16);
FIELD(gantry_get_capacity, parameters, 24);
FIELD(gantry_get_capacity, topology, 40);

SIZE(gantry_domain_query, 40);
FIELD(gantry_domain_query, size, 0);
FIELD(gantry_domain_query, reserved, 4);
FIELD(gantry_domain_query, handle, 8);
FIELD(gantry_domain_query, parameters, 24);

SIZE(gantry_controller, 80);
FIELD(gantry_controller, size, 0);
FIELD(gantry_controller, flags, 4);
FIELD(gantry_controller, domain, 8);
FIELD(gantry_controller, create_volume, 16);
FIELD(gantry_controller, delete_volume, 24);
FIELD(gantry_controller, get_volume, 32);
FIELD(gantry_controller, list_volumes, 40);
FIELD(gantry_controller, get_capacity, 48);
FIELD(gantry_controller, expand_volume, 56);
FIELD(gantry_controller, modify_volume, 64);
FIELD(gantry_controller, recognize_volume, 72);

SIZE(gantry_publish_volume, 112);
FIELD(gantry_publish_volume, size, 0);
FIELD(gantry_publish_volume, readonly, 4);
FIELD(gantry_publish_volume, handle, 8);
FIELD(gantry_publish_volume, node_id, 24);
FIELD(gantry_publish_volume, capability, 40);
FIELD(gantry_publish_volume, context, 96);

SIZE(gantry_publish, 24);
FIELD(gantry_publish, size, 0);
FIELD(gantry_publish, flags, 4);
FIELD(gantry_publish, publish_volume, 8);
FIELD(gantry_publish, unpublish_volume, 16);

VALUE(GANTRY_CONTROLLER_CLONES, 1);
VALUE(GANTRY_CONTROLLER_RESTORES, 2);
VALUE(GANTRY_CONTROLLER_CONDITIONS, 4);
VALUE(GANTRY_PUBLISH_READONLY, 1);
VALUE(GANTRY_PUBLISH_LISTS_NODES, 2);
TEXT(GANTRY_EXT_CONTROLLER, "gantry.controller/1");
TEXT(GANTRY_EXT_PUBLISH, "gantry.publish/1");
