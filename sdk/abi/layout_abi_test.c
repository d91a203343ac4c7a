/* SPDX-License-Identifier: Apache-2.0 */
/* Words of the ABI (gantry/abi.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_str, 16);
FIELD(gantry_str, ptr, 0);
FIELD(gantry_str, len, 8);

SIZE(gantry_bytes, 16);
FIELD(gantry_bytes, ptr, 0);
FIELD(gantry_bytes, len, 8);

SIZE(gantry_pair, 32);
FIELD(gantry_pair, key, 0);
FIELD(gantry_pair, value, 16);

SIZE(gantry_map, 16);
FIELD(gantry_map, items, 0);
FIELD(gantry_map, count, 8);

SIZE(gantry_list, 16);
FIELD(gantry_list, items, 0);
FIELD(gantry_list, count, 8);

SIZE(gantry_capability, 56);
FIELD(gantry_capability, access_type, 0);
FIELD(gantry_capability, access_mode, 4);
FIELD(gantry_capability, fs_type, 8);
FIELD(gantry_capability, mount_flags, 24);
FIELD(gantry_capability, volume_mount_group, 40);

VALUE(GANTRY_OK, 0);
VALUE(GANTRY_CANCELLED, 1);
VALUE(GANTRY_UNKNOWN, 2);
VALUE(GANTRY_INVALID_ARGUMENT, 3);
VALUE(GANTRY_DEADLINE_EXCEEDED, 4);
VALUE(GANTRY_NOT_FOUND, 5);
VALUE(GANTRY_ALREADY_EXISTS, 6);
VALUE(GANTRY_PERMISSION_DENIED, 7);
VALUE(GANTRY_RESOURCE_EXHAUSTED, 8);
VALUE(GANTRY_FAILED_PRECONDITION, 9);
VALUE(GANTRY_ABORTED, 10);
VALUE(GANTRY_OUT_OF_RANGE, 11);
VALUE(GANTRY_UNIMPLEMENTED, 12);
VALUE(GANTRY_INTERNAL, 13);
VALUE(GANTRY_UNAVAILABLE, 14);
VALUE(GANTRY_DATA_LOSS, 15);
VALUE(GANTRY_UNAUTHENTICATED, 16);
VALUE(GANTRY_SINGLE_NODE_WRITER, 1);
VALUE(GANTRY_SINGLE_NODE_READER_ONLY, 2);
VALUE(GANTRY_MULTI_NODE_READER_ONLY, 3);
VALUE(GANTRY_MULTI_NODE_SINGLE_WRITER, 4);
VALUE(GANTRY_MULTI_NODE_MULTI_WRITER, 5);
VALUE(GANTRY_SINGLE_NODE_SINGLE_WRITER, 6);
VALUE(GANTRY_SINGLE_NODE_MULTI_WRITER, 7);
VALUE(GANTRY_ACCESS_MOUNT, 1);
VALUE(GANTRY_ACCESS_BLOCK, 2);
VALUE(GANTRY_CONTENT_EMPTY, 0);
VALUE(GANTRY_CONTENT_SNAPSHOT, 1);
VALUE(GANTRY_CONTENT_VOLUME, 2);
VALUE(GANTRY_ABI_MAJOR, 0);
VALUE(GANTRY_ABI_MINOR, 4);
VALUE(GANTRY_MAGIC, 1196707417);
