/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes of one userspace volume (gantry.datapath/1).
 *
 * The plugin runs here in a process of the volume's own. The host speaks FUSE to the kernel, keeps
 * the table of nodes and the requests in memory that outlives the process, and calls these
 * operations; the plugin speaks its storage protocol. A node is known by a handle of the plugin's
 * making (an NFS file handle, say), which the host stores and gives back; names are only used
 * together with the handle of their directory.
 *
 * One thread runs everything: operations, callbacks of watched fds, timers. Nothing may block. An
 * operation is ended once by a done function, at once or later, always on that thread. Inputs live
 * until then.
 *
 * The process may be killed at any moment, and a successor goes on: what has to survive lies in a
 * region or is a kept fd. A request that its predecessor may have executed comes with
 * GANTRY_FS_REPLAYED; what cannot be proven to have been ours ends with EIO, never with success. */
#ifndef GANTRY_DATAPATH_H
#define GANTRY_DATAPATH_H

#include <gantry/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GANTRY_EXT_DATAPATH "gantry.datapath/1"
#define GANTRY_EXT_DATAPATH_HOST "gantry.datapath-host/1"

#define GANTRY_FS_HANDLE_BYTES_MAX 128u
#define GANTRY_FS_NAME_BYTES_MAX 255u
#define GANTRY_FS_IO_BYTES_MAX 1048576u

/* An operation under way; 0 is none. */
typedef uint64_t gantry_op;

typedef struct gantry_fs_attributes { /* frozen within ABI 0 */
  uint64_t fileid;                    /* unique within the volume */
  uint64_t size_bytes;
  uint64_t used_bytes;
  int64_t atime_ns; /* since 1970 */
  int64_t mtime_ns;
  int64_t ctime_ns;
  uint32_t mode; /* type and permissions as in stat(2) */
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev_major;
  uint32_t rdev_minor;
} gantry_fs_attributes;

enum { GANTRY_FS_REPLAYED = 1u << 0 };

/* Begins every request: who asks, and for which node. */
typedef struct gantry_fs_context {
  uint32_t flags; /* GANTRY_FS_REPLAYED */
  uint32_t uid;
  uint32_t gid;
  uint32_t group_count;
  const uint32_t* groups;
} gantry_fs_context;

typedef struct gantry_fs_node { /* getattr, readlink, statfs */
  uint32_t size;
  uint32_t reserved;
  gantry_fs_context context;
  gantry_bytes node;
} gantry_fs_node;

enum {
  GANTRY_FS_SET_MODE = 1u << 0,
  GANTRY_FS_SET_UID = 1u << 1,
  GANTRY_FS_SET_GID = 1u << 2,
  GANTRY_FS_SET_SIZE = 1u << 3,
  GANTRY_FS_SET_ATIME = 1u << 4,
  GANTRY_FS_SET_MTIME = 1u << 5,
  GANTRY_FS_SET_ATIME_NOW = 1u << 6, /* the server's clock */
  GANTRY_FS_SET_MTIME_NOW = 1u << 7
};

typedef struct gantry_fs_setattr {
  uint32_t size;
  uint32_t valid; /* GANTRY_FS_SET_* */
  gantry_fs_context context;
  gantry_bytes node;
  gantry_fs_attributes values;
} gantry_fs_setattr;

typedef struct gantry_fs_name { /* lookup, unlink, rmdir */
  uint32_t size;
  uint32_t reserved;
  gantry_fs_context context;
  gantry_bytes directory;
  gantry_str name;
} gantry_fs_name;

typedef struct gantry_fs_make { /* create, mkdir, mknod, symlink */
  uint32_t size;
  uint32_t mode; /* type and permissions, umask applied */
  gantry_fs_context context;
  gantry_bytes directory;
  gantry_str name;
  gantry_str target;   /* symlink */
  uint32_t rdev_major; /* mknod */
  uint32_t rdev_minor;
  uint32_t exclusive; /* create: 1 = fails with EEXIST when it is there */
  uint32_t reserved;
  uint64_t verifier; /* create: unique to this request, the same in every replay */
} gantry_fs_make;

