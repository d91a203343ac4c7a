// SPDX-License-Identifier: Apache-2.0
// Whose doing it is that a name is there already, when a change is asked for again after a data path
// died in the midst of it. Two nodes that fight for a name must never both be told that they made it.
//
//   a regular file  is made with a number of the request's own in its attributes: its rdev, which has no
//                   meaning for it, is set with the name in one step, and nobody changes it later.
//                   Other clients leave it 0
//   anything else   carries no such mark. Where this node alone uses the volume it is ours; else what
//                   can't be is told by type, owner and time of birth, and the rest is not known
#pragma once

#include <cstdint>
#include <optional>

#include "plugins/cephfs/datapath/journal.hpp"

struct ceph_statx;

namespace gantry::cephfs {

enum class Whose : uint8_t { kOurs, kTheirs, kUnknown };

struct Asked {
  uint32_t type = 0;  // S_IFMT bits
  uint32_t uid = 0;
  uint32_t mark = 0;  // 0: none
};

// Never 0. `verifier`: the request's (gantry_fs_make).
uint32_t MarkOf(uint64_t verifier);

// `begun`: by the first attempt; nothing: the volume is this node's alone.
Whose WhoseIs(const struct ceph_statx& found, const Asked& asked,
              const std::optional<Begun>& begun);

}  // namespace gantry::cephfs
