// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/volumes.hpp"

#include <algorithm>
#include <utility>

#include "plugins/iscsi/target/copy.hpp"
#include "plugins/iscsi/target/crypto.hpp"
#include "plugins/iscsi/target/files.hpp"
#include "plugins/iscsi/target/json_fields.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;
using std::chrono::milliseconds;

// A copy that is done within this time needs no task. The caller gets an answer before its deadline.
constexpr milliseconds kCopyInCallMsMax{5'000};
constexpr milliseconds kAnswerMs{500};
// The rest of a line is the envelope's.
constexpr size_t kPageBytesMax = kLineBytesMax - 4096;

// What both kinds of requests to make something say.
struct Wish {
  RecordKind kind;
  const std::string& handle;
  const std::string& name;
  uint64_t required_bytes;
  uint64_t limit_bytes;
  const Parameters& parameters;
  Parameters mutable_parameters;
  Content content;
};

plugin::Status CheckSame(const Record& record, const Wish& wish, const std::string& owner) {
  GANTRY_PLUGIN_TRY(CheckOwner(record, owner));
  const auto differs = [&](const std::string& what) {
    return Fail(code::kAlreadyExists, Named(record) + " is there with another " + what);
  };
  if (record.name != wish.name) return differs("name, \"" + record.name + "\"");
  if (!(record.content == wish.content))
    return differs("content, \"" + record.content.handle + "\"");
  if (record.parameters != wish.parameters) return differs("parameters");
  if (record.size_bytes < wish.required_bytes ||
      (wish.limit_bytes != 0 && record.size_bytes > wish.limit_bytes))
    return differs("size, " + std::to_string(record.size_bytes) + " bytes");
  return {};
}

std::vector<std::pair<RecordKind, std::string>> RecordsOf(const Wish& wish) {
  std::vector<std::pair<RecordKind, std::string>> records = {{wish.kind, wish.handle}};
  if (wish.content.kind == ContentKind::kVolume)
    records.emplace_back(RecordKind::kVolume, wish.content.handle);
  if (wish.content.kind == ContentKind::kSnapshot)
    records.emplace_back(RecordKind::kSnapshot, wish.content.handle);
  return records;
}

Result<Record> FirstRecord(const Context& context, const Call& call, const Wish& wish) {
  Record record;
  record.kind = wish.kind;
  record.handle = wish.handle;
  record.incarnation = context.incarnation();
  record.name = wish.name;
  record.owner = call.owner;
  record.parameters = wish.parameters;
  record.mutable_parameters = wish.mutable_parameters;
  record.content = wish.content;
  record.created_ns = context.now_ns();
  uint64_t source_bytes = 0;
  if (wish.content.kind != ContentKind::kNone) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto source, FindReady(context,
                                                          wish.content.kind == ContentKind::kVolume
                                                              ? RecordKind::kVolume
                                                              : RecordKind::kSnapshot,
                                                          wish.content.handle, call.owner));
    GANTRY_PLUGIN_TRY(CheckSource(context, source));
    record.content_incarnation = source.incarnation;
    record.state = RecordState::kCopying;
    source_bytes = source.size_bytes;
  }
  GANTRY_PLUGIN_TRY_ASSIGN(
      record.size_bytes, ChooseSize(context, wish.required_bytes, wish.limit_bytes, source_bytes));
  GANTRY_PLUGIN_TRY(CheckRoom(context));
  return record;
}

