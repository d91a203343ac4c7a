/* SPDX-License-Identifier: Apache-2.0 */
/* The data path (gantry/datapath.h).
 * The layout as it was frozen. A build that stops here has changed the ABI: take the change back,
 * or, where it is meant, raise GANTRY_ABI_MINOR and write the new numbers here. */
#include "sdk/abi/layout.h"

SIZE(gantry_fs_attributes, 72);
FIELD(gantry_fs_attributes, fileid, 0);
FIELD(gantry_fs_attributes, size_bytes, 8);
FIELD(gantry_fs_attributes, used_bytes, 16);
FIELD(gantry_fs_attributes, atime_ns, 24);
FIELD(gantry_fs_attributes, mtime_ns, 32);
FIELD(gantry_fs_attributes, ctime_ns, 40);
FIELD(gantry_fs_attributes, mode, 48);
FIELD(gantry_fs_attributes, nlink, 52);
FIELD(gantry_fs_attributes, uid, 56);
FIELD(gantry_fs_attributes, gid, 60);
FIELD(gantry_fs_attributes, rdev_major, 64);
FIELD(gantry_fs_attributes, rdev_minor, 68);

SIZE(gantry_fs_context, 24);
FIELD(gantry_fs_context, flags, 0);
FIELD(gantry_fs_context, uid, 4);
FIELD(gantry_fs_context, gid, 8);
FIELD(gantry_fs_context, group_count, 12);
FIELD(gantry_fs_context, groups, 16);

SIZE(gantry_fs_node, 48);
FIELD(gantry_fs_node, size, 0);
FIELD(gantry_fs_node, reserved, 4);
FIELD(gantry_fs_node, context, 8);
FIELD(gantry_fs_node, node, 32);

SIZE(gantry_fs_setattr, 120);
FIELD(gantry_fs_setattr, size, 0);
FIELD(gantry_fs_setattr, valid, 4);
FIELD(gantry_fs_setattr, context, 8);
FIELD(gantry_fs_setattr, node, 32);
FIELD(gantry_fs_setattr, values, 48);

SIZE(gantry_fs_name, 64);
FIELD(gantry_fs_name, size, 0);
FIELD(gantry_fs_name, reserved, 4);
FIELD(gantry_fs_name, context, 8);
FIELD(gantry_fs_name, directory, 32);
FIELD(gantry_fs_name, name, 48);

SIZE(gantry_fs_make, 104);
FIELD(gantry_fs_make, size, 0);
FIELD(gantry_fs_make, mode, 4);
FIELD(gantry_fs_make, context, 8);
FIELD(gantry_fs_make, directory, 32);
FIELD(gantry_fs_make, name, 48);
FIELD(gantry_fs_make, target, 64);
FIELD(gantry_fs_make, rdev_major, 80);
FIELD(gantry_fs_make, rdev_minor, 84);
FIELD(gantry_fs_make, exclusive, 88);
FIELD(gantry_fs_make, reserved, 92);
FIELD(gantry_fs_make, verifier, 96);

SIZE(gantry_fs_link, 80);
FIELD(gantry_fs_link, size, 0);
FIELD(gantry_fs_link, reserved, 4);
FIELD(gantry_fs_link, context, 8);
FIELD(gantry_fs_link, node, 32);
FIELD(gantry_fs_link, directory, 48);
FIELD(gantry_fs_link, name, 64);

SIZE(gantry_fs_rename, 96);
FIELD(gantry_fs_rename, size, 0);
FIELD(gantry_fs_rename, reserved, 4);
FIELD(gantry_fs_rename, context, 8);
FIELD(gantry_fs_rename, directory, 32);
FIELD(gantry_fs_rename, name, 48);
FIELD(gantry_fs_rename, new_directory, 64);
FIELD(gantry_fs_rename, new_name, 80);

SIZE(gantry_fs_read, 64);
FIELD(gantry_fs_read, size, 0);
FIELD(gantry_fs_read, length, 4);
FIELD(gantry_fs_read, context, 8);
FIELD(gantry_fs_read, node, 32);
FIELD(gantry_fs_read, offset, 48);
FIELD(gantry_fs_read, buffer, 56);

SIZE(gantry_fs_write, 72);
FIELD(gantry_fs_write, size, 0);
FIELD(gantry_fs_write, flags, 4);
FIELD(gantry_fs_write, context, 8);
FIELD(gantry_fs_write, node, 32);
FIELD(gantry_fs_write, offset, 48);
FIELD(gantry_fs_write, data, 56);

SIZE(gantry_fs_commit, 64);
FIELD(gantry_fs_commit, size, 0);
FIELD(gantry_fs_commit, flags, 4);
FIELD(gantry_fs_commit, context, 8);
FIELD(gantry_fs_commit, node, 32);
FIELD(gantry_fs_commit, offset, 48);
FIELD(gantry_fs_commit, length, 56);

SIZE(gantry_fs_allocate, 64);
FIELD(gantry_fs_allocate, size, 0);
FIELD(gantry_fs_allocate, mode, 4);
FIELD(gantry_fs_allocate, context, 8);
FIELD(gantry_fs_allocate, node, 32);
FIELD(gantry_fs_allocate, offset, 48);
FIELD(gantry_fs_allocate, length, 56);

SIZE(gantry_fs_readdir, 56);
FIELD(gantry_fs_readdir, size, 0);
FIELD(gantry_fs_readdir, room_bytes, 4);
FIELD(gantry_fs_readdir, context, 8);
FIELD(gantry_fs_readdir, node, 32);
FIELD(gantry_fs_readdir, cookie, 48);

