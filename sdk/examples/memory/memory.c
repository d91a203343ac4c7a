/* SPDX-License-Identifier: Apache-2.0 */
/* A whole backend in plain C: its volumes are tmpfs on the one node it runs on.
 *
 * It is what a vendor can begin with. A real backend keeps the records of its volumes on its
 * storage; memory outlives nothing, so here they lie in the host's key-value store of the node, one
 * key a volume. Rejected: a second key with the sum of all sizes, which a crash between two writes
 * would make a lie; the sum is made anew each time.
 *
 * How it is written: an operation is a function that returns its outcome, and its slot is the two
 * lines that hand this outcome to finish. So each call ends exactly once, on every path. Nothing is
 * kept in memory but what create was given; whoever dies in the middle is followed by one that
 * reads the same records, which is why no operation has to ask for its attempt. */
#include <gantry/gantry.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "outcome.h"
#include "store.h"
#include "text.h"

#define VOLUME_BYTES_DEFAULT (UINT64_C(64) << 20)
enum { HOST_MINOR_MIN = 1 };

struct gantry_instance {
  struct store store;
  struct config config;
};

/* Asked before each change: what nobody waits for any more is better not begun, the CO asks for it
 * again. A deadline that is over counts as cancelled, and what waits on the host carries it too. */
static struct outcome check_wanted(const gantry_instance* self, gantry_call call) {
  if (self->store.calls->cancelled(self->store.calls->ctx, call) == 0) return outcome_ok();
  return outcome_fail(GANTRY_CANCELLED, "the call was cancelled or is past its deadline");
}

static gantry_str handle_at(const struct handles* handles, size_t i) {
  const gantry_str handle = {handles->items[i], HANDLE_BYTES};
  return handle;
}

/* What is left of the capacity, and how many volumes there are. Two calls cannot both take the
 * rest, because the manifest asks for one operation at a time. */
static struct outcome room(const gantry_instance* self, gantry_call call, uint64_t* free_bytes,
                           size_t* count) {
  struct handles handles;
  struct outcome outcome = store_list(&self->store, call, &handles);
  *free_bytes = self->config.capacity_bytes;
  *count = handles.count;
  for (size_t i = 0; i < handles.count && outcome.code == GANTRY_OK; ++i) {
    uint64_t size_bytes = 0;
    uint64_t version = 0;
    outcome = check_wanted(self, call);
    if (outcome.code == GANTRY_OK)
      outcome = store_load(&self->store, call, handle_at(&handles, i), &size_bytes, &version);
    if (outcome.code == GANTRY_OK && version != 0)
      *free_bytes -= size_bytes < *free_bytes ? size_bytes : *free_bytes;
  }
  return outcome;
}

static struct outcome check_no_parameters(const char* field, gantry_map parameters) {
  if (parameters.count == 0) return outcome_ok();
  const gantry_str key = parameters.items[0].key;
  return outcome_fail(GANTRY_INVALID_ARGUMENT, "%s.%.*s: unknown: this backend has no parameters",
                      field, text_shown(key), key.ptr);
}

/* The host has compared it with the manifest; enums are checked all the same, because a newer host
 * may send a value that this file has never heard of. Mount flags are the host's business. */
static struct outcome check_capability(const gantry_capability* capability) {
  if (capability->access_type != GANTRY_ACCESS_MOUNT)
    return outcome_fail(GANTRY_INVALID_ARGUMENT, "access_type: %" PRId32 ": expected a mount",
                        capability->access_type);
  switch (capability->access_mode) {
    case GANTRY_SINGLE_NODE_WRITER:
    case GANTRY_SINGLE_NODE_READER_ONLY:
    case GANTRY_SINGLE_NODE_SINGLE_WRITER:
    case GANTRY_SINGLE_NODE_MULTI_WRITER:
      break;
    default:
      return outcome_fail(GANTRY_INVALID_ARGUMENT,
                          "access_mode: %" PRId32
                          ": expected one of a single node: memory has no other",
                          capability->access_mode);
  }
  const gantry_str fs_type = capability->fs_type;
  if (fs_type.len != 0 && !text_is(fs_type, "tmpfs"))
    return outcome_fail(GANTRY_INVALID_ARGUMENT, "fs_type: \"%.*s\": expected \"tmpfs\" or none",
                        text_shown(fs_type), fs_type.ptr);
  return outcome_ok();
}