typedef struct gantry_fs_link {
  uint32_t size;
  uint32_t reserved;
  gantry_fs_context context;
  gantry_bytes node;
  gantry_bytes directory;
  gantry_str name;
} gantry_fs_link;

typedef struct gantry_fs_rename {
  uint32_t size;
  uint32_t reserved;
  gantry_fs_context context;
  gantry_bytes directory;
  gantry_str name;
  gantry_bytes new_directory;
  gantry_str new_name;
} gantry_fs_rename;

typedef struct gantry_fs_read {
  uint32_t size;
  uint32_t length; /* at most GANTRY_FS_IO_BYTES_MAX */
  gantry_fs_context context;
  gantry_bytes node;
  uint64_t offset;
  void* buffer; /* the data goes here before done_data */
} gantry_fs_read;

enum { GANTRY_FS_WRITE_STABLE = 1u << 0 /* on stable storage before done_written */ };

typedef struct gantry_fs_write {
  uint32_t size;
  uint32_t flags;
  gantry_fs_context context;
  gantry_bytes node;
  uint64_t offset;
  gantry_bytes data;
} gantry_fs_write;

/* close(2) asks, not fsync(2): it may be told of an error, but that is not settled by it. */
enum { GANTRY_FS_COMMIT_CLOSE = 1u << 0 };

typedef struct gantry_fs_commit {
  uint32_t size;
  uint32_t flags;
  gantry_fs_context context;
  gantry_bytes node;
  uint64_t offset;
  uint64_t length; /* 0: to the end */
} gantry_fs_commit;

enum {
  GANTRY_FS_ALLOCATE_PUNCH = 1, /* the range reads as zeroes and gives its space back */
  GANTRY_FS_ALLOCATE_ZERO = 2   /* the range reads as zeroes and stays allocated */
};

typedef struct gantry_fs_allocate { /* fallocate(2) that keeps the size */
  uint32_t size;
  int32_t mode; /* GANTRY_FS_ALLOCATE_* */
  gantry_fs_context context;
  gantry_bytes node;
  uint64_t offset;
  uint64_t length;
} gantry_fs_allocate;

#define GANTRY_FS_XATTR_BYTES_MAX 65536u

typedef struct gantry_fs_xattr { /* getxattr, setxattr, listxattr, removexattr */
  uint32_t size;
  uint32_t flags; /* setxattr: of setxattr(2), 1 XATTR_CREATE, 2 XATTR_REPLACE */
  gantry_fs_context context;
  gantry_bytes node;
  gantry_str name;    /* all but listxattr */
  gantry_bytes value; /* setxattr */
  void* buffer;       /* getxattr, listxattr: the answer goes here before done_data, names each with
                         its NUL. NULL: only its length is asked for */
  uint32_t length;    /* of the buffer, at most GANTRY_FS_XATTR_BYTES_MAX; too short: ERANGE */
  uint32_t reserved;
} gantry_fs_xattr;

typedef struct gantry_fs_readdir { /* readdir, readdirplus */
  uint32_t size;
  uint32_t room_bytes; /* for so much there is room; an entry takes its name and at most 160 more */
  gantry_fs_context context;
  gantry_bytes node;
  uint64_t cookie; /* 0: from the beginning; else the cookie of the last entry taken */
} gantry_fs_readdir;

typedef struct gantry_fs_entry { /* frozen within ABI 0 */
  gantry_str name;
  uint64_t fileid;
  uint64_t cookie; /* where to go on after this entry; never 0 */
  uint32_t type;   /* S_IFMT bits, 0 unknown */
  uint32_t reserved;
} gantry_fs_entry;

