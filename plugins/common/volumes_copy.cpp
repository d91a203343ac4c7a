// SPDX-License-Identifier: Apache-2.0
// The copying half of the record protocol; volumes.hpp tells it as a whole.
#include <utility>

#include "plugins/common/claims.hpp"
#include "plugins/common/copy_marks.hpp"
#include "plugins/common/owner_lease.hpp"
#include "plugins/common/trash.hpp"
#include "plugins/common/volumes.hpp"

namespace gantry::plugin {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
const Ownership kHiddenOwnership{kPrivateMode, {}, {}};

// What the same try may not meet again.
bool IsPassing(const Error& error) {
  return error.code == code::kUnavailable || error.code == code::kDeadlineExceeded ||
         error.code == code::kCancelled;
}

bool Interfered(StoreFault fault) {
  return fault == StoreFault::kNotFound || fault == StoreFault::kStale ||
         fault == StoreFault::kExists || fault == StoreFault::kNotEmpty ||
         fault == StoreFault::kWrongType;
}

CopyRun RunOf(CopyState state) {
  CopyRun run;
  run.state = state;
  return run;
}

}  // namespace

Result<CopyRun> Volumes::Copy(const std::string& handle, const CopyJob& job) {
  CopyJob mine = job;
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round > 0) storage_.GiveWay(round);
    GANTRY_PLUGIN_TRY_ASSIGN(const auto chain, Load(handle));
    std::optional<CopyRun> run;
    if (chain && chain->current && chain->current->record.owner == owner_) {
      GANTRY_PLUGIN_TRY_ASSIGN(run, CopyRound(*chain, &mine));
    } else {
      run = RunOf(CopyState::kNothing);
    }
    if (!run) continue;
    if (run->state != CopyState::kMore && run->state != CopyState::kOthers) {
      GANTRY_PLUGIN_TRY(UnmarkCopy(storage_, layout_, handle));
    }
    return *run;
  }
  return Fail(code::kAborted, "others are at work on the " + layout_.what + " " + handle);
}

// As far as it goes with what the record says. Nothing: look again.
Result<std::optional<CopyRun>> Volumes::CopyRound(const Chain& chain, CopyJob* job) {
  const Record& record = chain.current->record;
  if (!record.source || record.state == RecordState::kReady) return RunOf(CopyState::kNothing);
  if (record.state == RecordState::kDeleting) {
    // A copy that failed, and whoever said so died.
    DeletedVolume ignored;
    GANTRY_PLUGIN_TRY_ASSIGN(const Next next, DeleteLoaded(chain, &ignored));
    if (next == Next::kAgain) return std::nullopt;
    return RunOf(CopyState::kNothing);
  }
  Working work{chain, {}};
  if (!record.copied) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Taken taken, TakeAttempt(&work, job));
    if (taken == Taken::kOthers) return RunOf(CopyState::kOthers);
    if (taken == Taken::kAgain) return std::nullopt;
    GANTRY_PLUGIN_TRY_ASSIGN(const auto stopped, Fill(&work, *job));
    if (stopped || !work.record().copied) return stopped;
  }
  const auto published = PublishCopy(&work);
  if (!published && !MayPass(published.error().code)) return Undo(work, *job, published.error());
  GANTRY_PLUGIN_TRY(published);
  if (*published == Next::kAgain) return std::nullopt;
  return RunOf(CopyState::kReady);
}

// The end of a copy that cannot be made: nothing is left of it but the reason.
Result<std::optional<CopyRun>> Volumes::Undo(const Working& work, const CopyJob& job,
                                             const Error& why) {
  // To say so takes room too.
  if (why.code == code::kResourceExhausted && work.mine) {
    job.remove(work.mine->place.directory, work.mine->place.name);
  }
  DeletedVolume ignored;
  GANTRY_PLUGIN_TRY_ASSIGN(const Next next, DeleteLoaded(work.chain, &ignored));
  if (next == Next::kAgain) return std::nullopt;
  CopyRun run = RunOf(CopyState::kFailed);
  run.failure = why;
  return run;
}

// --- whose attempt it is -----------------------------------------------------------------------

