// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/copies.hpp"

#include <algorithm>
#include <utility>

#include "plugins/common/copy_marks.hpp"
#include "plugins/common/tree_copy.hpp"
#include "plugins/common/tree_removal.hpp"

namespace gantry::nfs {
namespace {

using plugin::CopyRun;
using plugin::CopySource;
using plugin::CopyState;
using plugin::Fail;
using plugin::Record;
using plugin::Result;
using Records = Share::Records;
using std::chrono::steady_clock;
namespace code = plugin::code;

// As CopyMark, without a layout at hand.
std::string MarkOf(Realm realm, std::string_view handle) {
  return (realm == Realm::kVolumes ? "v-" : "s-") + std::string(handle);
}

Realm RealmOf(CopySource::Kind kind) {
  return kind == CopySource::Kind::kVolume ? Realm::kVolumes : Realm::kSnapshots;
}

std::string Text(const plugin::CopyProgress& progress) {
  return std::to_string(progress.entries) + " entries and " + std::to_string(progress.bytes) +
         " bytes";
}

// Every copy begins with a run of a minute at most, so that a small one waits for no large ones.
gantry_task TaskOf(std::string_view mark, uint32_t run_s_max = 0) {
  gantry_task task{};
  task.kind = ToStr(kCopyTask);
  task.key = ToStr(mark);
  task.run_s_max = run_s_max;
  return task;
}

}  // namespace

// One run of a copy's task: what it tells, and how long it goes on.
class Copies::Turn {
 public:
  Turn(Call& call, CopyBoard& board, std::string mark, std::string mine)
      : call_(call), board_(board), mark_(std::move(mark)), mine_(std::move(mine)) {
    board_.Run(mark_, progress_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { board_.End(mark_, std::move(failure_)); }

  const std::string& mine() const { return mine_; }
  const plugin::CopyProgress& progress() const { return progress_; }
  void FailWith(plugin::Error why) { failure_ = std::move(why); }

  void Own(const std::string& nonce) {
    mine_ = nonce;
    Report();
  }
  bool GoOn(const plugin::CopyProgress& progress) {
    progress_ = progress;
    board_.Run(mark_, progress_);
    const auto now = steady_clock::now();
    if (now >= reported_ + kCopyReportMs) Report();
    return !call_.Cancelled() && now + kCopyStopTime < call_.deadline();
  }
  bool RenewalDue() {
    const auto now = steady_clock::now();
    if (now < renewed_ + kCopyRenewalPeriod) return false;
    renewed_ = now;
    return true;
  }
  void Report() {
    reported_ = steady_clock::now();
    gantry_task_progress progress{};
    progress.cursor = {mine_.data(), mine_.size()};
    progress.done = progress_.bytes;
    call_.Emit(progress);
  }

 private:
  Call& call_;
  CopyBoard& board_;
  const std::string mark_;
  std::string mine_;
  plugin::CopyProgress progress_;
  std::optional<plugin::Error> failure_;
  steady_clock::time_point reported_{};
  steady_clock::time_point renewed_ = steady_clock::now();
};

Result<std::optional<plugin::Layout>> Copies::LayoutOf(plugin::Storage& storage,
                                                       const plugin::Layout& volumes,
                                                       Realm realm) const {
  if (realm == Realm::kVolumes) return volumes;
  GANTRY_PLUGIN_TRY_ASSIGN(auto found, plugin::FindSnapshots(storage, volumes));
  return found;
}

plugin::Status Copies::LookForSource(plugin::Storage& storage, const plugin::Layout& volumes,
                                     plugin::VolumeSpec* spec) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto layout,
                           LayoutOf(storage, volumes, RealmOf(spec->source->kind)));
  auto found = layout ? Open(storage, *layout).Get(spec->source->handle)
                      : Fail(code::kNotFound, "there is no snapshot " + spec->source->handle);
  if (!found && found.error().code != code::kNotFound) return tl::make_unexpected(found.error());
  if (!found) {
    spec->source_error = plugin::Wrap(std::move(found).error(), "the source");
    return {};
  }
  spec->source->incarnation = found->incarnation;
  spec->source_bytes = found->capacity_bytes;
  return {};
}

Result<plugin::NodeId> Copies::FindSource(plugin::Storage& storage, const plugin::Layout& volumes,
                                          const CopySource& source) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, LayoutOf(storage, volumes, RealmOf(source.kind)));
  if (!layout) return Fail(code::kNotFound, "there is no snapshot " + source.handle);
  auto opened = Open(storage, *layout);
  GANTRY_PLUGIN_TRY_ASSIGN(const Record record, opened.Get(source.handle));
  if (record.incarnation != source.incarnation) {
    return Fail(code::kNotFound, "the " + layout->what + " " + source.handle +
                                     " that was to be copied was deleted; it is another one now");
  }
  return opened.Directory(record);
}

Result<plugin::OwnershipChange> Copies::OwnershipOf(Realm realm, const Record& record) const {
  if (realm == Realm::kSnapshots) return plugin::OwnershipChange{};
  GANTRY_PLUGIN_TRY_ASSIGN(const ClassParameters parameters,
                           ParseParameters(config_, record.parameters, record.mutable_parameters));
  return plugin::OwnershipChange{parameters.mode, parameters.uid, parameters.gid};
}

// --- the calls' side -------------------------------------------------------------------------

std::optional<plugin::Error> Copies::TakeFailure(Realm realm, const std::string& handle) {
  return board_.TakeFailure(MarkOf(realm, handle));
}

