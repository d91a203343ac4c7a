// SPDX-License-Identifier: Apache-2.0
// Volumes that are directories: the record protocol. Any number of actors may run it on one share
// at once, each may die or sleep at any step, and what they have sent may arrive at any later time;
// still a name makes one volume, nothing is left over, and nothing is touched that is not the
// volume's.
//
// Create: make a directory in attempts/; write the record that names it ("creating"); claim the
// path; rename the directory into its place; record "ready". Delete: make directories in trash/;
// record "deleting" with them; end the record's older files; rename the volume's directory into the
// trash; release the claim; rename the record into the trash. Whoever finds an unfinished record goes
// on with it: it first removes the directories of all attempts before its own (RMDIR; what is
// renamed out of or into them afterwards fails) and then looks at what is in place. That ends what
// another one is just doing, so whoever meets another waits a random time before it goes on.
//
// An attempt's directory is made before the record names it, so that a successor that finds it gone
// knows it to be gone for good; a crash between the two leaves an empty directory, which the trash
// task removes.
//
// A volume with a source is a copy, made over many calls: Create leaves its record "creating", and
// Copy, the work of a task, goes on with it. The content is written into the attempt's directory, so
// an attempt belongs to one owner, who knows its nonce (the task's cursor, told before the record
// names it) and goes on with it after a crash. Others leave it alone as long as the owner touches
// the record's version (kOwnerLeaseMs). Then one of them renames the attempt's directory into the
// trash, where late writes and a late publication find nothing to harm, and begins a new one: a copy
// is never joined. Once it is whole, and its source was still there unharmed, the record says
// "copied": nobody writes to the directory any more, and anybody may rename it into its place and
// record "ready". Rejected: a lease file beside the record (whose lease it is, is the record's to
// say), and to let the deletion of a source wait for its copies (a scan of all records): the copy
// looks at its source's record in the end instead, which a deleter changes before he touches data.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/layout.hpp"
#include "plugins/common/record.hpp"
#include "plugins/common/record_chain.hpp"
#include "plugins/common/storage.hpp"
#include "plugins/common/tree_copy.hpp"

namespace gantry::plugin {

// Of going on after another actor interfered, each with a wait before it (GiveWay); then ABORTED.
inline constexpr int kRoundsMax = 12;
inline constexpr int kArchiveNamesMax = 100;
inline constexpr uint64_t kDefaultCapacityBytes = uint64_t{1} << 30;
inline constexpr size_t kVolumesMax = 1'000'000;  // Records of one share.
inline constexpr uint32_t kParentMode = 0755;     // Of parent directories that were missing.

struct VolumeSpec {
  std::string handle;
  std::string name;
  std::string owner;
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;
  Result<Path> path;  // Only looked at when there is no record yet.
  Disposal disposal = Disposal::kDelete;
  Ownership ownership;  // Not of a copy: CopyJob.
  std::map<std::string, std::string> parameters;
  std::map<std::string, std::string> mutable_parameters;  // Not compared.
  std::optional<CopySource> source;
  uint64_t source_bytes = 0;
  std::optional<Error> source_error;  // Likewise: why it cannot be copied from.
};

struct Modification {
  std::map<std::string, std::string> mutable_parameters;  // Those that change.
  std::optional<Disposal> disposal;
  OwnershipChange directory;
};

// What Copy needs of its caller. All is called on the caller's thread.
struct CopyJob {
  std::string mine;  // The nonce of the attempt that this caller owns, or empty.
  // An attempt of this nonce is about to be made and is the caller's: before anybody can see it.
  std::function<void(const std::string& nonce)> own;
  // The source's directory; NOT_FOUND when it is not there, not ready, or another incarnation.
  std::function<Result<NodeId>(const CopySource&)> find_source;
  // As TreeCopy::Run.
  std::function<Result<CopyOutcome>(const NodeId& from, const NodeId& to,
                                    const std::function<bool(const CopyProgress&)>& go_on)>
      copier;
  std::function<bool(const CopyProgress&)> go_on;
  std::function<bool()> renewal_due;  // At least every third of kOwnerLeaseMs.
  // Removes what is at that name, as far as it can.
  std::function<void(const NodeId& directory, const std::string& name)> remove;
  // What the record's parameters ask of the directory; what is not given is as the source's.
  std::function<Result<OwnershipChange>(const Record&)> ownership;
};

enum class CopyState : uint8_t {
  kNothing,  // There is no unfinished copy of this handle.
  kOthers,   // Another one is at it.
  kMore,     // The job's go_on said stop.
  kReady,
  kFailed,  // For good; nothing is left of it.
};

struct CopyRun {
  CopyState state = CopyState::kNothing;
  CopyProgress progress;
  std::optional<Error> failure;  // Of kFailed.
};

struct DeletedVolume {
  std::string left;  // A directory that was not ours to delete, and why; else empty.
};

// How the directory of a volume is.
enum class Presence : uint8_t { kThere, kMissing, kReplaced };

// One call's worth of the protocol. One thread at a time.
class Volumes {
 public:
  // `owner`: records of another installation are refused. What needs a newer format than
  // `record_format` is refused too (FAILED_PRECONDITION).
  Volumes(Storage& storage, const Layout& layout, std::string owner, MakeNonce nonce,
          uint32_t record_format = kRecordFormat)
      : storage_(storage),
        layout_(layout),
        owner_(std::move(owner)),
        nonce_(std::move(nonce)),
        record_format_(record_format) {}

