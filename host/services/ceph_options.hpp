// SPDX-License-Identifier: Apache-2.0
// Mount options of the kernel's Ceph client that need no grant beyond the filesystem type's: who it is
// to the cluster that was granted, how it talks to it and what it keeps in its caches. Without this list
// every administrator would write the same thirty patterns.
//
// Not among them, so granted by name or refused: mon_addr and ip (other addresses), key (a key of the
// node's keyring), fsc (the node's disk), noshare and what is only there for tests.
#pragma once

#include <string_view>

namespace gantry::services {

// `option`: "key" or "key=value".
bool IsPlainCephOption(std::string_view option);

}  // namespace gantry::services
