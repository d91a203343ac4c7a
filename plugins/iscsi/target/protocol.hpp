// SPDX-License-Identifier: Apache-2.0
// What a controller and gantry-target, the program on the machine of the iSCSI target, say to each
// other: one request, one line of JSON on the program's stdin; one reply, one line on its stdout. The
// same over SSH as locally. There is no other way in: no shell, no words on a command line, so no
// secret is ever in anybody's argv.
//
//   {"version":1,"operation":"get_volume","owner":"cluster-a","deadline_ms":15000,
//    "request":{"handle":"t0-12ab"}}
//   {"version":1,"result":{...}}
//   {"version":1,"error":{"code":"NOT_FOUND","message":"volume t0-12ab: not there"}}
//
// Each operation is a struct here; which fields it has in JSON, and what may be in them, stands once
// in fields.hpp, for both directions. Unknown fields and operations are refused: a misspelt field
// that is silently ignored would be found in production. Newer fields come with a newer version.
//
// All operations are idempotent and can be finished after a death at any point: repeat them with the
// same fields. Every one may fail with UNAVAILABLE (the target's daemon does not answer),
// DEADLINE_EXCEEDED, INVALID_ARGUMENT (field, value and what was expected), DATA_LOSS (a record that
// cannot be read), FAILED_PRECONDITION (a record of another owner, or of a newer format).
//
// Rejected: gRPC (the program is to be small enough to audit, and needs neither a port nor a
// process that stays), and words on the command line.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::target {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr size_t kLineBytesMax = 1024 * 1024;  // of a request or a reply
inline constexpr size_t kHandleBytesMax = 80;  // [A-Za-z0-9._-], begins with one of [A-Za-z0-9]
inline constexpr size_t kNameBytesMax = 128;
inline constexpr size_t kOwnerBytesMax = 64;
inline constexpr size_t kNodeIdBytesMax = 128;
inline constexpr size_t kIqnBytesMax = 223;  // RFC 7143, 4.2.7.1
inline constexpr size_t kIncarnationBytes = 32;
inline constexpr size_t kParametersMax = 64;
inline constexpr size_t kParameterBytesMax = 1024;
inline constexpr size_t kChapUserBytesMax = 128;
inline constexpr size_t kChapPasswordBytesMin =
    12;  // 96 bits, as RFC 7143, 12.1.3 asks without IPsec
inline constexpr size_t kChapPasswordBytesMax = 128;
inline constexpr size_t kNodesOfVolumeMax = 64;
inline constexpr size_t kPageEntriesMax = 100;  // so that a page fits into a line
inline constexpr uint64_t kBlockBytes = 512;    // sizes are rounded up to kSizeUnitBytes
inline constexpr uint64_t kSizeUnitBytes = 4096;
inline constexpr uint64_t kDefaultSizeBytes = uint64_t{1} << 30;
inline constexpr std::chrono::milliseconds kDeadlineMsMax{3'600'000};

using Parameters = std::map<std::string, std::string>;

struct Portal {
  std::string address = {};  // IPv4, IPv6 without brackets, or a host name
  uint16_t port = 0;
  bool operator==(const Portal&) const = default;
};

// What the LUN says of itself, made from handle and incarnation: a volume made again under the same
// handle has another one. To be checked by whoever is about to use a device.
struct Identity {
  std::string naa = {};     // VPD page 0x83, NAA 6: "naa." and 32 lower-case hex digits
  std::string serial = {};  // VPD page 0x80: 32 lower-case hex digits (tgt pads it on the left)
  bool operator==(const Identity&) const = default;
};

enum class ContentKind : uint8_t { kNone, kVolume, kSnapshot };  // "none", "volume", "snapshot"
struct Content {
  ContentKind kind = ContentKind::kNone;
  std::string handle = {};  // of the volume or snapshot that is copied
  bool operator==(const Content&) const = default;
};

