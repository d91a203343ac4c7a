/* SPDX-License-Identifier: Apache-2.0 */
/* What the host offers a plugin (gantry/host.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_host, 32);
FIELD(gantry_host, size, 0);
FIELD(gantry_host, abi_minor, 4);
FIELD(gantry_host, ctx, 8);
FIELD(gantry_host, extension, 16);
FIELD(gantry_host, log, 24);

SIZE(gantry_volume, 120);
FIELD(gantry_volume, size, 0);
FIELD(gantry_volume, flags, 4);
FIELD(gantry_volume, handle, 8);
FIELD(gantry_volume, capacity_bytes, 24);
FIELD(gantry_volume, context, 32);
FIELD(gantry_volume, content_kind, 48);
FIELD(gantry_volume, condition, 52);
FIELD(gantry_volume, content_handle, 56);
FIELD(gantry_volume, condition_message, 72);
FIELD(gantry_volume, topologies, 88);
FIELD(gantry_volume, topology_count, 96);
FIELD(gantry_volume, published_node_ids, 104);

SIZE(gantry_snapshot, 72);
FIELD(gantry_snapshot, size, 0);
FIELD(gantry_snapshot, flags, 4);
FIELD(gantry_snapshot, handle, 8);
FIELD(gantry_snapshot, source_volume_handle, 24);
FIELD(gantry_snapshot, group_handle, 40);
FIELD(gantry_snapshot, size_bytes, 56);
FIELD(gantry_snapshot, created_ns, 64);

SIZE(gantry_group_snapshot, 32);
FIELD(gantry_group_snapshot, size, 0);
FIELD(gantry_group_snapshot, flags, 4);
FIELD(gantry_group_snapshot, handle, 8);
FIELD(gantry_group_snapshot, created_ns, 24);

SIZE(gantry_capacity, 32);
FIELD(gantry_capacity, size, 0);
FIELD(gantry_capacity, has_maximum, 4);
FIELD(gantry_capacity, available_bytes, 8);
FIELD(gantry_capacity, maximum_volume_bytes, 16);
FIELD(gantry_capacity, minimum_volume_bytes, 24);

SIZE(gantry_block_range, 32);
FIELD(gantry_block_range, size, 0);
FIELD(gantry_block_range, reserved, 4);
FIELD(gantry_block_range, offset_bytes, 8);
FIELD(gantry_block_range, length_bytes, 16);
FIELD(gantry_block_range, volume_capacity_bytes, 24);

SIZE(gantry_source, 120);
FIELD(gantry_source, size, 0);
FIELD(gantry_source, kind, 4);
FIELD(gantry_source, fs_type, 8);
FIELD(gantry_source, source, 24);
FIELD(gantry_source, options, 40);
FIELD(gantry_source, identity, 56);
FIELD(gantry_source, size_bytes, 72);
FIELD(gantry_source, paths, 80);
FIELD(gantry_source, multipath, 96);
FIELD(gantry_source, flags, 100);
FIELD(gantry_source, parameters, 104);

SIZE(gantry_task, 64);
FIELD(gantry_task, size, 0);
FIELD(gantry_task, run_s_max, 4);
FIELD(gantry_task, kind, 8);
FIELD(gantry_task, key, 24);
FIELD(gantry_task, lock, 40);
FIELD(gantry_task, after_ms, 56);

SIZE(gantry_task_progress, 40);
FIELD(gantry_task_progress, size, 0);
FIELD(gantry_task_progress, reserved, 4);
FIELD(gantry_task_progress, cursor, 8);
FIELD(gantry_task_progress, done, 24);
FIELD(gantry_task_progress, total, 32);

SIZE(gantry_call_api, 160);
FIELD(gantry_call_api, size, 0);
FIELD(gantry_call_api, reserved, 4);
FIELD(gantry_call_api, ctx, 8);
FIELD(gantry_call_api, finish, 16);
FIELD(gantry_call_api, deadline_ns, 24);
FIELD(gantry_call_api, attempt, 32);
FIELD(gantry_call_api, cancelled, 40);
FIELD(gantry_call_api, on_cancel, 48);
FIELD(gantry_call_api, secret, 56);
FIELD(gantry_call_api, request_bytes, 64);
FIELD(gantry_call_api, alloc, 72);
FIELD(gantry_call_api, emit_volume, 80);
FIELD(gantry_call_api, emit_snapshot, 88);
FIELD(gantry_call_api, emit_group_snapshot, 96);
FIELD(gantry_call_api, emit_capacity, 104);
FIELD(gantry_call_api, emit_publish_context, 112);
FIELD(gantry_call_api, emit_block_range, 120);
FIELD(gantry_call_api, emit_source, 128);
FIELD(gantry_call_api, emit_task, 136);
FIELD(gantry_call_api, emit_progress, 144);
FIELD(gantry_call_api, emit_state, 152);

SIZE(gantry_kv_api, 48);
FIELD(gantry_kv_api, size, 0);
FIELD(gantry_kv_api, reserved, 4);
FIELD(gantry_kv_api, ctx, 8);
FIELD(gantry_kv_api, get, 16);
FIELD(gantry_kv_api, put, 24);
FIELD(gantry_kv_api, remove, 32);
FIELD(gantry_kv_api, scan, 40);

SIZE(gantry_exec_request, 48);
FIELD(gantry_exec_request, size, 0);
FIELD(gantry_exec_request, reserved, 4);
FIELD(gantry_exec_request, argv, 8);
FIELD(gantry_exec_request, input, 24);
FIELD(gantry_exec_request, deadline_ns, 40);

SIZE(gantry_exec_result, 24);
FIELD(gantry_exec_result, size, 0);
FIELD(gantry_exec_result, exit_status, 4);
FIELD(gantry_exec_result, output_length, 8);
FIELD(gantry_exec_result, error_length, 16);

SIZE(gantry_exec_api, 24);
FIELD(gantry_exec_api, size, 0);
FIELD(gantry_exec_api, reserved, 4);
FIELD(gantry_exec_api, ctx, 8);
FIELD(gantry_exec_api, run, 16);

SIZE(gantry_secret_api, 24);
FIELD(gantry_secret_api, size, 0);
FIELD(gantry_secret_api, reserved, 4);
FIELD(gantry_secret_api, ctx, 8);
FIELD(gantry_secret_api, get, 16);

SIZE(gantry_metric_api, 24);
FIELD(gantry_metric_api, size, 0);
FIELD(gantry_metric_api, reserved, 4);
FIELD(gantry_metric_api, ctx, 8);
FIELD(gantry_metric_api, count, 16);

VALUE(GANTRY_LOG_DEBUG, 0);
VALUE(GANTRY_LOG_INFO, 1);
VALUE(GANTRY_LOG_WARNING, 2);
VALUE(GANTRY_LOG_ERROR, 3);
VALUE(GANTRY_VOLUME_NODE_EXPANSION, 1);
VALUE(GANTRY_CONDITION_UNKNOWN, 0);
VALUE(GANTRY_CONDITION_NORMAL, 1);
VALUE(GANTRY_CONDITION_ABNORMAL, 2);
VALUE(GANTRY_SNAPSHOT_READY, 1);
VALUE(GANTRY_SOURCE_FILESYSTEM, 1);
VALUE(GANTRY_SOURCE_BLOCK, 2);
VALUE(GANTRY_SOURCE_USERSPACE, 3);
VALUE(GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE, 4);
VALUE(GANTRY_MULTIPATH_NONE, 0);
VALUE(GANTRY_MULTIPATH_REQUIRED, 1);
TEXT(GANTRY_EXT_CALL, "gantry.call/1");
TEXT(GANTRY_EXT_KV, "gantry.kv/1");
VALUE(GANTRY_KV_KEY_BYTES_MAX, 128);
VALUE(GANTRY_KV_VALUE_BYTES_MAX, 65536);
TEXT(GANTRY_EXT_EXEC, "gantry.exec/1");
VALUE(GANTRY_EXEC_OUTPUT_BYTES_MAX, 1048576);
TEXT(GANTRY_EXT_SECRET, "gantry.secret/1");
TEXT(GANTRY_EXT_METRIC, "gantry.metric/1");
