// SPDX-License-Identifier: Apache-2.0
// What libcephfs needs by itself: mounts and waits. The key comes by standard input, so that it is in no
// list of processes; a byte on standard output says that it is mounted, the end of input ends it.
#include <cephfs/libcephfs.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s MONITORS USER FILESYSTEM PATH, the key on stdin\n", argv[0]);
    return 2;
  }
  std::string key;
  if (!std::getline(std::cin, key)) return 2;
  ceph_mount_info* mount = nullptr;
  const bool is_set =
      ceph_create(&mount, argv[2]) == 0 && ceph_conf_set(mount, "mon_host", argv[1]) == 0 &&
      ceph_conf_set(mount, "key", key.c_str()) == 0 &&
      ceph_conf_set(mount, "keyring", "/dev/null") == 0 &&
      ceph_conf_set(mount, "client_mount_timeout", "10") == 0 &&
      ceph_conf_set(mount, "log_file", "") == 0 && ceph_select_filesystem(mount, argv[3]) == 0;
  if (!is_set) return 1;
  if (const int result = ceph_mount(mount, argv[4]); result != 0) {
    std::fprintf(stderr, "mount %s: %d\n", argv[4], result);
    return 1;
  }
  if (write(1, "m", 1) != 1) return 1;
  char byte = 0;
  (void)!read(0, &byte, 1);
  (void)ceph_unmount(mount);
  return 0;
}
