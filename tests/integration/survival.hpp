// SPDX-License-Identifier: Apache-2.0
// What tests share that kill what serves a volume: the whole load at once, and how long it stalled.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host/base/error.hpp"
#include "tests/integration/survival_load.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {

constexpr std::chrono::seconds kSurvivalProgressMax{30};
constexpr uint64_t kSurvivalProbes = 30;  // between two kills

// Rounds of a test: `many` with GANTRY_SURVIVAL_LONG set.
int SurvivalRounds(int usual, int many);

// Everything at once on one volume, below `root`; what programs print goes below `outputs`.
class SurvivalLoad {
 public:
  SurvivalLoad(const std::filesystem::path& root, const std::filesystem::path& outputs);
  Probe& probe() { return probe_; }
  // False: an error, or a hang.
  bool Advances(uint64_t probes);
  // The first one; empty: none.
  std::string Error() const;
  // Ends in order: every checksum is looked at once more. Fails the test that had an error.
  void Finish();

 private:
  std::vector<Worker*> All();
  Probe probe_;
  MetadataLoop first_;
  MetadataLoop second_;
  ProgramLoop fio_;
  ProgramLoop sqlite_;
};

class Stalls {
 public:
  void Add(std::chrono::nanoseconds stall) {
    ms_.push_back(static_cast<double>(stall.count()) / 1e6);
  }
  void Print(const char* what);

 private:
  std::vector<double> ms_;
};

// A volume whose data path is killed. Each of the last four is a test of its own and fails it.
class Survivor {
 public:
  // `data_path`: who serves the volume now, 0 while nobody does. `is_ready`: whether it may be killed.
  explicit Survivor(
      std::function<pid_t()> data_path, std::function<bool()> is_ready = [] { return true; })
      : data_path_(std::move(data_path)), is_ready_(std::move(is_ready)) {}
  pid_t DataPath() const { return data_path_(); }
  // Waits for a successor of `victim`.
  bool HasAnother(pid_t victim) const;
  // Somewhere between two operations, or in one.
  void Pause();
  void IsKilledUnderLoad(const std::filesystem::path& root, const std::filesystem::path& outputs);
  void IsKilledWithNothingElseToDo(const std::filesystem::path& root);
  // Keeper and data path at once, then gantryd and data path.
  void IsKilledWithOthers(const std::filesystem::path& root, lab::Gantryd& host,
                          const std::function<pid_t()>& keeper);
  // Data path and storage server in the same instant; the server is back once its successor waits for it.
  void IsKilledWithItsServer(const std::filesystem::path& root,
                             const std::filesystem::path& outputs,
                             const std::function<base::Status()>& kill_server,
                             const std::function<base::Status()>& start_server);

 private:
  const std::function<pid_t()> data_path_;
  const std::function<bool()> is_ready_;
  std::mt19937 random_{20261130};
};

}  // namespace gantry::tests
