// SPDX-License-Identifier: Apache-2.0
// The deleting half of the record protocol; volumes.hpp tells it as a whole.
#include <algorithm>
#include <utility>

#include "plugins/common/claims.hpp"
#include "plugins/common/trash.hpp"
#include "plugins/common/volumes.hpp"

namespace gantry::plugin {
namespace {

const Ownership kHoldOwnership{kPrivateMode, {}, {}};

// Another actor, or this one's own rename that is still under way: the next round ends it first.
bool Interfered(StoreFault fault) {
  return fault == StoreFault::kNotFound || fault == StoreFault::kStale ||
         fault == StoreFault::kExists || fault == StoreFault::kNotEmpty ||
         fault == StoreFault::kWrongType || fault == StoreFault::kUnanswered;
}

bool IsOurs(const Record& record, const Node& leaf) {
  if (leaf.type != NodeType::kDirectory) return false;
  if (record.created && leaf.fileid == record.fileid) return true;
  return std::any_of(record.attempts.begin(), record.attempts.end(), [&](const Attempt& attempt) {
    return attempt.kind == Attempt::Kind::kCreate && attempt.fileid == leaf.fileid &&
           attempt.fsid == leaf.fsid;
  });
}

bool MayHaveDirectory(const Record& record) {
  return record.created ||
         std::any_of(record.attempts.begin(), record.attempts.end(),
                     [](const Attempt& attempt) { return attempt.kind == Attempt::Kind::kCreate; });
}

// The name of an archive: what people called the volume, if that can be a name of a directory.
std::string ArchiveName(const Record& record) {
  constexpr size_t kSuffixBytesMax = 32;
  std::string name = "archived-" + record.name;
  const auto path = ParseSubDir(name);
  if (!path || path->size() != 1 || name.size() > kNameBytesMax - kSuffixBytesMax) {
    name = "archived-" + record.handle;
  }
  return name;
}

}  // namespace

Result<DeletedVolume> Volumes::Delete(const std::string& handle) {
  DeletedVolume deleted;
  std::string incarnation;
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round > 0) storage_.GiveWay(round);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto chain, Load(handle));
    if (!chain) return deleted;
    if (!chain->current) {
      // Left by a crash, or a record that is about to be written, whose writer then begins anew.
      GANTRY_PLUGIN_TRY(RemoveEmptyChain(storage_, layout_.volumes, handle, *chain));
      continue;
    }
    // Once the volume that was meant has gone, one made again under its name is another one.
    if (incarnation.empty()) incarnation = chain->current->record.incarnation;
    if (chain->current->record.incarnation != incarnation) return deleted;
    if (chain->current->record.owner != owner_) {
      return Fail(code::kFailedPrecondition, "the " + layout_.what + " " + handle + " belongs to " +
                                                 chain->current->record.owner + ", not to " +
                                                 owner_);
    }
    GANTRY_PLUGIN_TRY_ASSIGN(const Next next, DeleteLoaded(*chain, &deleted));
    if (next == Next::kDone) return deleted;
  }
  return Fail(code::kAborted, "others are making or deleting the " + layout_.what + " " + handle);
}

// Records that the volume is being deleted, with an attempt of this actor, and goes on with it.
Result<Volumes::Next> Volumes::DeleteLoaded(const Chain& chain, DeletedVolume* deleted) {
  Record next = chain.current->record;
  const bool was_ready = next.state == RecordState::kReady;
  if (next.state == RecordState::kCreating) next.disposal = Disposal::kDelete;
  next.state = RecordState::kDeleting;
  std::vector<Attempt> earlier = std::exchange(next.attempts, {});
  for (auto& attempt : earlier) {
    bool keep = attempt.kind == Attempt::Kind::kCreate;
    if (attempt.kind == Attempt::Kind::kRecord) {
      GANTRY_PLUGIN_TRY_ASSIGN(const Fenced fenced, Fence(attempt, next.path));
      if (fenced == Fenced::kFull) return Next::kAgain;  // The record has gone.
    } else if (!keep) {
      GANTRY_PLUGIN_TRY_ASSIGN(const Fenced fenced, Fence(attempt, next.path));
      // Full: its rename has happened, and it makes only one. An archive still has to be named.
      keep = attempt.kind == Attempt::Kind::kArchive && fenced == Fenced::kFull;
    }
    if (keep) next.attempts.push_back(std::move(attempt));
  }

  Working work{chain, {}};
  std::optional<Mine> grave;
  GANTRY_PLUGIN_TRY_ASSIGN(grave, MakeMine(Attempt::Kind::kRecord, kHoldOwnership));
  next.attempts.push_back(grave->attempt);
  if (next.disposal != Disposal::kRetain && MayHaveDirectory(next)) {
    const bool archive = next.disposal == Disposal::kArchive;
    GANTRY_PLUGIN_TRY_ASSIGN(
        work.mine,
        MakeMine(archive ? Attempt::Kind::kArchive : Attempt::Kind::kDelete, kHoldOwnership));
    next.attempts.push_back(work.mine->attempt);
  }
  const NodeId harmless = was_ready ? chain.current->file : NodeId();
  work.grave = grave->id;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, AdvanceInPlace(&work, std::move(next)));
  if (!won) {
    Drop(&work.mine);
    Drop(&grave);
    return Next::kAgain;
  }
  // From here on no late LINK of an older version can claim anything.
  GANTRY_PLUGIN_TRY(EndOlder(storage_, work.chain, harmless, nonce_));
  return DriveDelete(&work, deleted);
}

