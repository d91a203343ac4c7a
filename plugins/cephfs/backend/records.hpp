// SPDX-License-Identifier: Apache-2.0
// What Gantry stores about volumes and snapshots: JSON in omap, one value each, changed by compare and
// swap. Two controllers, two generations and a crash at any point so leave one volume:
//
//  - A record precedes what it describes and is removed after it.
//  - Its write nonce makes every version another text. So a swap that comes late from a dead worker
//    changes nothing, and one whose answer was lost is recognized.
//  - A subvolume is named after its record's handle and a nonce of its own, and so is a snapshot. So a
//    command that comes late from a dead worker hits nothing that was made again under the same
//    handle; what it makes nobody's record names, and the orphans' task removes it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/cephfs/cluster/cluster.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

inline constexpr uint32_t kRecordFormat = 1;
inline constexpr size_t kNonceDigits = 16;

enum class RecordState : uint8_t { kCreating, kReady, kDeleting };
enum class ContentKind : uint8_t { kNone, kVolume, kSnapshot };

// A snapshot as the module knows it.
struct SnapshotAt {
  std::string group;
  std::string subvolume;
  std::string name;
  bool operator==(const SnapshotAt&) const = default;
};

// A node that may use the volume.
struct Publication {
  std::string user;  // the entity made for it, without "client."
  bool readonly = false;
  bool closing = false;  // its key is being taken away
};

struct VolumeRecord {
  std::string handle;
  std::string name;         // as the CO asked for it
  std::string incarnation;  // a nonce: a volume made again under its name is another one
  RecordState state = RecordState::kCreating;
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;
  uint64_t capacity_bytes = 0;
  std::map<std::string, std::string> parameters;  // the durable ones
  std::map<std::string, std::string> mutable_parameters;
  std::string group;
  std::string subvolume;              // empty: the volume is a snapshot (copy_of)
  std::vector<std::string> replaced;  // subvolumes of clones that failed; they are to be removed
  std::string path;                   // when ready; from the filesystem's root
  std::string data_pool;              // likewise; of a copy that is not, its source's
  std::string pool_namespace;         // when ready
  ContentKind content = ContentKind::kNone;
  std::string content_handle;
  std::optional<SnapshotAt> copy_of;  // of a copy, until it is made; of a snapshot itself, always
  bool copy_is_ours = false;          // that snapshot was made for the copy alone
  std::map<std::string, Publication> nodes;
};

struct SnapshotRecord {
  std::string handle;
  std::string name;
  RecordState state = RecordState::kCreating;
  std::string source_handle;
  SnapshotAt at;
  std::string source_path;  // of the subvolume's directory when it was cut
  std::string data_pool;
  std::string pool_namespace;
  uint64_t size_bytes = 0;
  int64_t created_ns = 0;  // since 1970, UTC; when ready
  // Volumes that are this snapshot: handle and incarnation. It does not go before them.
  std::map<std::string, std::string> users;
};

// What was read, and the text that a swap compares with.
template <class Record>
struct Stored {
  Record record;
  std::string text;  // empty: not there yet
};

std::string Encode(const VolumeRecord& record, const std::string& write_nonce);
std::string Encode(const SnapshotRecord& record, const std::string& write_nonce);
// DATA_LOSS for what is no record, FAILED_PRECONDITION for a format newer than this.
plugin::Result<VolumeRecord> DecodeVolume(std::string_view text);
plugin::Result<SnapshotRecord> DecodeSnapshot(std::string_view text);

// 16 hex digits nobody else has.
std::string MakeNonce();

// The records of one kind, spread over 16 objects by the handle's first digit, so that none has more
// keys than an OSD likes (200,000) before there are three million volumes.
template <class Record>
class Records {
 public:
  explicit Records(Cluster* cluster) : cluster_(cluster) {}

  plugin::Result<std::optional<Stored<Record>>> Find(const std::string& handle,
                                                     TimePoint deadline) const;
  // True: written, and stored->text is the new one. False: somebody else was faster; read again.
  plugin::Result<bool> Write(Stored<Record>* stored, TimePoint deadline) const;
  plugin::Result<bool> Remove(const Stored<Record>& stored, TimePoint deadline) const;
  // Some time after it has returned, or never: of a record that says nothing any more.
  void RemoveLater(const Stored<Record>& stored) const;
  // Calls visit for each in the order of the handles, after this one, until it returns false.
  plugin::Status ForEach(const std::string& after, TimePoint deadline,
                         const std::function<bool(const Record&)>& visit) const;

 private:
  static std::string ObjectOf(char digit);

  Cluster* const cluster_;
};

extern template class Records<VolumeRecord>;
extern template class Records<SnapshotRecord>;

}  // namespace gantry::cephfs
