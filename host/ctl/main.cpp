// SPDX-License-Identifier: Apache-2.0
// gantryctl: what an operator asks of a running gantryd.
#include <csignal>
#include <cstdlib>

#include "host/ctl/command.hpp"
#include "host/ctl/trust_commands.hpp"

namespace {

using namespace gantry::ctl;

constexpr char kAbout[] =
    "gantryctl looks at a running gantryd and changes what it serves, over its admin socket:\n"
    "for root and gantryd's own user. Tables are for people, --json is for programs (one object\n"
    "a line). Every call has a deadline.\n";

constexpr char kMore[] =
    "\nExit codes:\n"
    "  0  done\n"
    "  1  gantryd refused or failed; a swap was rolled back\n"
    "  2  bad command line, argument or file\n"
    "  3  no answer: gantryd cannot be reached or did not answer in time, or a backend that was\n"
    "     asked is unavailable for now\n"
    "  4  not allowed: neither root nor gantryd's own user\n"
    "  5  --check found something: a backend that does not serve, orphans\n"
    "\nEnvironment: GANTRY_ADMIN_SOCKET, in place of --socket.\n";

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  CLI::App app(kAbout, "gantryctl");
  app.footer(kMore);
  app.set_version_flag("--version", "gantryctl " GANTRY_VERSION);
  app.require_subcommand(1);
  Session session;
  app.add_option("--socket", session.socket, "gantryd's admin socket")
      ->envname("GANTRY_ADMIN_SOCKET")
      ->capture_default_str();
  app.add_option("--timeout", session.timeout_seconds,
                 "seconds for each call; default: 10, more for what takes longer")
      ->check(CLI::Range(1U, kTimeoutSecondsMax));
  app.add_flag("--json", session.json, "print JSON");
  Commands commands(app);
  AddStatusCommands(commands);
  AddSwapCommands(commands);
  AddVolumeCommands(commands);
  AddLogCommands(commands);
  AddConfigCommands(commands);
  AddPluginCommands(commands);
  int trust_code = kDone;
  AddTrustCommands(app, &trust_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kDone : kUsage;
  }
  const auto* run = commands.Chosen();
  return run == nullptr ? trust_code : (*run)(session);
}
