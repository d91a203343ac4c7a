// SPDX-License-Identifier: Apache-2.0
#include "host/services/ceph_options.hpp"

#include <algorithm>
#include <array>

namespace gantry::services {
namespace {

// Linux, Documentation/filesystems/ceph.rst, and mount.ceph(8) for what is passed on.
constexpr std::array<std::string_view, 38> kWords = {"ms_mode=legacy",
                                                     "ms_mode=crc",
                                                     "ms_mode=secure",
                                                     "ms_mode=prefer-crc",
                                                     "ms_mode=prefer-secure",
                                                     "recover_session=no",
                                                     "recover_session=clean",
                                                     "dcache",
                                                     "nodcache",
                                                     "dirstat",
                                                     "nodirstat",
                                                     "rbytes",
                                                     "norbytes",
                                                     "asyncreaddir",
                                                     "noasyncreaddir",
                                                     "ino32",
                                                     "noino32",
                                                     "acl",
                                                     "noacl",
                                                     "crc",
                                                     "nocrc",
                                                     "cephx_require_signatures",
                                                     "nocephx_require_signatures",
                                                     "cephx_sign_messages",
                                                     "nocephx_sign_messages",
                                                     "tcp_nodelay",
                                                     "notcp_nodelay",
                                                     "quotadf",
                                                     "noquotadf",
                                                     "copyfrom",
                                                     "nocopyfrom",
                                                     "wsync",
                                                     "nowsync",
                                                     "nofsc",
                                                     "read_from_replica=no",
                                                     "read_from_replica=balance",
                                                     "read_from_replica=localize",
                                                     "poolperm"};
constexpr std::array<std::string_view, 16> kNumbers = {"rsize",
                                                       "wsize",
                                                       "rasize",
                                                       "caps_max",
                                                       "caps_wanted_delay_min",
                                                       "caps_wanted_delay_max",
                                                       "readdir_max_entries",
                                                       "readdir_max_bytes",
                                                       "congestion_kb",
                                                       "write_congestion_kb",
                                                       "mount_timeout",
                                                       "osdkeepalive",
                                                       "osdkeepalivetimeout",
                                                       "osdtimeout",
                                                       "osd_idle_ttl",
                                                       "osd_request_timeout"};
// What the cluster judges.
constexpr std::array<std::string_view, 5> kIdentities = {"name", "secret", "fsid", "mds_namespace",
                                                         "fs"};

bool IsNumber(std::string_view text) {
  constexpr size_t kDigitsMax = 10;
  return !text.empty() && text.size() <= kDigitsMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

template <size_t N>
bool Contains(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

bool IsPlainCephOption(std::string_view option) {
  if (Contains(kWords, option)) return true;
  const size_t equals = option.find('=');
  if (equals == std::string_view::npos || equals + 1 == option.size()) return false;
  const auto key = option.substr(0, equals);
  return Contains(kIdentities, key) ||
         (Contains(kNumbers, key) && IsNumber(option.substr(equals + 1)));
}

}  // namespace gantry::services