SIZE(gantry_fs_entry, 40);
FIELD(gantry_fs_entry, name, 0);
FIELD(gantry_fs_entry, fileid, 16);
FIELD(gantry_fs_entry, cookie, 24);
FIELD(gantry_fs_entry, type, 32);
FIELD(gantry_fs_entry, reserved, 36);

SIZE(gantry_fs_statfs, 48);
FIELD(gantry_fs_statfs, total_bytes, 0);
FIELD(gantry_fs_statfs, free_bytes, 8);
FIELD(gantry_fs_statfs, available_bytes, 16);
FIELD(gantry_fs_statfs, total_files, 24);
FIELD(gantry_fs_statfs, free_files, 32);
FIELD(gantry_fs_statfs, name_bytes_max, 40);
FIELD(gantry_fs_statfs, block_bytes, 44);

SIZE(gantry_datapath_host, 160);
FIELD(gantry_datapath_host, size, 0);
FIELD(gantry_datapath_host, reserved, 4);
FIELD(gantry_datapath_host, ctx, 8);
FIELD(gantry_datapath_host, done, 16);
FIELD(gantry_datapath_host, done_error, 24);
FIELD(gantry_datapath_host, done_attributes, 32);
FIELD(gantry_datapath_host, done_node, 40);
FIELD(gantry_datapath_host, done_target, 48);
FIELD(gantry_datapath_host, done_data, 56);
FIELD(gantry_datapath_host, done_written, 64);
FIELD(gantry_datapath_host, done_statfs, 72);
FIELD(gantry_datapath_host, entry, 80);
FIELD(gantry_datapath_host, region, 88);
FIELD(gantry_datapath_host, keep_fd, 96);
FIELD(gantry_datapath_host, take_fd, 104);
FIELD(gantry_datapath_host, drop_fd, 112);
FIELD(gantry_datapath_host, watch, 120);
FIELD(gantry_datapath_host, timer, 128);
FIELD(gantry_datapath_host, secret, 136);
FIELD(gantry_datapath_host, done_disk, 144);
FIELD(gantry_datapath_host, entry_plus, 152);

SIZE(gantry_datapath_open, 40);
FIELD(gantry_datapath_open, size, 0);
FIELD(gantry_datapath_open, readonly, 4);
FIELD(gantry_datapath_open, parameters, 8);
FIELD(gantry_datapath_open, volume_key, 24);

SIZE(gantry_fs_xattr, 96);
FIELD(gantry_fs_xattr, size, 0);
FIELD(gantry_fs_xattr, flags, 4);
FIELD(gantry_fs_xattr, context, 8);
FIELD(gantry_fs_xattr, node, 32);
FIELD(gantry_fs_xattr, name, 48);
FIELD(gantry_fs_xattr, value, 64);
FIELD(gantry_fs_xattr, buffer, 80);
FIELD(gantry_fs_xattr, length, 88);
FIELD(gantry_fs_xattr, reserved, 92);

SIZE(gantry_datapath, 224);
FIELD(gantry_datapath, size, 0);
FIELD(gantry_datapath, reserved, 4);
FIELD(gantry_datapath, open, 8);
FIELD(gantry_datapath, close, 16);
FIELD(gantry_datapath, interrupt, 24);
FIELD(gantry_datapath, lookup, 32);
FIELD(gantry_datapath, getattr, 40);
FIELD(gantry_datapath, setattr, 48);
FIELD(gantry_datapath, readlink, 56);
FIELD(gantry_datapath, create, 64);
FIELD(gantry_datapath, mkdir, 72);
FIELD(gantry_datapath, mknod, 80);
FIELD(gantry_datapath, symlink, 88);
FIELD(gantry_datapath, link, 96);
FIELD(gantry_datapath, unlink, 104);
FIELD(gantry_datapath, rmdir, 112);
FIELD(gantry_datapath, rename, 120);
FIELD(gantry_datapath, read, 128);
FIELD(gantry_datapath, write, 136);
FIELD(gantry_datapath, commit, 144);
FIELD(gantry_datapath, readdir, 152);
FIELD(gantry_datapath, statfs, 160);
FIELD(gantry_datapath, allocate, 168);
FIELD(gantry_datapath, getxattr, 176);
FIELD(gantry_datapath, setxattr, 184);
FIELD(gantry_datapath, listxattr, 192);
FIELD(gantry_datapath, removexattr, 200);
FIELD(gantry_datapath, readdirplus, 208);
FIELD(gantry_datapath, forget, 216);

VALUE(GANTRY_FS_REPLAYED, 1);
VALUE(GANTRY_FS_SET_MODE, 1);
VALUE(GANTRY_FS_SET_UID, 2);
VALUE(GANTRY_FS_SET_GID, 4);
VALUE(GANTRY_FS_SET_SIZE, 8);
VALUE(GANTRY_FS_SET_ATIME, 16);
VALUE(GANTRY_FS_SET_MTIME, 32);
VALUE(GANTRY_FS_SET_ATIME_NOW, 64);
VALUE(GANTRY_FS_SET_MTIME_NOW, 128);
VALUE(GANTRY_FS_WRITE_STABLE, 1);
VALUE(GANTRY_FS_READABLE, 1);
VALUE(GANTRY_FS_WRITABLE, 2);
TEXT(GANTRY_EXT_DATAPATH, "gantry.datapath/1");
TEXT(GANTRY_EXT_DATAPATH_HOST, "gantry.datapath-host/1");
VALUE(GANTRY_FS_XATTR_BYTES_MAX, 65536);
VALUE(GANTRY_FS_HANDLE_BYTES_MAX, 128);
VALUE(GANTRY_FS_NAME_BYTES_MAX, 255);
VALUE(GANTRY_FS_IO_BYTES_MAX, 1048576);
