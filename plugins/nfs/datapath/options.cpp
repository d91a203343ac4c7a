// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/options.hpp"

#include <charconv>
#include <gantry/gantry.hpp>
#include <string_view>

namespace gantry::nfs {
namespace {

tl::unexpected<NfsError> Refuse(std::string_view key, std::string_view value,
                                std::string_view expected) {
  return FailNfs(Failure::kInvalid, "parameter " + std::string(key) + ": \"" + std::string(value) +
                                        "\", expected " + std::string(expected));
}

// Missing: false.
NfsResult<bool> TrueOrFalse(std::string_view key, std::string_view value) {
  if (value.empty() || value == "false") return false;
  if (value == "true") return true;
  return Refuse(key, value, "true or false");
}

NfsResult<uint64_t> Number(const gantry_map& parameters, std::string_view key, uint64_t number_max,
                           std::optional<uint64_t> otherwise) {
  const std::string_view text = gantry::Find(parameters, key);
  if (text.empty() && otherwise) return *otherwise;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() ||
      number > number_max) {
    return Refuse(key, text, "a number from 0 to " + std::to_string(number_max));
  }
  return number;
}

NfsResult<std::vector<std::string>> Components(std::string_view path) {
  std::vector<std::string> components;
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find('/'));
    if (name.empty() || name == "." || name == ".." || name.size() > kNameBytesMax ||
        name.find('\0') != name.npos || components.size() == kPathDepthMax) {
      return Refuse("path", path,
                    "at most " + std::to_string(kPathDepthMax) +
                        " names with single slashes between, none of them . or ..");
    }
    components.emplace_back(name);
    rest.remove_prefix(name.size());
    if (rest == "/") return Refuse("path", path, "no slash at the end");
    if (!rest.empty()) rest.remove_prefix(1);
  }
  return components;
}

// FNV-1a, 64 bits.
uint64_t Fingerprint(std::initializer_list<std::string_view> texts) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::string_view text : texts) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ 0x100) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

NfsResult<DataPathOptions> ParseOptions(const gantry_map& parameters) {
  DataPathOptions options;
  options.server.host = gantry::Find(parameters, "server");
  if (options.server.host.empty()) return Refuse("server", "", "an address or a name");
  options.server.export_path = gantry::Find(parameters, "share");
  if (!options.server.export_path.starts_with('/')) {
    return Refuse("share", options.server.export_path, "an absolute path");
  }
  GANTRY_PLUGIN_TRY_ASSIGN(options.path, Components(gantry::Find(parameters, "path")));
  GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t port, Number(parameters, "port", UINT16_MAX, 0));
  GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t mount_port,
                           Number(parameters, "mountPort", UINT16_MAX, 0));
  options.server.nfs_port = static_cast<uint16_t>(port);
  options.server.mount_port = static_cast<uint16_t>(mount_port);

  const std::string_view identity = gantry::Find(parameters, "identity");
  if (identity == "fixed") {
    GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t uid, Number(parameters, "uid", UINT32_MAX - 1, {}));
    GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t gid, Number(parameters, "gid", UINT32_MAX - 1, {}));
    options.fixed = Identity{static_cast<uint32_t>(uid), static_cast<uint32_t>(gid)};
  } else if (!identity.empty() && identity != "caller") {
    return Refuse("identity", identity, "caller or fixed");
  }
  const std::string_view reserved = gantry::Find(parameters, "reservedPorts");
  GANTRY_PLUGIN_TRY_ASSIGN(options.server.reserved_port, TrueOrFalse("reservedPorts", reserved));
  GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t timeout,
                           Number(parameters, "timeoutSeconds", kSoftTimeoutSecondsMax, 0));
  if (timeout != 0) options.timeout = std::chrono::seconds(timeout);
  const std::string_view error = gantry::Find(parameters, "timeoutError");
  if (error == "ETIMEDOUT") {
    options.timeout_error = ETIMEDOUT;
  } else if (!error.empty() && error != "EIO") {
    return Refuse("timeoutError", error, "EIO or ETIMEDOUT");
  }
  const std::string_view writers = gantry::Find(parameters, "writers");
  if (!writers.empty() && writers != "one" && writers != "several") {
    return Refuse("writers", writers, "one or several");
  }
  options.is_sole_writer = writers == "one";
  options.fingerprint = Fingerprint(
      {options.server.host, options.server.export_path, gantry::Find(parameters, "path"),
       gantry::Find(parameters, "port"), gantry::Find(parameters, "mountPort"), reserved});
  GANTRY_PLUGIN_TRY_ASSIGN(
      const bool commits_at_close,
      TrueOrFalse("commitsAtClose", gantry::Find(parameters, "commitsAtClose")));
  options.keeps_writes = commits_at_close && options.is_sole_writer;
  // Who keeps nothing, as an older release, must not go on with what one who does has left.
  if (options.keeps_writes) options.fingerprint = ~options.fingerprint;
  return options;
}

}  // namespace gantry::nfs
