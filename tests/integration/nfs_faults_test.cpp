// SPDX-License-Identifier: Apache-2.0
// What dies, hangs and comes back beneath a published NFS volume: gantryd, its data path, the
// server. Callers get data or an error in bounded time, and in the end nothing is left.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <future>
#include <random>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/process.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::IsEmpty;

constexpr int kKillRounds = 20;
constexpr int kKillDelayMsMax = 150;    // about as long as stage to unstage take
constexpr milliseconds kCloseMin{100};  // with something to commit
constexpr seconds kErrorMax{2};         // for callers of a data path that has died
constexpr seconds kRecoveryMax{30};     // for the first block after a server is back
constexpr seconds kStatsMax{10};        // with a server that hangs
constexpr seconds kTakeDownMax{30};     // likewise, of unpublish and unstage each

class NfsFaults : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { node_ = std::make_unique<NfsNode>(); }
  static void TearDownTestSuite() { node_.reset(); }
  void TearDown() override {
    (void)node_->server().Thaw();
    EXPECT_THAT(node_->Mounted(), IsEmpty());
    EXPECT_THAT(node_->DataPathPids(), IsEmpty());
  }

  static pid_t DataPathOf(const Volume& volume) {
    for (const auto& state : node_->Kept())
      if (state.volume_id == volume.id) return state.pid;
    return 0;
  }
  // Crashes it until it gets no successor any more.
  static void Ruin(const Volume& volume) {
    for (pid_t pid = DataPathOf(volume); pid > 0; pid = DataPathOf(volume)) {
      ASSERT_EQ(kill(pid, SIGABRT), 0);
      ASSERT_TRUE(Soon([&] { return DataPathOf(volume) != pid; }, kErrorMax));
    }
  }

  static std::unique_ptr<NfsNode> node_;
};
std::unique_ptr<NfsNode> NfsFaults::node_;

// How long a call took.
template <class Call>
milliseconds Timed(Call&& call) {
  const auto begin = steady_clock::now();
  call();
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

// errno of a stat that cannot be answered from a cache, nullopt when it hangs; its thread is left.
std::optional<int> StatWithin(const std::filesystem::path& path, milliseconds within) {
  auto done = std::make_shared<std::promise<int>>();
  auto result = done->get_future();
  std::thread([path, done] {
    struct statx found {};
    done->set_value(
        statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC, STATX_ALL, &found) == 0 ? 0 : errno);
  }).detach();
  if (result.wait_for(within) != std::future_status::ready) return std::nullopt;
  return result.get();
}

TEST_F(NfsFaults, AVolumeWorksOnWhileGantrydIsDead) {
  const Volume volume = node_->Run("orphaned");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(10, kRecoveryMax));
  ASSERT_TRUE(node_->host().Kill(SIGKILL).has_value());
  EXPECT_TRUE(writer.Advances(50, kRecoveryMax));
  EXPECT_EQ(WriteWhole(volume.target / "new", "made without gantryd"), 0);
  ASSERT_TRUE(node_->host().Restart().has_value());
  EXPECT_TRUE(writer.Advances(50, kRecoveryMax));

  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  writer.Stop();
  EXPECT_LT(writer.slowest(), kErrorMax);
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, ADataPathThatCrashesAgainAndAgainIsAnErrorAndReportedAndCleanedUp) {
  const Volume volume = node_->Run("dead-path");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(10, kRecoveryMax));
  const Volume unharmed = node_->Run("unharmed");
  Writer bystander(unharmed.target / "file");

  Ruin(volume);
  EXPECT_NE(writer.Fails(kErrorMax), 0);
  EXPECT_NE(StatWithin(volume.target / "file", kErrorMax).value_or(0), 0);
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats));
  EXPECT_TRUE(stats.volume_condition().abnormal());
  EXPECT_FALSE(stats.volume_condition().message().empty());
  EXPECT_TRUE(bystander.Advances(20, kRecoveryMax));

  ASSERT_GRPC_OK(node_->Unpublish(volume));
  ASSERT_GRPC_OK(node_->Unstage(volume));
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));
  EXPECT_EQ(WriteWhole(volume.target / "after", "alive"), 0);
  bystander.Stop();
  EXPECT_TRUE(bystander.Matches(unharmed.backing / "file"));
  ASSERT_GRPC_OK(node_->End(volume));
  ASSERT_GRPC_OK(node_->End(unharmed));
}

