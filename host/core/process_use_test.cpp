// SPDX-License-Identifier: Apache-2.0
#include "host/core/process_use.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <thread>

#include "host/base/fd.hpp"

namespace gantry::core {
namespace {

TEST(ProcessUse, SeesMemoryThreadsFdsAndTimeOfAProcess) {
  const auto before = ReadProcessUse(getpid());
  EXPECT_GT(before.resident_bytes, 1U << 20);
  EXPECT_GE(before.threads, 1U);
  EXPECT_GE(before.open_fds, 3U);

  const base::UniqueFd one(open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::thread thread([&] { EXPECT_EQ(ReadProcessUse(getpid()).threads, before.threads + 1); });
  thread.join();
  EXPECT_EQ(ReadProcessUse(getpid()).open_fds, before.open_fds + 1);

  timespec used{};
  do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  while (used.tv_sec == 0 && used.tv_nsec < 100'000'000);
  EXPECT_GE(ReadProcessUse(getpid()).cpu, std::chrono::milliseconds(50));
}

TEST(ProcessUse, IsZeroForOneThatIsGone) {
  const auto use = ReadProcessUse(0x7ffffff0);
  EXPECT_EQ(use.resident_bytes, 0U);
  EXPECT_EQ(use.threads, 0U);
}

}  // namespace
}  // namespace gantry::core
