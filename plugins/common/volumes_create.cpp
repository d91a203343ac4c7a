// SPDX-License-Identifier: Apache-2.0
// The creating half of the record protocol; volumes.hpp tells it as a whole.
#include <algorithm>
#include <utility>

#include "plugins/common/claims.hpp"
#include "plugins/common/copy_marks.hpp"
#include "plugins/common/volumes.hpp"

namespace gantry::plugin {
namespace {

std::string SourceText(const std::optional<CopySource>& source) {
  if (!source) return "empty";
  return std::string("made of the ") +
         (source->kind == CopySource::Kind::kVolume ? "volume " : "snapshot ") + source->handle;
}

Status CheckCompatible(const Record& record, const VolumeSpec& spec, const std::string& noun) {
  const auto differs = [&](const std::string& what) {
    return Fail(code::kAlreadyExists,
                "a " + noun + " of the name \"" + spec.name + "\" is there and " + what);
  };
  const auto& had = record.source;
  if (had.has_value() != spec.source.has_value() ||
      (had && (had->kind != spec.source->kind || had->handle != spec.source->handle))) {
    return differs("is " + SourceText(had) + ", not " + SourceText(spec.source));
  }
  const std::string has = std::to_string(record.capacity_bytes) + " bytes";
  if (record.capacity_bytes < spec.required_bytes) {
    return differs("has " + has + ", less than the required " +
                   std::to_string(spec.required_bytes));
  }
  if (spec.limit_bytes > 0 && record.capacity_bytes > spec.limit_bytes) {
    return differs("has " + has + ", more than the limit of " + std::to_string(spec.limit_bytes));
  }
  for (const auto& [key, value] : record.parameters) {
    const auto asked = spec.parameters.find(key);
    if (asked == spec.parameters.end()) return differs("has a parameter \"" + key + "\"");
    if (asked->second != value) {
      return differs("has the parameter \"" + key + "\" = \"" + value + "\", not \"" +
                     asked->second + "\"");
    }
  }
  for (const auto& [key, value] : spec.parameters) {
    if (!record.parameters.contains(key)) {
      return differs("lacks the parameter \"" + key + "\" = \"" + value + "\"");
    }
  }
  return {};
}

}  // namespace

bool MayPass(int32_t error_code) {
  return error_code == code::kUnavailable || error_code == code::kAborted ||
         error_code == code::kDeadlineExceeded || error_code == code::kCancelled;
}

const Attempt* InPlace(const Record& record, const Node& leaf) {
  const auto found =
      std::find_if(record.attempts.begin(), record.attempts.end(), [&](const Attempt& attempt) {
        return attempt.kind == Attempt::Kind::kCreate && attempt.fileid == leaf.fileid &&
               attempt.fsid == leaf.fsid;
      });
  return found == record.attempts.end() ? nullptr : &*found;
}

Result<Record> Volumes::Create(const VolumeSpec& spec) {
  NodeId empty_seen;
  bool look_first =
      !spec.path || spec.source ||
      !spec.mutable_parameters.empty();  // Else most likely it is a new name: begin at once.
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round > 0) storage_.GiveWay(round);
    std::optional<Working> work;
    std::optional<Chain> chain;
    if (look_first) {
      GANTRY_PLUGIN_TRY_ASSIGN(chain, Load(spec.handle));
    }
    if (chain && !chain->current) {
      // Left by a crash, or about to be filled by another maker, who gets a second look's time and
      // otherwise begins anew. A directory is filled only by who made it: another history in it
      // would answer to old version numbers.
      if (std::exchange(empty_seen, chain->directory) != chain->directory) continue;
      GANTRY_PLUGIN_TRY(RemoveEmptyChain(storage_, layout_.volumes, spec.handle, *chain));
      chain.reset();
    }
    if (!chain) {
      if (!spec.path) return tl::make_unexpected(spec.path.error());
      GANTRY_PLUGIN_TRY_ASSIGN(work, Begin(spec));
    } else if (chain->current->record.owner != owner_) {
      return Fail(code::kAlreadyExists, "the " + layout_.what + " " + spec.handle + " belongs to " +
                                            chain->current->record.owner);
    } else if (chain->current->record.state == RecordState::kDeleting) {
      DeletedVolume ignored;
      GANTRY_PLUGIN_TRY(DeleteLoaded(*chain, &ignored));
    } else {
      GANTRY_PLUGIN_TRY(CheckCompatible(chain->current->record, spec, layout_.what));
      if (chain->current->record.state == RecordState::kReady) {
        return std::move(chain->current->record);
      }
      if (spec.source) {
        GANTRY_PLUGIN_TRY(MarkCopy(storage_, layout_, spec.handle));
        work = Working{std::move(*chain), {}};
      } else {
        GANTRY_PLUGIN_TRY_ASSIGN(work, TakeOver(spec, *chain));
      }
    }
    look_first = true;
    if (!work) continue;