typedef struct gantry_fs_statfs { /* frozen within ABI 0 */
  uint64_t total_bytes;
  uint64_t free_bytes;
  uint64_t available_bytes;
  uint64_t total_files;
  uint64_t free_files;
  uint32_t name_bytes_max;
  uint32_t block_bytes;
} gantry_fs_statfs;

/* A disk that is open (disk.h). */
typedef struct gantry_disk_facts { /* frozen within ABI 0 */
  uint64_t size_bytes;
  uint32_t block_bytes;               /* logical: 512 to 4096 */
  uint32_t discard_granularity_bytes; /* 0: not known */
} gantry_disk_facts;

enum { GANTRY_FS_READABLE = 1u << 0, GANTRY_FS_WRITABLE = 1u << 1 };

/* gantry.datapath-host/1; every function only on the one thread. */
typedef struct gantry_datapath_host {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* Ends of operations. error_number is an errno, above 0. */
  void (*done)(void* ctx, gantry_op op);
  void (*done_error)(void* ctx, gantry_op op, int32_t error_number);
  void (*done_attributes)(void* ctx, gantry_op op, const gantry_fs_attributes* attributes);
  void (*done_node)(void* ctx, gantry_op op, gantry_bytes node,
                    const gantry_fs_attributes* attributes);
  void (*done_target)(void* ctx, gantry_op op, gantry_str target);
  void (*done_data)(void* ctx, gantry_op op, uint32_t length);
  void (*done_written)(void* ctx, gantry_op op, uint32_t length);
  void (*done_statfs)(void* ctx, gantry_op op, const gantry_fs_statfs* statfs);
  /* One entry of a directory; 0: no room for this one, emit no more and end with done. */
  int32_t (*entry)(void* ctx, gantry_op op, const gantry_fs_entry* entry);
  /* Memory that outlives the process, locked (a disk's: present) by name; zeroed when it is new, and then
   * *fresh is 1. NULL: the host cannot give so much. The same size must be asked for again. */
  void* (*region)(void* ctx, gantry_str name, size_t bytes, int32_t* fresh);
  /* An fd that outlives the process. keep: the host makes a copy. take: a copy of the kept one, or
   * -1. drop: forgets it. */
  int32_t (*keep_fd)(void* ctx, gantry_str name, int32_t fd);
  int32_t (*take_fd)(void* ctx, gantry_str name);
  void (*drop_fd)(void* ctx, gantry_str name);
  /* Calls fn(arg, events) while any of `events` (GANTRY_FS_READABLE, _WRITABLE) holds; errors and
   * hang-ups count as both. events 0: stops watching, to be called before the fd is closed. */
  int32_t (*watch)(void* ctx, int32_t fd, uint32_t events, void (*fn)(void* arg, uint32_t events),
                   void* arg);
  /* The one timer: calls fn(arg) at or after CLOCK_MONOTONIC `at_ns`; INT64_MAX: never. */
  void (*timer)(void* ctx, int64_t at_ns, void (*fn)(void* arg), void* arg);
  /* A secret kept from stage to unstage; 1 and *value, valid until the next call of this function. */
  int32_t (*secret)(void* ctx, gantry_str key, gantry_str* value);
  void (*done_disk)(void* ctx, gantry_op op, const gantry_disk_facts* facts);
  /* Of readdirplus: an entry with what a lookup of its name would end with now. `node` empty: the
   * storage does not say, as with `entry`. "." and ".." have none. Returns what `entry` does; where that
   * is 0 nothing was taken. To readdir it is the same as `entry`. */
  int32_t (*entry_plus)(void* ctx, gantry_op op, const gantry_fs_entry* entry, gantry_bytes node,
                        const gantry_fs_attributes* attributes);
} gantry_datapath_host;

typedef struct gantry_datapath_open {
  uint32_t size;
  int32_t readonly;
  gantry_map parameters; /* of the source that attach emitted */
  gantry_str volume_key; /* names the volume on this node */
} gantry_datapath_open;