// The target authenticates the initiator with user and password; with user_in the initiator
// authenticates the target too (mutual). A user is one for this volume and node, and begins with
// "<handle>." (tgt knows users by name only, for all targets alike). Stored sealed, under a key on
// the target's machine, because the target's daemon forgets it.
struct Chap {
  std::string user = {};
  std::string password = {};
  std::string user_in = {};  // empty: not mutual
  std::string password_in = {};
  bool operator==(const Chap&) const = default;
};

struct Publication {
  std::string node_id = {};
  std::string initiator = {};  // IQN
  bool readonly = false;
  bool single_node = false;  // no other node may have the volume meanwhile
  bool chap = false;
  bool operator==(const Publication&) const = default;
};

struct Volume {
  std::string handle = {};
  std::string incarnation = {};  // 32 hex digits
  std::string name = {};
  std::string owner = {};
  uint64_t size_bytes = 0;
  std::string iqn = {};
  uint32_t lun = 0;
  std::vector<Portal> portals = {};
  Identity identity = {};
  Parameters parameters = {};
  Parameters mutable_parameters = {};
  Content content = {};
  std::vector<Publication> nodes = {};  // ordered by node_id
  // The backing file has no data: nobody ever wrote, and it is a copy of nothing.
  bool never_written = false;
  int64_t created_ns = 0;  // since the epoch, by the target's clock
  std::string problem =
      {};  // what is wrong with it (backing file missing, too small); empty: nothing
  bool operator==(const Volume&) const = default;
};

struct Snapshot {
  std::string handle = {};
  std::string incarnation = {};
  std::string name = {};
  std::string owner = {};
  std::string source = {};  // handle of the volume
  uint64_t size_bytes = 0;
  Parameters parameters = {};
  int64_t created_ns = 0;  // of its content: when the reflink was made or the copy began
  bool operator==(const Snapshot&) const = default;
};

// Work to be done outside of the call that brought it up, by RunTask on any controller; running it
// twice at once does no harm. "copy", "restore_targets", "trash".
enum class TaskKind : uint8_t { kCopy, kRestoreTargets, kTrash };
struct Task {
  TaskKind kind = TaskKind::kCopy;
  std::string key = {};  // copy: "volume/<handle>" or "snapshot/<handle>"; else empty
  bool operator==(const Task&) const = default;
};

struct Empty {
  bool operator==(const Empty&) const = default;
};

// --- what the target is -------------------------------------------------------------------------

struct Description {
  uint32_t version_min = 0;  // of the protocol
  uint32_t version_max = 0;
  std::string program = {};  // version of gantry-target
  std::string kind = {};     // "tgt", "lio"
  std::string filesystem = {};
  bool reflink = false;  // copies are made at once
  bool chap = false;     // a key to seal secrets with is there
  bool expand_interrupts =
      false;  // ExpandVolume of a published volume takes its LUN away for a moment
  std::vector<Portal> portals = {};
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  bool operator==(const Description&) const = default;
};
// UNAVAILABLE: the daemon does not answer, or the kernel's modules are not loaded.
struct Describe {
  static constexpr std::string_view kOperation = "describe";
  using Reply = Description;
};

struct Capacity {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // of the file system, less what is kept free
  uint64_t volume_bytes_max = 0;
  uint64_t volume_bytes_min = 0;
  bool operator==(const Capacity&) const = default;
};
struct GetCapacity {
  static constexpr std::string_view kOperation = "capacity";
  using Reply = Capacity;
};

// --- volumes ------------------------------------------------------------------------------------

struct CreatedVolume {
  std::optional<Volume> volume = {};  // nothing: still being copied; answer ABORTED
  std::optional<Task> task = {};      // then: the copy, to be scheduled
  bool operator==(const CreatedVolume&) const = default;
};
// Same handle again: the same volume where size fits the range, and content, name and parameters are
// equal, else ALREADY_EXISTS says what differs. NOT_FOUND: the source. OUT_OF_RANGE: the size is less
// than the source's, or more than the target's limit. RESOURCE_EXHAUSTED: no room.
struct CreateVolume {
  static constexpr std::string_view kOperation = "create_volume";
  using Reply = CreatedVolume;
  std::string handle = {};  // the caller's, made of nothing that changes
  std::string name = {};
  uint64_t required_bytes = 0;  // 0: no wish
  uint64_t limit_bytes = 0;     // 0: no limit
  Parameters parameters = {};   // durable: compared when asked again
  Parameters mutable_parameters = {};
  Content content = {};
};

