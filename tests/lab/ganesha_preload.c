// SPDX-License-Identifier: Apache-2.0
// Preloaded into ganesha.nfsd, so that it runs on any machine without changing that machine.
//
// rpcbind: with NFSv3 on, Ganesha refuses to start unless an rpcbind takes its registrations. One
// rpcbind a machine would allow neither private ports nor two servers side by side, and clients
// here are told their ports anyway; so libntirpc is made to believe that it was registered (the
// signatures are those of its <ntirpc/rpc/rpcb_clnt.h>).
//
// /etc/mtab: Ganesha looks up its file systems there, and a machine that was never booted, such as
// a minimal container, has none; the kernel's own table says the same.
#include <dlfcn.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool rpcb_set(uint32_t program, uint32_t version, const void* netconf, const void* address);
bool rpcb_unset(uint32_t program, uint32_t version, const void* netconf);

bool rpcb_set(uint32_t program, uint32_t version, const void* netconf, const void* address) {
  (void)program, (void)version, (void)netconf, (void)address;
  return true;
}

bool rpcb_unset(uint32_t program, uint32_t version, const void* netconf) {
  (void)program, (void)version, (void)netconf;
  return true;
}

FILE* setmntent(const char* path, const char* mode) {
  FILE* (*next)(const char*, const char*) = NULL;
  void* symbol = dlsym(RTLD_NEXT, "setmntent");
  if (symbol == NULL) return NULL;
  memcpy(&next, &symbol, sizeof(next));  // ISO C has no cast from void* to a function
  return next(strcmp(path, "/etc/mtab") == 0 ? "/proc/self/mounts" : path, mode);
}
