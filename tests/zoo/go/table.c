/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of a backend whose operations are Go: cgo cannot write them. */
#include <_cgo_export.h>
#include <gantry/gantry.h>
#include <string.h>

#define STR(text) \
  { text, sizeof(text) - 1 }

static const gantry_call_api* g_call;

void zoo_finish(gantry_call call, gantry_code code) {
  const gantry_str none = {0};
  g_call->finish(g_call->ctx, call, code, none);
}

void zoo_emit(gantry_call call, const char* handle, size_t length) {
  gantry_volume volume = {.size = sizeof(volume), .capacity_bytes = 1 << 30};
  volume.handle.ptr = handle;
  volume.handle.len = length;
  g_call->emit_volume(g_call->ctx, call, &volume);
}

static void Create(const gantry_host* host, gantry_call call, const gantry_create* request,
                   gantry_instance** instance) {
  (void)request;
  g_call = host->extension(host->ctx, GANTRY_EXT_CALL);
  *instance = (gantry_instance*)&g_call;
  zoo_finish(call, GANTRY_OK);
}

static void CreateVolume(gantry_instance* instance, gantry_call call,
                         const gantry_create_volume* request) {
  (void)instance;
  zooCreateVolume(call, (char*)request->name.ptr, (int)request->name.len);
}

static void DeleteVolume(gantry_instance* instance, gantry_call call,
                         const gantry_volume_ref* request) {
  (void)instance;
  (void)request;
  zoo_finish(call, GANTRY_OK);
}

static void Destroy(gantry_instance* instance) { (void)instance; }

static const void* Extension(gantry_instance* instance, const char* id) {
  static gantry_controller controller = {
      .size = sizeof(controller), .create_volume = &CreateVolume, .delete_volume = &DeleteVolume};
  (void)instance;
  return strcmp(id, GANTRY_EXT_CONTROLLER) == 0 ? &controller : NULL;
}

GANTRY_EXPORT const gantry_plugin* gantry_plugin_entry_v0(uint32_t host_minor, const char** why) {
  static const gantry_manifest manifest = {
      .size = sizeof(manifest),
      .thread_model = GANTRY_THREADS_PARALLEL,
      .name = STR("go"),
      .version = STR("1.0.0"),
      .csi_min = STR("1.12.0"),
      .csi_max = STR("1.12.0"),
      .access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER),
      .access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT)};
  static const gantry_plugin plugin = {.magic = GANTRY_MAGIC,
                                       .size = sizeof(plugin),
                                       .abi_major = GANTRY_ABI_MAJOR,
                                       .abi_minor = GANTRY_ABI_MINOR,
                                       .manifest = &manifest,
                                       .create = &Create,
                                       .destroy = &Destroy,
                                       .extension = &Extension};
  (void)host_minor;
  (void)why;
  return &plugin;
}
