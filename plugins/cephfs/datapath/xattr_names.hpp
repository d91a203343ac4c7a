// SPDX-License-Identifier: Apache-2.0
// Which extended attributes a volume has. Users' own and trusted ones are kept. Ceph's virtual ones
// ("ceph.dir.rbytes", "ceph.quota.max_bytes") can be read by who knows their names and are not listed, so
// that no copy of a file tries to set them; setting one is refused, whatever the volume's key allows: a
// pod must not raise its own quota. ACLs and security labels are not kept, because nobody would heed
// them: modes are judged by the kernel, which is told nothing of an ACL.
#pragma once

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>

namespace gantry::cephfs {

inline bool IsVirtual(std::string_view name) { return name.starts_with("ceph."); }
inline bool IsKept(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("trusted.");
}

// 0, or the errno that asking for it or changing it ends with.
inline int MayRead(std::string_view name) {
  return IsKept(name) || IsVirtual(name) ? 0 : EOPNOTSUPP;
}
inline int MayChange(std::string_view name) {
  if (IsVirtual(name)) return EPERM;
  return IsKept(name) ? 0 : EOPNOTSUPP;
}

// Of a list, names each with its NUL, those that are kept.
inline std::string KeptOf(std::string_view list) {
  std::string kept;
  while (!list.empty()) {
    const std::string_view name = list.substr(0, list.find('\0'));
    list.remove_prefix(std::min(name.size() + 1, list.size()));
    if (IsKept(name)) kept.append(name).push_back('\0');
  }
  return kept;
}

}  // namespace gantry::cephfs
