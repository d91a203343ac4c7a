// SPDX-License-Identifier: Apache-2.0
// A published NFS volume under load while what serves it is killed again and again: its users see
// no error, no wrong content and no hang, only pauses, which are measured and printed. More rounds
// with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kUpgradeMax{30};

NfsNodeOptions WithBackend(const std::string& lines) {
  NfsNodeOptions options;
  options.backend = lines;
  return options;
}

class NfsSurvival : public ::testing::Test {
 protected:
  explicit NfsSurvival(const NfsNodeOptions& options = {})
      : node_(options), volume_(node_.Run("survivor", Mode::SINGLE_NODE_MULTI_WRITER)) {}
  void TearDown() override {
    ASSERT_GRPC_OK(node_.End(volume_));
    EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  static fs::path Plugins() { return BuildDirectory() / "lib/gantry/plugins"; }
  // Empty, or what gantryctl said.
  std::string Upgrade(const fs::path& plugin) {
    const fs::path directory = node_.host().directory();
    return RunProgram({(BuildDirectory() / "bin/gantryctl").string(), "--socket",
                       (directory / "state/admin.sock").string(), "--timeout", "10", "upgrade",
                       volume_.id, "--plugin", plugin.string()},
                      directory / "upgrade.out", kUpgradeMax);
  }
  NfsNode node_;
  Volume volume_;
  Survivor survivor_{[this] {
    const auto pids = node_.DataPathPids();
    return pids.empty() ? 0 : pids.front();
  }};
};

TEST_F(NfsSurvival, ItsDataPathIsKilledAgainAndAgain) {
  survivor_.IsKilledUnderLoad(volume_.target, node_.host().directory());
}

TEST_F(NfsSurvival, APauseIsShortWhereNothingElseIsToDo) {
  survivor_.IsKilledWithNothingElseToDo(volume_.target);
}

// With a standby, which is there again before the next death.
class NfsStandby : public NfsSurvival {
 protected:
  NfsStandby() : NfsSurvival(WithBackend("    standby: true\n")) {}
  Survivor warm_{[this] { return survivor_.DataPath(); },
                 [this] {
                   const auto kept = node_.Kept();
                   return !kept.empty() && kept.front().standby;
                 }};
};

TEST_F(NfsStandby, ItsDataPathIsKilledAgainAndAgain) {
  warm_.IsKilledUnderLoad(volume_.target, node_.host().directory());
}

TEST_F(NfsStandby, APauseIsShortWhereNothingElseIsToDo) {
  warm_.IsKilledWithNothingElseToDo(volume_.target);
}

TEST_F(NfsSurvival, ItsDataPathAndItsServerAreKilledAtOnce) {
  survivor_.IsKilledWithItsServer(
      volume_.target, node_.host().directory(), [this] { return node_.server().Kill(); },
      [this] { return node_.server().Restart(); });
}

// Another file of the same plugin, which has another digest.
fs::path AnotherBuild(const fs::path& plugin, const fs::path& directory, int number) {
  const fs::path copy = directory / ("nfs-" + std::to_string(number) + ".so");
  fs::copy_file(plugin, copy, fs::copy_options::overwrite_existing);
  std::ofstream(copy, std::ios::app | std::ios::binary) << "build " << number;
  return copy;
}

TEST_F(NfsSurvival, ItsDataPathIsUpgradedAndTakenBackFromWhatDoesNotServe) {
  const fs::path outputs = node_.host().directory();
  Stalls stalls;
  SurvivalLoad load(volume_.target, outputs);
  for (int round = 0; round < SurvivalRounds(3, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const auto before = node_.Kept().at(0);
    (void)load.probe().TakeLongest();
    EXPECT_EQ(Upgrade(AnotherBuild(Plugins() / "nfs.so", outputs, round)), "");
    ASSERT_TRUE(load.Advances(2)) << load.Error();
    stalls.Add(load.probe().TakeLongest());
    const auto after = node_.Kept().at(0);
    EXPECT_NE(after.plugin, before.plugin);
    EXPECT_NE(after.pid, before.pid);
    // It has no gantry.datapath/1, which is found out once it is told to serve.
    EXPECT_THAT(Upgrade(Plugins() / "filedisk.so"), ::testing::HasSubstr("gantry.datapath/1"));
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    EXPECT_EQ(node_.Kept().at(0).plugin, after.plugin);
  }
  load.Finish();
  stalls.Print("the data path was upgraded under load");
}

// Other files than those before, by their inodes and by their content.
fs::path OtherPrograms(const fs::path& directory, int number) {
  const fs::path programs = directory / ("programs-" + std::to_string(number));
  fs::create_directory(programs);
  for (const char* name : {"gantryd", "gantry-worker", "gantry-helper", "gantry-keeper"}) {
    fs::copy_file(BuildDirectory() / "bin" / name, programs / name);
    std::ofstream(programs / name, std::ios::app | std::ios::binary) << "build " << number;
  }
  return programs;
}

fs::path ProgramOf(pid_t pid) { return fs::read_symlink("/proc/" + std::to_string(pid) + "/exe"); }

// As an upgrade of the whole driver does it, one after the other.
TEST_F(NfsSurvival, GantrydKeeperAndPluginAreReplacedByOtherBuilds) {
  const fs::path outputs = node_.host().directory();
  // Before anything is spawned that would inherit a file that is being written: it could not be run.
  const std::array<fs::path, 2> builds{OtherPrograms(outputs, 0), OtherPrograms(outputs, 1)};
  SurvivalLoad load(volume_.target, outputs);
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    SCOPED_TRACE(round);
    const fs::path& programs = builds[static_cast<size_t>(round) % builds.size()];
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    node_.host().TakeFrom(programs);
    ASSERT_TRUE(node_.host().Restart().has_value()) << node_.host().Log();
    EXPECT_EQ(ProgramOf(node_.host().pid()), programs / "gantryd");
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    const pid_t keeper = node_.KeeperPid();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_EQ(kill(keeper, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return survivor_.DataPath() == data_path; }, kSurvivalProgressMax));
    EXPECT_EQ(ProgramOf(node_.KeeperPid()), programs / "gantry-keeper");
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    EXPECT_EQ(Upgrade(AnotherBuild(Plugins() / "nfs.so", outputs, round)), "");
    ASSERT_TRUE(survivor_.HasAnother(data_path));
    EXPECT_EQ(ProgramOf(survivor_.DataPath()), programs / "gantry-worker");
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  }
  load.Finish();
}

