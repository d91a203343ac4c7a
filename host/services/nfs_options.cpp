// SPDX-License-Identifier: Apache-2.0
#include "host/services/nfs_options.hpp"

#include <algorithm>
#include <array>

namespace gantry::services {
namespace {

// nfs(5). A trailing '=': with a number.
constexpr std::array<std::string_view, 62> kPlain = {"vers=3",
                                                     "vers=4",
                                                     "vers=4.0",
                                                     "vers=4.1",
                                                     "vers=4.2",
                                                     "nfsvers=3",
                                                     "nfsvers=4",
                                                     "nfsvers=4.0",
                                                     "nfsvers=4.1",
                                                     "nfsvers=4.2",
                                                     "v3",
                                                     "v4",
                                                     "v4.0",
                                                     "v4.1",
                                                     "v4.2",
                                                     "minorversion=",
                                                     "tcp",
                                                     "proto=tcp",
                                                     "proto=tcp6",
                                                     "mountproto=tcp",
                                                     "mountproto=tcp6",
                                                     "mountvers=3",
                                                     "port=",
                                                     "mountport=",
                                                     "hard",
                                                     "soft",
                                                     "softerr",
                                                     "softreval",
                                                     "timeo=",
                                                     "retrans=",
                                                     "rsize=",
                                                     "wsize=",
                                                     "nconnect=",
                                                     "max_connect=",
                                                     "sec=sys",
                                                     "lock",
                                                     "nolock",
                                                     "local_lock=all",
                                                     "local_lock=none",
                                                     "ac",
                                                     "noac",
                                                     "actimeo=",
                                                     "acregmin=",
                                                     "acregmax=",
                                                     "acdirmin=",
                                                     "acdirmax=",
                                                     "cto",
                                                     "nocto",
                                                     "rdirplus",
                                                     "nordirplus",
                                                     "nosharecache",
                                                     "resvport",
                                                     "noresvport",
                                                     "namlen=",
                                                     "lookupcache=all",
                                                     "lookupcache=none",
                                                     "lookupcache=pos",
                                                     "lookupcache=positive",
                                                     "local_lock=flock",
                                                     "local_lock=posix",
                                                     "nofsc",
                                                     "noacl"};

bool IsNumber(std::string_view text) {
  constexpr size_t kDigitsMax = 10;
  return !text.empty() && text.size() <= kDigitsMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsListed(std::string_view word) {
  return std::find(kPlain.begin(), kPlain.end(), word) != kPlain.end();
}

}  // namespace

bool IsPlainNfsOption(std::string_view option) {
  if (option.ends_with('=')) return false;
  if (IsListed(option)) return true;
  const size_t equals = option.find('=');
  return equals != std::string_view::npos && IsNumber(option.substr(equals + 1)) &&
         IsListed(option.substr(0, equals + 1));
}

}  // namespace gantry::services