Result<Volumes::Next> Volumes::DriveDelete(Working* work, DeletedVolume* deleted) {
  for (const auto& attempt : work->record().attempts) {
    if (attempt.kind != Attempt::Kind::kCreate) continue;
    GANTRY_PLUGIN_TRY_ASSIGN(const Fenced fenced, work->record().source
                                                      ? FenceCopy(attempt, work->record().path)
                                                      : Fence(attempt, work->record().path));
    if (fenced == Fenced::kFull) {
      return Fail(code::kFailedPrecondition,
                  "somebody has put something into .gantry/attempts/" + attempt.nonce);
    }
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const FoundClaim claim, FindClaim(storage_, layout_, work->record()));
  if (claim.held) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Next next, MoveAway(work, deleted));
    if (next == Next::kAgain) return next;
  } else {
    Drop(&work->mine);  // What was never claimed, or is no more, is not in place.
  }
  for (const auto& attempt : work->record().attempts) {
    if (attempt.kind == Attempt::Kind::kArchive) {
      GANTRY_PLUGIN_TRY_ASSIGN(const Next next, FinishArchive(work->record(), attempt));
      if (next == Next::kAgain) return next;
    }
  }
  GANTRY_PLUGIN_TRY(ReleaseClaim(storage_, layout_, work->record().path, claim));
  const auto buried =
      storage_.Rename(layout_.volumes, work->record().handle, work->grave, kRecordName);
  if (buried) return Next::kDone;
  if (Interfered(buried.error().fault)) return Next::kAgain;
  return tl::make_unexpected(buried.error());
}

// Renames the volume's own directory into this actor's attempt. What is not ours stays.
Result<Volumes::Next> Volumes::MoveAway(Working* work, DeletedVolume* deleted) {
  const Record& record = work->record();
  const auto parent = Parent(record.path, false);
  if (!parent && parent.error().code == code::kInvalidArgument) {
    deleted->left = parent.error().message;
    Drop(&work->mine);
    return Next::kDone;
  }
  GANTRY_PLUGIN_TRY(parent);
  if (!*parent) {
    Drop(&work->mine);
    return Next::kDone;
  }
  const auto leaf = storage_.Lookup(**parent, record.path.back());
  if (FailedWith(leaf, StoreFault::kStale)) return Next::kAgain;
  if (!leaf && !FailedWith(leaf, StoreFault::kNotFound)) return tl::make_unexpected(leaf.error());
  if (!leaf || !IsOurs(record, *leaf) || record.disposal == Disposal::kRetain) {
    if (leaf && record.disposal != Disposal::kRetain) {
      deleted->left = "the directory \"" + Join(record.path) + "\" is not the one made for " +
                      layout_.what + " " + record.handle + " and stays";
    }
    Drop(&work->mine);
    return Next::kDone;
  }

  const auto renamed = storage_.Rename(**parent, record.path.back(), work->mine->id, kTrashedName);
  if (renamed) {
    return Next::kDone;
  }
  if (Interfered(renamed.error().fault)) return Next::kAgain;
  if (renamed.error().fault != StoreFault::kCrossDevice || work->mine->attempt.beside) {
    return tl::make_unexpected(renamed.error());
  }
  return MoveAwayBeside(work, **parent, deleted);
}

// The same on another filesystem than .gantry's: into a directory beside the volume's.
Result<Volumes::Next> Volumes::MoveAwayBeside(Working* work, const NodeId& parent,
                                              DeletedVolume* deleted) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      Mine beside,
      MakeMineBeside(work->mine->attempt.kind, work->record().path, parent, kHoldOwnership));
  Record next = work->record();
  std::erase_if(next.attempts,
                [&](const Attempt& attempt) { return attempt.nonce == work->mine->attempt.nonce; });
  next.attempts.push_back(beside.attempt);
  Drop(&work->mine);
  work->mine = std::move(beside);
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, AdvanceInPlace(work, std::move(next)));
  if (!won) {
    Drop(&work->mine);
    return Next::kAgain;
  }
  return MoveAway(work, deleted);
}

// Gives an archived directory its name, never that of something that is there.
Result<Volumes::Next> Volumes::FinishArchive(const Record& record, const Attempt& attempt) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto place, PlaceOf(attempt, record.path));
  if (!place) return Next::kDone;
  const auto hold = storage_.Lookup(place->directory, place->name);
  if (IsGone(hold)) return Next::kDone;
  GANTRY_PLUGIN_TRY(hold);
  const auto data = storage_.Lookup(hold->id, kTrashedName);
  if (!data && !IsGone(data)) return tl::make_unexpected(data.error());
  if (data) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(record.path, true));
    const std::string name = ArchiveName(record);
    bool named = false;
    for (int i = 0; i < kArchiveNamesMax && !named; ++i) {
      std::string target = name;
      if (i > 0) target += "-" + record.incarnation.substr(0, 8);
      if (i > 1) target += "-" + std::to_string(i);
      const auto there = storage_.Lookup(*parent, target);
      if (there) continue;
      if (!FailedWith(there, StoreFault::kNotFound)) return tl::make_unexpected(there.error());
      const auto renamed = storage_.Rename(hold->id, kTrashedName, *parent, target);
      if (FailedWith(renamed, StoreFault::kUnanswered)) return Next::kAgain;
      named = renamed.has_value() || IsGone(renamed);
      if (!named && !Interfered(renamed.error().fault)) {
        return tl::make_unexpected(renamed.error());
      }
    }
    if (!named) {
      return Fail(code::kFailedPrecondition,
                  "every name from \"" + name + "\" on is taken; nothing was archived");
    }
  }
  GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage_, place->directory, place->name));
  return Next::kDone;
}

}  // namespace gantry::plugin
