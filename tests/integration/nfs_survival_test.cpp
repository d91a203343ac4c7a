// SPDX-License-Identifier: Apache-2.0
// A published NFS volume under load while what serves it is killed again and again: its users see
// no error, no wrong content and no hang, only pauses, which are measured and printed. More rounds
// with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival_load.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kProgressMax{30};
constexpr seconds kProgramMax{120};
constexpr int kKillDelayMsMax = 200;
constexpr uint64_t kProbesBetween = 30;

bool IsLong() { return std::getenv("GANTRY_SURVIVAL_LONG") != nullptr; }
int Rounds(int usual, int many) { return IsLong() ? many : usual; }

// Everything at once on one volume.
class Load {
 public:
  Load(const fs::path& root, const fs::path& outputs)
      : probe_(root / "probe"), first_(root / "names-1"), second_(root / "names-2") {
    fs::create_directories(root / "fio");
    fio_ =
        std::make_unique<ProgramLoop>(FioCommand(root / "fio"), outputs / "fio.out", kProgramMax);
    sqlite_ = std::make_unique<ProgramLoop>(SqliteCommand(root / "db"), outputs / "sqlite.out",
                                            kProgramMax);
  }

  Probe& probe() { return probe_; }
  bool Advances(uint64_t probes) {
    const uint64_t wanted = probe_.rounds() + probes;
    const uint64_t names = first_.rounds() + 1;
    return Soon(
               [&] {
                 return !Error().empty() || (probe_.rounds() >= wanted && first_.rounds() >= names);
               },
               kProgressMax) &&
           Error().empty();
  }
  std::string Error() const {
    for (const Worker* worker : std::initializer_list<const Worker*>{&probe_, &first_, &second_,
                                                                     fio_.get(), sqlite_.get()})
      if (const std::string error = worker->error(); !error.empty()) return error;
    return "";
  }
  // Ends in order: every checksum is looked at once more.
  void Finish() {
    for (Worker* worker :
         std::initializer_list<Worker*>{&probe_, &first_, &second_, fio_.get(), sqlite_.get()})
      worker->Stop();
    EXPECT_EQ(Error(), "");
    EXPECT_GT(fio_->rounds(), 0U);
    EXPECT_GT(sqlite_->rounds(), 0U);
    std::printf(
        "  done meanwhile: %llu probes, %llu rounds of names, %llu of fio, %llu of SQLite\n",
        Count(probe_.rounds()), Count(first_.rounds() + second_.rounds()), Count(fio_->rounds()),
        Count(sqlite_->rounds()));
  }

 private:
  static unsigned long long Count(uint64_t number) { return number; }

  Probe probe_;
  MetadataLoop first_;
  MetadataLoop second_;
  std::unique_ptr<ProgramLoop> fio_;
  std::unique_ptr<ProgramLoop> sqlite_;
};

class Stalls {
 public:
  void Add(std::chrono::nanoseconds stall) {
    ms_.push_back(static_cast<double>(stall.count()) / 1e6);
  }
  void Print(const char* what) {
    ASSERT_FALSE(ms_.empty());
    std::sort(ms_.begin(), ms_.end());
    std::printf("  %s, %zu times: the longest block, median %.1f ms, p90 %.1f ms, max %.1f ms\n",
                what, ms_.size(), ms_[ms_.size() / 2], ms_[ms_.size() * 9 / 10], ms_.back());
  }
  double median() {
    std::sort(ms_.begin(), ms_.end());
    return ms_.empty() ? 0 : ms_[ms_.size() / 2];
  }

 private:
  std::vector<double> ms_;
};

