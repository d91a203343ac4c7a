/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin is: one exported function that returns one static table.
 *
 * The life of an instance, every step but destroy ending with finish:
 *
 *   create -> [extension, any number of times] -> start -> activate -> ... -> deactivate
 *          -> drain -> stop -> destroy -> the worker process ends (_exit)
 *
 * Operations may come as soon as start has finished and until drain: before activate, when a new
 * generation is tried (read-only operations, a share of the volumes), and after deactivate, when it
 * finishes what it has or stands by for a rollback. Tasks come between activate and deactivate only.
 * Either may come again.
 *
 * create checks the configuration and touches no network, so that the host learns at its own start,
 * with every storage server away, what the backend can do. start may connect, but does not have to:
 * a backend whose storage is away starts all the same and answers UNAVAILABLE until it is back. */
#ifndef GANTRY_PLUGIN_H
#define GANTRY_PLUGIN_H

#include <gantry/abi.h>
#include <gantry/host.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How many operations may run in the plugin at once; enforced by the worker. */
enum {
  GANTRY_THREADS_SERIAL = 0,     /* one */
  GANTRY_THREADS_PER_VOLUME = 1, /* one for each volume or snapshot key */
  GANTRY_THREADS_PARALLEL = 2    /* as many as calls_max; the host still locks each volume */
};

typedef struct gantry_manifest {
  uint32_t size;
  int32_t thread_model;
  gantry_str name;    /* "nfs": [a-z0-9-], at most 32 bytes */
  gantry_str version; /* semantic version of the plugin */
  gantry_str csi_min; /* the CSI versions it was written for, e.g. "1.12.0" */
  gantry_str csi_max;
  uint32_t calls_max;        /* operations at once, at most 256; 0: 16 */
  uint32_t domain_calls_max; /* of these for one fault domain (controller.h, domain); 0: 8 */
  uint32_t access_modes;     /* GANTRY_ACCESS_MODE_BIT of each that it offers */
  uint32_t access_types;     /* GANTRY_ACCESS_TYPE_BIT */
  gantry_list topology_keys;
  gantry_list needs;           /* capabilities it asks of the host, "NET_BIND_SERVICE"; granted by
                                the configuration or not at all */
  gantry_str config_schema;    /* JSON Schema (draft 7) of the backend's configuration */
  uint32_t record_format_min;  /* records on the storage: the oldest it reads ... */
  uint32_t record_format_max;  /* ... and the newest it reads and writes */
  uint32_t context_format_min; /* likewise volume and publish contexts */
  uint32_t context_format_max;
} gantry_manifest;

enum {
  GANTRY_ROLE_CONTROLLER = 1u << 0,
  GANTRY_ROLE_NODE = 1u << 1,
  GANTRY_ROLE_DATAPATH = 1u << 2
};

typedef struct gantry_create {
  uint32_t size;
  uint32_t roles;         /* GANTRY_ROLE_*: which operations can come */
  gantry_str backend;     /* the backend's name */
  gantry_str owner;       /* the id of the installation that owns what is made; goes into records */
  gantry_str config_json; /* as JSON; unknown keys are the plugin's to refuse */
  gantry_str node_id;     /* empty where the role has no node */
  gantry_str data_directory; /* its own, writable, on this node; empty when it has none */
  uint32_t record_format;    /* what to write; 0: the newest */
  uint32_t context_format;
} gantry_create;

/* Slots: [control] unless said otherwise. NULL is allowed where "may be NULL" stands. */
typedef struct gantry_plugin {
  uint32_t magic; /* GANTRY_MAGIC */
  uint32_t size;
  uint32_t abi_major; /* GANTRY_ABI_MAJOR */
  uint32_t abi_minor;
  const gantry_manifest* manifest; /* static */
  /* Makes an instance from the configuration. *instance is set before finish(OK). Errors:
   * INVALID_ARGUMENT naming the key, the value and what was expected. No network. */
  void (*create)(const gantry_host* host, gantry_call call, const gantry_create* request,
                 gantry_instance** instance);
  void (*start)(gantry_instance* instance, gantry_call call);      /* may be NULL */
  void (*activate)(gantry_instance* instance, gantry_call call);   /* it now serves; may be NULL */
  void (*deactivate)(gantry_instance* instance, gantry_call call); /* no new task; may be NULL */
  /* Is the backend able to serve? Quick; runs beside everything else, on a thread of its own. */
  void (*probe)(gantry_instance* instance, gantry_call call); /* may be NULL */
  /* No new operation will come; finish what runs. */
  void (*drain)(gantry_instance* instance, gantry_call call); /* may be NULL */
  /* Join every thread that was started. Nothing may run afterwards. */
  void (*stop)(gantry_instance* instance, gantry_call call); /* may be NULL */
  void (*destroy)(gantry_instance* instance);
  /* The static table of a feature, or NULL. A capability is having the extension and its slot; what
   * is there may depend on the configuration, never on the storage. [any thread] */
  const void* (*extension)(gantry_instance* instance, const char* id);
} gantry_plugin;

/* The one exported symbol. host_minor is the newest minor the host knows; the plugin returns its
 * table, or NULL with *why set to a static sentence when the two cannot work together. */
typedef const gantry_plugin* (*gantry_plugin_entry_fn)(uint32_t host_minor, const char** why);
GANTRY_EXPORT const gantry_plugin* gantry_plugin_entry_v0(uint32_t host_minor, const char** why);

#define GANTRY_PLUGIN_ENTRY_SYMBOL "gantry_plugin_entry_v0"

#ifdef __cplusplus
}
#endif
#endif
