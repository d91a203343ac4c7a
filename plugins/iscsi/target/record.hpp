// SPDX-License-Identifier: Apache-2.0
// What the store says about a volume or a snapshot: a JSON file beside its backing file. Records
// are the truth: the daemon's targets are made from them, never the other way round. A snapshot is
// a volume that nobody publishes, so both are one struct and live by one protocol.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target {

inline constexpr uint32_t kRecordFormat = 1;
inline constexpr size_t kRecordBytesMax = 512 * 1024;

enum class RecordKind : uint8_t { kVolume, kSnapshot };            // "volume", "snapshot"
enum class RecordState : uint8_t { kCopying, kReady, kDeleting };  // "copying", "ready", "deleting"

struct RecordedPublication {
  Publication node;
  std::string chap_user;    // so that access ends without the key that opens the rest
  std::string sealed_chap;  // crypto.hpp; empty: none
};

struct Record {
  RecordKind kind = RecordKind::kVolume;
  RecordState state = RecordState::kReady;
  std::string handle;
  std::string incarnation;
  std::string name;
  std::string owner;
  uint64_t size_bytes = 0;
  Parameters parameters;
  Parameters mutable_parameters;
  Content content;  // of a snapshot: its source
  std::string content_incarnation;
  int64_t created_ns = 0;
  // Some node had it: from now on its backing file is never made anew when it is missing.
  bool was_published = false;
  // How often a node got it for writing: a copy of what changed in between begins anew.
  uint64_t writers = 0;
  // Of a copy: this much of the source, as of that number of writers, is in the backing file.
  uint64_t copied_bytes = 0;
  uint64_t copied_writers = 0;
  std::vector<RecordedPublication> nodes;  // ordered by node_id
};

std::string Encode(const Record& record);
// DATA_LOSS for what is no record, FAILED_PRECONDITION for a newer format; both name `where`.
plugin::Result<Record> DecodeRecord(std::string_view json, const std::string& where);

// Whether a node may write to it now.
bool HasWriter(const Record& record);

}  // namespace gantry::iscsi::target
