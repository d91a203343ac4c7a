// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/reply.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <string_view>

#include "plugins/iscsi/scsi/bytes.hpp"

namespace gantry::iscsi::scsi {
namespace {

constexpr size_t kPageHeadBytes = 4;
constexpr uint32_t kBlockBytesMin = 512;
constexpr uint32_t kBlockBytesMax = 4096;
constexpr uint8_t kNotAboutTheLun = 0x30;  // Association: a port or the target device.

tl::unexpected<ScsiError> Malformed(std::string_view what, size_t bytes) {
  return FailScsi(Failure::kMalformed, std::string(what) + ": a reply of " + std::to_string(bytes) +
                                           " bytes that is not as the standard says");
}

// What follows the head of a VPD page, or an error when it is another page.
ScsiResult<Bytes> PageBody(Bytes reply, uint8_t page) {
  if (reply.size() < kPageHeadBytes || Get<uint8_t>(reply, 1) != page) {
    char name[32];
    snprintf(name, sizeof name, "VPD page 0x%02x", page);
    return Malformed(name, reply.size());
  }
  const Bytes body = reply.subspan(kPageHeadBytes);
  return body.first(std::min<size_t>(body.size(), Get<uint16_t>(reply, 2)));
}

std::string Trimmed(Bytes bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  constexpr std::string_view kBlank(" \0", 2);
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == text.npos) return {};
  text = text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c < 0x20 || c == 0x7f; }, '?');
  return clean;
}

std::string Hex(Bytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[static_cast<uint8_t>(byte) >> 4];
    text += kDigits[static_cast<uint8_t>(byte) & 0xf];
  }
  return text;
}

// As the kernel's "%pE" does it.
std::string Escaped(Bytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    constexpr std::string_view kSpecial("\n\r\t\v\f\a\033\0", 8);
    constexpr std::string_view kLetters("nrtvfae0");
    if (c >= 0x20 && c < 0x7f) {
      text += static_cast<char>(c);
    } else if (const size_t at = kSpecial.find(static_cast<char>(c)); at != kSpecial.npos) {
      text += '\\';
      text += kLetters[at];
    } else {
      char octal[8];
      snprintf(octal, sizeof octal, "\\%03o", c);
      text += octal;
    }
  }
  return text;
}

struct Name {
  int rank = 0;  // 0: not a name that identifies the LUN.
  std::string text;
};

Name NaaName(Bytes value) {
  if (value.size() != 8 && value.size() != 16) return {};
  const std::string text = "naa." + Hex(value);
  switch (Get<uint8_t>(value, 0) >> 4) {
    case 6:
      return {8, text};
    case 5:
      return {5, text};
    case 4:
      return {4, text};
    case 2:
    case 3:
      return {1, text};
    default:
      return {};
  }
}

Name EuiName(Bytes value) {
  const std::string text = "eui." + Hex(value);
  switch (value.size()) {
    case 16:
      return {7, text};
    case 12:
      return {6, text};
    case 8:
      return {3, text};
    default:
      return {};
  }
}

Name NameOf(uint8_t type, Bytes value) {
  switch (type) {
    case 1:
      return {1, "t10." + Escaped(value)};
    case 2:
      return EuiName(value);
    case 3:
      return NaaName(value);
    case 8: {
      std::string text(reinterpret_cast<const char*>(value.data()), value.size());
      text.resize(std::min(text.size(), text.find('\0')));
      return {text.empty() ? 0 : 9, text};
    }
    default:
      return {};
  }
}

}  // namespace

ScsiResult<InquiryData> ParseInquiry(Bytes reply) {
  if (reply.size() < 36) return Malformed("INQUIRY", reply.size());
  InquiryData data;
  const auto peripheral = Get<uint8_t>(reply, 0);
  data.qualifier = peripheral >> 5;
  data.type = peripheral & 0x1f;
  data.vendor = Trimmed(reply.subspan(8, 8));
  data.product = Trimmed(reply.subspan(16, 16));
  data.revision = Trimmed(reply.subspan(32, 4));
  return data;
}

ScsiResult<std::string> ParseSerial(Bytes reply) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Bytes body, PageBody(reply, kPageSerial));
  return Trimmed(body);
}

ScsiResult<std::vector<std::string>> ParseIdentities(Bytes reply) {
  GANTRY_PLUGIN_TRY_ASSIGN(Bytes rest, PageBody(reply, kPageIdentification));
  std::vector<Name> names;
  while (rest.size() >= kPageHeadBytes) {
    const auto kind = Get<uint8_t>(rest, 1);
    const auto length = Get<uint8_t>(rest, 3);
    rest = rest.subspan(kPageHeadBytes);
    const Bytes value = rest.first(std::min<size_t>(length, rest.size()));
    rest = rest.subspan(value.size());
    // Half a name would be somebody else's.
    if (length == 0 || value.size() < length || (kind & kNotAboutTheLun) != 0) continue;
    Name name = NameOf(kind & 0xf, value);
    if (name.rank == 0) continue;
    if (name.text.size() > kIdentityBytesMax) name.text.resize(kIdentityBytesMax);
    names.push_back(std::move(name));
  }
  // Of equals the kernel takes the last.
  std::reverse(names.begin(), names.end());
  std::stable_sort(names.begin(), names.end(),
                   [](const Name& a, const Name& b) { return a.rank > b.rank; });
  std::vector<std::string> identities;
  for (Name& name : names) identities.push_back(std::move(name.text));
  return identities;
}