// Temporary files, and files that are replaced while they are read.
TEST_F(NfsSurvival, WhatIsRemovedWhileItIsOpenLivesUntilItsLastClose) {
  const auto top = volume_.target / "removed";
  ASSERT_TRUE(std::filesystem::create_directory(top));
  std::atomic<uint64_t> lives = 0;
  std::atomic<bool> failed = false;
  std::mutex guard;
  std::string wrong;
  const auto live = [&](const std::stop_token& stop, int thread) {
    const auto file = top / ("file-" + std::to_string(thread));
    const auto other = top / ("new-" + std::to_string(thread));
    for (uint64_t number = 0; !stop.stop_requested(); ++number) {
      const std::string content = Random(5000, number);
      const auto fail = [&](const std::string& what) {
        const std::lock_guard lock(guard);
        wrong = what + ": " + strerror(errno);
        failed = true;
      };
      base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!fd) return fail("open");
      if (number % 2 == 0) {
        if (unlink(file.c_str()) != 0) return fail("unlink");
      } else {
        if (WriteWhole(other, "other") != 0) return fail("write the other");
        if (rename(other.c_str(), file.c_str()) != 0) return fail("rename");
      }
      std::string seen(content.size(), '\0');
      if (pwrite(fd.get(), content.data(), content.size(), 0) !=
          static_cast<ssize_t>(content.size()))
        return fail("write");
      // What is cached goes, so that it is read from the server.
      (void)posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
      if (pread(fd.get(), seen.data(), seen.size(), 0) != static_cast<ssize_t>(seen.size()))
        return fail("read");
      if (seen != content) return fail("other content");
      fd.Reset();
      if (number % 2 != 0 && unlink(file.c_str()) != 0) return fail("unlink the other");
      ++lives;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) threads.emplace_back(live, thread);
    for (int round = 0; round < SurvivalRounds(10, 100); ++round) {
      const uint64_t before = lives;
      ASSERT_TRUE(Soon([&] { return lives > before + 10 || failed; }, kSurvivalProgressMax));
      const pid_t victim = survivor_.DataPath();
      ASSERT_EQ(kill(victim, SIGKILL), 0);
      ASSERT_TRUE(survivor_.HasAnother(victim));
    }
  }
  EXPECT_EQ(wrong, "");
  const auto backing = volume_.backing / "removed";
  EXPECT_TRUE(Soon([&] { return std::filesystem::is_empty(backing); }, kSurvivalProgressMax));
}

