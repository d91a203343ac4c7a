// SPDX-License-Identifier: Apache-2.0
// Work of the CephFS backend outside any call: following copies, which the manager makes by itself,
// removing what nobody's record names, and going on with deletions that nobody asks for any more.
#include <algorithm>

#include "plugins/cephfs/backend/backend.hpp"
#include "plugins/cephfs/backend/pause.hpp"

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;
using std::chrono::steady_clock;

constexpr std::string_view kCloneTask = "clone";
constexpr std::string_view kOrphansTask = "orphans";
constexpr std::chrono::minutes kOrphansEvery{10};
// Between two looks at a copy.
constexpr std::chrono::milliseconds kLookEveryMs{500};

void EmitProgress(Call& call, uint64_t done_percent) {
  gantry_task_progress out{};
  out.done = done_percent;
  out.total = 100;
  call.Emit(out);
}

void EmitCursor(Call& call, const std::string& name) {
  gantry_task_progress out{};
  out.cursor = {name.data(), name.size()};
  call.Emit(out);
}

}  // namespace

// Copies are not listed: whoever waits for one asks again, which schedules it again.
Status CephfsBackend::ListTasks(Call& call, const gantry_task_run&) {
  const int64_t now_ns = steady_clock::now().time_since_epoch().count();
  if (now_ns < orphans_after_ns_) return Ok();
  const auto groups = volumes_->Groups(DeadlineOf(call));
  if (!groups) return ToStatus(groups.error());
  orphans_after_ns_ = now_ns + std::chrono::nanoseconds(kOrphansEvery).count();
  for (const auto& group : *groups) {
    gantry_task task{};
    task.kind = ToStr(kOrphansTask);
    task.key = ToStr(group);
    call.Emit(task);
  }
  return Ok();
}

Status CephfsBackend::RunTask(Call& call, const gantry_task_run& request) {
  const std::string_view kind = View(request.kind);
  const std::string key = ToString(request.key);
  if (kind == kCloneTask && plugin::IsKey(key)) return RunCopy(call, key);
  if (kind != kOrphansTask) return Refuse(code::kNotFound, "there is no task " + std::string(kind));
  const std::string after(static_cast<const char*>(request.cursor.ptr), request.cursor.len);
  return RemoveOrphans(call, key, after);
}

// The cursor is the last name that was looked at. What is wrong with one keeps nobody from the others,
// but a cluster that does not answer is not asked about all of them.
Status CephfsBackend::RemoveOrphans(Call& call, const std::string& group,
                                    const std::string& after) {
  const auto names = volumes_->MarkedNames(group, DeadlineOf(call));
  if (!names) return ToStatus(names.error());
  Orphans orphans;
  Status stopped = Ok();
  std::string trouble;
  for (auto name = std::upper_bound(names->begin(), names->end(), after);
       name != names->end() && stopped.ok(); ++name) {
    const auto looked = volumes_->RemoveIfOrphan(group, *name, &orphans, DeadlineOf(call));
    if (!looked) trouble = *name + ": " + looked.error().message;
    EmitCursor(call, *name);
    if (!looked && looked.error().code == code::kUnavailable) stopped = ToStatus(looked.error());
    if (call.Cancelled()) stopped = Refuse(code::kCancelled, "the task was cancelled");
    if (stopped.ok() && call.deadline() - steady_clock::now() < kLookEveryMs)
      stopped = Refuse(code::kAborted, "there are more names in group " + group);
  }
  if (orphans.removed > 0 || orphans.left > 0)
    call.host().Log(GANTRY_LOG_WARNING,
                    "group " + group + " had subvolumes that no record names: " +
                        std::to_string(orphans.removed) + " were removed, " +
                        std::to_string(orphans.left) + " are left because they hold something",
                    call.id());
  if (stopped.ok() && !trouble.empty())
    call.host().Log(GANTRY_LOG_WARNING, "group " + group + ": " + trouble, call.id());
  if (!stopped.ok()) return stopped;
  const auto finished = volumes_->FinishDeletions(group, FilesystemFor(call), DeadlineOf(call));
  return finished ? Ok() : ToStatus(finished.error());
}

Status CephfsBackend::RunCopy(Call& call, const std::string& handle) {
  const Pause pause = PauseOf(call);
  do {
    uint64_t done_percent = 0;
    const auto finished = volumes_->GoOnCopying(handle, &done_percent, DeadlineOf(call));
    if (!finished) return ToStatus(finished.error());
    EmitProgress(call, *finished ? 100 : done_percent);
    if (*finished) return Ok();
    if (call.deadline() - steady_clock::now() < 2 * kLookEveryMs)
      return Refuse(code::kAborted, "the copy goes on");
  } while (pause(kLookEveryMs));
  return Refuse(code::kCancelled, "the task was cancelled");
}

}  // namespace gantry::cephfs