TEST_F(NfsFaults, ARuinedDataPathIsReplacedByStagingAndPublishingAgain) {
  const Volume volume = node_->Run("replaced");
  ASSERT_EQ(WriteWhole(volume.target / "file", "content"), 0);
  Ruin(volume);
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "content");
  EXPECT_EQ(node_->Mounted().size(), 2U);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, ADataPathThatWasRuinedWhileGantrydWasDeadIsNoticed) {
  const Volume volume = node_->Run("both-dead");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(10, kRecoveryMax));
  ASSERT_TRUE(node_->host().Kill(SIGKILL).has_value());
  Ruin(volume);
  EXPECT_NE(writer.Fails(kErrorMax), 0);
  ASSERT_TRUE(node_->host().Restart().has_value());
  csi::v1::NodeGetVolumeStatsResponse stats;
  ASSERT_GRPC_OK(node_->Stats(volume, &stats));
  EXPECT_TRUE(stats.volume_condition().abnormal());
  ASSERT_GRPC_OK(node_->End(volume));
  EXPECT_THAT(node_->Kept(), IsEmpty());
}

TEST_F(NfsFaults, AVolumeWorksOnWithoutItsKeeperAndIsTakenDownWhole) {
  const Volume volume = node_->Run("keeper-killed");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(10, kRecoveryMax));
  const auto paths = node_->DataPathPids();
  ASSERT_EQ(paths.size(), 1U);
  const pid_t keeper = node_->KeeperPid();
  ASSERT_EQ(kill(keeper, SIGKILL), 0);
  EXPECT_TRUE(writer.Advances(50, kRecoveryMax));
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_TRUE(writer.Advances(10, kRecoveryMax));
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));

  ASSERT_GRPC_OK(node_->Unpublish(volume));
  ASSERT_GRPC_OK(node_->Unstage(volume));
  EXPECT_TRUE(Soon([&] { return StatusOf(paths.front(), "Name").empty(); }, kRecoveryMax))
      << "the data path outlives its mount";
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_NE(node_->KeeperPid(), keeper);
  EXPECT_EQ(WriteWhole(volume.target / "after", "alive"), 0);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, GantrydMayDieAtAnyTimeBetweenStageAndUnstage) {
  Volume volume = node_->Plan("rounds");
  ASSERT_GRPC_OK(node_->Create(volume));
  const auto seed = std::random_device()();
  RecordProperty("seed", std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < kKillRounds; ++round) {
    const int delay_ms = static_cast<int>(random() % kKillDelayMsMax);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", round " + std::to_string(round) +
                 ", killed after " + std::to_string(delay_ms) + " ms");
    std::atomic<bool> killed{false};
    std::thread kubelet([&] {
      constexpr seconds kShort{2};
      if (!killed) (void)node_->Stage(volume, kShort);
      if (!killed) (void)node_->Publish(volume, kShort);
      if (!killed) (void)node_->Unpublish(volume, kShort);
      if (!killed) (void)node_->Unstage(volume, kShort);
    });
    poll(nullptr, 0, delay_ms);
    killed = true;
    const auto dead = node_->host().Kill(SIGKILL);
    kubelet.join();
    ASSERT_TRUE(dead.has_value());
    ASSERT_TRUE(node_->host().Restart().has_value()) << node_->host().Log();
    if (round % 2 == 0) {
      ASSERT_GRPC_OK(node_->Stage(volume));
      ASSERT_GRPC_OK(node_->Publish(volume));
      const std::string content = "round " + std::to_string(round);
      ASSERT_EQ(WriteWhole(volume.target / "file", content), 0);
      EXPECT_EQ(ReadWhole(volume.backing / "file"), content);
      EXPECT_EQ(node_->DataPathPids().size(), 1U);
    }
    ASSERT_GRPC_OK(node_->Unpublish(volume));
    ASSERT_GRPC_OK(node_->Unstage(volume));
    ASSERT_THAT(node_->Mounted(), IsEmpty());
    ASSERT_THAT(node_->DataPathPids(), IsEmpty());
  }
  EXPECT_THAT(node_->Kept(), IsEmpty());
  ASSERT_GRPC_OK(node_->Delete(volume));
}