    const auto driven = DriveCreate(spec, &*work);
    if (driven && *driven == Next::kDone) return std::move(work->record());
    if (driven) continue;
    if (MayPass(driven.error().code)) return tl::make_unexpected(driven.error());
    // This is an answer the caller does not repeat: nothing may be left of the try.
    DeletedVolume ignored;
    GANTRY_PLUGIN_TRY_ASSIGN(const Next next, DeleteLoaded(work->chain, &ignored));
    if (next == Next::kDone) return tl::make_unexpected(driven.error());
  }
  return Fail(code::kAborted,
              "others are making or deleting the " + layout_.what + " " + spec.handle);
}

Result<Record> Volumes::FirstRecord(const VolumeSpec& spec) const {
  Record record;
  record.handle = spec.handle;
  record.name = spec.name;
  record.owner = spec.owner;
  record.incarnation = nonce_();
  record.required_bytes = spec.required_bytes;
  record.limit_bytes = spec.limit_bytes;
  record.capacity_bytes = CapacityFor(spec.required_bytes, spec.limit_bytes);
  record.path = *spec.path;
  record.disposal = spec.disposal;
  record.parameters = spec.parameters;
  record.mutable_parameters = spec.mutable_parameters;
  record.source = spec.source;
  GANTRY_PLUGIN_TRY(CheckFormat(record));
  if (!spec.source) return record;

  if (spec.source_error) return tl::make_unexpected(*spec.source_error);
  const std::string bytes = std::to_string(spec.source_bytes);
  if (spec.required_bytes == 0) record.capacity_bytes = spec.source_bytes;
  if (record.capacity_bytes < spec.source_bytes ||
      (spec.limit_bytes > 0 && spec.limit_bytes < spec.source_bytes)) {
    return Fail(code::kOutOfRange, "the source has " + bytes + " bytes; required are " +
                                       std::to_string(spec.required_bytes) + ", limit " +
                                       std::to_string(spec.limit_bytes) + ": expected at least " +
                                       bytes);
  }
  return record;
}

// Writes the first version. Nothing: there is a record after all.
Result<std::optional<Volumes::Working>> Volumes::Begin(const VolumeSpec& spec) {
  GANTRY_PLUGIN_TRY_ASSIGN(Record record, FirstRecord(spec));
  if (spec.source) GANTRY_PLUGIN_TRY(MarkCopy(storage_, layout_, spec.handle));
  auto directory = storage_.MakeDirectory(layout_.volumes, spec.handle, {kPrivateMode, {}, {}});
  if (FailedWith(directory, StoreFault::kExists)) return std::nullopt;
  GANTRY_PLUGIN_TRY(directory);
  Working work;
  work.chain.directory = std::move(directory->id);
  const auto begun = [&]() -> Result<bool> {
    if (!spec.source) {  // A copy's directory is made by whoever copies.
      GANTRY_PLUGIN_TRY_ASSIGN(work.mine, MakeMine(Attempt::Kind::kCreate, spec.ownership));
      record.attempts = {work.mine->attempt};
    }
    GANTRY_PLUGIN_TRY_ASSIGN(work.chain.current,
                             Publish(storage_, work.chain, 1, std::move(record), nonce_));
    return work.chain.current.has_value();
  }();
  if (begun && *begun) {
    work.chain.files.push_back({"1", work.chain.current->file});
    return work;
  }
  Drop(&work.mine);
  if (begun) return std::nullopt;
  if (!MayPass(begun.error().code)) {
    (void)RemoveIfEmpty(storage_, layout_.volumes, spec.handle);
  }
  return tl::make_unexpected(begun.error());
}

