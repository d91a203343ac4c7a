/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin, its manifest and its creation (gantry/plugin.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_manifest, 152);
FIELD(gantry_manifest, size, 0);
FIELD(gantry_manifest, thread_model, 4);
FIELD(gantry_manifest, name, 8);
FIELD(gantry_manifest, version, 24);
FIELD(gantry_manifest, csi_min, 40);
FIELD(gantry_manifest, csi_max, 56);
FIELD(gantry_manifest, calls_max, 72);
FIELD(gantry_manifest, domain_calls_max, 76);
FIELD(gantry_manifest, access_modes, 80);
FIELD(gantry_manifest, access_types, 84);
FIELD(gantry_manifest, topology_keys, 88);
FIELD(gantry_manifest, needs, 104);
FIELD(gantry_manifest, config_schema, 120);
FIELD(gantry_manifest, record_format_min, 136);
FIELD(gantry_manifest, record_format_max, 140);
FIELD(gantry_manifest, context_format_min, 144);
FIELD(gantry_manifest, context_format_max, 148);

SIZE(gantry_create, 96);
FIELD(gantry_create, size, 0);
FIELD(gantry_create, roles, 4);
FIELD(gantry_create, backend, 8);
FIELD(gantry_create, owner, 24);
FIELD(gantry_create, config_json, 40);
FIELD(gantry_create, node_id, 56);
FIELD(gantry_create, data_directory, 72);
FIELD(gantry_create, record_format, 88);
FIELD(gantry_create, context_format, 92);

SIZE(gantry_plugin, 96);
FIELD(gantry_plugin, magic, 0);
FIELD(gantry_plugin, size, 4);
FIELD(gantry_plugin, abi_major, 8);
FIELD(gantry_plugin, abi_minor, 12);
FIELD(gantry_plugin, manifest, 16);
FIELD(gantry_plugin, create, 24);
FIELD(gantry_plugin, start, 32);
FIELD(gantry_plugin, activate, 40);
FIELD(gantry_plugin, deactivate, 48);
FIELD(gantry_plugin, probe, 56);
FIELD(gantry_plugin, drain, 64);
FIELD(gantry_plugin, stop, 72);
FIELD(gantry_plugin, destroy, 80);
FIELD(gantry_plugin, extension, 88);

VALUE(GANTRY_THREADS_SERIAL, 0);
VALUE(GANTRY_THREADS_PER_VOLUME, 1);
VALUE(GANTRY_THREADS_PARALLEL, 2);
VALUE(GANTRY_ROLE_CONTROLLER, 1);
VALUE(GANTRY_ROLE_NODE, 2);
VALUE(GANTRY_ROLE_DATAPATH, 4);
TEXT(GANTRY_PLUGIN_ENTRY_SYMBOL, "gantry_plugin_entry_v0");
