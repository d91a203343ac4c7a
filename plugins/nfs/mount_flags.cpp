// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/mount_flags.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "plugins/common/mount_words.hpp"

namespace gantry::nfs {
namespace {

using plugin::Result;

// What is so anyway, or makes no difference to this client. With '=': with a number.
constexpr std::array<std::string_view, 24> kAccepted = {
    "vers=3",     "nfsvers=3",    "v3",     "tcp",         "proto=tcp", "mountproto=tcp",
    "sec=sys",    "rsize=",       "wsize=", "bsize=",      "nconnect=", "retry=",
    "fg",         "intr",         "nointr", "noacl",       "rdirplus",  "nordirplus",
    "sharecache", "nosharecache", "nofsc",  "mountvers=3", "namlen=",   "hard"};

struct Known {
  std::string_view key;
  std::string_view expected;
};
// Refused with a reason of their own, because people write them.
constexpr std::array kRefused = {
    Known{"vers", "3: this client speaks NFSv3"},
    Known{"nfsvers", "3: this client speaks NFSv3"},
    Known{"v4", "v3: this client speaks NFSv3"},
    Known{"v4.0", "v3: this client speaks NFSv3"},
    Known{"v4.1", "v3: this client speaks NFSv3"},
    Known{"v4.2", "v3: this client speaks NFSv3"},
    Known{"minorversion", "none: this client speaks NFSv3"},
    Known{"proto", "tcp"},
    Known{"mountproto", "tcp"},
    Known{"udp", "tcp"},
    Known{"rdma", "tcp"},
    Known{"sec", "sys: this client has no Kerberos"},
    Known{"lock", "nolock: locks stay on the node"},
    Known{"local_lock", "all: locks stay on the node"},
};

std::optional<uint32_t> Number(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

class Judge {
 public:
  Judge(const ShareConfig& share, bool reserved_ports)
      : share_(share), reserved_ports_(reserved_ports) {}

  plugin::Status Take(std::string_view flag) {
    const auto key = flag.substr(0, flag.find('='));
    const auto value = flag.substr(std::min(key.size() + 1, flag.size()));
    if (plugin::IsHostsOption(flag)) return {};
    if (flag == "soft" || flag == "softerr" || flag == "hard") {
      soft_ = flag != "hard";
      softerr_ = flag == "softerr";
      return {};
    }
    if (flag == "nolock" || flag == "local_lock=all") {
      local_locks_ = true;
      return {};
    }
    if (key == "timeo") return TakeNumber(key, value, 1, &timeo_);
    if (key == "retrans") return TakeNumber(key, value, 0, &retrans_);
    if (key == "port") return TakePort(key, value, share_.port);
    if (key == "mountport") return TakePort(key, value, share_.mount_port);
    if (flag == "resvport" || flag == "noresvport") {
      if ((flag == "resvport") == reserved_ports_) return {};
      return Refuse(key, "what the backend's reservedPorts says");
    }
    if (!flag.ends_with('=') && Holds(kAccepted, flag)) return {};
    if (key.size() < flag.size() && Holds(kAccepted, std::string(key) + "=")) {
      if (Number(value)) return {};
      return Refuse(key, "a number");
    }
    const auto* known = std::find_if(kRefused.begin(), kRefused.end(),
                                     [key](const Known& refused) { return refused.key == key; });
    if (known != kRefused.end()) return Refuse(key, known->expected);
    return Refuse(key, "a flag that this NFSv3 client in user space keeps; it does not know it");
  }

  MountFlags Finish() const {
    MountFlags flags;
    flags.local_locks = local_locks_;
    if (!soft_) return flags;
    flags.is_softerr = softerr_;
    constexpr uint64_t kDecisecondsPerSecond = 10;
    const uint64_t deciseconds = uint64_t{timeo_} * (uint64_t{retrans_} + 1);
    flags.soft_timeout_seconds = static_cast<uint32_t>(std::min<uint64_t>(
        (deciseconds + kDecisecondsPerSecond - 1) / kDecisecondsPerSecond, kSoftTimeoutSecondsMax));
    return flags;
  }

 private:
  static constexpr uint64_t kSoftTimeoutSecondsMax = 86'400;  // what a data path takes

  template <class List>
  static bool Holds(const List& list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  }
  static tl::unexpected<plugin::Error> Refuse(std::string_view key, std::string_view expected) {
    constexpr size_t kShownBytesMax = 64;
    return plugin::Fail(plugin::code::kInvalidArgument,
                        "mount flag \"" + std::string(key.substr(0, kShownBytesMax)) +
                            "\": expected " + std::string(expected));
  }
  static plugin::Status TakeNumber(std::string_view key, std::string_view value, uint32_t min,
                                   uint32_t* number) {
    const auto read = Number(value);
    if (!read || *read < min) return Refuse(key, "a number from " + std::to_string(min));
    *number = *read;
    return {};
  }
  static plugin::Status TakePort(std::string_view key, std::string_view value, uint16_t own) {
    const auto port = Number(value);
    if (port && *port == own && own != 0) return {};
    return Refuse(key, "the port that the backend's configuration gives the share");
  }

  const ShareConfig& share_;
  const bool reserved_ports_;
  bool soft_ = false;
  bool local_locks_ = false;
  bool softerr_ = false;
  uint32_t timeo_ = kDefaultTimeoDeciseconds;
  uint32_t retrans_ = kDefaultRetransmissions;
};

}  // namespace

Result<MountFlags> JudgeMountFlags(const std::vector<std::string_view>& flags,
                                   const ShareConfig& share, bool reserved_ports) {
  Judge judge(share, reserved_ports);
  for (const std::string_view words : flags)
    for (const auto option : plugin::SplitOptions(words)) GANTRY_PLUGIN_TRY(judge.Take(option));
  return judge.Finish();
}

}  // namespace gantry::nfs