TEST_F(NfsFaults, AFrozenServerIsReportedAndWorksOnWhenThawed) {
  const Volume volume = node_->Run("frozen");
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(10, kRecoveryMax));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  csi::v1::NodeGetVolumeStatsResponse stats;
  grpc::Status status;
  EXPECT_LT(Timed([&] { status = node_->Stats(volume, &stats, kStatsMax); }), kStatsMax);
  EXPECT_TRUE(status.ok() ? stats.volume_condition().abnormal()
                          : status.error_code() == StatusCode::UNAVAILABLE)
      << Text(status);
  ASSERT_TRUE(node_->server().Thaw().has_value());
  EXPECT_TRUE(writer.Advances(10, kRecoveryMax));
  stats.Clear();
  ASSERT_GRPC_OK(node_->Stats(volume, &stats));
  EXPECT_FALSE(stats.volume_condition().abnormal()) << stats.volume_condition().message();
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, AnApplicationThatWaitsForAFrozenServerCanBeKilled) {
  const Volume volume = node_->Run("killed-application");
  base::SpawnOptions dd;
  dd.arguments = {"dd", "if=/dev/zero", "of=" + (volume.target / "file").string(), "bs=64k"};
  dd.environment = {"PATH=/usr/bin:/bin"};
  auto application = base::SpawnProgram("/bin/dd", dd);
  ASSERT_TRUE(application.has_value()) << application.error().message;
  std::error_code ignored;
  ASSERT_TRUE(
      Soon([&] { return std::filesystem::file_size(volume.backing / "file", ignored) + 1 > 1; },
           kRecoveryMax));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  const auto waits = [&] {
    const auto where = ReadWhole("/proc/" + std::to_string(application->pid()) + "/wchan");
    return where && where->find("request_wait_answer") != std::string::npos;
  };
  ASSERT_TRUE(Soon(waits, kRecoveryMax));
  ASSERT_TRUE(application->Kill(SIGKILL).has_value());
  const auto ended = application->Wait(kErrorMax);
  ASSERT_TRUE(ended.has_value());
  EXPECT_TRUE(ended->has_value()) << "still waits";
  ASSERT_TRUE(node_->server().Thaw().has_value());
  EXPECT_EQ(WriteWhole(volume.target / "after", "alive"), 0);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, ACloseWaitsForItsCommitAndNotForAServerThatIsAway) {
  const Volume volume =
      node_->Run("closed", Mode::SINGLE_NODE_WRITER, {{"uncommittedWrites", "true"}});
  const std::string data(1 << 20, 'c');
  const auto file = volume.target / "file";
  base::UniqueFd fd(open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(bool(fd));
  ASSERT_EQ(write(fd.get(), data.data(), data.size()), static_cast<ssize_t>(data.size()));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  const auto waited = Timed([&] { fd.Reset(); });
  EXPECT_GT(waited, kCloseMin);
  EXPECT_LT(waited, kErrorMax);
  ASSERT_TRUE(node_->server().Thaw().has_value());
  fd.Reset(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(fsync(fd.get()), 0);
  fd.Reset();
  EXPECT_EQ(ReadWhole(volume.backing / "file"), data);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, VolumesOfAFrozenServerAreTakenDownInBoundedTime) {
  const Volume volume = node_->Run("taken-down");
  const Volume idle = node_->Run("taken-down-idle");
  auto writer = std::make_unique<Writer>(volume.target / "file");
  ASSERT_TRUE(writer->Advances(10, kRecoveryMax));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  for (const auto& each : {volume, idle}) {
    grpc::Status status;
    EXPECT_LT(Timed([&] { status = node_->Unpublish(each, kTakeDownMax); }), kTakeDownMax);
    EXPECT_TRUE(status.ok()) << Text(status);
    EXPECT_LT(Timed([&] { status = node_->Unstage(each, kTakeDownMax); }), kTakeDownMax);
    EXPECT_TRUE(status.ok()) << Text(status);
  }
  EXPECT_THAT(node_->Mounted(), IsEmpty());
  EXPECT_NE(writer->Fails(kErrorMax), 0);
  writer.reset();
  ASSERT_TRUE(node_->server().Thaw().has_value());
  for (const auto& each : {volume, idle}) {
    ASSERT_GRPC_OK(node_->Stage(each));
    ASSERT_GRPC_OK(node_->Publish(each));
    EXPECT_EQ(WriteWhole(each.target / "after", "alive"), 0);
    ASSERT_GRPC_OK(node_->End(each));
  }
}

TEST_F(NfsFaults, StagingOnAFrozenServerEndsWithAnErrorAndLeavesNothing) {
  Volume volume = node_->Plan("never-staged");
  ASSERT_GRPC_OK(node_->Create(volume));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  grpc::Status status;
  EXPECT_LT(Timed([&] { status = node_->Stage(volume, kStatsMax); }), kStatsMax + kErrorMax);
  EXPECT_THAT(status.error_code(),
              ::testing::AnyOf(StatusCode::UNAVAILABLE, StatusCode::DEADLINE_EXCEEDED))
      << Text(status);
  // Retried, as kubelet does, also before the first has been cleared away.
  EXPECT_TRUE(Soon(
      [&] {
        status = node_->Unstage(volume, kTakeDownMax);
        return status.error_code() != StatusCode::ABORTED;
      },
      kTakeDownMax));
  EXPECT_TRUE(status.ok()) << Text(status);
  EXPECT_THAT(node_->Mounted(), IsEmpty());
  EXPECT_THAT(node_->DataPathPids(), IsEmpty());
  ASSERT_TRUE(node_->server().Thaw().has_value());
  ASSERT_GRPC_OK(node_->Stage(volume));
  ASSERT_GRPC_OK(node_->Publish(volume));
  EXPECT_EQ(WriteWhole(volume.target / "file", "alive"), 0);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, GantrydMayDieWhileStagingOnAFrozenServer) {
  Volume volume = node_->Plan("half-staged");
  ASSERT_GRPC_OK(node_->Create(volume));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  std::thread kubelet([&] { (void)node_->Stage(volume, kErrorMax); });
  EXPECT_TRUE(Soon([&] { return !node_->DataPathPids().empty(); }, kRecoveryMax));
  const auto dead = node_->host().Kill(SIGKILL);
  kubelet.join();
  ASSERT_TRUE(dead.has_value());
  ASSERT_TRUE(node_->host().Restart().has_value()) << node_->host().Log();
  ASSERT_GRPC_OK(node_->Unstage(volume, kTakeDownMax));
  EXPECT_THAT(node_->Mounted(), IsEmpty());
  EXPECT_THAT(node_->DataPathPids(), IsEmpty());
  EXPECT_THAT(node_->Kept(), IsEmpty());
  ASSERT_TRUE(node_->server().Thaw().has_value());
  ASSERT_GRPC_OK(node_->Delete(volume));
}

TEST_F(NfsFaults, ADataPathMayDieWhileItsServerIsFrozen) {
  const Volume volume = node_->Run("dies-frozen");
  // Before anything is open here: a child would wait to close its copy.
  base::SpawnOptions dd;
  dd.arguments = {"dd", "if=/dev/zero", "of=" + (volume.target / "dd").string(), "bs=64k"};
  dd.environment = {"PATH=/usr/bin:/bin"};
  auto application = base::SpawnProgram("/bin/dd", dd);
  ASSERT_TRUE(application.has_value()) << application.error().message;
  Writer writer(volume.target / "file");
  ASSERT_TRUE(writer.Advances(10, kRecoveryMax));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  const pid_t victim = DataPathOf(volume);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  ASSERT_TRUE(
      Soon([&] { return DataPathOf(volume) > 0 && DataPathOf(volume) != victim; }, kErrorMax));
  // Its successor waits for the server; who does not want to wait with it may go.
  ASSERT_TRUE(application->Kill(SIGKILL).has_value());
  const auto ended = application->Wait(kErrorMax);
  ASSERT_TRUE(ended.has_value());
  EXPECT_TRUE(ended->has_value()) << "still waits";

  ASSERT_TRUE(node_->server().Thaw().has_value());
  EXPECT_TRUE(writer.Advances(10, kRecoveryMax));
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(NfsFaults, AVolumeWhoseDataPathDiedWhileItsServerIsFrozenIsTakenDown) {
  const Volume volume = node_->Run("dies-frozen-taken-down");
  auto writer = std::make_unique<Writer>(volume.target / "file");
  ASSERT_TRUE(writer->Advances(10, kRecoveryMax));
  ASSERT_TRUE(node_->server().Freeze().has_value());
  const pid_t victim = DataPathOf(volume);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  grpc::Status status;
  EXPECT_LT(Timed([&] { status = node_->Unpublish(volume, kTakeDownMax); }), kTakeDownMax);
  EXPECT_TRUE(status.ok()) << Text(status);
  EXPECT_LT(Timed([&] { status = node_->Unstage(volume, kTakeDownMax); }), kTakeDownMax);
  EXPECT_TRUE(status.ok()) << Text(status);
  EXPECT_NE(writer->Fails(kErrorMax), 0);
  writer.reset();
  ASSERT_TRUE(node_->server().Thaw().has_value());
  ASSERT_GRPC_OK(node_->Delete(volume));
}

TEST_F(NfsFaults, ManyVolumesComeAndGoAtOnce) {
  constexpr int kVolumes = 6;
  constexpr int kRounds = 4;
  std::vector<std::thread> pods;
  std::atomic<int> done{0};
  for (int i = 0; i < kVolumes; ++i)
    pods.emplace_back([&, i] {
      Volume volume = node_->Plan("many-" + std::to_string(i));
      ASSERT_GRPC_OK(node_->Create(volume));
      for (int round = 0; round < kRounds; ++round) {
        ASSERT_GRPC_OK(node_->Stage(volume));
        ASSERT_GRPC_OK(node_->Publish(volume));
        const std::string name = "file-" + std::to_string(round);
        const std::string content = Random(100'000, static_cast<uint64_t>(i * kRounds + round));
        EXPECT_EQ(WriteWhole(volume.target / name, content), 0) << volume.id;
        EXPECT_TRUE(ReadWhole(volume.backing / name) == content) << volume.id;
        ASSERT_GRPC_OK(node_->Unpublish(volume));
        ASSERT_GRPC_OK(node_->Unstage(volume));
      }
      ASSERT_GRPC_OK(node_->Delete(volume));
      ++done;
    });
  for (auto& pod : pods) pod.join();
  EXPECT_EQ(done, kVolumes);
  EXPECT_THAT(node_->Kept(), IsEmpty());
}

TEST_F(NfsFaults, AServerKilledInTheMiddleOfWritesLosesNothing) {
  const Volume volume = node_->Run("restarted");
  Writer writer(volume.target / "file");
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(writer.Advances(20, kRecoveryMax));
    ASSERT_TRUE(node_->server().Kill().has_value());
    ASSERT_TRUE(node_->server().Restart().has_value());
    ASSERT_TRUE(writer.Advances(20, kRecoveryMax)) << "round " << round;
  }
  writer.Stop();
  EXPECT_TRUE(writer.Matches(volume.backing / "file"));
  EXPECT_EQ(WriteWhole(volume.target / "after", "alive"), 0);
  ASSERT_GRPC_OK(node_->End(volume));
}

}  // namespace
}  // namespace gantry::tests
