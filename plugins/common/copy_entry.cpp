// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/copy_entry.hpp"

#include <utility>

namespace gantry::plugin {

void EntryCopy::Begin() {
  EntryAttributes& source = source_.attributes;
  if (source.links <= 1 || maker_) return BeginAsMaker();
  switch (run_.links().Ask(
      source, [self = shared_from_this()] { self->Begin(); }, &link_)) {
    case HardLinks::Role::kMaker:
      maker_ = true;
      return BeginAsMaker();
    case HardLinks::Role::kWaiter:
      return;
    case HardLinks::Role::kLinker:
      return in_->fresh() ? SendLink() : LookAtLink();
    case HardLinks::Role::kNoRoom:
      return run_.Fail({code::kResourceExhausted, "'" + in_->PathOf(name_) +
                                                      "': the tree has more than " +
                                                      std::to_string(run_.limits().hard_links_max) +
                                                      " files with several names"});
  }
}

void EntryCopy::BeginAsMaker() { return in_->fresh() ? Make() : Look(); }

// --- what is there

void EntryCopy::Look() {
  run_.storage().Lookup(in_->to(), name_,
                        run_.On<Entry>(shared_from_this(), [this](StoreResult<Entry> found) {
                          if (IsGone(found)) return Make();
                          if (!found) return Fail(found.error());
                          Judge(*found);
                        }));
}

void EntryCopy::Judge(const Entry& found) {
  to_ = found.id;
  made_ = found.attributes;
  const EntryAttributes& source = source_.attributes;
  if (made_.kind == source.kind) {
    if (source.kind == EntryKind::kSymlink) return JudgeSymlink();
    if (source.kind != EntryKind::kFile && IsSameSpecial(made_, source)) return Settle();
    if (source.kind == EntryKind::kFile && JudgeFile()) return;
  }
  RemoveExisting([self = shared_from_this()] { self->Make(); });
}

// Complete, or marked as complete up to somewhere; false: it is neither.
bool EntryCopy::JudgeFile() {
  const EntryAttributes& source = source_.attributes;
  // By the storage's own clock: what was written since under an mtime that was put back is not it.
  if (IsComplete(made_, source) && source.ctime_ns < made_.ctime_ns) {
    run_.CountBytes(static_cast<int64_t>(source.size));
    Finish();
    return true;
  }
  if (made_.links != 1 || made_.mode != WritingMode(source)) return false;
  const uint64_t marked = MarkedBytes(made_, source, run_.limits().stretch_bytes);
  if (marked > 0) WriteData(marked);
  return marked > 0;
}

void EntryCopy::JudgeSymlink() {
  run_.storage().ReadSymlink(
      source_.id, run_.On<std::string>(shared_from_this(), [this](StoreResult<std::string> wanted) {
        if (IsGone(wanted)) return Vanished();
        if (!wanted) return Fail(wanted.error());
        run_.storage().ReadSymlink(
            to_, run_.On<std::string>(
                     shared_from_this(), [this, wanted](const StoreResult<std::string>& is) {
                       const bool same =
                           is && *is == *wanted && made_.links <= source_.attributes.links;
                       if (same) return Settle();
                       RemoveExisting([self = shared_from_this()] { self->Make(); });
                     }));
      }));
}

// Of any kind; `then` runs when nothing is there.
void EntryCopy::RemoveExisting(const std::function<void()>& then) {
  run_.storage().Remove(in_->to(), name_,
                        run_.On<void>(shared_from_this(), [this, then](StoreResult<void> removed) {
                          if (FailedWith(removed, StoreFault::kWrongType)) {
                            return run_.RemoveTree(in_->to(), name_, in_->PathOf(name_), then);
                          }
                          if (!removed && !IsGone(removed)) return Fail(removed.error());
                          then();
                        }));
}

// --- making it

void EntryCopy::Make() {
  if (++make_tries_ > kMakeTriesMax) {
    return run_.Fail(
        {code::kAborted, "'" + in_->PathOf(name_) + "': somebody else writes to the destination"});
  }
  settle_tries_ = 0;
  switch (source_.attributes.kind) {
    case EntryKind::kFile:
      return MakeFile();
    case EntryKind::kSymlink:
      return MakeSymlink();
    default:
      return MakeSpecial();
  }
}

void EntryCopy::MakeFile() {
  run_.storage().CreateFile(in_->to(), name_, WritingMode(source_.attributes),
                            run_.On<Entry>(shared_from_this(), [this](StoreResult<Entry> made) {
                              OnMade(std::move(made));
                            }));
}

void EntryCopy::MakeSymlink() {
  run_.storage().ReadSymlink(
      source_.id, run_.On<std::string>(shared_from_this(), [this](StoreResult<std::string> target) {
        if (IsGone(target)) return Vanished();
        if (!target) return Fail(target.error());
        run_.storage().MakeSymlink(
            in_->to(), name_, *target,
            run_.On<Entry>(shared_from_this(),
                           [this](StoreResult<Entry> made) { OnMade(std::move(made)); }));
      }));
}

void EntryCopy::MakeSpecial() {
  // With its mode at once: some servers change none of these later (OnSettled).
  run_.storage().MakeSpecial(in_->to(), name_, source_.attributes,
                             run_.On<Entry>(shared_from_this(), [this](StoreResult<Entry> made) {
                               OnMade(std::move(made));
                             }));
}

void EntryCopy::OnMade(StoreResult<Entry> made) {
  if (FailedWith(made, StoreFault::kExists)) return Look();
  if (!made) return Fail(made.error());
  to_ = std::move(made->id);
  made_ = made->attributes;
  run_.NoteStorageTime(made_.ctime_ns);
  if (source_.attributes.kind != EntryKind::kFile || source_.attributes.size == 0) return Settle();
  const auto wait = run_.UntilCool(source_.attributes.ctime_ns);
  if (wait.count() == 0) return WriteData(0);
  run_.After(wait, [self = shared_from_this()] { self->WriteData(0); });
}

void EntryCopy::WriteData(uint64_t from_offset) {
  std::make_shared<FileData>(
      run_, source_, to_, from_offset,
      [self = shared_from_this()](const FileData::End& end) { self->OnWritten(end); })
      ->Begin();
}

void EntryCopy::OnWritten(const FileData::End& end) {
  counted_bytes_ = end.counted_bytes;
  switch (end.outcome) {
    case FileData::Outcome::kWritten:
      return Confirm();
    case FileData::Outcome::kChanged:
      return Again();
    case FileData::Outcome::kVanished:
      return Vanished();
    case FileData::Outcome::kFailed:
      return Fail(end.error);
  }
}

void EntryCopy::Confirm() {
  run_.storage().GetAttributes(
      source_.id,
      run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> after) {
        if (IsGone(after)) return Vanished();
        if (!after) return Fail(after.error());
        if (!IsSameVersion(source_.attributes, *after)) return Again();
        Settle();
      }));
}