static struct outcome check_capabilities(const gantry_capability* capabilities, size_t count) {
  struct outcome outcome = outcome_ok();
  for (size_t i = 0; i < count && outcome.code == GANTRY_OK; ++i)
    outcome = check_capability(&capabilities[i]);
  return outcome;
}

/* The size that a volume gets, in whole pages. limit_bytes 0: no limit. */
static struct outcome choose_size(const gantry_instance* self, uint64_t wanted_bytes,
                                  uint64_t limit_bytes, uint64_t* size_bytes) {
  if (wanted_bytes > self->config.max_bytes)
    return outcome_fail(GANTRY_OUT_OF_RANGE,
                        "required_bytes: %" PRIu64 ": expected at most %" PRIu64 " (max_bytes)",
                        wanted_bytes, self->config.max_bytes);
  *size_bytes = (wanted_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
  if (limit_bytes != 0 && *size_bytes > limit_bytes)
    return outcome_fail(GANTRY_OUT_OF_RANGE,
                        "limit_bytes: %" PRIu64 ": expected at least %" PRIu64
                        ", as a size is whole pages",
                        limit_bytes, *size_bytes);
  return outcome_ok();
}

/* 0: the host wants no more. */
static int32_t emit(const gantry_instance* self, gantry_call call, gantry_str handle,
                    uint64_t size_bytes) {
  const gantry_volume volume = {
      .size = sizeof volume, .handle = handle, .capacity_bytes = size_bytes};
  return self->store.calls->emit_volume(self->store.calls->ctx, call, &volume);
}

static struct outcome do_create(const gantry_instance* self, gantry_call call,
                                const gantry_create_volume* request) {
  char handle_text[HANDLE_BYTES + 1];
  const gantry_str handle = {handle_text, HANDLE_BYTES};
  uint64_t size_bytes = 0;
  uint64_t version = 0;
  uint64_t free_bytes = 0;
  size_t count = 0;

  if (request->content_kind != GANTRY_CONTENT_EMPTY)
    return outcome_fail(GANTRY_INVALID_ARGUMENT,
                        "content_kind: %" PRId32 ": expected an empty volume",
                        request->content_kind);
  struct outcome outcome = check_no_parameters("parameters", request->parameters);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = check_no_parameters("mutable_parameters", request->mutable_parameters);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = check_capabilities(request->capabilities, request->capability_count);
  if (outcome.code != GANTRY_OK) return outcome;
  if (request->key.len != KEY_DIGITS)
    return outcome_fail(GANTRY_INVALID_ARGUMENT, "key: %zu bytes: expected %d", request->key.len,
                        KEY_DIGITS);
  /* The same name gives the same handle, on each attempt and in each process. */
  (void)snprintf(handle_text, sizeof handle_text, HANDLE_PREFIX "%.*s", KEY_DIGITS,
                 request->key.ptr);

  /* What is there already decides alone, whatever the configuration has become meanwhile. */
  outcome = store_load(&self->store, call, handle, &size_bytes, &version);
  if (outcome.code != GANTRY_OK) return outcome;
  if (version != 0) {
    if (size_bytes < request->required_bytes ||
        (request->limit_bytes != 0 && size_bytes > request->limit_bytes))
      return outcome_fail(GANTRY_ALREADY_EXISTS,
                          "a volume of this name has %" PRIu64 " bytes: expected %" PRIu64
                          " to %" PRIu64 " (0: no limit)",
                          size_bytes, request->required_bytes, request->limit_bytes);
    (void)emit(self, call, handle, size_bytes);
    return outcome_ok();
  }

  uint64_t wanted_bytes = request->required_bytes;
  if (wanted_bytes == 0) {
    const uint64_t limit_bytes = request->limit_bytes / PAGE_BYTES * PAGE_BYTES;
    wanted_bytes = VOLUME_BYTES_DEFAULT < self->config.max_bytes ? VOLUME_BYTES_DEFAULT
                                                                 : self->config.max_bytes;
    if (limit_bytes != 0 && limit_bytes < wanted_bytes) wanted_bytes = limit_bytes;
  }
  outcome = choose_size(self, wanted_bytes, request->limit_bytes, &size_bytes);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = room(self, call, &free_bytes, &count);
  if (outcome.code != GANTRY_OK) return outcome;
  if (count >= VOLUMES_MAX || size_bytes > free_bytes)
    return outcome_fail(GANTRY_RESOURCE_EXHAUSTED,
                        "no room for %" PRIu64 " bytes: %" PRIu64
                        " are free, %zu of %d volumes exist",
                        size_bytes, free_bytes, count, VOLUMES_MAX);
  outcome = check_wanted(self, call);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = store_save(&self->store, call, handle, size_bytes, 0);
  if (outcome.code != GANTRY_OK) return outcome;
  (void)emit(self, call, handle, size_bytes);
  return outcome_ok();
}

static struct outcome do_delete(const gantry_instance* self, gantry_call call,
                                const gantry_volume_ref* request) {
  uint64_t size_bytes = 0;
  uint64_t version = 0;
  struct outcome outcome = store_load(&self->store, call, request->handle, &size_bytes, &version);
  if (outcome.code != GANTRY_OK) return outcome;
  if (version == 0) return outcome_ok(); /* gone already, or never ours */
  outcome = check_wanted(self, call);
  if (outcome.code != GANTRY_OK) return outcome;
  /* By version: a volume made again under this name meanwhile is another one and stays. */
  return store_remove(&self->store, call, request->handle, version);
}

/* Loads what must be there. */
static struct outcome find(const gantry_instance* self, gantry_call call, gantry_str handle,
                           uint64_t* size_bytes, uint64_t* version) {
  const struct outcome outcome = store_load(&self->store, call, handle, size_bytes, version);
  if (outcome.code == GANTRY_OK && *version == 0)
    return outcome_fail(GANTRY_NOT_FOUND, "volume \"%.*s\" does not exist", text_shown(handle),
                        handle.ptr);
  return outcome;
}

static struct outcome do_get(const gantry_instance* self, gantry_call call,
                             const gantry_volume_ref* request) {
  uint64_t size_bytes = 0;
  uint64_t version = 0;
  const struct outcome outcome = find(self, call, request->handle, &size_bytes, &version);
  if (outcome.code == GANTRY_OK) (void)emit(self, call, request->handle, size_bytes);
  return outcome;
}

static struct outcome do_list(const gantry_instance* self, gantry_call call,
                              const gantry_list_volumes* request) {
  struct handles handles;
  const gantry_str after = request->after;
  struct outcome outcome = store_list(&self->store, call, &handles);
  if (outcome.code != GANTRY_OK) return outcome;
  for (size_t i = 0; i < handles.count; ++i) {
    const gantry_str handle = handle_at(&handles, i);
    const size_t shorter = after.len < handle.len ? after.len : handle.len;
    const int order = shorter == 0 ? 0 : memcmp(handle.ptr, after.ptr, shorter);
    uint64_t size_bytes = 0;
    uint64_t version = 0;
    if (order < 0 || (order == 0 && handle.len <= after.len)) continue;
    outcome = check_wanted(self, call);
    if (outcome.code != GANTRY_OK) return outcome;
    outcome = store_load(&self->store, call, handle, &size_bytes, &version);
    if (outcome.code != GANTRY_OK) return outcome;
    if (version == 0) continue; /* removed since the scan */
    if (emit(self, call, handle, size_bytes) == 0) break;
  }
  return outcome_ok();
}

static struct outcome do_capacity(const gantry_instance* self, gantry_call call,
                                  const gantry_get_capacity* request) {
  uint64_t free_bytes = 0;
  size_t count = 0;
  struct outcome outcome = check_no_parameters("parameters", request->parameters);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = check_capabilities(request->capabilities, request->capability_count);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = room(self, call, &free_bytes, &count);
  if (outcome.code != GANTRY_OK) return outcome;
  const gantry_capacity capacity = {.size = sizeof capacity,
                                    .has_maximum = 1,
                                    .available_bytes = free_bytes,
                                    .maximum_volume_bytes = free_bytes < self->config.max_bytes
                                                                ? free_bytes
                                                                : self->config.max_bytes,
                                    .minimum_volume_bytes = PAGE_BYTES};
  (void)self->store.calls->emit_capacity(self->store.calls->ctx, call, &capacity);
  return outcome_ok();
}

static struct outcome do_expand(const gantry_instance* self, gantry_call call,
                                const gantry_expand_volume* request) {
  uint64_t old_bytes = 0;
  uint64_t new_bytes = 0;
  uint64_t version = 0;
  uint64_t free_bytes = 0;
  size_t count = 0;
  struct outcome outcome = find(self, call, request->handle, &old_bytes, &version);
  if (outcome.code != GANTRY_OK) return outcome;
  if (request->required_bytes <= old_bytes) { /* as large already, also after a lost answer */
    (void)emit(self, call, request->handle, old_bytes);
    return outcome_ok();
  }
  outcome = choose_size(self, request->required_bytes, request->limit_bytes, &new_bytes);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = room(self, call, &free_bytes, &count);
  if (outcome.code != GANTRY_OK) return outcome;
  if (new_bytes - old_bytes > free_bytes)
    return outcome_fail(GANTRY_RESOURCE_EXHAUSTED,
                        "no room to grow by %" PRIu64 " bytes: %" PRIu64 " are free",
                        new_bytes - old_bytes, free_bytes);
  outcome = check_wanted(self, call);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = store_save(&self->store, call, request->handle, new_bytes, version);
  if (outcome.code != GANTRY_OK) return outcome;
  (void)emit(self, call, request->handle, new_bytes);
  return outcome_ok();
}

/* A slot: the operation's outcome, handed to finish. */
#define SLOT(slot, operation, request_type)                                                \
  static void slot(gantry_instance* self, gantry_call call, const request_type* request) { \
    outcome_finish(self->store.calls, call, operation(self, call, request));               \
  }
SLOT(create_volume, do_create, gantry_create_volume)
SLOT(delete_volume, do_delete, gantry_volume_ref)
SLOT(get_volume, do_get, gantry_volume_ref)
SLOT(list_volumes, do_list, gantry_list_volumes)
SLOT(get_capacity, do_capacity, gantry_get_capacity)
SLOT(expand_volume, do_expand, gantry_expand_volume)

static const gantry_controller kController = {.size = sizeof kController,
                                              .create_volume = create_volume,
                                              .delete_volume = delete_volume,
                                              .get_volume = get_volume,
                                              .list_volumes = list_volumes,
                                              .get_capacity = get_capacity,
                                              .expand_volume = expand_volume};

/* Nothing to make reachable: it says what is to be mounted, and the host mounts it. */
static struct outcome do_attach(const gantry_instance* self, gantry_call call,
                                const gantry_attach* request) {
  uint64_t size_bytes = 0;
  uint64_t version = 0;
  char size_option[32];
  struct outcome outcome = check_capability(&request->capability);
  if (outcome.code != GANTRY_OK) return outcome;
  outcome = find(self, call, request->handle, &size_bytes, &version);
  if (outcome.code != GANTRY_OK) return outcome;
  const int length = snprintf(size_option, sizeof size_option, "size=%" PRIu64, size_bytes);
  const gantry_str options[] = {{size_option, (size_t)length}, STR("mode=0777")};
  const gantry_source source = {.size = sizeof source,
                                .kind = GANTRY_SOURCE_FILESYSTEM,
                                .fs_type = STR("tmpfs"),
                                .source = STR("tmpfs"),
                                .options = {options, sizeof options / sizeof options[0]}};
  (void)self->store.calls->emit_source(self->store.calls->ctx, call, &source);
  return outcome_ok();
}
SLOT(attach, do_attach, gantry_attach)

/* No detach: the mount was all there was. No rescan: there is no device. */
static const gantry_node_ops kNode = {.size = sizeof kNode, .attach = attach};

/* Is a slot there? Requests lie in zeroed memory, so a field that the host did not know reads as
 * absent. The host's tables are its own: what lies behind their size may not be read at all. */
#define OFFERS(table, slot) (GANTRY_HAS(table, slot) && (table)->slot != NULL)

static struct outcome make_instance(const gantry_host* host, const gantry_call_api* calls,
                                    const gantry_create* request, gantry_instance** instance) {
  const gantry_kv_api* kv = host->extension(host->ctx, GANTRY_EXT_KV);
  struct config config;
  if (!OFFERS(calls, emit_source))
    return outcome_fail(GANTRY_FAILED_PRECONDITION, "the host's %s is older than this plugin needs",
                        GANTRY_EXT_CALL);
  if (kv == NULL || !OFFERS(kv, scan))
    return outcome_fail(GANTRY_FAILED_PRECONDITION,
                        "the host has no %s, where volumes are recorded", GANTRY_EXT_KV);
  if (request->record_format != 0 && request->record_format != RECORD_FORMAT)
    return outcome_fail(GANTRY_INVALID_ARGUMENT, "record_format: %" PRIu32 ": expected %d",
                        request->record_format, RECORD_FORMAT);
  const gantry_str owner = request->owner;
  int is_owner_clean = owner.len >= 1 && owner.len <= OWNER_BYTES_MAX;
  for (size_t i = 0; is_owner_clean && i < owner.len; ++i)
    is_owner_clean = (unsigned char)owner.ptr[i] >= ' ';
  if (!is_owner_clean) /* it becomes a line of a record */
    return outcome_fail(GANTRY_INVALID_ARGUMENT,
                        "owner: %zu bytes: expected 1 to %d without control characters", owner.len,
                        OWNER_BYTES_MAX);
  const struct outcome outcome = config_read(request->config_json, &config);
  if (outcome.code != GANTRY_OK) return outcome;
  gantry_instance* self = calloc(1, sizeof *self);
  if (self == NULL) return outcome_fail(GANTRY_RESOURCE_EXHAUSTED, "no memory for the backend");
  self->config = config;
  self->store.calls = calls; /* the host's tables live until the process ends, ... */
  self->store.kv = kv;
  memcpy(self->store.owner, owner.ptr, owner.len); /* ... what comes with a call ends with it */
  *instance = self;
  return outcome_ok();
}

static void create(const gantry_host* host, gantry_call call, const gantry_create* request,
                   gantry_instance** instance) {
  const gantry_str why = STR("the host has no gantry.call/1: no call can be finished");
  const gantry_call_api* calls = host->extension(host->ctx, GANTRY_EXT_CALL);
  if (calls == NULL)
    host->log(host->ctx, call, GANTRY_LOG_ERROR, why);
  else
    outcome_finish(calls, call, make_instance(host, calls, request, instance));
}

static void destroy(gantry_instance* self) { free(self); }

static const void* extension(gantry_instance* self, const char* id) {
  (void)self;
  if (strcmp(id, GANTRY_EXT_CONTROLLER) == 0) return &kController;
  if (strcmp(id, GANTRY_EXT_NODE) == 0) return &kNode;
  return NULL;
}

static const gantry_manifest kManifest = {
    .size = sizeof kManifest,
    .thread_model = GANTRY_THREADS_SERIAL,
    .name = STR("memory"),
    .version = STR("0.1.0"),
    .csi_min = STR("1.5.0"), /* the first with single-node single and multi writers */
    .csi_max = STR("1.12.0"),
    .access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER) |
                    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_READER_ONLY) |
                    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_SINGLE_WRITER) |
                    GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_MULTI_WRITER),
    .access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT),
    .config_schema = STR(CONFIG_SCHEMA),
    .record_format_min = RECORD_FORMAT,
    .record_format_max = RECORD_FORMAT};

/* No thread, no connection: there is nothing to start, to drain or to stop. */
static const gantry_plugin kPlugin = {.magic = GANTRY_MAGIC,
                                      .size = sizeof kPlugin,
                                      .abi_major = GANTRY_ABI_MAJOR,
                                      .abi_minor = GANTRY_ABI_MINOR,
                                      .manifest = &kManifest,
                                      .create = create,
                                      .destroy = destroy,
                                      .extension = extension};

const gantry_plugin* gantry_plugin_entry_v0(uint32_t host_minor, const char** why) {
  if (host_minor >= HOST_MINOR_MIN) return &kPlugin;
  *why = "this plugin needs a host of ABI 0.1 or newer";
  return NULL;
}
