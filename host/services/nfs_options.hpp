// SPDX-License-Identifier: Apache-2.0
// Mount options of the kernel's NFS client that need no grant beyond the filesystem type's: they say
// how the client talks to the server that was granted and what it keeps in its cache, and cannot send
// it elsewhere, open anything of the node's, or give a file more rights than it has. Without this
// list every administrator would write the same thirty patterns.
//
// Not among them, so granted by name or refused: addr, mountaddr, mounthost and clientaddr (other
// addresses), fsc (the node's disk), sec=krb5* (the node's keys), udp and rdma (other transports).
#pragma once

#include <string_view>

namespace gantry::services {

// `option`: "key" or "key=value".
bool IsPlainNfsOption(std::string_view option);

}  // namespace gantry::services
