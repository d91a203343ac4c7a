// SPDX-License-Identifier: Apache-2.0
// The NFS backend under a load of every RPC it has while its plugin is swapped, its worker killed
// and gantryd killed, against a real server. GANTRY_SWAP_SECONDS says how long each part takes; 60
// is what is promised, 5 what an ordinary run takes.
#include <csignal>

#include "tests/integration/nfs_lab.hpp"
#include "tests/integration/nfs_load.hpp"
#include "tests/integration/swap_lab.hpp"

namespace gantry::tests {
namespace {

using std::chrono::milliseconds;

constexpr int kClients = 16;
constexpr milliseconds kSwapPeriod{500};
constexpr milliseconds kKillPeriod{1000};
constexpr milliseconds kTimerMs{100};  // Kills may follow each other so much faster.
constexpr milliseconds kHostKillPeriod{4000};
constexpr milliseconds kRetriedMax{2000};
const Leniency kKilled{kKillPeriod - kTimerMs};

std::chrono::seconds Duration() {
  const char* seconds = std::getenv("GANTRY_SWAP_SECONDS");
  return std::chrono::seconds(seconds != nullptr ? std::stoi(seconds) : 5);
}

class SwapNfs : public testing::Test {
 protected:
  void SetUp() override {
    Put();
    NfsNodeOptions options;
    options.backend = "    watch: true\n";
    options.host.plugin_directory = plugins_.path();
    options.host.top = "swap: {standby_ms: 1000, drain_ms: 10000}\n";
    options.host.log_level = "info";
    node_ = std::make_unique<NfsNode>(options);
  }
  void Put() { plugins_.Put(BuildDirectory() / "lib/gantry/plugins/nfs.so", "nfs"); }
  // One of them: which of two that live during a swap is left to chance.
  void KillWorker() {
    const auto pids = node_->host().WorkerPids("nfs");
    if (!pids.empty()) kill(pids[kills_++ % pids.size()], SIGKILL);
  }
  // What the clients saw; nothing was made twice or lost and nothing left.
  double Load(const std::string& part, const Leniency& leniency, milliseconds period,
              const std::function<void()>& disturb) {
    NfsLoad load(*node_, part, leniency);
    load.Run(kClients, Duration(), period, disturb);
    EXPECT_GT(load.tally().calls(), 100U);
    load.Judge();
    return load.tally().longest_ms();
  }

  void EndAndExpectNothing() {
    itest::ExpectNothingLeft(node_->server(), node_->host(), {node_->server().root()});
  }

  itest::PluginDirectory plugins_;
  std::unique_ptr<NfsNode> node_;
  size_t kills_ = 0;
};

TEST_F(SwapNfs, NoCallFailsWhileThePluginIsSwapped) {
  const double calm_ms = Load("calm", {}, kSwapPeriod, [] {});
  const double swap_ms = Load("swap every 500 ms", {}, kSwapPeriod, [this] { Put(); });
  std::printf("%zu swaps; the longest call %.1f ms above the longest without\n",
              itest::CountIn(node_->host().Log(), "swap: cut-over"), swap_ms - calm_ms);
  EndAndExpectNothing();
}

// A call dies with two workers only when it takes as long as they come after each other.
TEST_F(SwapNfs, OnlyCallsThatOutliveAKillsPeriodFailWhileTheWorkerIsKilled) {
  Load("kill every second", kKilled, kKillPeriod, [this] { KillWorker(); });
  EndAndExpectNothing();
}

TEST_F(SwapNfs, OnlyCallsThatOutliveAKillsPeriodFailWhileThePluginIsSwappedToo) {
  int ticks = 0;
  Load("both", kKilled, kSwapPeriod, [&] {
    Put();
    if (++ticks % 2 == 0) KillWorker();
  });
  EndAndExpectNothing();
}

TEST_F(SwapNfs, EachCallSucceedsWhenRetriedAfterGantrydWasKilled) {
  Leniency leniency;
  leniency.fails_after = milliseconds(0);
  leniency.retried_max = kRetriedMax;
  Load("gantryd killed", leniency, kHostKillPeriod,
       [this] { EXPECT_TRUE(node_->host().Restart()); });
  EndAndExpectNothing();
}

}  // namespace
}  // namespace gantry::tests
