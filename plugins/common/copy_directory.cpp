// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/copy_directory.hpp"

#include <utility>

namespace gantry::plugin {
namespace {

constexpr uint32_t kOwnerAll = 0700;

}  // namespace

DirectoryCopy::DirectoryCopy(CopyRun& run, std::shared_ptr<DirectoryCopy> above, std::string name,
                             Entry source)
    : run_(run),
      above_(std::move(above)),
      name_(std::move(name)),
      source_(std::move(source)),
      depth_(above_ ? above_->depth_ + 1 : 1) {}

std::string DirectoryCopy::PathOf(const std::string& name) const {
  std::string path = name;
  for (const DirectoryCopy* at = this; at->above_ != nullptr; at = at->above_.get()) {
    path = path.empty() ? at->name_ : at->name_ + "/" + path;
  }
  return path.empty() ? "." : path;
}

// --- making it

void DirectoryCopy::Begin() {
  if (depth_ > run_.limits().depth_max) {
    return run_.Fail({code::kFailedPrecondition,
                      "'" + Path() + "': the tree is too deep, at most " +
                          std::to_string(run_.limits().depth_max) + " levels can be copied"});
  }
  Make();
}

void DirectoryCopy::BeginAt(const NodeId& to) {
  to_ = to;
  run_.storage().GetAttributes(
      to_, run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> is) {
        if (!is) return Fail(is.error());
        Adopt({to_, *is});
      }));
}

void DirectoryCopy::Make() {
  if (++make_tries_ > kMakeTriesMax) {
    return run_.Fail({code::kAborted, "'" + Path() + "': somebody else writes to the destination"});
  }
  run_.storage().MakeDirectory(above_->to_, name_, kCreateMode,
                               run_.On<Entry>(shared_from_this(), [this](StoreResult<Entry> made) {
                                 if (FailedWith(made, StoreFault::kExists)) return LookAtExisting();
                                 if (!made) return Fail(made.error());
                                 to_ = std::move(made->id);
                                 made_ = made->attributes;
                                 fresh_ = true;
                                 run_.NoteStorageTime(made_.ctime_ns);
                                 BeginPass();
                               }));
}

void DirectoryCopy::LookAtExisting() {
  run_.storage().Lookup(
      above_->to_, name_, run_.On<Entry>(shared_from_this(), [this](StoreResult<Entry> found) {
        if (IsGone(found)) return Make();
        if (!found) return Fail(found.error());
        if (found->attributes.kind == EntryKind::kDirectory) return Adopt(std::move(*found));
        run_.RemoveTree(above_->to_, name_, Path(), [self = shared_from_this()] { self->Make(); });
      }));
}

// One that is finished may be closed even to its owner. The top tells the storage's clock, too.
void DirectoryCopy::Adopt(Entry existing) {
  to_ = std::move(existing.id);
  made_ = existing.attributes;
  if (above_ != nullptr && (made_.mode & kOwnerAll) == kOwnerAll) return LookWhetherEmpty();
  AttributeChange change;
  change.mode = made_.mode | kOwnerAll;
  run_.storage().Change(
      to_, change,
      run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> changed) {
        if (!changed) return Fail(changed.error());
        made_ = *changed;
        run_.NoteStorageTime(made_.ctime_ns);
        LookWhetherEmpty();
      }));
}

// An empty one spares looking for each entry by itself.
void DirectoryCopy::LookWhetherEmpty() {
  run_.storage().List(to_, {},
                      run_.On<ListPage>(shared_from_this(), [this](StoreResult<ListPage> page) {
                        if (!page) return Fail(page.error());
                        fresh_ = page->end && page->entries.empty();
                        BeginPass();
                      }));
}

// --- a pass over its entries

void DirectoryCopy::BeginPass() {
  run_.storage().GetAttributes(
      source_.id,
      run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> is) {
        if (IsGone(is)) return Vanished();
        if (!is) return Fail(is.error());
        before_ = *is;
        const auto wait = run_.UntilCool(before_.ctime_ns);
        if (wait.count() == 0) return BeginPassCool();
        run_.After(wait, [self = shared_from_this()] { self->BeginPass(); });
      }));
}

void DirectoryCopy::BeginPassCool() {
  position_ = {};
  listed_ = broken_ = false;
  passing_ = true;
  swept_ = {};
  swept_all_ = fresh_;
  ListOn();
}

bool DirectoryCopy::ListOn() {
  if (listing_ || listed_ || !directories_.empty() ||
      entries_.size() >= run_.limits().entries_in_flight_max) {
    return false;
  }
  listing_ = true;
  ++busy_;
  run_.storage().List(source_.id, position_,
                      run_.On<ListPage>(shared_from_this(), [this](StoreResult<ListPage> page) {
                        listing_ = false;
                        --busy_;
                        OnListed(std::move(page));
                      }));
  return true;
}

void DirectoryCopy::OnListed(StoreResult<ListPage> page) {
  // What has been begun comes to its end first; then the changed directory is gone through again.
  if (FailedWith(page, StoreFault::kBadPosition) || IsGone(page)) {
    listed_ = broken_ = true;
    return SettleIfIdle();
  }
  if (!page) return Fail(page.error());
  position_ = page->next;
  listed_ = page->end;
  for (auto& listed : page->entries) {
    if (listed.entry) {
      Sort(std::move(listed.name), std::move(*listed.entry));
    } else {
      Resolve(listed.name);
    }
  }
  SettleIfIdle();
}

void DirectoryCopy::Resolve(const std::string& name) {
  ++busy_;
  run_.storage().Lookup(source_.id, name,
                        run_.On<Entry>(shared_from_this(), [this, name](StoreResult<Entry> found) {
                          --busy_;
                          if (!found && !IsGone(found)) {
                            return run_.Fail(PathOf(name), found.error());
                          }
                          if (found) Sort(name, std::move(*found));
                          SettleIfIdle();
                        }));
}

