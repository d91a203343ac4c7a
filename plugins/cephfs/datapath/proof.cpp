// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/proof.hpp"

#include <cephfs/libcephfs.h>
#include <sys/stat.h>

#include "plugins/cephfs/datapath/convert.hpp"

namespace gantry::cephfs {

uint32_t MarkOf(uint64_t verifier) {
  const auto mark = static_cast<uint32_t>(verifier ^ (verifier >> 32));
  return mark != 0 ? mark : 1;
}

Whose WhoseIs(const struct ceph_statx& found, const Asked& asked,
              const std::optional<Begun>& begun) {
  if ((found.stx_mode & S_IFMT) != asked.type) return Whose::kTheirs;
  if (asked.mark != 0)
    return static_cast<uint32_t>(found.stx_rdev) == asked.mark ? Whose::kOurs : Whose::kTheirs;
  if (!begun) return Whose::kOurs;
  const bool can_be_ours =
      found.stx_uid == asked.uid && ToNanoseconds(found.stx_btime) >= begun->at_ns;
  return can_be_ours ? Whose::kUnknown : Whose::kTheirs;
}

}  // namespace gantry::cephfs
