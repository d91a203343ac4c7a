// SPDX-License-Identifier: Apache-2.0
// gantryctl: what an operator does by hand.
#include "host/ctl/trust_commands.hpp"

int main(int argc, char** argv) {
  CLI::App app("gantryctl: what an operator of gantryd does by hand.", "gantryctl");
  app.require_subcommand(1);
  int exit_code = 0;
  gantry::ctl::AddTrustCommands(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : gantry::ctl::kBadInput;
  }
  return exit_code;
}
