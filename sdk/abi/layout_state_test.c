/* SPDX-License-Identifier: Apache-2.0 */
/* State (gantry/state.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_state, 24);
FIELD(gantry_state, size, 0);
FIELD(gantry_state, reserved, 4);
FIELD(gantry_state, bytes, 8);

SIZE(gantry_formats, 16);
FIELD(gantry_formats, size, 0);
FIELD(gantry_formats, record_format, 4);
FIELD(gantry_formats, context_format, 8);
FIELD(gantry_formats, reserved, 12);

SIZE(gantry_state_ops, 32);
FIELD(gantry_state_ops, size, 0);
FIELD(gantry_state_ops, reserved, 4);
FIELD(gantry_state_ops, export_state, 8);
FIELD(gantry_state_ops, import_state, 16);
FIELD(gantry_state_ops, use_formats, 24);

TEXT(GANTRY_EXT_STATE, "gantry.state/1");
