// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/use_watch.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::supervise {
namespace {

class UseWatchTest : public ::testing::Test {
 protected:
  std::string Excess(const std::string& status) {
    std::filesystem::create_directories(proc_.path() / "7");
    EXPECT_TRUE(base::WriteFileDurably(proc_.path() / "7/status", status, 0600));
    wire::WorkerLimits limits;
    limits.memory_mib = 64;
    limits.threads = 20;
    return UseWatch(7, limits, proc_.path()).Excess().value_or("");
  }
  base::TempDir proc_;
};

TEST_F(UseWatchTest, CountsAnonymousAndSharedMemoryButNoMappedFiles) {
  EXPECT_EQ(Excess("VmRSS:\t 999999 kB\nRssAnon:\t   40000 kB\nRssFile:\t  900000 kB\n"
                   "RssShmem:\t   20000 kB\nThreads:\t20\n"),
            "");
  EXPECT_EQ(Excess("RssAnon:\t   40000 kB\nRssFile:\t       0 kB\nRssShmem:\t   30000 kB\n"),
            "it uses 68 MiB of memory, limits.memory_mib is 64");
}

TEST_F(UseWatchTest, CountsThreads) {
  EXPECT_EQ(Excess("RssAnon:\t   1 kB\nThreads:\t21\n"), "it has 21 threads, limits.threads is 20");
}

TEST_F(UseWatchTest, SaysNothingOfAProcessThatIsGone) {
  EXPECT_FALSE(UseWatch(8, {}, proc_.path()).Excess());
  EXPECT_EQ(Excess("Name:\tgw:nfs\nState:\tZ (zombie)\n"), "");
}

TEST_F(UseWatchTest, ReadsWhatThisKernelWrites) {
  wire::WorkerLimits none;
  none.memory_mib = 0;
  EXPECT_TRUE(UseWatch(getpid(), none).Excess());
  none.memory_mib = wire::kMemoryMibMax;
  none.threads = 0;
  EXPECT_TRUE(UseWatch(getpid(), none).Excess());
}

}  // namespace
}  // namespace gantry::supervise
