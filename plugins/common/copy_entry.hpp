// SPDX-License-Identifier: Apache-2.0
// Inside tree_copy: one entry that is no directory. Whatever is found under its name at the
// destination, from an earlier run or from a call whose reply was lost, is judged in one place: it is
// complete, or it goes and is made anew.
#pragma once

#include <memory>
#include <string>

#include "plugins/common/copy_directory.hpp"
#include "plugins/common/copy_file.hpp"
#include "plugins/common/copy_run.hpp"

namespace gantry::plugin {

class EntryCopy : public std::enable_shared_from_this<EntryCopy> {
 public:
  EntryCopy(CopyRun& run, std::shared_ptr<DirectoryCopy> in, std::string name, Entry source)
      : run_(run), in_(std::move(in)), name_(std::move(name)), source_(std::move(source)) {}

  // Ends with in->ChildEnded().
  void Begin();

 private:
  void BeginAsMaker();
  void Look();
  void Judge(const Entry& found);
  bool JudgeFile();
  void JudgeSymlink();
  void RemoveExisting(const std::function<void()>& then);
  void Make();
  void MakeFile();
  void MakeSymlink();
  void MakeSpecial();
  void OnMade(StoreResult<Entry> made);
  void WriteData(uint64_t from_offset);
  void OnWritten(const FileData::End& end);
  void Confirm();
  void Settle();
  void OnSettled(const StoreResult<EntryAttributes>& is);
  void Again();
  void Uncount();
  void BeginOver();
  void Vanished();

  void LinkTo(const HardLinks::Made& made);
  void SendLink();
  void LookAtLink();

  void Finish();
  void End();
  void Fail(const StoreError& error) { run_.Fail(in_->PathOf(name_), error); }

  CopyRun& run_;
  const std::shared_ptr<DirectoryCopy> in_;
  const std::string name_;
  Entry source_;  // Its attributes are those before it is read.
  NodeId to_;
  EntryAttributes made_;
  HardLinks::Made link_;
  bool maker_ = false;  // The one of several names that makes the file.
  int make_tries_ = 0;
  int changed_tries_ = 1;
  int settle_tries_ = 0;
  uint64_t counted_bytes_ = 0;  // Of its data, told the run as progress.
};

}  // namespace gantry::plugin