// The record, ready or still copying.
Result<Record> FindOrMake(const Context& context, const Call& call, const Wish& wish,
                          Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, context.store.LockAll(RecordsOf(wish), deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(auto found, context.store.Find(wish.kind, wish.handle));
  if (found && found->state != RecordState::kDeleting) {
    GANTRY_PLUGIN_TRY(CheckSame(*found, wish, call.owner));
    GANTRY_PLUGIN_TRY(context.store.Settle(wish.kind, wish.handle));
    return std::move(*found);
  }
  if (found) {
    GANTRY_PLUGIN_TRY(CheckOwner(*found, call.owner));
    GANTRY_PLUGIN_TRY(context.store.Remove(*found));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, FirstRecord(context, call, wish));
  GANTRY_PLUGIN_TRY(context.store.Add(record));
  return record;
}

// RESOURCE_EXHAUSTED is final for who asked (CSI spec, CreateVolume), who need never come back: what
// the copy had begun would be nobody's.
plugin::Status GiveUpCopy(const Context& context, const Record& begun, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto locks,
                           context.store.LockAll({{begun.kind, begun.handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto now, context.store.Find(begun.kind, begun.handle));
  if (!now || now->state != RecordState::kCopying || now->incarnation != begun.incarnation)
    return {};
  return context.store.Remove(*now);
}

// Nothing: its copy is not finished.
Result<std::optional<Record>> MakeWhole(const Context& context, const Call& call, const Wish& wish,
                                        Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, FindOrMake(context, call, wish, deadline));
  if (record.state == RecordState::kReady) return std::optional<Record>(std::move(record));
  const auto until =
      std::min<Deadline>(deadline - kAnswerMs, std::chrono::steady_clock::now() + kCopyInCallMsMax);
  auto progress = RunCopy(context, wish.kind, wish.handle, until);
  if (!progress) {
    if (progress.error().code == code::kResourceExhausted)
      GANTRY_PLUGIN_TRY(GiveUpCopy(context, record, deadline));
    return tl::unexpected(std::move(progress.error()));
  }
  if (!progress->finished) return std::optional<Record>();
  GANTRY_PLUGIN_TRY_ASSIGN(record, FindReady(context, wish.kind, wish.handle, call.owner));
  return std::optional<Record>(std::move(record));
}

plugin::Status DeleteRecord(const Context& context, Record record, Deadline deadline) {
  if (!record.nodes.empty())
    return Fail(code::kFailedPrecondition,
                Named(record) + ": node " + record.nodes.front().node.node_id + " has it");
  if (record.state != RecordState::kDeleting) {
    record.state = RecordState::kDeleting;
    GANTRY_PLUGIN_TRY(context.store.Write(record));
  }
  // There is a target only while a node has it; but nothing is lost by looking where one had.
  if (record.was_published)
    GANTRY_PLUGIN_TRY(context.kind.Remove(
        IqnOf(context.config.iqn_prefix, record.handle, record.incarnation), deadline));
  return context.store.Remove(record);
}

Result<Deleted> DeleteOne(const Context& context, RecordKind kind, const std::string& handle,
                          const std::string& incarnation, const std::string& owner,
                          Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto locks, context.store.LockAll({{kind, handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(auto record, context.store.Find(kind, handle));
  const auto nothing_to_do = [&]() -> Result<Deleted> {
    GANTRY_PLUGIN_TRY(context.store.Settle(kind, handle));
    return Deleted{};
  };
  if (!record) return nothing_to_do();
  GANTRY_PLUGIN_TRY(CheckOwner(*record, owner));
  if (!incarnation.empty() && record->incarnation != incarnation) return nothing_to_do();
  GANTRY_PLUGIN_TRY(DeleteRecord(context, std::move(*record), deadline));
  return Deleted{Task{TaskKind::kTrash, ""}};
}

// Ready ones of the owner after `after`, until `take` says that it has enough; whether there are more.
Result<bool> Walk(const Context& context, RecordKind kind, const std::string& owner,
                  const std::string& after,
                  const std::function<Result<bool>(const Record&)>& take) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto handles, context.store.Handles(kind));
  for (auto handle = std::upper_bound(handles.begin(), handles.end(), after);
       handle != handles.end(); ++handle) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto record, context.store.Find(kind, *handle));
    if (!record || record->state != RecordState::kReady || record->owner != owner) continue;
    GANTRY_PLUGIN_TRY_ASSIGN(const bool taken, take(*record));
    if (!taken) return true;
  }
  return false;
}

// A page that is full: of entries, or of bytes.
class Room {
 public:
  explicit Room(uint32_t entries_max)
      : entries_(entries_max == 0 ? uint32_t{kPageEntriesMax} : entries_max) {}
  template <class T>
  bool Takes(const T& entry) {
    const size_t bytes = Dump(FieldWriter::Write(entry)).size() + 1;
    if (entries_ == 0 || bytes > bytes_) return false;
    --entries_;
    bytes_ -= bytes;
    return true;
  }

 private:
  uint32_t entries_;
  size_t bytes_ = kPageBytesMax;
};

}  // namespace

Result<CreatedVolume> Create(const Context& context, const Call& call, const CreateVolume& request,
                             Deadline deadline) {
  const Wish wish{RecordKind::kVolume,        request.handle,      request.name,
                  request.required_bytes,     request.limit_bytes, request.parameters,
                  request.mutable_parameters, request.content};
  GANTRY_PLUGIN_TRY_ASSIGN(const auto record, MakeWhole(context, call, wish, deadline));
  if (!record)
    return CreatedVolume{std::nullopt, Task{TaskKind::kCopy, "volume/" + request.handle}};
  GANTRY_PLUGIN_TRY_ASSIGN(auto volume, Show(context, *record));
  return CreatedVolume{std::move(volume), std::nullopt};
}

Result<Volume> Get(const Context& context, const Call& call, const GetVolume& request) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto record,
                           FindReady(context, RecordKind::kVolume, request.handle, call.owner));
  return Show(context, record);
}

Result<VolumePage> List(const Context& context, const Call& call, const ListVolumes& request) {
  VolumePage page;
  Room room(request.max_entries);
  GANTRY_PLUGIN_TRY_ASSIGN(page.more, Walk(context, RecordKind::kVolume, call.owner, request.after,
                                           [&](const Record& record) -> Result<bool> {
                                             GANTRY_PLUGIN_TRY_ASSIGN(auto volume,
                                                                      Show(context, record));
                                             if (!room.Takes(volume)) return false;
                                             page.volumes.push_back(std::move(volume));
                                             return true;
                                           }));
  return page;
}