// As Fence, of a directory that may have content: that goes into the trash with it.
Result<Volumes::Fenced> Volumes::FenceCopy(const Attempt& attempt, const Path& path) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Fenced fenced, Fence(attempt, path));
  if (fenced != Fenced::kFull) return fenced;
  GANTRY_PLUGIN_TRY_ASSIGN(const auto place, PlaceOf(attempt, path));
  if (!place) return Fenced::kAbsent;
  std::optional<Mine> grave;
  if (attempt.beside) {
    GANTRY_PLUGIN_TRY_ASSIGN(
        grave, MakeMineBeside(Attempt::Kind::kDelete, path, place->directory, kHiddenOwnership));
  } else {
    GANTRY_PLUGIN_TRY_ASSIGN(grave, MakeMine(Attempt::Kind::kDelete, kHiddenOwnership));
  }
  const auto moved =
      storage_.Rename(place->directory, place->name, grave->id, std::string(kTrashedName));
  if (moved) return Fenced::kRemoved;
  Drop(&grave);
  if (IsGone(moved)) return Fenced::kAbsent;
  return tl::make_unexpected(moved.error());
}

// Is the directory that shall hold the volume on another filesystem than `fsid`?
Result<bool> Volumes::IsElsewhere(const Path& path, uint64_t fsid) {
  if (path.size() < 2) return false;
  const Path above(path.begin(), path.end() - 1);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(above, true));
  const auto node = storage_.Lookup(*parent, above.back());
  if (IsGone(node)) return false;
  GANTRY_PLUGIN_TRY(node);
  return node->fsid != fsid;
}

Result<Volumes::Mine> Volumes::MakeMineToCopyInto(const Path& path) {
  std::optional<Mine> mine;
  GANTRY_PLUGIN_TRY_ASSIGN(mine, MakeMine(Attempt::Kind::kCreate, kHiddenOwnership));
  GANTRY_PLUGIN_TRY_ASSIGN(const bool elsewhere, IsElsewhere(path, mine->attempt.fsid));
  if (!elsewhere) return std::move(*mine);
  Drop(&mine);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(path, true));
  return MakeMineBeside(Attempt::Kind::kCreate, path, *parent, kHiddenOwnership);
}

// Finds this caller's own attempt again; false: somebody has ended it.
Result<bool> Volumes::Resume(Working* work, const Attempt& attempt) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto place, PlaceOf(attempt, work->record().path));
  if (!place) return false;
  auto found = storage_.Lookup(place->directory, place->name);
  if (IsGone(found)) return false;
  GANTRY_PLUGIN_TRY(found);
  work->mine = Mine{attempt, std::move(*place), std::move(found->id), found->mtime_ns, true};
  return true;
}

Result<Volumes::Taken> Volumes::TakeAttempt(Working* work, CopyJob* job) {
  Record next = work->record();
  const bool is_mine = !next.attempts.empty() && next.attempts.back().nonce == job->mine;
  if (is_mine) {
    GANTRY_PLUGIN_TRY_ASSIGN(const bool resumed, Resume(work, next.attempts.back()));
    if (resumed) return Taken::kMine;
  }
  GANTRY_PLUGIN_TRY_ASSIGN(work->mine, MakeMineToCopyInto(next.path));
  const bool is_lived_in =
      !next.attempts.empty() && !is_mine &&
      work->chain.current->mtime_ns + kOwnerLeaseMs * kNsPerMs > work->mine->made_ns;
  if (is_lived_in) {
    Drop(&work->mine);
    return Taken::kOthers;
  }
  job->mine = work->mine->attempt.nonce;
  job->own(job->mine);
  std::vector<Attempt> earlier = std::exchange(next.attempts, {});
  for (auto& attempt : earlier) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Fenced fenced, FenceCopy(attempt, next.path));
    if (fenced == Fenced::kAbsent) next.attempts.push_back(std::move(attempt));
  }
  if (next.attempts.size() >= kAttemptsMax) next.attempts.erase(next.attempts.begin());
  next.attempts.push_back(work->mine->attempt);
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, AdvanceInPlace(work, std::move(next)));
  if (won) return Taken::kMine;
  Drop(&work->mine);
  return Taken::kAgain;
}

// --- the copy ----------------------------------------------------------------------------------

// Says that the owner lives, and returns the storage's time. Nothing: the record has gone on.
Result<std::optional<int64_t>> Volumes::Renew(const Working& work) {
  const auto touched = storage_.Touch(work.chain.current->file);
  if (IsGone(touched)) return std::nullopt;
  GANTRY_PLUGIN_TRY(touched);
  const auto next =
      storage_.Lookup(work.chain.directory, std::to_string(work.chain.current->number + 1));
  if (!FailedWith(next, StoreFault::kNotFound)) {
    if (!next && !IsGone(next)) return tl::make_unexpected(next.error());
    return std::nullopt;
  }
  GANTRY_PLUGIN_TRY_ASSIGN(
      const bool in_place,
      IsInPlace(storage_, layout_.volumes, work.chain.current->record.handle, work.chain));
  if (!in_place) return std::nullopt;
  return *touched;
}

