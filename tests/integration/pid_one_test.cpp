// SPDX-License-Identifier: Apache-2.0
// gantryd as PID 1 of a container: orphans are its children and nobody else reaps them, and its own
// children must keep their exit states for those who wait for them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <sstream>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "tests/integration/zoo_lab.hpp"

namespace gantry::tests {
namespace {

struct Process {
  pid_t pid = 0;
  std::string name;
  char state = 0;
  pid_t parent = 0;
};

std::vector<Process> ChildrenOf(pid_t parent) {
  std::vector<Process> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto stat = base::ReadFile(entry.path() / "stat", 4096);
    if (!stat) continue;
    const size_t begin = stat->find('(');
    const size_t end = stat->rfind(')');
    if (begin == std::string::npos || end == std::string::npos) continue;
    Process process;
    process.name = stat->substr(begin + 1, end - begin - 1);
    std::istringstream(stat->substr(0, begin)) >> process.pid;
    std::istringstream(stat->substr(end + 1)) >> process.state >> process.parent;
    if (process.parent == parent) children.push_back(process);
  }
  return children;
}

size_t Count(pid_t parent, const std::string& name) {
  size_t count = 0;
  for (const auto& child : ChildrenOf(parent))
    if (child.name == name) ++count;
  return count;
}

TEST_F(ZooTest, AsPidOneItReapsOrphansAndNobodyElsesChildren) {
  is_pid_one = true;
  Keep({"helped"},
       {"grants: {helpers: {wait: {program: /bin/false, arguments: [[\"{number}\"]]}}}"});
  const auto below = ChildrenOf(host().pid());
  ASSERT_EQ(below.size(), 1U) << "unshare's only child";
  const pid_t gantryd = below[0].pid;
  for (int i = 0; i < 3; ++i) {
    base::SpawnOptions options;
    options.arguments = {"nsenter", "--target", std::to_string(gantryd), "--pid", "/bin/sh",
                         "-c",      "sleep 1 &"};
    auto parent = base::SpawnProgram("/usr/bin/nsenter", options);
    ASSERT_TRUE(parent) << parent.error().message;
    ASSERT_TRUE(parent->Wait(kZooCallMax));
    EXPECT_TRUE(Eventually([&] { return Count(gantryd, "sleep") > 0; })) << "an orphan";
    EXPECT_EQ(Create("helped", "exec").id, "helped:exit-1");
  }
  EXPECT_TRUE(Eventually([&] { return Count(gantryd, "sleep") == 0; })) << "and not even a zombie";
  for (const pid_t pid : host().WorkerPids("helped")) kill(pid, SIGKILL);
  ExpectCulprit("helped", "worker of generation 1 killed by SIGKILL");
  EXPECT_EQ(Create("helped", "afterwards").code, grpc::StatusCode::OK);
}

}  // namespace
}  // namespace gantry::tests