TEST_F(NfsSurvival, WhatWasRemovedAndIsStillOpenGoesWithTheVolume) {
  const auto backing = volume_.backing / "held";
  ASSERT_TRUE(std::filesystem::create_directory(volume_.target / "held"));
  const base::UniqueFd fd(
      open((volume_.target / "held/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd);
  ASSERT_EQ(unlink((volume_.target / "held/file").c_str()), 0);
  EXPECT_FALSE(std::filesystem::is_empty(backing));
  // As whoever clears up after a pod that does not end: its data path ends before it closes the file.
  ASSERT_EQ(umount2(volume_.target.c_str(), MNT_DETACH), 0);
  ASSERT_EQ(umount2(volume_.staging.c_str(), MNT_DETACH), 0);
  ASSERT_GRPC_OK(node_.Unpublish(volume_));
  ASSERT_GRPC_OK(node_.Unstage(volume_));
  EXPECT_TRUE(std::filesystem::is_empty(backing));
}

TEST_F(NfsSurvival, GantrydIsKilledAgainAndAgain) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    ASSERT_TRUE(node_.host().Restart().has_value());
    EXPECT_EQ(survivor_.DataPath(), data_path) << "a new gantryd must not end it";
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes));
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperIsKilledAgainAndAgain) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(3, 10); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t victim = node_.KeeperPid();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(Soon([&] { return survivor_.DataPath() == data_path; }, kSurvivalProgressMax));
    EXPECT_NE(node_.KeeperPid(), victim);
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
    // The next one takes over from a process that it has not started.
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(survivor_.HasAnother(data_path));
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  load.Finish();
}

TEST_F(NfsSurvival, TheKeeperAndTheDataPathAreKilledAtOnce) {
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t data_path = survivor_.DataPath();
    ASSERT_EQ(kill(node_.KeeperPid(), SIGKILL), 0);
    ASSERT_EQ(kill(data_path, SIGKILL), 0);
    ASSERT_TRUE(survivor_.HasAnother(data_path));
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << load.Error();
  }
  load.Finish();
}

TEST_F(NfsSurvival, GantrydAndItsDataPathAreKilledAtOnce) {
  Stalls stalls;
  SurvivalLoad load(volume_.target, node_.host().directory());
  for (int round = 0; round < SurvivalRounds(2, 20); ++round) {
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "round " << round << ": " << load.Error();
    survivor_.Pause();
    const pid_t victim = survivor_.DataPath();
    (void)load.probe().TakeLongest();
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
    ASSERT_TRUE(load.Advances(kSurvivalProbes)) << "without gantryd: " << load.Error();
    stalls.Add(load.probe().TakeLongest());
    ASSERT_TRUE(node_.host().Restart().has_value());
  }
  ASSERT_TRUE(load.Advances(kSurvivalProbes));
  load.Finish();
  stalls.Print("the data path and gantryd were killed under load");
}

}  // namespace
}  // namespace gantry::tests
