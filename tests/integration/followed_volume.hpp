// SPDX-License-Identifier: Apache-2.0
// A volume of the localfs plugin, "v", whose data path has successors.
#pragma once

#include <csignal>
#include <map>
#include <string>
#include <vector>

#include "host/datapath/nodes.hpp"
#include "host/datapath/slots.hpp"
#include "tests/integration/node_counts.hpp"
#include "tests/integration/volume_fixture.hpp"

namespace gantry::tests {

class FollowedVolume : public VolumeFixture {
 protected:
  std::filesystem::path Serve(const std::map<std::string, std::string>& parameters = {},
                              bool standby = false) {
    FuseMount& mount = Mount("v");
    auto spec = Spec("v", mount.TakeFd());
    spec.take_over = true;
    spec.standby = standby;
    for (const auto& [key, value] : parameters) spec.parameters[key] = value;
    const auto started = client().Start(std::move(spec), In(kLong));
    if (!started) throw std::runtime_error(started.error().message);
    return mount.path();
  }
  void Hold(std::chrono::milliseconds away_max = services::kKeeperAwayMax) {
    auto options = Options();
    options.hold = true;
    options.away_max = away_max;
    client_ = std::make_unique<services::KeeperClient>(options);
  }
  // Waits for a process other than that one.
  void HasAnother(pid_t victim) {
    ASSERT_TRUE(Eventually(
        [&] {
          const auto now = State("v");
          return now.serving && now.pid != victim;
        },
        kLong));
  }
  // Until its successor serves.
  void Kill(int signal_number = SIGKILL) {
    const auto before = State("v");
    ASSERT_GT(before.pid, 0);
    ASSERT_EQ(kill(before.pid, signal_number), 0);
    HasAnother(before.pid);
  }
  // Of the keeper that live: the data path and its standby.
  std::vector<pid_t> Processes() const {
    std::vector<pid_t> pids;
    const std::string parent = "\nPPid:\t" + std::to_string(KeeperPid()) + "\n";
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const auto status = base::ReadFile(entry.path() / "status", 1 << 16);
      const auto command = base::ReadFile(entry.path() / "cmdline", 1 << 16);
      if (status && command && status->find(parent) != std::string::npos &&
          command->find("--datapath") != std::string::npos)
        pids.push_back(static_cast<pid_t>(std::stol(name)));
    }
    return pids;
  }
  // 0: none waits.
  pid_t StandbyPid() {
    const auto state = State("v");
    if (!state.standby) return 0;
    for (const pid_t pid : Processes())
      if (pid != state.pid) return pid;
    return 0;
  }
  // Waits for one, other than `last`.
  pid_t AwaitStandby(pid_t last = 0) {
    pid_t pid = 0;
    const auto there = [&] {
      pid = StandbyPid();
      return pid != 0 && pid != last;
    };
    return Eventually(there, kLong) ? pid : 0;
  }

  // The nodes that its servers count.
  datapath::NodeTable Nodes() {
    auto fds = client().Fds("v", In(kLong));
    if (!fds) throw std::runtime_error(fds.error().message);
    auto nodes = datapath::NodeTable::Attach(fds->memory.get(), datapath::kSlotsBytes);
    if (!nodes) throw std::runtime_error(nodes.error().message);
    return *std::move(nodes);
  }
  void AllIsForgotten() { ExpectAllIsForgotten(Nodes()); }
};

}  // namespace gantry::tests
