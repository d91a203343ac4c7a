// SPDX-License-Identifier: Apache-2.0
// The command line of gantryd.
#pragma once

#include <filesystem>
#include <string>
#include <variant>

#include "host/core/driver.hpp"

namespace gantry {

struct Options {
  std::filesystem::path config = "/etc/gantry/gantry.yaml";
  std::filesystem::path libexec;  // where gantry-worker, gantry-helper and gantry-keeper are
  core::Roles roles;
  std::string log_level = "info";
  bool check_config = false;
};

// The options, or the exit code when --help, --version or a mistake has already been answered.
std::variant<Options, int> ParseOptions(int argc, char** argv);

}  // namespace gantry