std::string SerialIdentity(const InquiryData& inquiry, const std::string& serial) {
  std::string identity = "serial." + inquiry.vendor + "." + inquiry.product + "." + serial;
  if (identity.size() > kIdentityBytesMax) identity.resize(kIdentityBytesMax);
  return identity;
}

ScsiResult<BlockLimits> ParseBlockLimits(Bytes reply) {
  GANTRY_PLUGIN_TRY(PageBody(reply, kPageBlockLimits));
  BlockLimits limits;
  limits.transfer_blocks_max = Get<uint32_t>(reply, 8);
  limits.unmap_granularity_blocks = Get<uint32_t>(reply, 28);
  limits.write_same_blocks_max = Get<uint64_t>(reply, 36);
  return limits;
}

ScsiResult<Provisioning> ParseProvisioning(Bytes reply) {
  GANTRY_PLUGIN_TRY(PageBody(reply, kPageProvisioning));
  const auto flags = Get<uint8_t>(reply, 5);
  return Provisioning{.unmap = (flags & 0x80) != 0, .write_same_unmap = (flags & 0x40) != 0};
}

ScsiResult<Capacity> ParseCapacity(Bytes reply) {
  if (reply.size() < 12) return Malformed("READ CAPACITY (16)", reply.size());
  Capacity capacity;
  const auto last = Get<uint64_t>(reply, 0);
  capacity.block_bytes = Get<uint32_t>(reply, 8);
  if (capacity.block_bytes < kBlockBytesMin || capacity.block_bytes > kBlockBytesMax ||
      !std::has_single_bit(capacity.block_bytes)) {
    return FailScsi(Failure::kMalformed, "READ CAPACITY (16): blocks of " +
                                             std::to_string(capacity.block_bytes) +
                                             " bytes, expected a power of two from 512 to 4096");
  }
  if (last >= INT64_MAX / capacity.block_bytes) {
    return Malformed("READ CAPACITY (16)", reply.size());
  }
  capacity.blocks = last + 1;
  const auto flags = Get<uint8_t>(reply, 14);
  capacity.thin = (flags & 0x80) != 0;
  capacity.unmapped_is_zero = (flags & 0x40) != 0;
  return capacity;
}

ScsiResult<std::vector<uint32_t>> ParseLuns(Bytes reply) {
  if (reply.size() < 8) return Malformed("REPORT LUNS", reply.size());
  const size_t end = std::min<size_t>(reply.size(), size_t{8} + Get<uint32_t>(reply, 0));
  std::vector<uint32_t> luns;
  for (size_t at = 8; at + 8 <= end; at += 8) {
    const auto first = Get<uint16_t>(reply, at);
    const auto below = Get<uint32_t>(reply, at + 2);
    const int method = first >> 14;
    // SAM-5 section 4.7: peripheral device addressing of bus 0, or flat; one level.
    if (below != 0 || method > 1 || (method == 0 && first > 0xff)) continue;
    luns.push_back(first & 0x3fff);
  }
  return luns;
}

ScsiResult<std::vector<LbaExtent>> ParseLbaStatus(Bytes reply) {
  if (reply.size() < 8) return Malformed("GET LBA STATUS", reply.size());
  const size_t end = std::min<size_t>(reply.size(), size_t{4} + Get<uint32_t>(reply, 0));
  std::vector<LbaExtent> extents;
  for (size_t at = 8; at + 16 <= end; at += 16) {
    const auto state = Get<uint8_t>(reply, at + 12) & 0xf;
    if (state > 2) return Malformed("GET LBA STATUS", reply.size());
    extents.push_back(
        {{Get<uint64_t>(reply, at), Get<uint32_t>(reply, at + 8)}, static_cast<LbaState>(state)});
  }
  return extents;
}

ScsiResult<Mode> ParseMode(Bytes reply) {
  if (reply.size() < 4) return Malformed("MODE SENSE (6)", reply.size());
  Mode mode;
  const auto device = Get<uint8_t>(reply, 2);
  mode.write_protected = (device & 0x80) != 0;
  mode.force_unit_access = (device & 0x10) != 0;
  const size_t page = size_t{4} + Get<uint8_t>(reply, 3);
  if ((Get<uint8_t>(reply, page) & 0x3f) == kPageCaching) {
    mode.write_cache = (Get<uint8_t>(reply, page + 2) & 0x04) != 0;
  }
  return mode;
}

ScsiResult<std::vector<uint64_t>> ParseKeys(Bytes reply) {
  if (reply.size() < 8) return Malformed("READ KEYS", reply.size());
  const auto list_bytes = Get<uint32_t>(reply, 4);
  // A key that is not seen is one that is not preempted.
  if (list_bytes > reply.size() - 8) {
    return FailScsi(Failure::kMalformed, "READ KEYS: " + std::to_string(list_bytes / 8) +
                                             " keys are registered, expected at most " +
                                             std::to_string((reply.size() - 8) / 8));
  }
  std::vector<uint64_t> keys;
  for (size_t at = 8; at + 8 <= 8 + size_t{list_bytes}; at += 8) {
    keys.push_back(Get<uint64_t>(reply, at));
  }
  return keys;
}

ScsiResult<std::optional<Reservation>> ParseReservation(Bytes reply) {
  if (reply.size() < 8) return Malformed("READ RESERVATION", reply.size());
  if (Get<uint32_t>(reply, 4) == 0) return std::nullopt;
  if (reply.size() < 22) return Malformed("READ RESERVATION", reply.size());
  return Reservation{Get<uint64_t>(reply, 8),
                     static_cast<ReservationType>(Get<uint8_t>(reply, 21) & 0xf)};
}

}  // namespace gantry::iscsi::scsi
