// SPDX-License-Identifier: Apache-2.0
// Inside tree_copy: one directory. It is made, listed a page at a time while the run takes entries
// from it, and settled once all of them have ended: what the source no longer has is removed, the
// list of names is known to be of one moment or gone through again, and owner, mode and times are
// set last, from the bottom of the tree up.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "plugins/common/async_storage.hpp"
#include "plugins/common/copy_run.hpp"

namespace gantry::plugin {

class DirectoryCopy : public std::enable_shared_from_this<DirectoryCopy> {
 public:
  struct Child {
    std::string name;
    Entry source;
  };

  // The top has no directory above.
  DirectoryCopy(CopyRun& run, std::shared_ptr<DirectoryCopy> above, std::string name, Entry source);

  void Begin();                    // Below `above`.
  void BeginAt(const NodeId& to);  // The top, in a directory that is there.

  // What the run starts next, if anything.
  std::optional<Child> TakeEntry();
  std::optional<Child> TakeDirectory();
  // Lists on where the run has taken most of what there was.
  bool ListOn();
  // One of its children has come to its end.
  void ChildEnded();

  bool finished() const { return finished_; }
  bool fresh() const { return fresh_; }  // Nothing was at the destination when this pass began.
  const NodeId& to() const { return to_; }
  std::string Path() const { return PathOf(""); }
  std::string PathOf(const std::string& name) const;

 private:
  void Make();
  void LookAtExisting();
  void Adopt(Entry existing);
  void LookWhetherEmpty();
  void BeginPass();
  void BeginPassCool();
  void OnListed(StoreResult<ListPage> page);
  void Resolve(const std::string& name);
  void Sort(std::string name, Entry source);
  void SettleIfIdle();
  void Sweep();
  void SweepPage(const ListPage& page);
  void SweepOne(const ListedEntry& listed);
  void SweepRemove(const std::string& name, EntryKind kind);
  void SweepEnded();
  void Confirm();
  void PassAgain();
  void Finish();
  void OnFinished(const EntryAttributes& is);
  void Vanished();
  void End();
  void Fail(const StoreError& error) { run_.Fail(Path(), error); }

  CopyRun& run_;
  const std::shared_ptr<DirectoryCopy> above_;
  const std::string name_;
  Entry source_;
  const size_t depth_;
  NodeId to_;
  EntryAttributes made_;    // What the destination was like when it was made or found.
  EntryAttributes before_;  // The source when this pass began.
  bool fresh_ = false;
  int make_tries_ = 0;
  int passes_ = 1;
  int finish_tries_ = 0;
  ListPosition position_;
  bool listing_ = false;
  bool broken_ = false;  // The listing of this pass did not come to its end.
  bool listed_ = true;   // Nothing to list before a pass has begun.
  std::deque<Child> entries_;
  std::deque<Child> directories_;
  size_t busy_ = 0;  // Children and operations that must end before it settles.
  bool passing_ = false;
  size_t sweeping_ = 0;  // Of the page at hand.
  ListPosition swept_;
  bool swept_all_ = false;
  bool finished_ = false;
};

}  // namespace gantry::plugin
