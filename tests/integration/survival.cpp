// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/survival.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kProgramMax{120};
constexpr int kLookAgainMs = 5;
constexpr int kKillDelayMsMax = 200;

// Looks again and again until `done`, for kSurvivalProgressMax at most.
bool InTime(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kSurvivalProgressMax;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, kLookAgainMs);
  }
  return true;
}

}  // namespace

int SurvivalRounds(int usual, int many) {
  return std::getenv("GANTRY_SURVIVAL_LONG") != nullptr ? many : usual;
}

SurvivalLoad::SurvivalLoad(const fs::path& root, const fs::path& outputs)
    : probe_(root / "probe"),
      first_(root / "names-1"),
      second_(root / "names-2"),
      fio_(FioCommand(root), outputs / "fio.out", kProgramMax),
      sqlite_(SqliteCommand(root / "db"), outputs / "sqlite.out", kProgramMax) {}

std::vector<Worker*> SurvivalLoad::All() { return {&probe_, &first_, &second_, &fio_, &sqlite_}; }

std::string SurvivalLoad::Error() const {
  for (const Worker* worker :
       std::initializer_list<const Worker*>{&probe_, &first_, &second_, &fio_, &sqlite_})
    if (std::string error = worker->error(); !error.empty()) return error;
  return "";
}

bool SurvivalLoad::Advances(uint64_t probes) {
  const uint64_t wanted = probe_.rounds() + probes;
  const uint64_t names = first_.rounds() + 1;
  const bool ended = InTime(
      [&] { return !Error().empty() || (probe_.rounds() >= wanted && first_.rounds() >= names); });
  return ended && Error().empty();
}

void SurvivalLoad::Finish() {
  for (Worker* worker : All()) worker->Stop();
  EXPECT_EQ(Error(), "");
  EXPECT_GT(fio_.rounds(), 0U);
  EXPECT_GT(sqlite_.rounds(), 0U);
  const auto count = [](uint64_t number) { return static_cast<unsigned long long>(number); };
  std::printf("  done meanwhile: %llu probes, %llu rounds of names, %llu of fio, %llu of SQLite\n",
              count(probe_.rounds()), count(first_.rounds() + second_.rounds()),
              count(fio_.rounds()), count(sqlite_.rounds()));
}

void Stalls::Print(const char* what) {
  ASSERT_FALSE(ms_.empty());
  std::sort(ms_.begin(), ms_.end());
  std::printf("  %s, %zu times: the longest block, median %.1f ms, p90 %.1f ms, max %.1f ms\n",
              what, ms_.size(), ms_[ms_.size() / 2], ms_[ms_.size() * 9 / 10], ms_.back());
}

bool Survivor::HasAnother(pid_t victim) const {
  return InTime([&] { return DataPath() > 0 && DataPath() != victim; });
}

void Survivor::Pause() { poll(nullptr, 0, static_cast<int>(random_() % kKillDelayMsMax)); }

void Survivor::IsKilledUnderLoad(const fs::path& root, const fs::path& outputs) {
  Stalls stalls;
  SurvivalLoad load(root, outputs);
  for (int round = 0; round < SurvivalRounds(5, 50); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    Pause();
    ASSERT_TRUE(InTime(is_ready_));
    const pid_t victim = DataPath();
    ASSERT_GT(victim, 0);
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(HasAnother(victim));
    ASSERT_TRUE(load.Advances(2)) << "round " << round << ": " << load.Error();
    stalls.Add(load.probe().TakeLongest());
  }
  load.Finish();
  stalls.Print("the data path was killed under load");
}

void Survivor::IsKilledWithNothingElseToDo(const fs::path& root) {
  Stalls stalls;
  Probe probe(root / "probe");
  for (int round = 0; round < SurvivalRounds(10, 40); ++round) {
    const uint64_t before = probe.rounds();
    ASSERT_TRUE(InTime([&] { return probe.rounds() > before + kSurvivalProbes; })) << probe.error();
    ASSERT_TRUE(InTime(is_ready_));
    const pid_t victim = DataPath();
    ASSERT_GT(victim, 0);
    (void)probe.TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(HasAnother(victim));
    const uint64_t after = probe.rounds();
    ASSERT_TRUE(InTime([&] { return probe.rounds() > after + 1; })) << probe.error();
    stalls.Add(probe.TakeLongest());
  }
  probe.Stop();
  EXPECT_EQ(probe.error(), "");
  stalls.Print("the data path was killed");
}

void Survivor::IsKilledWithOthers(const fs::path& root, lab::Gantryd& host,
                                  const std::function<pid_t()>& keeper) {
  SurvivalLoad load(root, host.directory());
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    Pause();
    pid_t victim = DataPath();
    ASSERT_EQ(kill(keeper(), SIGKILL), 0);
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(HasAnother(victim));
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    Pause();
    victim = DataPath();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(host.Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    ASSERT_TRUE(host.Restart().has_value());
  }
  load.Finish();
}

void Survivor::IsKilledWithItsServer(const fs::path& root, const fs::path& outputs,
                                     const std::function<base::Status()>& kill_server,
                                     const std::function<base::Status()>& start_server) {
  Stalls stalls;
  SurvivalLoad load(root, outputs);
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    Pause();
    const pid_t victim = DataPath();
    ASSERT_GT(victim, 0);
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(kill_server());
    ASSERT_TRUE(HasAnother(victim));
    ASSERT_TRUE(start_server());
    const auto back = std::chrono::steady_clock::now();
    ASSERT_TRUE(load.Advances(2)) << load.Error();
    stalls.Add(std::chrono::steady_clock::now() - back);
  }
  load.Finish();
  stalls.Print("data path and server were killed at once; after the server was back");
}

}  // namespace gantry::tests
