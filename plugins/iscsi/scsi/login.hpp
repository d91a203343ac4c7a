// SPDX-License-Identifier: Apache-2.0
// What a session is opened with.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/iscsi/scsi/scsi_error.hpp"

namespace gantry::iscsi::scsi {

inline constexpr size_t kIscsiNameBytesMax = 223;  // RFC 7143 section 4.2.7.1
inline constexpr size_t kChapBytesMax = 255;       // libiscsi cuts what is longer.
inline constexpr uint32_t kLunMax = 16'383;        // Flat addressing.

using TimePoint = std::chrono::steady_clock::time_point;

// A name and a secret; the secret's memory is wiped at the end.
class Chap {
 public:
  Chap(std::string_view user, std::string_view secret);
  Chap(const Chap&) = default;
  Chap& operator=(const Chap&) = default;
  ~Chap();

  const std::string& user() const { return user_; }
  const std::string& secret() const { return secret_; }

 private:
  std::string user_;
  std::string secret_;
};

// RFC 7143 section 11.12.5, the random format (T = 10b).
struct Isid {
  uint32_t random = 0;  // 24 bits
  uint16_t qualifier = 0;
  bool operator==(const Isid&) const = default;
};

struct LoginOptions {
  std::string initiator;       // iqn., eui. or naa.
  std::string target;          // Empty: a discovery session.
  std::optional<Chap> chap;    // By which the initiator proves who it is.
  std::optional<Chap> mutual;  // By which the target does; only with `chap`. A target that doesn't
                               // is an impostor.
  bool header_digest = false;  // CRC32C or nothing; false: none.
  bool data_digest = false;    // libiscsi has none, so that true is refused.
  std::optional<Isid> isid;    // Nothing: a random one.
};

// kInvalid with the field, its value (never a secret) and what was expected.
ScsiOutcome Check(const LoginOptions& options);

}  // namespace gantry::iscsi::scsi