  // ALREADY_EXISTS says what differs; FAILED_PRECONDITION which volume has the directory;
  // INVALID_ARGUMENT what is wrong with the path; ABORTED: others are at work, try again. With a
  // source the record may be kCreating: then it is to be copied. OUT_OF_RANGE: less than the source.
  Result<Record> Create(const VolumeSpec& spec);
  // Goes on with an unfinished copy.
  Result<CopyRun> Copy(const std::string& handle, const CopyJob& job);
  // Records and claims a directory that is there and was made by others; from then on it is a volume
  // like any other. Nothing: there is neither such a directory nor a record of it.
  // FAILED_PRECONDITION says which volume has the directory, or one above or beneath it.
  Result<std::optional<Record>> Adopt(const VolumeSpec& spec);
  // Not there: OK.
  Result<DeletedVolume> Delete(const std::string& handle);
  // Ready volumes; NOT_FOUND.
  Result<Record> Get(const std::string& handle);
  // In whatever state.
  Result<std::optional<Record>> Find(const std::string& handle);
  // OUT_OF_RANGE when the volume is larger than the limit.
  Result<Record> Expand(const std::string& handle, uint64_t required_bytes, uint64_t limit_bytes);
  // Ready volumes of this owner in the order of their handles, from `after` on, until `visit`
  // returns false.
  Status List(std::string_view after, const std::function<bool(const Record&)>& visit);
  // The record first, then the directory: a call that failed between them is to be repeated.
  Result<Record> Modify(const std::string& handle, const Modification& change);
  Result<Presence> Look(const Record& record);
  // The volume's own directory; NOT_FOUND when it is missing or replaced.
  Result<NodeId> Directory(const Record& record);

 private:
  enum class Next : uint8_t { kDone, kAgain };
  enum class Fenced : uint8_t { kRemoved, kAbsent, kFull };
  // Where an attempt's directory is.
  struct Place {
    NodeId directory;
    std::string name;
  };
  // An attempt of this actor.
  struct Mine {
    Attempt attempt;
    Place place;
    NodeId id;            // Of its directory.
    int64_t made_ns = 0;  // By the storage's clock.
    bool resumed = false;
  };
  struct Working {
    Chain chain;  // With a current version.
    std::optional<Mine> mine;
    NodeId grave = {};  // Deleting: the directory in the trash that the record goes into.
    Record& record() { return chain.current->record; }
  };

