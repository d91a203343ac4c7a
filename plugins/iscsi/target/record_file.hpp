// SPDX-License-Identifier: Apache-2.0
// The file of a record: two slots of one size. A new version is written over the older one, so that
// it costs one fdatasync of blocks that are there already, and the one before stays whole until the
// new one is. Each begins with a line of its number, the slot's length and its own, and a SHA-256 of
// all of it, which tells a whole one:
//
//   gantry-record <16 hex digits> <8 hex digits> <8 hex digits> <64 hex digits>
//   {"format": 1, ...
//
// A file that is made has its second slot blank. Where neither is whole, and the second is blank or not
// there in full, the first version was never finished, and nobody was told of it: so a file can be made
// under its final name, and one commit of the file system settles it and its name. A file without slots, as older
// versions made them, is JSON alone and is replaced as a whole by the next version.
//
// Rejected: a new file and a rename for each version, which is two commits of the file system's
// journal, one after the other; one journal file for all records, which somebody has to clean.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::target {

inline constexpr size_t kSlotUnitBytes = 4096;  // slots share no block of a file system

struct RecordFile {
  std::string_view text;  // of the newest version, in what was read
  uint64_t sequence = 0;  // its number
  size_t slot_bytes = 0;  // 0: the file has no slots
  size_t older_slot = 0;  // 0 or 1: where the next version goes
};

// Nothing: never finished. DATA_LOSS, naming `where`: it was, and none of its versions is whole.
plugin::Result<std::optional<RecordFile>> ReadRecordFile(std::string_view file,
                                                         const std::string& where);
// With its first version.
std::string FirstRecordFile(std::string_view text);
// With this version in both slots, for a file that takes the place of another.
std::string WholeRecordFile(std::string_view text, uint64_t sequence);
// Exactly `slot_bytes`; nothing: it does not fit.
std::optional<std::string> MakeSlot(std::string_view text, uint64_t sequence, size_t slot_bytes);

}  // namespace gantry::iscsi::target
