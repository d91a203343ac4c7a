// SPDX-License-Identifier: Apache-2.0
// Cursors of tasks as small files in gantryd's state directory, one a task.
#pragma once

#include <filesystem>

#include "host/core/task_cursors.hpp"

namespace gantry::services {

class FileTaskCursors final : public core::TaskCursors {
 public:
  // Below the directory, which is made when something is saved: a folder a backend.
  explicit FileTaskCursors(std::filesystem::path directory) : directory_(std::move(directory)) {}

  // A file that cannot be read back is left out and logged: its task begins anew.
  base::Result<std::vector<channel::TaskRun>> Load(const std::string& backend) override;
  base::Status Save(const std::string& backend, const channel::TaskRun& task) override;
  base::Status Remove(const std::string& backend, const std::string& kind,
                      const std::string& key) override;

 private:
  base::Result<std::filesystem::path> FileOf(const std::string& backend, const std::string& kind,
                                             const std::string& key) const;

  const std::filesystem::path directory_;
};

}  // namespace gantry::services
