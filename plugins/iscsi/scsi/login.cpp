// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/login.hpp"

#include <string.h>

#include <string_view>

namespace gantry::iscsi::scsi {
namespace {

ScsiOutcome CheckName(std::string_view field, const std::string& name) {
  const bool known =
      name.starts_with("iqn.") || name.starts_with("eui.") || name.starts_with("naa.");
  bool clean = true;
  for (const char c : name) clean = clean && c > 0x20 && c != 0x7f;
  if (known && clean && name.size() <= kIscsiNameBytesMax) return {};
  return FailScsi(Failure::kInvalid,
                  std::string(field) + ": \"" + name.substr(0, kIscsiNameBytesMax) +
                      "\", expected a name of at most " + std::to_string(kIscsiNameBytesMax) +
                      " bytes that begins with iqn., eui. or naa.");
}

ScsiOutcome CheckChap(std::string_view field, const std::optional<Chap>& chap) {
  if (!chap) return {};
  const auto fits = [](const std::string& text) {
    return !text.empty() && text.size() <= kChapBytesMax && text.find('\0') == text.npos;
  };
  if (fits(chap->user()) && fits(chap->secret())) return {};
  return FailScsi(Failure::kInvalid, std::string(field) +
                                         ": expected a name and a secret of 1 to " +
                                         std::to_string(kChapBytesMax) + " bytes each");
}

}  // namespace

Chap::Chap(std::string_view user, std::string_view secret) : user_(user), secret_(secret) {}

Chap::~Chap() { explicit_bzero(secret_.data(), secret_.size()); }

ScsiOutcome Check(const LoginOptions& options) {
  GANTRY_PLUGIN_TRY(CheckName("initiator name", options.initiator));
  if (!options.target.empty()) GANTRY_PLUGIN_TRY(CheckName("target name", options.target));
  GANTRY_PLUGIN_TRY(CheckChap("CHAP", options.chap));
  GANTRY_PLUGIN_TRY(CheckChap("mutual CHAP", options.mutual));
  if (options.mutual && !options.chap) {
    return FailScsi(Failure::kInvalid,
                    "mutual CHAP: expected the initiator's own name and secret as well");
  }
  // RFC 7143 section 9.2.1: who reflects a challenge must not learn the answer.
  if (options.mutual && options.mutual->secret() == options.chap->secret()) {
    return FailScsi(Failure::kInvalid,
                    "mutual CHAP: expected another secret than the initiator's own");
  }
  if (options.data_digest) {
    return FailScsi(Failure::kInvalid,
                    "data digest: \"CRC32C\", expected \"None\": this initiator has only header "
                    "digests");
  }
  return {};
}

}  // namespace gantry::iscsi::scsi
