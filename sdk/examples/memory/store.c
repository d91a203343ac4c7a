/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "text.h"

#define KEY_PREFIX "volume."
enum { RECORD_BYTES_MAX = 256 };

struct record_key {
  char text[sizeof KEY_PREFIX + HANDLE_BYTES];
};

static gantry_str record_key_str(const struct record_key* key) {
  const gantry_str str = {key->text, strlen(key->text)};
  return str;
}

/* 0 when no volume of this backend can be called so: a static volume's handle is any text. */
static int make_record_key(gantry_str handle, struct record_key* key) {
  const size_t prefix = sizeof HANDLE_PREFIX - 1;
  if (handle.len != HANDLE_BYTES || memcmp(handle.ptr, HANDLE_PREFIX, prefix) != 0) return 0;
  for (size_t i = prefix; i < handle.len; ++i) {
    const char c = handle.ptr[i];
    if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return 0;
  }
  (void)snprintf(key->text, sizeof key->text, KEY_PREFIX "%.*s", (int)handle.len, handle.ptr);
  return 1;
}

/* The whole text but for the size's digits, which stand at its end: so a record is read by writing
 * what it must begin with. It names its format, its volume and its owner, and tells people too. */
static int record_head(const struct store* store, const char* handle, char* text, size_t capacity) {
  return snprintf(text, capacity, "gantry-memory %d\nhandle %s\nowner %s\nsize_bytes ",
                  RECORD_FORMAT, handle, store->owner);
}

/* What a failure of the store is for the caller. A code that the CO takes for final would make it
 * forget a volume that may be there, hence UNAVAILABLE for all that may pass. */
static struct outcome kv_failure(gantry_code code, const char* doing) {
  switch (code) {
    case GANTRY_ABORTED:
      return outcome_fail(code, "%s: it was changed at the same time; try again", doing);
    case GANTRY_RESOURCE_EXHAUSTED:
      return outcome_fail(code, "%s: the host's store is full", doing);
    case GANTRY_DEADLINE_EXCEEDED:
      return outcome_fail(code, "%s: the host's store did not answer in time", doing);
    case GANTRY_DATA_LOSS:
      return outcome_fail(code, "%s: the host's store is damaged", doing);
    default:
      return outcome_fail(GANTRY_UNAVAILABLE, "%s: the host's store failed with code %" PRId32,
                          doing, code);
  }
}

struct outcome store_load(const struct store* store, gantry_call call, gantry_str handle,
                          uint64_t* size_bytes, uint64_t* version) {
  const gantry_kv_api* kv = store->kv;
  struct record_key key;
  char text[RECORD_BYTES_MAX];
  char head[RECORD_BYTES_MAX];
  size_t length = 0;
  *version = 0;
  if (!make_record_key(handle, &key)) return outcome_ok();
  const gantry_code code = kv->get(kv->ctx, record_key_str(&key), text, sizeof text, &length,
                                   version, store->calls->deadline_ns(store->calls->ctx, call));
  if (code == GANTRY_NOT_FOUND) {
    *version = 0;
    return outcome_ok();
  }
  if (code != GANTRY_OK) return kv_failure(code, "read the volume's record");
  const size_t expected =
      (size_t)record_head(store, key.text + sizeof KEY_PREFIX - 1, head, sizeof head);
  const gantry_str digits = {text + expected, length > expected ? length - expected - 1 : 0};
  if (digits.len == 0 || length > sizeof text || memcmp(text, head, expected) != 0 ||
      text[length - 1] != '\n' || text_number(digits, CAPACITY_BYTES_MAX, size_bytes) != digits.len)
    return outcome_fail(GANTRY_DATA_LOSS,
                        "record %s: expected one of format %d, of this volume and of owner \"%s\"",
                        key.text, RECORD_FORMAT, store->owner);
  return outcome_ok();
}

/* The host fsyncs before it says OK; when its answer is lost, the next attempt finds the record. */
struct outcome store_save(const struct store* store, gantry_call call, gantry_str handle,
                          uint64_t size_bytes, uint64_t expected_version) {
  const gantry_kv_api* kv = store->kv;
  struct record_key key;
  char text[RECORD_BYTES_MAX];
  if (!make_record_key(handle, &key))
    return outcome_fail(GANTRY_INVALID_ARGUMENT, "key: expected %d hex digits", KEY_DIGITS);
  const int head = record_head(store, key.text + sizeof KEY_PREFIX - 1, text, sizeof text);
  const int tail = snprintf(text + head, sizeof text - (size_t)head, "%" PRIu64 "\n", size_bytes);
  const gantry_bytes value = {text, (size_t)head + (size_t)tail};
  const gantry_code code = kv->put(kv->ctx, record_key_str(&key), value, expected_version,
                                   store->calls->deadline_ns(store->calls->ctx, call));
  return code == GANTRY_OK ? outcome_ok() : kv_failure(code, "write the volume's record");
}

struct outcome store_remove(const struct store* store, gantry_call call, gantry_str handle,
                            uint64_t version) {
  const gantry_kv_api* kv = store->kv;
  struct record_key key;
  if (!make_record_key(handle, &key)) return outcome_ok();
  const gantry_code code = kv->remove(kv->ctx, record_key_str(&key), version,
                                      store->calls->deadline_ns(store->calls->ctx, call));
  if (code == GANTRY_OK || code == GANTRY_NOT_FOUND) return outcome_ok();
  return kv_failure(code, "remove the volume's record");
}

static int32_t collect_handle(void* arg, gantry_str key) {
  struct handles* handles = arg;
  const size_t prefix = sizeof KEY_PREFIX - 1;
  const gantry_str handle = {key.ptr + prefix, key.len - prefix}; /* the host gave the prefix */
  struct record_key own;
  if (handles->count == VOLUMES_MAX || !make_record_key(handle, &own)) {
    handles->is_strange = 1;
    return 0;
  }
  memcpy(handles->items[handles->count++], handle.ptr, HANDLE_BYTES);
  return 1;
}

/* In order, because all keys begin alike and scan gives keys in order. */
struct outcome store_list(const struct store* store, gantry_call call, struct handles* handles) {
  const gantry_str prefix = STR(KEY_PREFIX);
  handles->count = 0;
  handles->is_strange = 0;
  handles->items =
      store->calls->alloc(store->calls->ctx, call, sizeof *handles->items * VOLUMES_MAX, 1);
  if (handles->items == NULL)
    return outcome_fail(GANTRY_RESOURCE_EXHAUSTED, "no memory for this call");
  const gantry_code code = store->kv->scan(store->kv->ctx, prefix, collect_handle, handles,
                                           store->calls->deadline_ns(store->calls->ctx, call));
  if (code != GANTRY_OK) return kv_failure(code, "list the records");
  if (handles->is_strange)
    return outcome_fail(GANTRY_DATA_LOSS,
                        "the records: expected at most %d keys of the form %s%s<hex>", VOLUMES_MAX,
                        KEY_PREFIX, HANDLE_PREFIX);
  return outcome_ok();
}
