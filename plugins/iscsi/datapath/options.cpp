// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/datapath/options.hpp"

#include <charconv>
#include <gantry/gantry.hpp>
#include <initializer_list>

namespace gantry::iscsi {
namespace {

namespace code = plugin::code;

tl::unexpected<plugin::Error> Refuse(std::string_view key, std::string_view value,
                                     std::string_view expected) {
  return plugin::Fail(code::kInvalidArgument, "parameter " + std::string(key) + ": \"" +
                                                  std::string(value) + "\", expected " +
                                                  std::string(expected));
}

plugin::Result<uint64_t> Number(std::string_view key, std::string_view text, uint64_t number_min,
                                uint64_t number_max) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc() || stop != end || number < number_min ||
      number > number_max) {
    return Refuse(
        key, text,
        "a number from " + std::to_string(number_min) + " to " + std::to_string(number_max));
  }
  return number;
}

// The index of the word, 0 for none at all.
plugin::Result<size_t> Choice(const gantry_map& parameters, std::string_view key,
                              std::initializer_list<std::string_view> words) {
  const std::string_view value = gantry::Find(parameters, key);
  if (value.empty()) return size_t{0};
  std::string expected;
  size_t index = 0;
  for (const std::string_view word : words) {
    if (value == word) return index;
    expected += (index == 0 ? "" : index + 1 == words.size() ? " or " : ", ") + std::string(word);
    ++index;
  }
  return Refuse(key, value, expected);
}

// FNV-1a, 64 bits.
uint64_t Hash(std::initializer_list<std::string_view> texts) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::string_view text : texts) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ 0x100) * 0x100000001b3;
  }
  return hash;
}

// Valid until the next call.
plugin::Result<std::string_view> Secret(const gantry_datapath_host& host, std::string_view key) {
  gantry_str value{};
  const std::string name(key);
  if (host.secret(host.ctx, gantry::ToStr(name), &value) != 1 || value.len == 0) {
    return plugin::Fail(code::kUnauthenticated,
                        "secret " + name + " is missing, which parameter chap asks for");
  }
  return gantry::View(value);
}

plugin::Result<scsi::Chap> SecretPair(const gantry_datapath_host& host, std::string_view user_key,
                                      std::string_view password_key) {
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string_view found, Secret(host, user_key));
  const std::string user(found);
  GANTRY_PLUGIN_TRY_ASSIGN(const std::string_view password, Secret(host, password_key));
  return scsi::Chap(user, password);
}

plugin::Status AddDerivedSecrets(const gantry_datapath_host& host, DiskOptions* options) {
  const bool mutual = options->chap == ChapMode::kMutual;
  gantry_str key{};
  const std::string name(kChapKeySecret);
  if (host.secret(host.ctx, gantry::ToStr(name), &key) != 1)
    return plugin::Fail(code::kUnauthenticated,
                        "secret " + name + " is missing, which parameter chap asks for");
  GANTRY_PLUGIN_TRY_ASSIGN(const ChapSecrets secrets,
                           DeriveChap(gantry::View(key), *options->chap_owner, mutual));
  options->login.chap = scsi::Chap(secrets.user, secrets.password);
  if (mutual) options->login.mutual = scsi::Chap(secrets.user_in, secrets.password_in);
  return {};
}

plugin::Status AddGivenSecrets(const gantry_datapath_host& host, DiskOptions* options) {
  GANTRY_PLUGIN_TRY_ASSIGN(options->login.chap, SecretPair(host, kSecretUser, kSecretPassword));
  if (options->chap == ChapMode::kMutual) {
    GANTRY_PLUGIN_TRY_ASSIGN(options->login.mutual,
                             SecretPair(host, kSecretUserIn, kSecretPasswordIn));
  }
  return {};
}

}  // namespace

plugin::Result<DiskOptions> ParseOptions(const gantry_map& parameters,
                                         std::string_view volume_key) {
  DiskOptions options;
  const auto portals = scsi::ParsePortals(gantry::Find(parameters, "portals"));
  if (!portals) return tl::make_unexpected(plugin::Wrap(portals.error(), "parameter portals"));
  options.portals = *portals;
  options.login.target = gantry::Find(parameters, "target");
  options.login.initiator = gantry::Find(parameters, "initiator");
  if (options.login.target.empty()) return Refuse("target", "", "the target's name");
  GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t lun,
                           Number("lun", gantry::Find(parameters, "lun"), 0, scsi::kLunMax));
  options.lun = static_cast<uint32_t>(lun);
  GANTRY_PLUGIN_TRY_ASSIGN(const size_t chap,
                           Choice(parameters, "chap", {"none", "oneWay", "mutual"}));
  options.chap = static_cast<ChapMode>(chap);
  if (const auto handle = gantry::Find(parameters, "chapHandle"); !handle.empty()) {
    options.chap_owner =
        ChapOwner{std::string(handle), std::string(gantry::Find(parameters, "chapIncarnation")),
                  std::string(gantry::Find(parameters, "chapNode"))};
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const size_t header,
                           Choice(parameters, "headerDigest", {"None", "CRC32C"}));
  options.login.header_digest = header == 1;
  GANTRY_PLUGIN_TRY(Choice(parameters, "dataDigest", {"None"}));
  GANTRY_PLUGIN_TRY_ASSIGN(const size_t fence,
                           Choice(parameters, "fence", {"reservation", "none"}));
  options.reserve = fence == 0;
  const std::string_view timeout = gantry::Find(parameters, "ioTimeoutSeconds");
  if (!timeout.empty() && timeout != "wait") {
    GANTRY_PLUGIN_TRY_ASSIGN(const uint64_t seconds,
                             Number("ioTimeoutSeconds", timeout, 1, kIoTimeoutSecondsMax));
    options.io_timeout = std::chrono::seconds(seconds);
  }
  const uint64_t session = Hash({volume_key, options.login.initiator});
  options.login.isid =
      scsi::Isid{static_cast<uint32_t>(session & 0xffffff), static_cast<uint16_t>(session >> 24)};
  options.owner = static_cast<uint16_t>(session >> 52);
  options.fingerprint = Hash(
      {volume_key, options.login.initiator, options.login.target, gantry::Find(parameters, "lun")});
  if (const auto checked = scsi::Check(options.login); !checked) {
    return tl::make_unexpected(scsi::ToError(checked.error()));
  }
  return options;
}

plugin::Status AddSecrets(const gantry_datapath_host& host, DiskOptions* options) {
  if (options->chap == ChapMode::kNone) return {};
  GANTRY_PLUGIN_TRY(options->chap_owner ? AddDerivedSecrets(host, options)
                                        : AddGivenSecrets(host, options));
  if (const auto checked = scsi::Check(options->login); !checked) {
    return tl::make_unexpected(scsi::ToError(checked.error()));
  }
  return {};
}

}  // namespace gantry::iscsi
