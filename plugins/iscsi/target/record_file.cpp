// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/record_file.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "plugins/common/sha256.hpp"

namespace gantry::iscsi::target {
namespace {

constexpr std::string_view kMagic = "gantry-record ";
constexpr size_t kSequenceDigits = 16;
constexpr size_t kLengthDigits = 8;
constexpr size_t kDigestDigits = 64;
constexpr size_t kSlotAt = kMagic.size() + kSequenceDigits + 1;
constexpr size_t kLengthAt = kSlotAt + kLengthDigits + 1;
constexpr size_t kDigestAt = kLengthAt + kLengthDigits + 1;
constexpr size_t kHeadBytes = kDigestAt + kDigestDigits + 1;
constexpr size_t kRoomBytes = 1024;  // for what the next versions have more: a node or two

std::string Hex(uint64_t number, size_t digits) {
  std::array<char, 16> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, 16).ptr;
  const auto length = static_cast<size_t>(end - buffer.data());
  return std::string(digits - std::min(digits, length), '0') + std::string(buffer.data(), length);
}

std::optional<uint64_t> FromHex(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string Digest(std::string_view numbers, std::string_view text) {
  return plugin::Sha256Hex(std::string(numbers) + std::string(text));
}

struct Head {
  uint64_t sequence = 0;
  uint64_t slot_bytes = 0;
  uint64_t length = 0;
};

std::optional<Head> ReadHead(std::string_view slot) {
  if (slot.size() < kHeadBytes || !slot.starts_with(kMagic)) return std::nullopt;
  const auto sequence = FromHex(slot.substr(kMagic.size(), kSequenceDigits));
  const auto slot_bytes = FromHex(slot.substr(kSlotAt, kLengthDigits));
  const auto length = FromHex(slot.substr(kLengthAt, kLengthDigits));
  if (!sequence || !slot_bytes || !length) return std::nullopt;
  return Head{*sequence, *slot_bytes, *length};
}

struct Version {
  std::string_view text;
  uint64_t sequence = 0;
};

std::optional<Version> ReadSlot(std::string_view slot) {
  const auto head = ReadHead(slot);
  if (!head || head->slot_bytes != slot.size() || head->length > slot.size() - kHeadBytes)
    return std::nullopt;
  const std::string_view text = slot.substr(kHeadBytes, head->length);
  if (slot.substr(kDigestAt, kDigestDigits) != Digest(slot.substr(0, kDigestAt), text))
    return std::nullopt;
  return Version{text, head->sequence};
}

// As it was made, or not even written.
bool IsBlank(std::string_view slot) {
  return std::all_of(slot.begin(), slot.end(), [](char c) { return c == '\n' || c == '\0'; });
}

size_t SlotBytesFor(std::string_view text) {
  const size_t bytes = kHeadBytes + text.size() + kRoomBytes;
  return (bytes + kSlotUnitBytes - 1) / kSlotUnitBytes * kSlotUnitBytes;
}

}  // namespace

plugin::Result<std::optional<RecordFile>> ReadRecordFile(std::string_view file,
                                                         const std::string& where) {
  if (file.starts_with('{')) return RecordFile{file, 0, 0, 0};
  const size_t half = file.size() / 2;
  const auto first = ReadSlot(file.substr(0, half));
  const auto second = ReadSlot(file.substr(half));
  if (!first && !second) {
    const auto head = ReadHead(file);
    const bool is_cut =
        file.size() % (2 * kSlotUnitBytes) != 0 || (head && file.size() != 2 * head->slot_bytes);
    if (is_cut || IsBlank(file.substr(half))) return std::optional<RecordFile>();
    return plugin::Fail(plugin::code::kDataLoss, where + ": no version of its record is whole");
  }
  const bool is_second = second && (!first || second->sequence > first->sequence);
  const Version& newest = is_second ? *second : *first;
  return RecordFile{newest.text, newest.sequence, half, is_second ? size_t{0} : size_t{1}};
}

std::optional<std::string> MakeSlot(std::string_view text, uint64_t sequence, size_t slot_bytes) {
  if (kHeadBytes + text.size() > slot_bytes) return std::nullopt;
  std::string slot(kMagic);
  slot += Hex(sequence, kSequenceDigits) + " " + Hex(slot_bytes, kLengthDigits) + " " +
          Hex(text.size(), kLengthDigits) + " ";
  slot += Digest(slot, text) + "\n";
  slot += text;
  slot.resize(slot_bytes, '\n');
  return slot;
}

std::string FirstRecordFile(std::string_view text) {
  const size_t slot_bytes = SlotBytesFor(text);
  std::string file = *MakeSlot(text, 1, slot_bytes);
  file.resize(2 * slot_bytes, '\n');
  return file;
}

std::string WholeRecordFile(std::string_view text, uint64_t sequence) {
  const std::string slot = *MakeSlot(text, sequence, SlotBytesFor(text));
  return slot + slot;
}

}  // namespace gantry::iscsi::target
