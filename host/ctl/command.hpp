// SPDX-License-Identifier: Apache-2.0
// How a subcommand is added: a file of its own registers it with its options and a function that
// runs it. main.cpp names the registrations and knows nothing of any of them.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "host/ctl/session.hpp"

namespace gantry::ctl {

class Commands {
 public:
  using Run = std::function<int(Session&)>;

  explicit Commands(CLI::App& app) : app_(app) {}
  // Options are added to what is returned; what they are bound to must live as long as `run`.
  CLI::App* Add(const std::string& name, const std::string& what, Run run) {
    return AddBelow(app_, name, what, std::move(run));
  }
  CLI::App* AddGroup(const std::string& name, const std::string& what) {
    auto* group = app_.add_subcommand(name, what);
    group->require_subcommand(1);
    return group;
  }
  CLI::App* AddBelow(CLI::App& parent, const std::string& name, const std::string& what, Run run) {
    auto* command = parent.add_subcommand(name, what);
    command->fallthrough();
    runs_.push_back({command, std::move(run)});
    return command;
  }
  // What the command line chose; null when nothing.
  const Run* Chosen() const {
    for (const auto& [command, run] : runs_)
      if (command->parsed()) return &run;
    return nullptr;
  }

 private:
  CLI::App& app_;
  std::vector<std::pair<CLI::App*, Run>> runs_;
};

void AddStatusCommands(Commands& commands);
void AddSwapCommands(Commands& commands);
void AddVolumeCommands(Commands& commands);
void AddLogCommands(Commands& commands);
void AddConfigCommands(Commands& commands);
void AddPluginCommands(Commands& commands);

}  // namespace gantry::ctl
