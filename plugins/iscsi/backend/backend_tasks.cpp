// SPDX-License-Identifier: Apache-2.0
// Work of the iSCSI backend outside any call: copies, the trash, and bringing back the targets that
// the target's daemon has forgotten.
#include <algorithm>

#include "plugins/iscsi/backend/backend.hpp"

namespace gantry::iscsi {
namespace {

namespace code = plugin::code;
using std::chrono::steady_clock;

constexpr std::string_view kRestoreTask = "restore-targets";
// A run watches the daemon for so long; then the list of tasks brings the next one.
constexpr std::chrono::seconds kWatch{50};
// One look of a copy; between two it says how far it is, and can be cancelled.
constexpr std::chrono::seconds kCopyStep{2};

void EmitRestore(Call& call) {
  gantry_task task{};
  task.kind = ToStr(kRestoreTask);
  task.key = ToStr("targets");
  call.Emit(task);
}

void EmitProgress(Call& call, const target::Progress& progress) {
  gantry_task_progress out{};
  out.done = progress.done;
  out.total = progress.total;
  call.Emit(out);
}

}  // namespace

// Copies are not listed: whoever waits for one asks again, which schedules it again.
Status IscsiBackend::ListTasks(Call& call, const gantry_task_run&) {
  EmitRestore(call);
  Schedule(call, {target::TaskKind::kTrash, {}});
  return Ok();
}

Status IscsiBackend::RunTask(Call& call, const gantry_task_run& request) {
  target::RunTask operation;
  const std::string_view kind = View(request.kind);
  if (kind == "copy") {
    operation.task = {target::TaskKind::kCopy, ToString(request.key)};
  } else if (kind == "trash") {
    operation.task = {target::TaskKind::kTrash, {}};
  } else if (kind == kRestoreTask) {
    operation.task = {target::TaskKind::kRestoreTargets, {}};
  } else {
    return Refuse(code::kNotFound, "there is no task " + std::string(kind));
  }
  const auto step = kind == kRestoreTask ? kWatch : kCopyStep;
  while (!call.Cancelled()) {
    const auto until = std::min(call.deadline(), steady_clock::now() + step + config_.timeout);
    const auto progress = AskUntil(call, operation, until);
    if (!progress) return ToStatus(progress.error());
    EmitProgress(call, *progress);
    if (progress->finished) return Ok();
    if (kind == kRestoreTask) return Refuse(code::kAborted, "the daemon is watched on");
    if (call.deadline() - steady_clock::now() < step)
      return Refuse(code::kAborted, "there is more to be done");
  }
  return Refuse(code::kCancelled, "the task was cancelled");
}

}  // namespace gantry::iscsi
