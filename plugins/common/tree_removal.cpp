// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/tree_removal.hpp"

#include <algorithm>
#include <utility>

namespace gantry::plugin {

// A directory that is being emptied. The tree's top has no directory above, only its parent's id.
struct TreeRemoval::Directory {
  DirectoryPtr above;
  NodeId parent;
  std::string name;
  NodeId id;
  size_t depth = 1;
  std::deque<std::string> files;  // Shown by a listing, not yet sent.
  std::deque<std::pair<std::string, NodeId>> directories;
  std::set<std::string> stuck;
  size_t busy = 0;  // Operations and directories below that have not ended.
  ListPosition position;
  bool listing = false;
  bool listed = false;  // To the end.
  bool shown = false;   // This listing has shown something that is not stuck.
  bool going = false;   // Its own RMDIR is under way.
};

void TreeRemoval::Begin(const NodeId& parent, std::string name) {
  ++in_flight_;
  storage_.Lookup(parent, name, [this, parent, name](StoreResult<Entry> top) {
    --in_flight_;
    if (IsGone(top)) {
      ending_ = State::kGone;
    } else if (!top) {
      Fail(std::move(top).error());
    } else {
      fsid_ = top->attributes.fsid;
      // What has no directory above is removed as the only file of one that is not ours to remove.
      auto directory = std::make_shared<Directory>();
      directory->parent = parent;
      directory->name = name;
      if (top->attributes.kind == EntryKind::kDirectory) {
        directory->id = std::move(top->id);
      } else {
        directory->id = parent;
        directory->files.push_back(name);
        directory->listed = true;
        directory->going = true;
      }
      open_.push_back(std::move(directory));
    }
    EndIfIdle();
  });
}

void TreeRemoval::Pump() {
  bool progress = true;
  while (progress && ending_ == State::kRunning) {
    progress = false;
    // The deepest first, so that directories end before others begin. An index, since Step may open
    // and close directories.
    for (size_t i = open_.size(); i > 0 && in_flight_ < limits_.calls_in_flight_max; --i) {
      if (i > open_.size()) continue;
      const DirectoryPtr directory = open_[i - 1];
      const size_t open_before = open_.size();
      while (ending_ == State::kRunning && in_flight_ < limits_.calls_in_flight_max &&
             Step(directory)) {
        progress = true;
      }
      progress = progress || open_.size() != open_before;
    }
  }
  EndIfIdle();
}

// Does one thing that there is to do for the directory; false: there is nothing now.
bool TreeRemoval::Step(const DirectoryPtr& directory) {
  Directory& at = *directory;
  const bool listing_wanted = !at.listed && !at.listing && at.directories.empty() &&
                              at.files.size() < limits_.calls_in_flight_max;
  if (listing_wanted) {
    List(directory);
    return true;
  }
  if (!at.files.empty()) {
    std::string name = std::move(at.files.front());
    at.files.pop_front();
    return SendRemove(directory, std::move(name));
  }
  if (!at.directories.empty()) {
    if (open_.size() >= limits_.directories_open_max && in_flight_ > 0) return false;
    auto [name, id] = std::move(at.directories.front());
    at.directories.pop_front();
    Open(directory, std::move(name), std::move(id));
    return false;  // The deeper one goes first.
  }
  if (!at.listed || at.busy > 0) return false;
  if (at.going) return false;
  if (!at.stuck.empty()) {
    if (!at.shown) {
      Close(directory, true);
      return false;
    }
    at.listed = at.shown = false;  // Until a listing shows nothing that could be removed.
    at.position = {};
    return true;
  }
  return SendRemoveDirectory(directory);
}

void TreeRemoval::Open(const DirectoryPtr& above, std::string name, NodeId id) {
  ++above->busy;
  auto directory = std::make_shared<Directory>();
  directory->above = above;
  directory->parent = above->id;
  directory->name = std::move(name);
  directory->id = std::move(id);
  directory->depth = above->depth + 1;
  open_.push_back(std::move(directory));
}

void TreeRemoval::List(const DirectoryPtr& directory) {
  directory->listing = true;
  ++directory->busy;
  ++in_flight_;
  storage_.List(directory->id, directory->position, [this, directory](StoreResult<ListPage> page) {
    directory->listing = false;
    --directory->busy;
    --in_flight_;
    OnListed(directory, std::move(page));
    EndIfIdle();
  });
}

void TreeRemoval::OnListed(const DirectoryPtr& directory, StoreResult<ListPage> page) {
  Directory& at = *directory;
  if (!page) {
    at.position = {};
    if (FailedWith(page, StoreFault::kBadPosition)) return;  // From the beginning.
    at.listed = true;
    if (IsGone(page)) return;
    if (FailedWith(page, StoreFault::kUnavailable)) return Fail(std::move(page).error());
    at.stuck.insert(".");
    return Stuck(directory, at.name, page.error().error);
  }
  at.position = page->next;
  at.listed = page->end;
  for (auto& listed : page->entries) {
    if (at.stuck.contains(listed.name)) continue;
    at.shown = true;
    if (listed.entry) {
      Sort(directory, std::move(listed.name), *listed.entry);
    } else {
      Resolve(directory, std::move(listed.name));
    }
  }
}

void TreeRemoval::Resolve(const DirectoryPtr& directory, std::string name) {
  ++directory->busy;
  ++in_flight_;
  storage_.Lookup(directory->id, name, [this, directory, name](StoreResult<Entry> entry) {
    --directory->busy;
    --in_flight_;
    if (entry) {
      Sort(directory, name, *entry);
    } else if (FailedWith(entry, StoreFault::kUnavailable)) {
      Fail(std::move(entry).error());
    } else if (!IsGone(entry)) {
      Stuck(directory, name, entry.error().error);
    }
    EndIfIdle();
  });
}

void TreeRemoval::Sort(const DirectoryPtr& directory, std::string name, const Entry& entry) {
  if (entry.attributes.kind != EntryKind::kDirectory) {
    directory->files.push_back(std::move(name));
  } else if (entry.attributes.fsid != fsid_) {
    Stuck(directory, name, {code::kFailedPrecondition, "another filesystem begins there"});
  } else if (directory->depth >= limits_.depth_max) {
    Stuck(directory, name, {code::kFailedPrecondition, "it is too deep"});
  } else {
    directory->directories.emplace_back(std::move(name), entry.id);
  }
}

bool TreeRemoval::SendRemove(const DirectoryPtr& directory, std::string name) {
  if (!Allowed()) return false;
  ++directory->busy;
  ++in_flight_;
  storage_.Remove(directory->id, name, [this, directory, name](StoreResult<void> removed) {
    --directory->busy;
    --in_flight_;
    removed ? ++removed_ : --sent_;
    if (FailedWith(removed, StoreFault::kUnavailable)) {
      Fail(std::move(removed).error());
    } else if (!removed && !IsGone(removed)) {
      Stuck(directory, name, removed.error().error);
    }
    // The tree was this one file.
    if (directory->going) Close(directory, !directory->stuck.empty());
    EndIfIdle();
  });
  return true;
}

// Without another listing: a directory that is not empty says so.
bool TreeRemoval::SendRemoveDirectory(const DirectoryPtr& directory) {
  if (!Allowed()) return false;
  directory->going = true;
  ++in_flight_;
  storage_.RemoveDirectory(
      directory->parent, directory->name, [this, directory](StoreResult<void> removed) {
        --in_flight_;
        directory->going = false;
        removed ? ++removed_ : --sent_;
        if (removed || IsGone(removed)) {
          Close(directory, false);
        } else if (FailedWith(removed, StoreFault::kUnavailable)) {
          Fail(std::move(removed).error());
        } else if (FailedWith(removed, StoreFault::kNotEmpty) && directory->shown) {
          directory->listed = directory->shown = false;
          directory->position = {};
        } else {
          Stuck(directory, directory->name, removed.error().error);
          Close(directory, true);
        }
        EndIfIdle();
      });
  return true;
}

void TreeRemoval::Close(const DirectoryPtr& directory, bool stuck) {
  std::erase(open_, directory);
  if (directory->above == nullptr) {
    if (ending_ == State::kRunning) ending_ = stuck ? State::kStuck : State::kGone;
    return;
  }
  --directory->above->busy;
  if (stuck) directory->above->stuck.insert(directory->name);
}

void TreeRemoval::Stuck(const DirectoryPtr& directory, const std::string& name, const Error& why) {
  directory->stuck.insert(name);
  if (stuck_.empty()) stuck_ = "'" + name + "': " + why.message;
}

void TreeRemoval::Fail(Error error) {
  if (ending_ == State::kFailed) return;
  ending_ = State::kFailed;
  error_ = std::move(error);
}

bool TreeRemoval::Allowed() {
  auto allowed = may_remove_();
  if (!allowed) Fail(std::move(allowed).error());
  if (allowed && !*allowed) ending_ = State::kStopped;
  if (!allowed || !*allowed) return false;
  ++sent_;
  return true;
}

void TreeRemoval::EndIfIdle() {
  if (in_flight_ == 0) state_ = ending_;
}

}  // namespace gantry::plugin
