/* SPDX-License-Identifier: Apache-2.0 */
/* Userspace disks (gantry/disk.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_disk_facts, 16);
FIELD(gantry_disk_facts, size_bytes, 0);
FIELD(gantry_disk_facts, block_bytes, 8);
FIELD(gantry_disk_facts, discard_granularity_bytes, 12);

SIZE(gantry_disk_open, 64);
FIELD(gantry_disk_open, size, 0);
FIELD(gantry_disk_open, readonly, 4);
FIELD(gantry_disk_open, parameters, 8);
FIELD(gantry_disk_open, volume_key, 24);
FIELD(gantry_disk_open, identity, 40);
FIELD(gantry_disk_open, size_bytes, 56);

SIZE(gantry_disk_read, 32);
FIELD(gantry_disk_read, size, 0);
FIELD(gantry_disk_read, flags, 4);
FIELD(gantry_disk_read, offset, 8);
FIELD(gantry_disk_read, buffer, 16);
FIELD(gantry_disk_read, length, 24);
FIELD(gantry_disk_read, reserved, 28);

SIZE(gantry_disk_write, 32);
FIELD(gantry_disk_write, size, 0);
FIELD(gantry_disk_write, flags, 4);
FIELD(gantry_disk_write, offset, 8);
FIELD(gantry_disk_write, data, 16);

SIZE(gantry_disk_range, 24);
FIELD(gantry_disk_range, size, 0);
FIELD(gantry_disk_range, flags, 4);
FIELD(gantry_disk_range, offset, 8);
FIELD(gantry_disk_range, length, 16);

SIZE(gantry_disk, 80);
FIELD(gantry_disk, size, 0);
FIELD(gantry_disk, reserved, 4);
FIELD(gantry_disk, open, 8);
FIELD(gantry_disk, close, 16);
FIELD(gantry_disk, interrupt, 24);
FIELD(gantry_disk, read, 32);
FIELD(gantry_disk, write, 40);
FIELD(gantry_disk, flush, 48);
FIELD(gantry_disk, discard, 56);
FIELD(gantry_disk, zero, 64);
FIELD(gantry_disk, refresh, 72);
