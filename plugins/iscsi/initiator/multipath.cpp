// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/multipath.hpp"

#include <poll.h>

#include <algorithm>
#include <optional>

#include "plugins/iscsi/initiator/program.hpp"

namespace gantry::iscsi::initiator {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

constexpr int kLookMs = 50;
constexpr int kLooksUntilAskedAgain = 20;
constexpr std::chrono::milliseconds kInUseMs{3000};

// multipathd says "ok" or "fail", and older ones exit with 0 in either case.
Result<bool> Tell(const std::vector<std::string>& words, TimePoint deadline) {
  std::vector<std::string> argv = {"multipathd"};
  argv.insert(argv.end(), words.begin(), words.end());
  GANTRY_PLUGIN_TRY_ASSIGN(const ToolEnd end, RunTool(argv, deadline));
  if (end.exit_code != 0 && end.output.find("fail") == std::string::npos)
    return Fail(code::kFailedPrecondition,
                "multipathd does not answer on this node: " + end.output);
  return end.exit_code == 0 && end.output.find("fail") == std::string::npos;
}

// The one map above all of them.
std::optional<std::string> MapOf(const Sysfs& sysfs, const std::vector<std::string>& disks) {
  std::optional<std::string> map;
  for (const auto& disk : disks) {
    const auto above = sysfs.MapAbove(disk);
    if (!above || (map && *map != *above)) return std::nullopt;
    map = above;
  }
  return map;
}

bool IsOver(TimePoint deadline) { return std::chrono::steady_clock::now() >= deadline; }

}  // namespace

Result<std::string> Assemble(const Sysfs& sysfs, const std::vector<std::string>& disks,
                             TimePoint deadline) {
  if (const auto map = MapOf(sysfs, disks)) return *map;
  // By its file of names: the usual find_multipaths makes no map of a disk that stands there not.
  GANTRY_PLUGIN_TRY_ASSIGN(const ToolEnd named,
                           RunTool({"multipath", "-a", "/dev/" + disks.front()}, deadline));
  for (int looks = 0;; ++looks) {
    if (const auto map = MapOf(sysfs, disks)) return *map;
    if (IsOver(deadline))
      return Fail(
          code::kDeadlineExceeded,
          "multipathd makes no map of " + disks.front() +
              "; is it blacklisted in this node's multipath.conf? multipath -a: " + named.output);
    // It refuses a disk that udev has not finished with.
    if (looks % kLooksUntilAskedAgain == 0)
      for (const auto& disk : disks)
        if (!sysfs.MapAbove(disk)) GANTRY_PLUGIN_TRY(Tell({"add", "path", disk}, deadline));
    poll(nullptr, 0, kLookMs);
  }
}

Status Dissolve(const Sysfs& sysfs, const std::string& map, const std::vector<std::string>& disks,
                TimePoint deadline) {
  if (!disks.empty()) (void)RunTool({"multipath", "-w", "/dev/" + disks.front()}, deadline);
  const std::string name = sysfs.MapName(map);
  if (name.empty()) return {};
  (void)Tell({"disablequeueing", "map", name}, deadline);
  // Whoever flushed it, and was given up, has it open until what it waits for has failed.
  const TimePoint free_by = std::min(deadline, std::chrono::steady_clock::now() + kInUseMs);
  for (;;) {
    GANTRY_PLUGIN_TRY_ASSIGN(const bool is_removed, Tell({"del", "map", name}, deadline));
    if (is_removed || !sysfs.Exists(map)) break;
    if (IsOver(free_by))
      return Fail(code::kFailedPrecondition,
                  "multipathd does not remove the map " + name + ": it is in use");
    poll(nullptr, 0, kLookMs);
  }
  while (sysfs.Exists(map)) {
    if (IsOver(deadline)) return Fail(code::kDeadlineExceeded, "the map " + name + " does not go");
    poll(nullptr, 0, kLookMs);
  }
  return {};
}

}  // namespace gantry::iscsi::initiator