// Owner and mode, and at the end of it the mtime, which says that the entry is complete.
void EntryCopy::Settle() {
  const EntryAttributes& source = source_.attributes;
  AttributeChange change;
  if (made_.uid != source.uid) change.uid = source.uid;
  if (made_.gid != source.gid) change.gid = source.gid;
  if (source.kind != EntryKind::kSymlink) change.mode = source.mode;
  change.atime_ns = source.atime_ns;
  change.mtime_ns = source.mtime_ns;
  run_.storage().Change(
      to_, change,
      run_.On<EntryAttributes>(
          shared_from_this(),
          [this](const StoreResult<EntryAttributes>& changed) { OnSettled(changed); }));
}

// A change of owner may have taken bits off the mode; then once more. Some servers (NFS-Ganesha)
// change no socket and no device: these stay as they were made, with their mode.
void EntryCopy::OnSettled(const StoreResult<EntryAttributes>& is) {
  const EntryKind kind = source_.attributes.kind;
  const bool may_stay = kind == EntryKind::kSocket || kind == EntryKind::kBlockDevice ||
                        kind == EntryKind::kCharacterDevice;
  if (may_stay && FailedWith(is, StoreFault::kRefused)) return Finish();
  if (!is) return Fail(is.error());
  made_ = *is;
  const std::string difference = Difference(made_, source_.attributes);
  if (difference.empty()) {
    if (kind == EntryKind::kFile) {
      run_.CountBytes(static_cast<int64_t>(source_.attributes.size) -
                      static_cast<int64_t>(counted_bytes_));
    }
    return Finish();
  }
  if (++settle_tries_ < kMakeTriesMax) return Settle();
  run_.Fail({code::kFailedPrecondition,
             "'" + in_->PathOf(name_) + "': the storage gives it " + difference});
}

// --- a source that does not stay as it is

void EntryCopy::Again() {
  if (changed_tries_ >= run_.limits().changed_tries_max) {
    return run_.FailChanging(in_->PathOf(name_));
  }
  Uncount();
  make_tries_ = 0;
  const auto pause = run_.limits().changed_pause * (1 << (changed_tries_ - 1));
  ++changed_tries_;
  run_.After(pause, [self = shared_from_this()] { self->BeginOver(); });
}

void EntryCopy::Uncount() {
  run_.CountBytes(-static_cast<int64_t>(std::exchange(counted_bytes_, 0)));
}

void EntryCopy::BeginOver() {
  run_.storage().GetAttributes(
      source_.id,
      run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> is) {
        if (IsGone(is)) return Vanished();
        if (!is) return Fail(is.error());
        source_.attributes = *is;
        RemoveExisting([self = shared_from_this()] { self->Begin(); });
      }));
}

// The directory sees that it has changed, and looks what is there instead.
void EntryCopy::Vanished() {
  Uncount();
  if (maker_) run_.links().GiveUp(source_.attributes);
  RemoveExisting([self = shared_from_this()] { self->End(); });
}

// --- a further name of a file that is made

void EntryCopy::SendLink() {
  if (++make_tries_ > kMakeTriesMax) {
    return run_.Fail(
        {code::kAborted, "'" + in_->PathOf(name_) + "': somebody else writes to the destination"});
  }
  run_.storage().Link(link_.id, in_->to(), name_,
                      run_.On<void>(shared_from_this(), [this](StoreResult<void> linked) {
                        if (FailedWith(linked, StoreFault::kExists)) return LookAtLink();
                        if (!linked) return Fail(linked.error());
                        run_.links().Linked(source_.attributes);
                        Finish();
                      }));
}

void EntryCopy::LookAtLink() {
  run_.storage().Lookup(in_->to(), name_,
                        run_.On<Entry>(shared_from_this(), [this](StoreResult<Entry> found) {
                          if (IsGone(found)) return SendLink();
                          if (!found) return Fail(found.error());
                          if (found->attributes.fileid == link_.fileid) return Finish();
                          RemoveExisting([self = shared_from_this()] { self->SendLink(); });
                        }));
}

void EntryCopy::Finish() {
  if (maker_) run_.links().Finish(source_.attributes, {to_, made_.fileid});
  run_.Count(1);
  End();
}

void EntryCopy::End() {
  run_.EntryEnded();
  in_->ChildEnded();
}

}  // namespace gantry::plugin
