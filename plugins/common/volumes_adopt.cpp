// SPDX-License-Identifier: Apache-2.0
// Taking over a directory that somebody else made. It becomes a volume like any other. The record
// calls the directory its own only once the claim is known to conflict with no other: a record that
// is given up before must not take along what it had looked at.
#include <utility>

#include "plugins/common/claims.hpp"
#include "plugins/common/volumes.hpp"

namespace gantry::plugin {

// Nothing: it is not there.
Result<std::optional<Node>> Volumes::DirectoryAt(const Path& path) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(path, false));
  if (!parent) return std::nullopt;
  auto leaf = storage_.Lookup(*parent, path.back());
  if (IsGone(leaf)) return std::nullopt;
  GANTRY_PLUGIN_TRY(leaf);
  if (leaf->type != NodeType::kDirectory) {
    return Fail(code::kFailedPrecondition, "\"" + Join(path) + "\" is no directory");
  }
  return std::move(*leaf);
}

// Writes the first version. Nothing: there is a record after all, or no directory.
Result<std::optional<Volumes::Working>> Volumes::BeginAdopting(const VolumeSpec& spec) {
  auto made = storage_.MakeDirectory(layout_.volumes, spec.handle, {kPrivateMode, {}, {}});
  if (FailedWith(made, StoreFault::kExists)) return std::nullopt;
  GANTRY_PLUGIN_TRY(made);
  Working work;
  work.chain.directory = std::move(made->id);
  Record record;
  record.handle = spec.handle;
  record.name = spec.name;
  record.owner = spec.owner;
  record.incarnation = nonce_();
  record.path = *spec.path;
  record.disposal = spec.disposal;
  record.parameters = spec.parameters;
  GANTRY_PLUGIN_TRY_ASSIGN(work.chain.current,
                           Publish(storage_, work.chain, 1, std::move(record), nonce_));
  if (!work.chain.current) return std::nullopt;
  work.chain.files.push_back({"1", work.chain.current->file});
  return work;
}

Result<std::optional<Record>> Volumes::Adopt(const VolumeSpec& spec) {
  GANTRY_PLUGIN_TRY(spec.path);
  NodeId empty_seen;
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round > 0) storage_.GiveWay(round);
    GANTRY_PLUGIN_TRY_ASSIGN(auto chain, Load(spec.handle));
    if (chain && !chain->current) {
      if (std::exchange(empty_seen, chain->directory) != chain->directory) continue;
      GANTRY_PLUGIN_TRY(RemoveEmptyChain(storage_, layout_.volumes, spec.handle, *chain));
      chain.reset();
    }
    if (chain && chain->current->record.owner != owner_) {
      return Fail(code::kFailedPrecondition,
                  "the volume " + spec.handle + " belongs to " + chain->current->record.owner);
    }
    // An adoption that was refused, and broken off before its record was gone: judged anew.
    if (chain && chain->current->record.state == RecordState::kDeleting &&
        !chain->current->record.created) {
      DeletedVolume ignored;
      GANTRY_PLUGIN_TRY(DeleteLoaded(*chain, &ignored));
      continue;
    }
    if (chain && chain->current->record.state != RecordState::kCreating) {
      return std::move(chain->current->record);
    }
    std::optional<Working> work;
    if (chain) {
      work = Working{std::move(*chain), {}};
    } else {
      GANTRY_PLUGIN_TRY_ASSIGN(const auto directory, DirectoryAt(*spec.path));
      if (!directory) return std::nullopt;
      GANTRY_PLUGIN_TRY_ASSIGN(work, BeginAdopting(spec));
    }
    if (!work) continue;

    const auto driven = DriveAdopt(&*work);
    if (driven && *driven == Next::kDone) return std::move(work->record());
    if (driven) continue;
    if (driven.error().code != code::kFailedPrecondition)
      return tl::make_unexpected(driven.error());
    DeletedVolume ignored;  // Which leaves the directory alone.
    GANTRY_PLUGIN_TRY_ASSIGN(const Next next, DeleteLoaded(work->chain, &ignored));
    if (next == Next::kDone) return tl::make_unexpected(driven.error());
  }
  return Fail(code::kAborted, "others are adopting or deleting the volume " + spec.handle);
}

Result<Volumes::Next> Volumes::DriveAdopt(Working* work) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Claimed claimed,
                           Claim(storage_, layout_, work->chain.current->file, work->record()));
  if (claimed == Claimed::kAgain) return Next::kAgain;
  // Gone meanwhile: the record is of nothing, and Delete then removes nothing but the record.
  GANTRY_PLUGIN_TRY_ASSIGN(const auto directory, DirectoryAt(work->record().path));
  // Another share's root: its volumes have claims that are not looked at here.
  if (directory) {
    const auto records = storage_.Lookup(directory->id, kReservedPrefix);
    if (records) {
      return Fail(code::kFailedPrecondition, "the directory \"" + Join(work->record().path) +
                                                 "\" has volumes of its own in " +
                                                 std::string(kReservedPrefix));
    }
    if (!IsGone(records)) return tl::make_unexpected(records.error());
  }
  return Settle(work, directory.has_value(), directory ? directory->fileid : 0);
}

}  // namespace gantry::plugin
