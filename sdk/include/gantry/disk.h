/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes of one userspace disk (gantry.disk/1): what gantry.datapath/1 (datapath.h) is for
 * filesystems, for storage that gives blocks. A source of kind GANTRY_SOURCE_DISK is served by it, in
 * a process of the volume's own; the host puts a loop device on top and stages that like any other
 * block device.
 *
 * Threads, lifetimes and being killed are as datapath.h says, and the host's table is the same,
 * gantry.datapath-host/1. Offsets and lengths are multiples of the logical block. What was not
 * acknowledged may happen in any order; what was, survives the process. A flush makes all that was
 * acknowledged before it began survive the target's loss of power as well. */
#ifndef GANTRY_DISK_H
#define GANTRY_DISK_H

#include <gantry/datapath.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_DISK "gantry.disk/1"

enum {
  GANTRY_DISK_REPLAYED = 1u << 0,          /* a predecessor may have executed it */
  GANTRY_DISK_FORCE_UNIT_ACCESS = 1u << 1, /* write: on stable storage before done_written */
  GANTRY_DISK_MAY_UNMAP = 1u << 2          /* zero: the blocks need not stay allocated */
};

typedef struct gantry_disk_open {
  uint32_t size;
  int32_t readonly;
  gantry_map parameters; /* of the source that attach emitted */
  gantry_str volume_key; /* names the volume on this node */
  gantry_str identity;   /* of the source: the disk must be this one, else done_error(ENODEV) */
  uint64_t size_bytes;   /* of the source: a smaller disk is another one */
} gantry_disk_open;

typedef struct gantry_disk_read {
  uint32_t size;
  uint32_t flags;
  uint64_t offset;
  void* buffer;    /* the data goes here before done_data */
  uint32_t length; /* at most GANTRY_FS_IO_BYTES_MAX */
  uint32_t reserved;
} gantry_disk_read;

typedef struct gantry_disk_write {
  uint32_t size;
  uint32_t flags;
  uint64_t offset;
  gantry_bytes data;
} gantry_disk_write;

typedef struct gantry_disk_range { /* discard, zero */
  uint32_t size;
  uint32_t flags;
  uint64_t offset;
  uint64_t length; /* of any size within the disk */
} gantry_disk_range;

typedef struct gantry_disk {
  uint32_t size;
  uint32_t reserved;
  /* Connects, fences a predecessor and ends with done_disk. A target that is away: done_error after
   * the timeout; open is then tried again by the host. */
  void (*open)(gantry_instance*, gantry_op, const gantry_disk_open*);
  void (*close)(gantry_instance*, gantry_op); /* done */
  /* Gives up on an operation whose caller was interrupted; it is still ended by its done. */
  void (*interrupt)(gantry_instance*, gantry_op);
  void (*read)(gantry_instance*, gantry_op, const gantry_disk_read*);   /* done_data */
  void (*write)(gantry_instance*, gantry_op, const gantry_disk_write*); /* done_written */
  void (*flush)(gantry_instance*, gantry_op);                           /* done */
  /* Gives the range's space back; every block of it reads as zeroes afterwards, because a loop
   * device asks for zeroes by the request by which it discards. done. NULL: the storage does not
   * promise that; zero with MAY_UNMAP is called instead. */
  void (*discard)(gantry_instance*, gantry_op, const gantry_disk_range*);
  void (*zero)(gantry_instance*, gantry_op, const gantry_disk_range*); /* done; NULL: cannot */
  /* Asks the storage for the size again. */
  void (*refresh)(gantry_instance*, gantry_op); /* done_disk */
} gantry_disk;

#ifdef __cplusplus
}
#endif
#endif