Result<Deleted> Delete(const Context& context, const Call& call, const DeleteVolume& request,
                       Deadline deadline) {
  return DeleteOne(context, RecordKind::kVolume, request.handle, request.incarnation, call.owner,
                   deadline);
}

Result<Volume> Expand(const Context& context, const Call& call, const ExpandVolume& request,
                      Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      const auto locks, context.store.LockAll({{RecordKind::kVolume, request.handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(Record record,
                           FindReady(context, RecordKind::kVolume, request.handle, call.owner));
  if (request.limit_bytes != 0 && record.size_bytes > request.limit_bytes)
    return Fail(code::kOutOfRange, Named(record) + ": has " + std::to_string(record.size_bytes) +
                                       " bytes, more than limit_bytes");
  if (request.required_bytes <= record.size_bytes) {
    GANTRY_PLUGIN_TRY(context.store.Settle(record.kind, record.handle));
    return Show(context, record);
  }
  if (const auto problem = context.store.ImageProblem(record); !problem.empty())
    return Fail(code::kFailedPrecondition, Named(record) + ": " + problem);
  GANTRY_PLUGIN_TRY_ASSIGN(record.size_bytes,
                           ChooseSize(context, request.required_bytes, request.limit_bytes, 0));
  if (!record.nodes.empty() && context.kind.grow_interrupts() && !request.online)
    return Fail(code::kFailedPrecondition,
                Named(record) + ": node " + record.nodes.front().node.node_id + " has it, and " +
                    context.kind.name() + " cannot resize a LUN without taking it away");
  if (record.was_published || record.content.kind != ContentKind::kNone) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, context.store.GrowImage(record, false));
    GANTRY_PLUGIN_TRY(Sync(fd.get(), Store::ImageName(record)));
  }
  // The target before the record: whoever reads the new size there finds it on the LUN too.
  if (!record.nodes.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Export wanted, ExportOf(context, record));
    GANTRY_PLUGIN_TRY(context.kind.Grow(wanted, deadline));
    context.store.Did("target grown");
  }
  GANTRY_PLUGIN_TRY(context.store.Write(record));
  return Show(context, record);
}

Result<Volume> Modify(const Context& context, const Call& call, const ModifyVolume& request,
                      Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      const auto locks, context.store.LockAll({{RecordKind::kVolume, request.handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(Record record,
                           FindReady(context, RecordKind::kVolume, request.handle, call.owner));
  Parameters changed = record.mutable_parameters;
  for (const auto& [key, value] : request.mutable_parameters) changed[key] = value;
  if (changed.size() > kParametersMax)
    return Fail(code::kInvalidArgument,
                "request.mutable_parameters: " + std::to_string(changed.size()) +
                    " with those that are there: expected at most " +
                    std::to_string(kParametersMax));
  if (changed == record.mutable_parameters) {
    GANTRY_PLUGIN_TRY(context.store.Settle(record.kind, record.handle));
  } else {
    record.mutable_parameters = std::move(changed);
    GANTRY_PLUGIN_TRY(context.store.Write(record));
  }
  return Show(context, record);
}

Result<CreatedSnapshot> Create(const Context& context, const Call& call,
                               const CreateSnapshot& request, Deadline deadline) {
  const Wish wish{RecordKind::kSnapshot,
                  request.handle,
                  request.name,
                  0,
                  0,
                  request.parameters,
                  {},
                  {ContentKind::kVolume, request.source}};
  GANTRY_PLUGIN_TRY_ASSIGN(const auto record, MakeWhole(context, call, wish, deadline));
  if (!record)
    return CreatedSnapshot{std::nullopt, Task{TaskKind::kCopy, "snapshot/" + request.handle}};
  return CreatedSnapshot{ShowSnapshot(*record), std::nullopt};
}

Result<Snapshot> Get(const Context& context, const Call& call, const GetSnapshot& request) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto record,
                           FindReady(context, RecordKind::kSnapshot, request.handle, call.owner));
  return ShowSnapshot(record);
}

Result<SnapshotPage> List(const Context& context, const Call& call, const ListSnapshots& request) {
  SnapshotPage page;
  Room room(request.max_entries);
  GANTRY_PLUGIN_TRY_ASSIGN(
      page.more, Walk(context, RecordKind::kSnapshot, call.owner, request.after,
                      [&](const Record& record) -> Result<bool> {
                        if (!request.source.empty() && record.content.handle != request.source)
                          return true;
                        auto snapshot = ShowSnapshot(record);
                        if (!room.Takes(snapshot)) return false;
                        page.snapshots.push_back(std::move(snapshot));
                        return true;
                      }));
  return page;
}

Result<Deleted> Delete(const Context& context, const Call& call, const DeleteSnapshot& request,
                       Deadline deadline) {
  return DeleteOne(context, RecordKind::kSnapshot, request.handle, "", call.owner, deadline);
}

}  // namespace gantry::iscsi::target
