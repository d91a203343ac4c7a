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
  Ownership ownership;
  std::map<std::string, std::string> parameters;
};

struct DeletedVolume {
  std::string left;  // A directory that was not ours to delete, and why; else empty.
};

// How the directory of a volume is.
enum class Presence : uint8_t { kThere, kMissing, kReplaced };

// One call's worth of the protocol. One thread at a time.
class Volumes {
 public:
  // `owner`: records of another installation are refused.
  Volumes(Storage& storage, const Layout& layout, std::string owner, MakeNonce nonce)
      : storage_(storage), layout_(layout), owner_(std::move(owner)), nonce_(std::move(nonce)) {}

  // ALREADY_EXISTS says what differs; FAILED_PRECONDITION which volume has the directory;
  // INVALID_ARGUMENT what is wrong with the path; ABORTED: others are at work, try again.
  Result<Record> Create(const VolumeSpec& spec);
  // Records and claims a directory that is there and was made by others; from then on it is a volume
  // like any other. Nothing: there is neither such a directory nor a record of it.
  // FAILED_PRECONDITION says which volume has the directory, or one above or beneath it.
  Result<std::optional<Record>> Adopt(const VolumeSpec& spec);
  // Not there: OK.
  Result<DeletedVolume> Delete(const std::string& handle);
  // Ready volumes; NOT_FOUND.
  Result<Record> Get(const std::string& handle);
  // OUT_OF_RANGE when the volume is larger than the limit.
  Result<Record> Expand(const std::string& handle, uint64_t required_bytes, uint64_t limit_bytes);
  // Ready volumes of this owner in the order of their handles, from `after` on, until `visit`
  // returns false.
  Status List(std::string_view after, const std::function<bool(const Record&)>& visit);
  Result<Presence> Look(const Record& record);

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
    NodeId id;  // Of its directory.
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
  Result<bool> Advance(Working* work, Record record);
  Result<bool> AdvanceInPlace(Working* work, Record record);

  // volumes_create.cpp
  Result<std::optional<Working>> Begin(const VolumeSpec& spec);
  Result<std::optional<Working>> TakeOver(const VolumeSpec& spec, const Chain& chain);
  Result<Next> DriveCreate(const VolumeSpec& spec, Working* work);
  Result<Next> PutInPlace(const VolumeSpec& spec, Working* work, const NodeId& parent);
  Result<Next> Settle(Working* work, bool created, uint64_t fileid);

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
};

// The capacity a new volume gets.
uint64_t CapacityFor(uint64_t required_bytes, uint64_t limit_bytes);

}  // namespace gantry::plugin
