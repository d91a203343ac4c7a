// SPDX-License-Identifier: Apache-2.0
// gantryctl sign and verify: the vendor's and the operator's end of host/trust. They need no
// gantryd, so that a plugin is signed where the key is and checked before it is rolled out.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace gantry::ctl {

constexpr int kTrusted = 0;     // or signed
constexpr int kNotTrusted = 1;  // by at least one of those asked about
constexpr int kBadInput = 2;    // command line, configuration, key or plugin cannot be used

struct SignOptions {
  std::filesystem::path key;  // PEM, private
  std::filesystem::path plugin;
};

// Writes <plugin>.sig and says what it signed. kTrusted or kBadInput.
int Sign(const SignOptions& options, std::ostream& out, std::ostream& error);

struct VerifyOptions {
  std::vector<std::filesystem::path> keys;  // PEM, public; empty: `config` says what is trusted
  std::filesystem::path config = "/etc/gantry/gantry.yaml";
  std::string backend;  // of the configuration; empty: all that load a plugin of this file's name
  std::filesystem::path plugin;
};

// Judges the plugin as gantryd would, one line for each policy asked.
int Verify(const VerifyOptions& options, std::ostream& out, std::ostream& error);

// Adds both to gantryctl's command line; the one that ran puts its exit code into *exit_code, which
// must outlive the parse.
void AddTrustCommands(CLI::App& app, int* exit_code);

}  // namespace gantry::ctl
