// SPDX-License-Identifier: Apache-2.0
#include "host/core/process_use.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace gantry::core {
namespace {

TEST(ProcessUse, IsWhatTheKernelCounted) {
  const auto begin = std::chrono::steady_clock::now();
  volatile uint64_t work = 0;
  while (ReadProcessUse(getpid()).cpu < std::chrono::milliseconds(50) &&
         std::chrono::steady_clock::now() - begin < std::chrono::seconds(20))
    work = work + 1;
  const auto use = ReadProcessUse(getpid());
  EXPECT_GE(use.cpu, std::chrono::milliseconds(50));
  EXPECT_GT(use.resident_bytes, 1U << 20);
  EXPECT_LT(use.resident_bytes, 1ULL << 40);
  EXPECT_GE(use.threads, 1u);
  EXPECT_GE(use.open_fds, 3u);
}

TEST(ProcessUse, IsNothingForAProcessThatIsGone) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto use = ReadProcessUse(child);
  EXPECT_EQ(use.resident_bytes, 0u);
  EXPECT_EQ(use.threads, 0u);
  EXPECT_EQ(ReadProcessUse(0).threads, 0u);
}

}  // namespace
}  // namespace gantry::core