void DirectoryCopy::Sort(std::string name, Entry source) {
  if (source.attributes.fsid != before_.fsid) {
    return run_.Fail({code::kFailedPrecondition,
                      "'" + PathOf(name) + "': another filesystem begins there; it is not copied"});
  }
  auto& queue = source.attributes.kind == EntryKind::kDirectory ? directories_ : entries_;
  queue.push_back({std::move(name), std::move(source)});
}

std::optional<DirectoryCopy::Child> DirectoryCopy::TakeEntry() {
  if (entries_.empty()) return std::nullopt;
  Child child = std::move(entries_.front());
  entries_.pop_front();
  ++busy_;
  return child;
}

std::optional<DirectoryCopy::Child> DirectoryCopy::TakeDirectory() {
  if (directories_.empty()) return std::nullopt;
  Child child = std::move(directories_.front());
  directories_.pop_front();
  ++busy_;
  return child;
}

void DirectoryCopy::ChildEnded() {
  --busy_;
  SettleIfIdle();
}

// --- settling

void DirectoryCopy::SettleIfIdle() {
  if (!passing_ || !listed_ || busy_ > 0 || !entries_.empty() || !directories_.empty()) return;
  passing_ = false;
  Sweep();
}

// Removes what the source does not have: each entry of the destination is looked for there, which
// needs no list of all names in memory.
void DirectoryCopy::Sweep() {
  if (swept_all_) return Confirm();
  run_.storage().List(to_, swept_,
                      run_.On<ListPage>(shared_from_this(), [this](StoreResult<ListPage> page) {
                        if (FailedWith(page, StoreFault::kBadPosition)) {
                          swept_ = {};
                          return Sweep();
                        }
                        if (!page) return Fail(page.error());
                        swept_ = page->next;
                        swept_all_ = page->end;
                        SweepPage(*page);
                      }));
}

void DirectoryCopy::SweepPage(const ListPage& page) {
  ++sweeping_;
  for (const auto& listed : page.entries) SweepOne(listed);
  SweepEnded();
}

void DirectoryCopy::SweepOne(const ListedEntry& listed) {
  ++sweeping_;
  const EntryKind kind = listed.entry ? listed.entry->attributes.kind : EntryKind::kDirectory;
  run_.storage().Lookup(source_.id, listed.name,
                        run_.On<Entry>(shared_from_this(),
                                       [this, name = listed.name, kind](StoreResult<Entry> found) {
                                         if (found || FailedWith(found, StoreFault::kStale))
                                           return SweepEnded();
                                         if (!IsGone(found))
                                           return run_.Fail(PathOf(name), found.error());
                                         SweepRemove(name, kind);
                                       }));
}

void DirectoryCopy::SweepRemove(const std::string& name, EntryKind kind) {
  if (kind == EntryKind::kDirectory) {
    return run_.RemoveTree(to_, name, PathOf(name),
                           [self = shared_from_this()] { self->SweepEnded(); });
  }
  run_.storage().Remove(to_, name,
                        run_.On<void>(shared_from_this(), [this, name](StoreResult<void> removed) {
                          if (!removed && !IsGone(removed)) {
                            return run_.Fail(PathOf(name), removed.error());
                          }
                          SweepEnded();
                        }));
}

void DirectoryCopy::SweepEnded() {
  if (--sweeping_ == 0) Sweep();
}

void DirectoryCopy::Confirm() {
  run_.storage().GetAttributes(
      source_.id,
      run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> after) {
        if (IsGone(after)) return Vanished();
        if (!after) return Fail(after.error());
        if (broken_ || !IsSameVersion(before_, *after)) return PassAgain();
        Finish();
      }));
}

void DirectoryCopy::PassAgain() {
  if (passes_ >= run_.limits().changed_tries_max) return run_.FailChanging(Path());
  const auto pause = run_.limits().changed_pause * (1 << (passes_ - 1));
  ++passes_;
  fresh_ = false;
  run_.After(pause, [self = shared_from_this()] { self->BeginPass(); });
}

void DirectoryCopy::Finish() {
  AttributeChange change;
  if (made_.uid != before_.uid) change.uid = before_.uid;
  if (made_.gid != before_.gid) change.gid = before_.gid;
  change.mode = before_.mode;
  change.atime_ns = before_.atime_ns;
  change.mtime_ns = before_.mtime_ns;
  run_.storage().Change(
      to_, change,
      run_.On<EntryAttributes>(shared_from_this(), [this](StoreResult<EntryAttributes> changed) {
        if (!changed) return Fail(changed.error());
        OnFinished(*changed);
      }));
}

// A change of owner may have taken bits off the mode.
void DirectoryCopy::OnFinished(const EntryAttributes& is) {
  const std::string difference = Difference(is, before_);
  if (difference.empty()) {
    run_.Count(1);
    return End();
  }
  if (++finish_tries_ >= kMakeTriesMax) {
    return run_.Fail(
        {code::kFailedPrecondition, "'" + Path() + "': the storage gives it " + difference});
  }
  made_ = is;
  Finish();
}

// Gone from the source, with all that was in it; the directory above sees that it has changed.
void DirectoryCopy::Vanished() {
  if (above_ == nullptr) {
    return run_.Fail({code::kNotFound, "the directory that is to be copied is gone"});
  }
  run_.RemoveTree(above_->to_, name_, Path(), [self = shared_from_this()] { self->End(); });
}

void DirectoryCopy::End() {
  finished_ = true;
  run_.Closed(this);
  if (above_ != nullptr) above_->ChildEnded();
}

}  // namespace gantry::plugin