typedef struct gantry_datapath {
  uint32_t size;
  uint32_t reserved;
  /* Connects and ends with done_node: the root. A server that is away: done_error after the
   * timeout; open is then tried again by the host. */
  void (*open)(gantry_instance*, gantry_op, const gantry_datapath_open*);
  /* Nothing is under way any more; ends with done. */
  void (*close)(gantry_instance*, gantry_op);
  /* Gives up on an operation whose caller was interrupted; it is still ended by its done. */
  void (*interrupt)(gantry_instance*, gantry_op);
  void (*lookup)(gantry_instance*, gantry_op, const gantry_fs_name*);     /* done_node */
  void (*getattr)(gantry_instance*, gantry_op, const gantry_fs_node*);    /* done_attributes */
  void (*setattr)(gantry_instance*, gantry_op, const gantry_fs_setattr*); /* done_attributes */
  void (*readlink)(gantry_instance*, gantry_op, const gantry_fs_node*);   /* done_target */
  void (*create)(gantry_instance*, gantry_op, const gantry_fs_make*);     /* done_node */
  void (*mkdir)(gantry_instance*, gantry_op, const gantry_fs_make*);      /* done_node */
  void (*mknod)(gantry_instance*, gantry_op, const gantry_fs_make*);      /* done_node */
  void (*symlink)(gantry_instance*, gantry_op, const gantry_fs_make*);    /* done_node */
  void (*link)(gantry_instance*, gantry_op, const gantry_fs_link*);       /* done_node */
  void (*unlink)(gantry_instance*, gantry_op, const gantry_fs_name*);     /* done */
  void (*rmdir)(gantry_instance*, gantry_op, const gantry_fs_name*);      /* done */
  void (*rename)(gantry_instance*, gantry_op, const gantry_fs_rename*);   /* done */
  void (*read)(gantry_instance*, gantry_op, const gantry_fs_read*);       /* done_data */
  void (*write)(gantry_instance*, gantry_op, const gantry_fs_write*);     /* done_written */
  void (*commit)(gantry_instance*, gantry_op, const gantry_fs_commit*);   /* done */
  void (*readdir)(gantry_instance*, gantry_op, const gantry_fs_readdir*); /* entries, done */
  void (*statfs)(gantry_instance*, gantry_op, const gantry_fs_node*);     /* done_statfs */
  /* done. NULL: EOPNOTSUPP. */
  void (*allocate)(gantry_instance*, gantry_op, const gantry_fs_allocate*);
  /* Extended attributes. NULL: the filesystem has none, and the kernel does not ask again. The kernel
   * has judged the caller's right to the name. An attribute that is not there: ENODATA; names that are
   * not kept: EOPNOTSUPP, soon, because "security.capability" is asked for before many writes. */
  void (*getxattr)(gantry_instance*, gantry_op, const gantry_fs_xattr*);    /* done_data */
  void (*setxattr)(gantry_instance*, gantry_op, const gantry_fs_xattr*);    /* done */
  void (*listxattr)(gantry_instance*, gantry_op, const gantry_fs_xattr*);   /* done_data */
  void (*removexattr)(gantry_instance*, gantry_op, const gantry_fs_xattr*); /* done */
  /* readdir with the entries' nodes and attributes, asked of the storage since this was called: the
   * kernel takes them for as new as its question. entry_plus, done. NULL: readdir is asked. */
  void (*readdirplus)(gantry_instance*, gantry_op, const gantry_fs_readdir*);
  /* A node that the plugin has told the host by done_node or entry_plus is none of the kernel's any
   * more: what the plugin keeps of it may go. No done; never the root, after close, or while an operation
   * on it is under way. What is told again later, by a lookup that is under way now even, is new.
   * NULL: the plugin keeps nothing. */
  void (*forget)(gantry_instance*, gantry_bytes node);
} gantry_datapath;

#ifdef __cplusplus
}
#endif
#endif