// Goes on with a record that is being made, after ending what its earlier attempts may still do.
// Nothing: the record has gone on meanwhile.
Result<std::optional<Volumes::Working>> Volumes::TakeOver(const VolumeSpec& spec,
                                                          const Chain& chain) {
  Record next = chain.current->record;
  std::vector<Attempt> earlier = std::exchange(next.attempts, {});
  for (auto& attempt : earlier) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Fenced fenced, Fence(attempt, next.path));
    if (fenced == Fenced::kFull) {
      return Fail(code::kFailedPrecondition,
                  "somebody has put something into .gantry/attempts/" + attempt.nonce);
    }
    // Removed: it never came into place. Absent: it may be the directory that is in place.
    if (fenced == Fenced::kAbsent) next.attempts.push_back(std::move(attempt));
  }
  if (next.attempts.size() >= kAttemptsMax) {
    next.attempts.erase(next.attempts.begin());
  }
  Working work{chain, {}};
  GANTRY_PLUGIN_TRY_ASSIGN(work.mine, MakeMine(Attempt::Kind::kCreate, spec.ownership));
  next.attempts.push_back(work.mine->attempt);
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, AdvanceInPlace(&work, std::move(next)));
  if (won) return work;
  Drop(&work.mine);
  return std::nullopt;
}

Result<Volumes::Next> Volumes::DriveCreate(const VolumeSpec& spec, Working* work) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Claimed claimed,
                           Claim(storage_, layout_, work->chain.current->file, work->record()));
  if (claimed == Claimed::kAgain) return Next::kAgain;
  GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(work->record().path, true));
  if (spec.source) return FindRoom(work, *parent);
  return PutInPlace(spec, work, *parent);
}

// A copy goes into a directory that was not there: what is in one that was would become part of it.
Result<Volumes::Next> Volumes::FindRoom(Working* work, const NodeId& parent) {
  const auto leaf = storage_.Lookup(parent, work->record().path.back());
  if (FailedWith(leaf, StoreFault::kStale)) return Next::kAgain;
  if (FailedWith(leaf, StoreFault::kNotFound)) return Next::kDone;
  GANTRY_PLUGIN_TRY(leaf);
  if (InPlace(work->record(), *leaf) != nullptr) return Next::kDone;
  return Fail(code::kFailedPrecondition,
              "the directory \"" + Join(work->record().path) +
                  "\" is there already; a copy is only made into one that is not");
}

Result<Volumes::Next> Volumes::PutInPlace(const VolumeSpec& spec, Working* work,
                                          const NodeId& parent) {
  const std::string leaf_name = work->record().path.back();
  const auto leaf = storage_.Lookup(parent, leaf_name);
  if (leaf) {
    const bool ours = InPlace(work->record(), *leaf) != nullptr;
    if (leaf->type != NodeType::kDirectory) {
      return Fail(code::kInvalidArgument,
                  "subDir \"" + Join(work->record().path) + "\": '" + leaf_name +
                      "' is there and is " +
                      (leaf->type == NodeType::kSymlink ? "a symbolic link, which is not followed"
                                                        : "no directory"));
    }
    GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage_, work->mine->place.directory, work->mine->place.name));
    return Settle(work, ours, leaf->fileid);
  }
  if (FailedWith(leaf, StoreFault::kStale)) return Next::kAgain;
  if (!FailedWith(leaf, StoreFault::kNotFound)) return tl::make_unexpected(leaf.error());

  const auto renamed =
      storage_.Rename(work->mine->place.directory, work->mine->place.name, parent, leaf_name);
  if (renamed) return Settle(work, true, work->mine->attempt.fileid);
  switch (renamed.error().fault) {
    case StoreFault::kNotFound:
    case StoreFault::kStale:
    case StoreFault::kExists:
    case StoreFault::kNotEmpty:
    case StoreFault::kWrongType:
    case StoreFault::kUnanswered:  // The next round ends this attempt first.
      return Next::kAgain;
    case StoreFault::kCrossDevice:
      break;
    default:
      return tl::make_unexpected(renamed.error());
  }
  if (work->mine->attempt.beside) return tl::make_unexpected(renamed.error());

  // The parent is on another filesystem than .gantry: the same from a directory beside the place.
  GANTRY_PLUGIN_TRY_ASSIGN(Mine beside, MakeMineBeside(Attempt::Kind::kCreate, work->record().path,
                                                       parent, spec.ownership));
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
  return PutInPlace(spec, work, parent);
}

Result<Volumes::Next> Volumes::Settle(Working* work, bool created, uint64_t fileid) {
  Record ready = work->record();
  ready.state = RecordState::kReady;
  ready.attempts.clear();
  ready.created = created;
  ready.fileid = fileid;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, Advance(work, std::move(ready)));
  return won ? Next::kDone : Next::kAgain;
}

}  // namespace gantry::plugin