// Copies until the attempt is whole and the record says so (nothing is returned, and `work` is of
// that version), until told to stop, or until it is clear that it cannot be. Nothing and a version
// that is not "copied": look again.
Result<std::optional<CopyRun>> Volumes::Fill(Working* work, const CopyJob& job) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Claimed claimed,
                           Claim(storage_, layout_, work->chain.current->file, work->record()));
  if (claimed == Claimed::kAgain) return std::nullopt;
  const auto source = job.find_source(*work->record().source);
  if (!source && source.error().code == code::kNotFound) return Undo(*work, job, source.error());
  GANTRY_PLUGIN_TRY(source);

  bool lost = false;
  std::optional<Error> silent;
  const auto go_on = [&](const CopyProgress& progress) {
    if (!job.go_on(progress)) return false;
    if (!job.renewal_due()) return true;
    const auto renewed = Renew(*work);
    if (!renewed) silent = renewed.error();
    lost = renewed && !*renewed;
    return renewed && !lost;
  };
  auto outcome = job.copier(*source, work->mine->id, go_on);
  // What a dead worker of this owner had sent may have come in the meantime: a second look.
  if (outcome && outcome->done && work->mine->resumed) {
    outcome = job.copier(*source, work->mine->id, go_on);
  }
  if (lost) return std::nullopt;
  if (silent) return tl::make_unexpected(*silent);
  if (outcome && !outcome->done) {
    CopyRun run = RunOf(CopyState::kMore);
    run.progress = outcome->progress;
    return run;
  }
  if (!outcome && IsPassing(outcome.error())) return tl::make_unexpected(outcome.error());

  // An attempt that was moved away under its owner fails in many ways, and so does a source.
  const Attempt attempt = work->mine->attempt;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool still_there, Resume(work, attempt));
  if (!still_there) return std::nullopt;
  const auto source_after = job.find_source(*work->record().source);
  if (!source_after && source_after.error().code != code::kNotFound) {
    return tl::make_unexpected(source_after.error());
  }
  if (!source_after) return Undo(*work, job, source_after.error());
  if (!outcome) return Undo(*work, job, outcome.error());
  const auto finished = FinishFill(work, job);
  if (!finished && !MayPass(finished.error().code)) return Undo(*work, job, finished.error());
  GANTRY_PLUGIN_TRY(finished);
  return std::nullopt;
}

Result<Volumes::Next> Volumes::FinishFill(Working* work, const CopyJob& job) {
  GANTRY_PLUGIN_TRY_ASSIGN(const OwnershipChange ownership, job.ownership(work->record()));
  if (!ownership.empty()) GANTRY_PLUGIN_TRY(storage_.Change(work->mine->id, ownership));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto now_ns, Renew(*work));
  if (!now_ns) return Next::kAgain;
  Record next = work->record();
  next.copied = true;
  next.copied_ns = *now_ns;
  GANTRY_PLUGIN_TRY_ASSIGN(const bool won, AdvanceInPlace(work, std::move(next)));
  return won ? Next::kDone : Next::kAgain;
}

// Anybody may do this, and at once: the attempt is whole, and only ever moves into its place.
Result<Volumes::Next> Volumes::PublishCopy(Working* work) {
  const Record& record = work->record();
  const Attempt attempt = record.attempts.back();
  // Its own directory first: between the two looks it can only have come into its place.
  GANTRY_PLUGIN_TRY_ASSIGN(const bool waits, Resume(work, attempt));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto parent, Parent(record.path, true));
  const auto leaf = storage_.Lookup(*parent, record.path.back());
  if (leaf) {
    GANTRY_PLUGIN_TRY(FindRoom(work, *parent));
    if (InPlace(record, *leaf) == nullptr) return Next::kAgain;
    return Settle(work, true, leaf->fileid);
  }
  if (FailedWith(leaf, StoreFault::kStale)) return Next::kAgain;
  if (!FailedWith(leaf, StoreFault::kNotFound)) return tl::make_unexpected(leaf.error());
  if (!waits) {
    // Taken away by one who held its owner for dead and did not come to record it: begin anew.
    Record next = record;
    next.copied = false;
    next.attempts.pop_back();
    GANTRY_PLUGIN_TRY(Advance(work, std::move(next)));
    return Next::kAgain;
  }
  const auto renamed = storage_.Rename(work->mine->place.directory, work->mine->place.name, *parent,
                                       record.path.back());
  if (renamed) return Settle(work, true, attempt.fileid);
  if (Interfered(renamed.error().fault)) return Next::kAgain;
  return tl::make_unexpected(renamed.error());
}

}  // namespace gantry::plugin