class NfsSurvival : public ::testing::Test {
 protected:
  NfsSurvival() : node_(), volume_(node_.Run("survivor")) {}
  void TearDown() override {
    ASSERT_GRPC_OK(node_.End(volume_));
    EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  pid_t DataPath() const {
    const auto pids = node_.DataPathPids();
    return pids.empty() ? 0 : pids.front();
  }
  // Somewhere between two operations, or in one.
  void Pause() { poll(nullptr, 0, static_cast<int>(random_() % kKillDelayMsMax)); }

  NfsNode node_;
  Volume volume_;
  std::mt19937 random_{20261130};
};

TEST_F(NfsSurvival, ItsDataPathIsKilledAgainAndAgain) {
  Stalls stalls;
  Load load(volume_.target, node_.host().directory());
  for (int round = 0; round < Rounds(5, 50); ++round) {
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = DataPath();
    ASSERT_GT(victim, 0);
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() > 0 && DataPath() != victim; }, kProgressMax));
    ASSERT_TRUE(load.Advances(2)) << "round " << round << ": " << load.Error();
    stalls.Add(load.probe().TakeLongest());
  }
  load.Finish();
  stalls.Print("the data path was killed under load");
}

TEST_F(NfsSurvival, APauseIsShortWhereNothingElseIsToDo) {
  Stalls stalls;
  Probe probe(volume_.target / "probe");
  for (int round = 0; round < Rounds(10, 40); ++round) {
    const uint64_t before = probe.rounds();
    ASSERT_TRUE(Soon([&] { return probe.rounds() > before + kProbesBetween; }, kProgressMax));
    const pid_t victim = DataPath();
    (void)probe.TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() > 0 && DataPath() != victim; }, kProgressMax));
    const uint64_t after = probe.rounds();
    ASSERT_TRUE(Soon([&] { return probe.rounds() > after + 1; }, kProgressMax)) << probe.error();
    stalls.Add(probe.TakeLongest());
  }
  probe.Stop();
  EXPECT_EQ(probe.error(), "");
  stalls.Print("the data path was killed");
}

TEST_F(NfsSurvival, GantrydIsKilledAgainAndAgain) {
  Load load(volume_.target, node_.host().directory());
  for (int round = 0; round < Rounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "round " << round << ": " << load.Error();
    Pause();
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "without gantryd: " << load.Error();
    ASSERT_TRUE(node_.host().Restart().has_value());
  }
  ASSERT_TRUE(load.Advances(kProbesBetween));
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperIsKilledAgainAndAgain) {
  Load load(volume_.target, node_.host().directory());
  for (int round = 0; round < Rounds(3, 10); ++round) {
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = node_.KeeperPid();
    const pid_t data_path = DataPath();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() == data_path; }, kProgressMax));
    EXPECT_NE(node_.KeeperPid(), victim);
    ASSERT_TRUE(load.Advances(kProbesBetween)) << load.Error();
    // The next one takes over from a process that it has not started.
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() > 0 && DataPath() != data_path; }, kProgressMax));
  }
  ASSERT_TRUE(load.Advances(kProbesBetween)) << load.Error();
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperAndTheDataPathAreKilledAtOnce) {
  Load load(volume_.target, node_.host().directory());
  for (int round = 0; round < Rounds(2, 10); ++round) {
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t data_path = DataPath();
    ASSERT_EQ(kill(node_.KeeperPid(), SIGKILL), 0);
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return DataPath() > 0 && DataPath() != data_path; }, kProgressMax));
    ASSERT_TRUE(load.Advances(kProbesBetween)) << load.Error();
  }
  load.Finish();
}

TEST_F(NfsSurvival, GantrydAndItsDataPathAreKilledAtOnce) {
  Stalls stalls;
  Load load(volume_.target, node_.host().directory());
  for (int round = 0; round < Rounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "round " << round << ": " << load.Error();
    Pause();
    const pid_t victim = DataPath();
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kProbesBetween)) << "without gantryd: " << load.Error();
    stalls.Add(load.probe().TakeLongest());
    ASSERT_TRUE(node_.host().Restart().has_value());
  }
  ASSERT_TRUE(load.Advances(kProbesBetween));
  load.Finish();
  stalls.Print("the data path and gantryd were killed under load");
}

}  // namespace
}  // namespace gantry::tests