// NOT_FOUND too when the volume is still being copied.
struct GetVolume {
  static constexpr std::string_view kOperation = "get_volume";
  using Reply = Volume;
  std::string handle = {};
};

struct VolumePage {
  std::vector<Volume> volumes = {};  // ordered by the bytes of their handles
  bool more = false;                 // go on after the last one's handle
  bool operator==(const VolumePage&) const = default;
};
// All that are whole, also published ones; of this owner.
struct ListVolumes {
  static constexpr std::string_view kOperation = "list_volumes";
  using Reply = VolumePage;
  std::string after = {};    // empty: from the beginning
  uint32_t max_entries = 0;  // 0: kPageEntriesMax
  bool operator==(const ListVolumes&) const = default;
};

struct Deleted {
  std::optional<Task> task = {};  // emptying the trash, to be scheduled
  bool operator==(const Deleted&) const = default;
};
// What is not there, or has another incarnation, is deleted. FAILED_PRECONDITION names a node that
// has it. Snapshots and clones do not depend on it.
struct DeleteVolume {
  static constexpr std::string_view kOperation = "delete_volume";
  using Reply = Deleted;
  std::string handle = {};
  std::string incarnation = {};  // empty: any
};

// Already as large: OK. OUT_OF_RANGE: larger than the limit. FAILED_PRECONDITION: it is published and
// `online` is not set, while expand_interrupts.
struct ExpandVolume {
  static constexpr std::string_view kOperation = "expand_volume";
  using Reply = Volume;
  std::string handle = {};
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;
  // The nodes that have it wait when the LUN is not there (5/0x2500) instead of failing I/O. Where
  // the LUN is busy all the while: ABORTED, nothing has changed.
  bool online = false;
};

// Only these change; they are not compared by CreateVolume.
struct ModifyVolume {
  static constexpr std::string_view kOperation = "modify_volume";
  using Reply = Volume;
  std::string handle = {};
  Parameters mutable_parameters = {};
};

// --- access -------------------------------------------------------------------------------------

// Opens the target to this initiator alone; the volume's `nodes` tell who has it. Again with the
// same fields: OK; with others: ALREADY_EXISTS. FAILED_PRECONDITION: another node has it and either
// wants it for itself (the message names that node), read-only differs while the kind has one such
// setting a LUN (tgt), no key for CHAP, or the volume has a problem. RESOURCE_EXHAUSTED:
// kNodesOfVolumeMax.
struct PublishVolume {
  static constexpr std::string_view kOperation = "publish_volume";
  using Reply = Volume;
  std::string handle = {};
  std::string incarnation = {};  // empty: any; else NOT_FOUND when it is another one
  std::string node_id = {};
  std::string initiator = {};
  bool readonly = false;
  bool single_node = false;
  std::optional<Chap> chap = {};
};

// The fence: the initiator's way in is closed, its connections are dropped, and the target has
// nothing of it queued any more. Then the record says so, and OK. DEADLINE_EXCEEDED: commands are
// still running; the node has the volume until a repetition succeeds. Not there, not published to that node,
// another incarnation: OK.
struct UnpublishVolume {
  static constexpr std::string_view kOperation = "unpublish_volume";
  using Reply = Empty;
  std::string handle = {};
  std::string incarnation = {};
  std::string node_id = {};  // empty: all nodes
};

// --- snapshots ----------------------------------------------------------------------------------

