// SPDX-License-Identifier: Apache-2.0
// The directory with records and backing files, and the locks on them.
//
//   volumes/<handle>.json                 the record (record_file.hpp)
//   volumes/<handle>.<incarnation>.img    its backing file, sparse
//   snapshots/...                         likewise
//   trash/<handle>.<incarnation>.<nonce>  files of what was deleted, until the trash task is through
//   locks/<two hex digits>                never removed; a handle's is chosen by its hash
//   reserve                               some room for records on a disk that is full
//
// Several gantry-targets may run at once, for several controllers. Whoever changes a record holds
// its lock (flock, released by the kernel when the process dies), so a record has one writer and
// needs no compare-and-swap as on storage that is shared by machines. Locks are shared by handles of
// the same hash: that costs waiting and saves removing lock files, which is a race.
//
// A record's file and its backing file lie in one directory, so that one fsync of it settles both.
//
// What was found is settled before it is answered with: whoever wrote it may have died before its
// fsync, and a machine that loses power then would take back what somebody was told.
#pragma once

#include <sys/statvfs.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/target/record.hpp"

namespace gantry::iscsi::target {

using Deadline = std::chrono::steady_clock::time_point;

// Called after each step that lasts, with its name: where tests die.
using Step = std::function<void(const char* step)>;

class Lock {
 public:
  explicit Lock(plugin::UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  plugin::UniqueFd fd_;
};

class Store {
 public:
  // Makes what is not there yet. FAILED_PRECONDITION: others may write to the directory.
  static plugin::Result<Store> Open(const std::string& path, Step step);

  // ABORTED when somebody else has one of them until the deadline. Any number of records at once:
  // all are locked in one order, so that two callers cannot wait for each other.
  plugin::Result<std::vector<Lock>> LockAll(
      const std::vector<std::pair<RecordKind, std::string>>& records, Deadline deadline) const;

  // DATA_LOSS: there is one and it cannot be read, or there was one and its data are still there.
  plugin::Result<std::optional<Record>> Find(RecordKind kind, const std::string& handle) const;
  // The first version of one that is not there, and its backing file where it has no content yet.
  // Lasts when it returns; after an error nothing is there.
  plugin::Status Add(const Record& record) const;
  // The next version. Lasts when it returns. On a full disk it takes the reserve, or nothing could
  // ever be deleted there.
  plugin::Status Write(const Record& record) const;
  // What was found of the record lasts, or that there is none.
  plugin::Status Settle(RecordKind kind, const std::string& handle) const;
  // The backing file goes to the trash and the record away. It was written as deleting before.
  plugin::Status Remove(const Record& record) const;
  plugin::Result<std::vector<std::string>> Handles(RecordKind kind) const;

  static std::string ImageName(const Record& record);
  // Absolute, for the target's daemon.
  std::string ImagePath(const Record& record) const;
  plugin::Result<plugin::UniqueFd> OpenImage(const Record& record, int flags) const;
  // Makes the file or makes it larger; not smaller. Not synced.
  plugin::Result<plugin::UniqueFd> GrowImage(const Record& record, bool may_make) const;
  // Its data and its name last.
  plugin::Status SyncImage(const Record& record, int image) const;
  // What is wrong with the file; empty: nothing.
  std::string ImageProblem(const Record& record) const;
  // Nobody ever wrote to it: there is no file or it has no data (SEEK_DATA).
  plugin::Result<bool> IsNeverWritten(const Record& record) const;
  // Files that no record names, and unfinished records, as a death between two steps leaves them.
  plugin::Status TrashOrphans(RecordKind kind, Deadline deadline) const;

  // Names of files in the trash, and their end.
  plugin::Result<std::vector<std::string>> Trash() const;
  // A large file is cut piece by piece: false when the deadline came first.
  plugin::Result<bool> EmptyTrash(const std::string& name, Deadline deadline) const;

  plugin::Result<struct statvfs> Space() const;
  std::string FilesystemName() const;
  // Tried with two small files.
  plugin::Result<bool> CanReflink() const;
  void Did(const char* step) const { step_(step); }

 private:
  Store(std::string path, Step step) : path_(std::move(path)), step_(std::move(step)) {}
  int Directory(RecordKind kind) const;
  // False: the file has no room for it, or no slots.
  plugin::Result<bool> Overwrite(const Record& record) const;
  plugin::Status Replace(const Record& record) const;
  plugin::Status WriteOnce(const Record& record) const;
  plugin::Status AddOnce(const Record& record) const;
  // Whether some backing file of the handle has any.
  plugin::Result<bool> HasData(RecordKind kind, const std::string& handle) const;
  // A record's file whose first version was never finished.
  plugin::Status RemoveUnfinished(RecordKind kind, const std::string& handle,
                                  Deadline deadline) const;
  // As far as there is room.
  void MakeReserve() const;

  std::string path_;
  Step step_;
  plugin::UniqueFd top_;
  plugin::UniqueFd volumes_;
  plugin::UniqueFd snapshots_;
  plugin::UniqueFd trash_;
  plugin::UniqueFd locks_;
};

}  // namespace gantry::iscsi::target
