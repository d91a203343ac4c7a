// SPDX-License-Identifier: Apache-2.0
#include "host/services/task_cursors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

channel::TaskRun MakeTask(const std::string& key, const std::string& cursor) {
  channel::TaskRun task;
  task.set_kind("trash");
  task.set_key(key);
  task.set_cursor(cursor);
  return task;
}

std::vector<std::string> Loaded(FileTaskCursors cursors, const std::string& backend) {
  std::vector<std::string> all;
  const auto tasks = cursors.Load(backend);
  EXPECT_TRUE(tasks);
  for (const auto& task : *tasks)
    all.push_back(task.kind() + " " + task.key() + " " + task.cursor());
  return all;
}

TEST(FileTaskCursors, KeepTheLastCursorOfEachTaskOfABackend) {
  base::TempDir directory;
  FileTaskCursors cursors(directory.path() / "tasks");
  EXPECT_THAT(Loaded(cursors, "fast"), testing::IsEmpty());
  ASSERT_TRUE(cursors.Save("fast", MakeTask("a/../b", "1")));
  ASSERT_TRUE(cursors.Save("fast", MakeTask("a/../b", "2")));
  ASSERT_TRUE(cursors.Save("fast", MakeTask("c", "3")));
  ASSERT_TRUE(cursors.Save("slow", MakeTask("c", "4")));
  EXPECT_THAT(Loaded(cursors, "fast"),
              testing::UnorderedElementsAre("trash a/../b 2", "trash c 3"));
  EXPECT_THAT(Loaded(cursors, "slow"), testing::ElementsAre("trash c 4"));
}

TEST(FileTaskCursors, AreGoneOnceRemoved) {
  base::TempDir directory;
  FileTaskCursors cursors(directory.path());
  ASSERT_TRUE(cursors.Save("fast", MakeTask("a", "1")));
  ASSERT_TRUE(cursors.Remove("fast", "trash", "a"));
  ASSERT_TRUE(cursors.Remove("fast", "trash", "a"));  // twice is the same
  EXPECT_THAT(Loaded(cursors, "fast"), testing::IsEmpty());
}

TEST(FileTaskCursors, LeaveOutAFileThatIsNoneOfTheirs) {
  base::TempDir directory;
  FileTaskCursors cursors(directory.path());
  ASSERT_TRUE(cursors.Save("fast", MakeTask("a", "1")));
  std::ofstream(directory.path() / "fast" / "something") << "else";
  std::ofstream(directory.path() / "fast" / "half.tmp") << "written";
  EXPECT_THAT(Loaded(cursors, "fast"), testing::ElementsAre("trash a 1"));
}

}  // namespace
}  // namespace gantry::services
