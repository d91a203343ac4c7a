// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/node/mount_flags.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "plugins/common/mount_words.hpp"

namespace gantry::cephfs {
namespace {

constexpr uint32_t kOperationSecondsMax = 86'400;  // what a data path takes

// With '=': with a number.
constexpr std::array<std::string_view, 20> kAccepted = {"rsize=",
                                                        "wsize=",
                                                        "rasize=",
                                                        "readdir_max_entries=",
                                                        "readdir_max_bytes=",
                                                        "caps_max=",
                                                        "congestion_kb=",
                                                        "write_congestion_kb=",
                                                        "mount_timeout=",
                                                        "dcache",
                                                        "nodcache",
                                                        "asyncreaddir",
                                                        "noasyncreaddir",
                                                        "noacl",
                                                        "wsync",
                                                        "rbytes",
                                                        "nodirstat",
                                                        "norequire_active_mds",
                                                        "recover_session=no",
                                                        "nofsc"};
constexpr std::array<std::string_view, 4> kModes = {"crc", "secure", "prefer-crc", "prefer-secure"};

template <class List>
bool Holds(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

tl::unexpected<plugin::Error> Refuse(std::string_view key, std::string_view expected) {
  constexpr size_t kShownBytesMax = 64;
  return plugin::Fail(plugin::code::kInvalidArgument,
                      "mount flag \"" + std::string(key.substr(0, kShownBytesMax)) +
                          "\": expected " + std::string(expected));
}

bool ReadNumber(std::string_view text, uint32_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return !text.empty() && error == std::errc() && end == text.data() + text.size();
}

plugin::Status Take(std::string_view flag, MountFlags* flags) {
  const auto key = flag.substr(0, flag.find('='));
  const auto value = flag.substr(std::min(key.size() + 1, flag.size()));
  uint32_t number = 0;
  if (plugin::IsHostsOption(flag)) return {};
  if (key == "ms_mode") {
    if (!Holds(kModes, value)) return Refuse(key, "crc, secure, prefer-crc or prefer-secure");
    flags->ms_mode = value;
    return {};
  }
  if (key == "timeout") {
    if (!ReadNumber(value, &number) || number == 0 || number > kOperationSecondsMax)
      return Refuse(key, "1 to " + std::to_string(kOperationSecondsMax) + " seconds");
    flags->timeout_seconds = number;
    return {};
  }
  if (key == "cache") {
    if (value != "writethrough" && value != "writeback")
      return Refuse(key, "writethrough or writeback");
    flags->writeback = value == "writeback";
    return {};
  }
  if (!flag.ends_with('=') && Holds(kAccepted, flag)) return {};
  if (key.size() < flag.size() && Holds(kAccepted, std::string(key) + "=")) {
    if (ReadNumber(value, &number)) return {};
    return Refuse(key, "a number");
  }
  return Refuse(key, "a flag that this client in user space keeps; it does not know it");
}

}  // namespace

plugin::Result<MountFlags> JudgeMountFlags(const std::vector<std::string_view>& flags) {
  MountFlags judged;
  for (const std::string_view words : flags)
    for (const auto option : plugin::SplitOptions(words)) GANTRY_PLUGIN_TRY(Take(option, &judged));
  return judged;
}

}  // namespace gantry::cephfs