struct CreatedSnapshot {
  std::optional<Snapshot> snapshot = {};  // nothing: still being copied; answer ABORTED
  std::optional<Task> task = {};
  bool operator==(const CreatedSnapshot&) const = default;
};
// Crash-consistent where the store can reflink: what the target had acknowledged before the call is
// in it. Elsewhere the copy takes time; FAILED_PRECONDITION then when the source is published for
// writing, since a copy of a file that changes is no state the volume ever had.
struct CreateSnapshot {
  static constexpr std::string_view kOperation = "create_snapshot";
  using Reply = CreatedSnapshot;
  std::string handle = {};
  std::string name = {};
  std::string source = {};
  Parameters parameters = {};
};

struct GetSnapshot {
  static constexpr std::string_view kOperation = "get_snapshot";
  using Reply = Snapshot;
  std::string handle = {};
};

struct SnapshotPage {
  std::vector<Snapshot> snapshots = {};
  bool more = false;
  bool operator==(const SnapshotPage&) const = default;
};
struct ListSnapshots {
  static constexpr std::string_view kOperation = "list_snapshots";
  using Reply = SnapshotPage;
  std::string after = {};
  uint32_t max_entries = 0;
  std::string source = {};  // empty: of all volumes
};

struct DeleteSnapshot {
  static constexpr std::string_view kOperation = "delete_snapshot";
  using Reply = Deleted;
  std::string handle = {};
};

// --- tasks --------------------------------------------------------------------------------------

struct Progress {
  uint64_t done = 0;   // copy: bytes of the source looked at; trash: files; restore: targets made
  uint64_t total = 0;  // 0: not known
  bool finished = false;
  bool operator==(const Progress&) const = default;
};
// Works until it is finished or shortly before the deadline; what was done is kept. A copy of what is
// not there (any more) is finished. A copy that can never succeed gives its error once, and nothing
// is left of it. "restore_targets" is never finished: it makes again whatever the daemon has
// forgotten, and watches until the deadline, so that a daemon that is back has its targets at once.
struct RunTask {
  static constexpr std::string_view kOperation = "run_task";
  using Reply = Progress;
  Task task = {};
};

// One look of restore_targets: targets, LUNs, parameters, accounts, access last, and the removal of
// targets beneath the prefix that no record wants. For the machine's own start scripts.
struct Rebuild {
  static constexpr std::string_view kOperation = "rebuild";
  using Reply = Progress;
};

// ------------------------------------------------------------------------------------------------

using Request =
    std::variant<Describe, GetCapacity, CreateVolume, GetVolume, ListVolumes, DeleteVolume,
                 ExpandVolume, ModifyVolume, PublishVolume, UnpublishVolume, CreateSnapshot,
                 GetSnapshot, ListSnapshots, DeleteSnapshot, RunTask, Rebuild>;

// What comes with every request.
struct Call {
  std::string owner;  // the installation: records of others are not touched and not listed
  std::chrono::milliseconds deadline{15'000};  // from when the line is read; kDeadlineMsMax
};

struct RequestLine {
  Call call;
  Request request;
};

// A line without its newline. The result is to be wiped when the request has a Chap (WipeText).
std::string EncodeRequest(const Call& call, const Request& request);
// INVALID_ARGUMENT names field, value (never of a password) and what was expected; UNIMPLEMENTED: a
// version or an operation that is not known.
plugin::Result<RequestLine> DecodeRequest(std::string_view line);

template <class Reply>
std::string EncodeReply(const plugin::Result<Reply>& reply);
// The program's error, or INTERNAL for what is no reply of that kind.
template <class Reply>
plugin::Result<Reply> DecodeReply(std::string_view line);

// "NOT_FOUND" of code::kNotFound and back; unknown numbers are "UNKNOWN", unknown names kUnknown.
std::string_view CodeName(int32_t code);
int32_t CodeOf(std::string_view name);

// Overwrites it and makes it empty.
void WipeText(std::string* text);
void Wipe(Chap* chap);

}  // namespace gantry::iscsi::target
