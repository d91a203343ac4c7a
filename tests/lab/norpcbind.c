// SPDX-License-Identifier: Apache-2.0
// Preloaded into ganesha.nfsd: makes libntirpc believe that rpcbind took its registrations. With
// NFSv3 on, Ganesha refuses to start without an rpcbind; one rpcbind a machine would allow neither
// private ports nor two servers side by side, and clients here are told their ports anyway.
// The signatures are those of libntirpc's <ntirpc/rpc/rpcb_clnt.h>.
#include <stdbool.h>
#include <stdint.h>

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
