// SPDX-License-Identifier: Apache-2.0
// What Gantry stores about a volume or a snapshot, on the storage itself, as JSON that people can
// read. A record precedes what it describes and is removed after it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/common/sub_dir.hpp"

namespace gantry::plugin {

// The newest that is read. A record is written in the oldest that can say it: 2 is for volumes that
// are copies and for mutable parameters, which an older reader would lose.
inline constexpr uint32_t kRecordFormat = 2;
inline constexpr uint32_t kRecordFormatMin = 1;
inline constexpr size_t kRecordBytesMax = 64 * 1024;
inline constexpr size_t kAttemptsMax = 64;  // Of one record.
inline constexpr size_t kNonceBytesMax = 64;

enum class RecordState : uint8_t { kCreating, kReady, kDeleting };

// What is done with the volume's own directory when the volume is deleted.
enum class Disposal : uint8_t { kDelete, kRetain, kArchive };

// One try at making or moving away the volume's directory, or the record itself: a directory of its
// own that it is renamed out of or into, made before the record names it. Once that directory is
// gone, a rename that comes late from whoever made the try can do nothing.
struct Attempt {
  enum class Kind : uint8_t { kCreate, kDelete, kArchive, kRecord };
  Kind kind = Kind::kCreate;
  std::string nonce;
  uint64_t fsid = 0;    // kCreate: of the directory that will be the volume's,
  uint64_t fileid = 0;  // likewise.
  bool beside =
      false;  // In the volume's parent directory, because .gantry is on another filesystem.
};

// What a volume or snapshot is a copy of.
struct CopySource {
  enum class Kind : uint8_t { kVolume, kSnapshot };
  Kind kind = Kind::kVolume;
  std::string handle;
  std::string incarnation;  // One made again under the same name is another one.
};

struct Record {
  std::string handle;
  std::string name;         // As the CO asked for it.
  std::string owner;        // The installation.
  std::string incarnation;  // A nonce: a volume made again under its name is another one.
  std::string write;        // A nonce of this version: tells a lost reply from a lost race.
  RecordState state = RecordState::kCreating;
  // The highest version of state kCreating: only their files are ever linked as claims. Records
  // that do not tell may have any.
  uint64_t creating_until = UINT64_MAX;
  std::vector<Attempt> attempts;
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;
  uint64_t capacity_bytes = 0;
  Path path;
  bool created = false;  // The directory is ours; known when ready.
  uint64_t fileid = 0;   // Of the directory, when ready.
  Disposal disposal = Disposal::kDelete;
  std::map<std::string, std::string> parameters;  // The durable ones.
  // Those that were modified, or given as mutable at once: they hold, and are not compared.
  std::map<std::string, std::string> mutable_parameters;
  std::optional<CopySource> source;
  bool copied = false;  // The last attempt's directory is whole, and nobody writes to it any more.
  int64_t copied_ns = 0;  // When it became so, by the storage's clock.
};

// The oldest format that can say it.
uint32_t FormatOf(const Record& record);

std::string Encode(const Record& record);
// DATA_LOSS for what is no record, FAILED_PRECONDITION for a format newer than this; both name
// `where`.
Result<Record> Decode(std::string_view json, std::string_view where);

}  // namespace gantry::plugin
