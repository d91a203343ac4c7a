// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/trust_commands.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <memory>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/core/config.hpp"
#include "host/trust/policy.hpp"
#include "host/trust/signature.hpp"

namespace gantry::ctl {
namespace {

constexpr size_t kPluginBytesMax = 512U << 20;
constexpr mode_t kSignatureMode = 0644;

int Complain(std::ostream& error, const base::Error& what, int code) {
  error << "gantryctl: " << what.message << "\n";
  return code;
}

base::Result<trust::Digest> DigestOfPlugin(const std::filesystem::path& plugin) {
  const base::UniqueFd fd(open(plugin.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return base::FailErrno(errno, "open " + plugin.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat " + plugin.string());
  if (!S_ISREG(status.st_mode))
    return base::Fail(base::Code::kInvalidArgument, plugin.string() + ": expected a regular file");
  return trust::DigestOf(fd.get(), kPluginBytesMax, plugin.string());
}

struct Asked {
  std::string by;  // for people
  trust::Policy policy;
};

// Whose policies decide about the plugin.
base::Result<std::vector<Asked>> PoliciesFor(const VerifyOptions& options) {
  if (!options.keys.empty()) return std::vector<Asked>{{"", {false, {}, options.keys}}};
  GANTRY_TRY_ASSIGN(const auto config, core::LoadConfig(options.config));
  std::vector<Asked> asked;
  for (const auto& [name, backend] : config.backends)
    if (options.backend.empty() ? backend.plugin == options.plugin.stem() : name == options.backend)
      asked.push_back({"backend " + name + ": ", backend.trust});
  if (asked.empty() && !options.backend.empty())
    return base::Fail(
        base::Code::kInvalidArgument,
        "--backend " + options.backend + ": expected a backend of " + options.config.string());
  if (asked.empty()) asked.push_back({options.config.string() + ": ", config.trust});
  return asked;
}

}  // namespace

int Sign(const SignOptions& options, std::ostream& out, std::ostream& error) {
  const auto signed_file = [&]() -> base::Result<std::string> {
    GANTRY_TRY_ASSIGN(const auto key, trust::PrivateKey::Load(options.key));
    GANTRY_TRY_ASSIGN(const auto digest, DigestOfPlugin(options.plugin));
    GANTRY_TRY_ASSIGN(const auto signature, key.Sign(digest));
    const auto file = trust::SignatureFile(options.plugin);
    GANTRY_TRY(base::WriteFileDurably(
        file, {reinterpret_cast<const char*>(signature.data()), signature.size()}, kSignatureMode));
    return file.string() + ": sha256 " + trust::Hex(digest) + " signed by key id " + key.id();
  }();
  if (!signed_file) return Complain(error, signed_file.error(), kBadInput);
  out << *signed_file << "\n";
  return kTrusted;
}

int Verify(const VerifyOptions& options, std::ostream& out, std::ostream& error) {
  const auto policies = PoliciesFor(options);
  if (!policies) return Complain(error, policies.error(), kBadInput);
  const auto digest = DigestOfPlugin(options.plugin);
  if (!digest) return Complain(error, digest.error(), kBadInput);
  int code = kTrusted;
  for (const auto& [by, policy] : *policies) {
    const auto verdict = trust::Judge(policy, options.plugin, *digest);
    if (verdict) {
      out << by << options.plugin.string() << " (sha256 " << trust::Hex(*digest)
          << ") is trusted: " << verdict->reason << "\n";
      continue;
    }
    const bool refused = verdict.error().code == base::Code::kPermissionDenied;
    code = std::max(code,
                    Complain(error, base::Error{verdict.error().code, by + verdict.error().message},
                             refused ? kNotTrusted : kBadInput));
  }
  return code;
}

void AddTrustCommands(CLI::App& app, int* exit_code) {
  const auto sign = std::make_shared<SignOptions>();
  CLI::App* const sign_command =
      app.add_subcommand("sign", "write FILE.so.sig, the ed25519 signature that gantryd asks for");
  sign_command->add_option("--key", sign->key, "PEM file with an ed25519 private key")->required();
  sign_command->add_option("FILE.so", sign->plugin, "the plugin")->required();
  sign_command->footer(
      "\nMake a key:  openssl genpkey -algorithm ed25519 -out key.pem\n"
      "             openssl pkey -in key.pem -pubout -out key.pub.pem\n"
      "Exit codes: 0 signed, 2 key or plugin cannot be used.\n");
  sign_command->callback([sign, exit_code] { *exit_code = Sign(*sign, std::cout, std::cerr); });

  const auto verify = std::make_shared<VerifyOptions>();
  CLI::App* const verify_command =
      app.add_subcommand("verify", "say whether gantryd would load FILE.so, and why");
  auto* const keys = verify_command->add_option(
      "--key", verify->keys, "PEM file with an ed25519 public key; may be given again");
  verify_command->add_option("--config", verify->config, "the configuration whose trust: decides")
      ->capture_default_str()
      ->excludes(keys);
  verify_command
      ->add_option("--backend", verify->backend,
                   "as this backend would; default: all with a plugin of this name")
      ->excludes(keys);
  verify_command->add_option("FILE.so", verify->plugin, "the plugin")->required();
  verify_command->footer(
      "\nExit codes: 0 trusted, 1 not trusted, 2 key, configuration or plugin cannot be used.\n");
  verify_command->callback(
      [verify, exit_code] { *exit_code = Verify(*verify, std::cout, std::cerr); });
}

}  // namespace gantry::ctl