std::string Copies::StillCopying(const std::string& mark, const Record& record) const {
  const auto progress = board_.Running(mark);
  return record.handle + " is being copied from " + record.source->handle +
         (progress ? ": " + Text(*progress) + " so far" : std::string()) + "; ask again";
}

Result<Record> Copies::Await(Call& call, Share& share, Realm realm, const Record& begun) {
  const std::string mark = MarkOf(realm, begun.handle);
  call.Emit(TaskOf(mark));
  const auto begin = steady_clock::now();
  const auto left = call.deadline() - begin;
  const auto until = begin + std::min<steady_clock::duration>(kCopyWaitMax, left / 2);
  while (true) {
    const auto now = steady_clock::now();
    board_.Wait(std::min(until, now + kCopyLookMs));
    const auto record = share.Run<std::optional<Record>>(
        LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
        [&](plugin::Storage& storage,
            const plugin::Layout& volumes) -> Result<std::optional<Record>> {
          GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, LayoutOf(storage, volumes, realm));
          if (!layout) return std::nullopt;
          return Open(storage, *layout).Find(begun.handle);
        });
    GANTRY_PLUGIN_TRY(record);
    const bool is_same = *record && (*record)->incarnation == begun.incarnation;
    if (is_same && (*record)->state == plugin::RecordState::kReady) return **record;
    const bool has_ended = !is_same || (*record)->state == plugin::RecordState::kDeleting;
    if (has_ended && !board_.Running(mark)) {  // Else it is about to say why.
      if (auto failure = board_.TakeFailure(mark)) return tl::make_unexpected(std::move(*failure));
      return Fail(code::kAborted, "the copy of " + begun.source->handle + " to " + begun.handle +
                                      " has ended early; the next try begins anew");
    }
    if (now >= until || call.Cancelled()) return Fail(code::kAborted, StillCopying(mark, begun));
  }
}

// --- the tasks' side -------------------------------------------------------------------------

Status Copies::ListTasks(Call& call, Share& share) const {
  Limits limits = LimitsOf(call);
  limits.deadline = std::min(limits.deadline, steady_clock::now() + kCopyListMax);
  const auto marks = share.Run<std::vector<std::string>>(
      limits, Records::kOnlyIfThere, {},
      [](plugin::Storage& storage, const plugin::Layout& layout) {
        return plugin::ListCopyMarks(storage, layout);
      });
  if (!marks) return {marks.error().code, marks.error().message};
  for (const auto& mark : *marks) call.Emit(TaskOf(mark));
  return Ok();
}

Status Copies::RunTask(Call& call, Share& share, const gantry_task_run& request) {
  const std::string mark = ToString(request.key);
  const Realm realm = mark.starts_with("v-") ? Realm::kVolumes : Realm::kSnapshots;
  std::string cursor;
  if (request.cursor.len > 0) {
    cursor.assign(static_cast<const char*>(request.cursor.ptr), request.cursor.len);
  }
  if (board_.IsLeftAlone(mark, steady_clock::now())) {
    return {code::kAborted, "another controller is copying " + mark};
  }
  Turn turn(call, board_, mark, cursor);
  const auto run = share.RunTree<CopyRun>(
      LimitsOf(call), Records::kOnlyIfThere, {},
      [&](plugin::Storage& storage, plugin::AsyncStorage& tree,
          const plugin::Layout& volumes) -> Result<CopyRun> {
        GANTRY_PLUGIN_TRY_ASSIGN(const auto layout, LayoutOf(storage, volumes, realm));
        if (!layout) return CopyRun{};
        plugin::TreeCopy copy(tree);
        plugin::CopyJob job;
        job.mine = cursor;
        job.own = [&](const std::string& nonce) { turn.Own(nonce); };
        job.find_source = [&](const CopySource& source) {
          return FindSource(storage, volumes, source);
        };
        job.copier = [&](const plugin::NodeId& from, const plugin::NodeId& to, const auto& go_on) {
          return copy.Run(from, to, go_on);
        };
        job.remove = [&](const plugin::NodeId& directory, const std::string& name) {
          plugin::TreeRemoval removal(tree, [&]() -> Result<bool> { return !call.Cancelled(); });
          removal.Begin(directory, name);
          while (removal.state() == plugin::TreeRemoval::State::kRunning) {
            removal.Pump();
            tree.Wait(tree.Now() + kCopyLookMs);
          }
        };
        job.go_on = [&](const plugin::CopyProgress& progress) { return turn.GoOn(progress); };
        job.renewal_due = [&] { return turn.RenewalDue(); };
        job.ownership = [&](const Record& record) { return OwnershipOf(realm, record); };
        return Open(storage, *layout).Copy(mark.substr(2), job);
      });
  turn.Report();
  if (!run) return {run.error().code, run.error().message};
  switch (run->state) {
    case CopyState::kNothing:
      return {code::kNotFound, "there is nothing to copy to " + mark};
    case CopyState::kOthers:
      board_.LeaveAlone(mark, steady_clock::now() + kCopyLeaveAlonePeriod);
      return {code::kAborted, "another controller is copying " + mark};
    case CopyState::kMore:
      if (!call.Cancelled()) call.Emit(TaskOf(mark, kCopyRunSecondsMax));
      return {code::kAborted, Text(run->progress) + " are copied"};
    case CopyState::kReady:
      call.host().Log(GANTRY_LOG_INFO, "copied " + mark + ": " + Text(turn.progress()), call.id());
      return Ok();
    case CopyState::kFailed:
      break;
  }
  const std::string why = "copying " + mark + ": " + run->failure->message;
  call.host().Log(GANTRY_LOG_WARNING, why, call.id());
  turn.FailWith(*run->failure);
  return Ok();
}

}  // namespace gantry::nfs
