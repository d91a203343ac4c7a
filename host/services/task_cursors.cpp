// SPDX-License-Identifier: Apache-2.0
#include "host/services/task_cursors.hpp"

#include <spdlog/spdlog.h>

#include "host/base/file.hpp"
#include "host/services/name_hash.hpp"

namespace gantry::services {
namespace {

// A cursor of core::kTaskCursorBytesMax, its kind and its key, which a plugin chose.
constexpr size_t kFileBytesMax = 64 * 1024;
constexpr std::string_view kTemporary = ".tmp";

}  // namespace

// By digest, because a key may hold any byte and be longer than a file name.
base::Result<std::filesystem::path> FileTaskCursors::FileOf(const std::string& backend,
                                                            const std::string& kind,
                                                            const std::string& key) const {
  GANTRY_TRY_ASSIGN(const auto hash, HashOf(kind + std::string(1, '\0') + key));
  return directory_ / backend / hash;
}

base::Result<std::vector<channel::TaskRun>> FileTaskCursors::Load(const std::string& backend) {
  GANTRY_TRY_ASSIGN(const auto names, base::ListFiles(directory_ / backend));
  std::vector<channel::TaskRun> tasks;
  for (const auto& name : names) {
    if (name.ends_with(kTemporary)) continue;
    const auto file = directory_ / backend / name;
    const auto text = base::ReadFile(file, kFileBytesMax);
    channel::TaskRun task;
    if (!text || !task.ParseFromString(*text) ||
        FileOf(backend, task.kind(), task.key()).value_or("") != file) {
      spdlog::warn("{}: not the cursor of a task: left out", file.string());
      continue;
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

base::Status FileTaskCursors::Save(const std::string& backend, const channel::TaskRun& task) {
  GANTRY_TRY(base::MakeDirectories(directory_ / backend, 0700));
  GANTRY_TRY_ASSIGN(const auto file, FileOf(backend, task.kind(), task.key()));
  return base::WriteFileDurably(file, task.SerializeAsString(), 0600);
}

base::Status FileTaskCursors::Remove(const std::string& backend, const std::string& kind,
                                     const std::string& key) {
  GANTRY_TRY_ASSIGN(const auto file, FileOf(backend, kind, key));
  return base::RemoveFileDurably(file);
}

}  // namespace gantry::services