  // volumes.cpp
  Result<std::optional<Chain>> Load(const std::string& handle) {
    return LoadChain(storage_, layout_.volumes, handle);
  }
  Result<std::optional<NodeId>> Parent(const Path& path, bool make_missing);
  Result<std::optional<Place>> PlaceOf(const Attempt& attempt, const Path& path);
  Result<Fenced> Fence(const Attempt& attempt, const Path& path);
  Result<Mine> MakeMine(Attempt::Kind kind, const Ownership& ownership);
  Result<Mine> MakeMineBeside(Attempt::Kind kind, const Path& path, const NodeId& parent,
                              const Ownership& ownership);
  Result<Mine> MakeAt(Mine mine, const Ownership& ownership);
  void Drop(std::optional<Mine>* mine);
  Result<std::optional<Node>> Leaf(const Record& record);
  Status CheckFormat(const Record& record) const;
  Result<bool> Advance(Working* work, Record record);
  Result<bool> AdvanceInPlace(Working* work, Record record);

  // volumes_change.cpp
  // `change` returns whether there is anything to record; called again when another was faster.
  Result<Record> Change(const std::string& handle,
                        const std::function<Result<bool>(Record*)>& change);

  // volumes_create.cpp
  Result<Record> FirstRecord(const VolumeSpec& spec) const;
  Result<std::optional<Working>> Begin(const VolumeSpec& spec);
  Result<std::optional<Working>> TakeOver(const VolumeSpec& spec, const Chain& chain);
  Result<Next> DriveCreate(const VolumeSpec& spec, Working* work);
  Result<Next> PutInPlace(const VolumeSpec& spec, Working* work, const NodeId& parent);
  Result<Next> Settle(Working* work, bool created, uint64_t fileid);

  Result<Next> FindRoom(Working* work, const NodeId& parent);

  // volumes_copy.cpp
  enum class Taken : uint8_t { kMine, kOthers, kAgain };
  Result<Fenced> FenceCopy(const Attempt& attempt, const Path& path);
  Result<bool> IsElsewhere(const Path& path, uint64_t fsid);
  Result<Mine> MakeMineToCopyInto(const Path& path);
  Result<bool> Resume(Working* work, const Attempt& attempt);
  Result<Taken> TakeAttempt(Working* work, CopyJob* job);
  Result<std::optional<int64_t>> Renew(const Working& work);
  Result<std::optional<CopyRun>> Fill(Working* work, const CopyJob& job);
  Result<Next> FinishFill(Working* work, const CopyJob& job);
  Result<Next> PublishCopy(Working* work);
  Result<std::optional<CopyRun>> CopyRound(const Chain& chain, CopyJob* job);
  Result<std::optional<CopyRun>> Undo(const Working& work, const CopyJob& job, const Error& why);
  // volumes_adopt.cpp
  Result<std::optional<Node>> DirectoryAt(const Path& path);
  Result<std::optional<Working>> BeginAdopting(const VolumeSpec& spec);
  Result<Next> DriveAdopt(Working* work);

  // volumes_delete.cpp
  Result<Next> DeleteLoaded(const Chain& chain, DeletedVolume* deleted);
  Result<Next> DriveDelete(Working* work, DeletedVolume* deleted);
  Result<Next> MoveAway(Working* work, DeletedVolume* deleted);
  Result<Next> MoveAwayBeside(Working* work, const NodeId& parent, DeletedVolume* deleted);
  Result<Next> FinishArchive(const Record& record, const Attempt& attempt);

  Storage& storage_;
  const Layout& layout_;
  const std::string owner_;
  const MakeNonce nonce_;
  const uint32_t record_format_;
};

// What a later call may find done, or in other hands, and which therefore leaves the record.
bool MayPass(int32_t error_code);
// The try that made a directory, or nullptr.
const Attempt* InPlace(const Record& record, const Node& leaf);

// The capacity a new volume gets.
uint64_t CapacityFor(uint64_t required_bytes, uint64_t limit_bytes);

}  // namespace gantry::plugin
