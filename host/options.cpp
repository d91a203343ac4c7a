// SPDX-License-Identifier: Apache-2.0
#include "host/options.hpp"

#include <CLI/CLI.hpp>
#include <system_error>

#include "host/version.hpp"

namespace gantry {
namespace {

constexpr char kAbout[] =
    "gantryd serves the Container Storage Interface (CSI 1.12) for the drivers of its\n"
    "configuration. Storage backends are shared objects; each runs in an unprivileged\n"
    "gantry-worker of its own, which may crash without a driver's socket going away.\n";

constexpr char kMore[] =
    "\nExamples:\n"
    "  gantryd --config /etc/gantry/gantry.yaml --check-config\n"
    "      reads the file, loads every plugin it names in a throw-away process, lets it\n"
    "      judge its part of the configuration, and says what is wrong; changes nothing\n"
    "  gantryd --role controller\n"
    "      serves Identity, Controller, GroupController and SnapshotMetadata only\n"
    "\nSignals: SIGTERM and SIGINT let the calls under way finish (30 s) and end gantryd.\n"
    "Mounts stay, and the data paths of userspace mounts go on under gantry-keeper.\n"
    "\nExit codes: 0 ended in order, 1 could not start or serve, 2 bad command line or\n"
    "configuration.\n";

}  // namespace

std::variant<Options, int> ParseOptions(int argc, char** argv) {
  Options options;
  std::error_code error;
  options.libexec = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::string role = "all";

  CLI::App app(kAbout, "gantryd");
  app.footer(kMore);
  app.set_version_flag("--version", std::string("gantryd ") + kVersion);
  app.add_option("--config", options.config, "the configuration file")->capture_default_str();
  app.add_flag("--check-config", options.check_config, "check the configuration and exit");
  app.add_option("--role", role, "which services to serve: controller, node or all")
      ->check(CLI::IsMember({"controller", "node", "all"}))
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.add_option("--libexec", options.libexec,
                 "the folder of gantry-worker, gantry-helper and gantry-keeper")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    constexpr int kBadCommandLine = 2;
    return app.exit(e) == 0 ? 0 : kBadCommandLine;
  }
  options.roles.controller = role != "node";
  options.roles.node = role != "controller";
  return options;
}

}  // namespace gantry
