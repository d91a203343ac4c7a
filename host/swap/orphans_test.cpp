// SPDX-License-Identifier: Apache-2.0
// Workers whose host was killed: none of them meets its successor.
#include <poll.h>
#include <sys/syscall.h>

#include "host/swap/router_process.hpp"

namespace gantry::swap {
namespace {

// The whole of a gantryd is killed; its worker is nobody's child any more.
class OrphanTest : public RouterTest {
 protected:
  // Starts a host of its own, kills it, and gives a pidfd of its worker.
  base::UniqueFd OrphanAWorker(const std::string& words) {
    SetWords(words);
    const auto program = base::PinnedBinary::Open(GANTRY_FAKE_HOST);
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const base::UniqueFd reader(ends[0]);
    base::UniqueFd writer(ends[1]);
    base::SpawnOptions options;
    options.arguments = {"fake_host", GANTRY_FAKE_WORKER, File("plugin").string(),
                         File("lease").string()};
    options.stdout_fd = writer.get();
    auto host = base::Spawn(*program, options);
    EXPECT_TRUE(host);
    writer.Reset();
    std::string text(32, '\0');
    const ssize_t n = read(reader.get(), text.data(), text.size());
    EXPECT_GT(n, 0) << "the host did not start";
    const pid_t pid = std::atoi(text.c_str());
    base::UniqueFd worker(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    EXPECT_TRUE(worker);
    EXPECT_TRUE(host->Kill(SIGKILL));
    EXPECT_TRUE(host->Wait(10s));
    return worker;
  }
  static bool Ends(const base::UniqueFd& pidfd, std::chrono::milliseconds time) {
    pollfd wait{pidfd.get(), POLLIN, 0};
    return poll(&wait, 1, static_cast<int>(time.count())) > 0;
  }
};

TEST_F(OrphanTest, AWorkerEndsWithItsHost) {
  const auto worker = OrphanAWorker("");
  EXPECT_TRUE(Ends(worker, 10s));
  Start();
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

TEST_F(OrphanTest, ANewHostEndsAWorkerThatDidNot) {
  const auto worker = OrphanAWorker("ignore-end");
  EXPECT_FALSE(Ends(worker, 100ms));
  Start();
  EXPECT_TRUE(Ends(worker, 0ms)) << "fenced before the successor acts";
  EXPECT_EQ(Answer("echo"), "attempt-1");
}

}  // namespace
}  // namespace gantry::swap
