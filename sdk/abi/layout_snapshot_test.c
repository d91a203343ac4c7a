/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, groups and block metadata (gantry/snapshot.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_create_snapshot, 72);
FIELD(gantry_create_snapshot, size, 0);
FIELD(gantry_create_snapshot, reserved, 4);
FIELD(gantry_create_snapshot, name, 8);
FIELD(gantry_create_snapshot, key, 24);
FIELD(gantry_create_snapshot, source_volume_handle, 40);
FIELD(gantry_create_snapshot, parameters, 56);

SIZE(gantry_snapshot_ref, 24);
FIELD(gantry_snapshot_ref, size, 0);
FIELD(gantry_snapshot_ref, reserved, 4);
FIELD(gantry_snapshot_ref, handle, 8);

SIZE(gantry_list_snapshots, 40);
FIELD(gantry_list_snapshots, size, 0);
FIELD(gantry_list_snapshots, max_entries, 4);
FIELD(gantry_list_snapshots, after, 8);
FIELD(gantry_list_snapshots, source_volume_handle, 24);

SIZE(gantry_snapshot_ops, 40);
FIELD(gantry_snapshot_ops, size, 0);
FIELD(gantry_snapshot_ops, reserved, 4);
FIELD(gantry_snapshot_ops, create_snapshot, 8);
FIELD(gantry_snapshot_ops, delete_snapshot, 16);
FIELD(gantry_snapshot_ops, get_snapshot, 24);
FIELD(gantry_snapshot_ops, list_snapshots, 32);

SIZE(gantry_create_group, 72);
FIELD(gantry_create_group, size, 0);
FIELD(gantry_create_group, reserved, 4);
FIELD(gantry_create_group, name, 8);
FIELD(gantry_create_group, key, 24);
FIELD(gantry_create_group, source_volume_handles, 40);
FIELD(gantry_create_group, parameters, 56);

SIZE(gantry_group_ref, 40);
FIELD(gantry_group_ref, size, 0);
FIELD(gantry_group_ref, reserved, 4);
FIELD(gantry_group_ref, handle, 8);
FIELD(gantry_group_ref, snapshot_handles, 24);

SIZE(gantry_group_ops, 32);
FIELD(gantry_group_ops, size, 0);
FIELD(gantry_group_ops, reserved, 4);
FIELD(gantry_group_ops, create_group, 8);
FIELD(gantry_group_ops, delete_group, 16);
FIELD(gantry_group_ops, get_group, 24);

SIZE(gantry_block_query, 48);
FIELD(gantry_block_query, size, 0);
FIELD(gantry_block_query, max_results, 4);
FIELD(gantry_block_query, base_handle, 8);
FIELD(gantry_block_query, handle, 24);
FIELD(gantry_block_query, starting_offset, 40);

SIZE(gantry_metadata_ops, 24);
FIELD(gantry_metadata_ops, size, 0);
FIELD(gantry_metadata_ops, block_type, 4);
FIELD(gantry_metadata_ops, get_allocated, 8);
FIELD(gantry_metadata_ops, get_delta, 16);

VALUE(GANTRY_BLOCKS_FIXED_LENGTH, 1);
VALUE(GANTRY_BLOCKS_VARIABLE_LENGTH, 2);
TEXT(GANTRY_EXT_SNAPSHOT, "gantry.snapshot/1");
TEXT(GANTRY_EXT_GROUP, "gantry.group/1");
TEXT(GANTRY_EXT_METADATA, "gantry.metadata/1");
