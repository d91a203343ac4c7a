// SPDX-License-Identifier: Apache-2.0
// A published CephFS volume under load while what serves it is killed again and again: its users see no
// error, no wrong content and no hang, only pauses, which are measured and printed; and nobody else waits
// for what the dead client held. More rounds with GANTRY_SURVIVAL_LONG=1 (ctest's label long).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "host/base/fd.hpp"
#include "tests/integration/ceph_node.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/rivals.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr uint64_t kBytes = uint64_t{512} << 20;
constexpr int kFrozenMs = 1500;
// Of another client; without an end of the dead one's session it would be 60 s.
constexpr seconds kOthersWaitMax{5};

class CephfsSurvival : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { node_ = std::make_unique<CephNode>(); }
  static void TearDownTestSuite() { node_.reset(); }
  void TearDown() override { EXPECT_THAT(node_->Mounted(), ::testing::IsEmpty()); }

  static CephVolume Started(const std::string& name, Mode::Mode mode,
                            std::vector<std::string> flags = {}) {
    CephVolume volume = node_->Make(name, kBytes);
    volume.mode = mode;
    volume.mount_flags = std::move(flags);
    node_->Start(volume);
    return volume;
  }
  // The same directory as another node mounts it.
  static CephVolume StartedElsewhere(const CephVolume& volume) {
    CephVolume other = node_->Again(volume, "-b");
    node_->Start(other);
    return other;
  }
  static Survivor SurvivorOf(const CephVolume& volume) {
    return Survivor([volume] { return node_->DataPathOf(volume); });
  }
  static void Kill(const CephVolume& volume) {
    const Survivor survivor = SurvivorOf(volume);
    const pid_t victim = survivor.DataPath();
    ASSERT_GT(victim, 0);
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    ASSERT_TRUE(survivor.HasAnother(victim));
  }

  static std::unique_ptr<CephNode> node_;
};
std::unique_ptr<CephNode> CephfsSurvival::node_;

TEST_F(CephfsSurvival, ItsDataPathIsKilledAgainAndAgain) {
  const auto volume = Started("survivor", Mode::SINGLE_NODE_MULTI_WRITER);
  SurvivorOf(volume).IsKilledUnderLoad(volume.target, node_->host().directory());
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsSurvival, SoIsOneWhoseWritesThePageCacheHolds) {
  const auto volume = Started("held", Mode::SINGLE_NODE_MULTI_WRITER, {"cache=writeback"});
  SurvivorOf(volume).IsKilledUnderLoad(volume.target, node_->host().directory());
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsSurvival, APauseIsShortWhereNothingElseIsToDo) {
  const auto volume = Started("quiet", Mode::SINGLE_NODE_MULTI_WRITER);
  SurvivorOf(volume).IsKilledWithNothingElseToDo(volume.target);
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsSurvival, KeeperGantrydAndDataPathAreKilledInTurnAndTogether) {
  const auto volume = Started("together", Mode::SINGLE_NODE_MULTI_WRITER);
  SurvivorOf(volume).IsKilledWithOthers(volume.target, node_->host(),
                                        [] { return node_->KeeperPid(); });
  ASSERT_GRPC_OK(node_->End(volume));
}

// Its OSD keeps what it has said is written.
TEST(CephfsSurvivalOfData, ADataPathAndItsOsdAreKilledAtOnce) {
  lab::CephOptions keeps;
  keeps.keeps_data = true;
  CephNode node({"ceph"}, "userspace: true", keeps);
  CephVolume volume = node.Make("kept", kBytes);
  volume.mode = Mode::SINGLE_NODE_MULTI_WRITER;
  node.Start(volume);
  Survivor([&] { return node.DataPathOf(volume); })
      .IsKilledWithItsServer(
          volume.target, node.host().directory(),
          [&] { return node.cluster().Kill(lab::CephDaemon::kOsd); },
          [&] { return node.cluster().Restart(lab::CephDaemon::kOsd); });
  ASSERT_GRPC_OK(node.End(volume));
}

// --- others

TEST_F(CephfsSurvival, AnotherNodesReaderDoesNotWaitForADeadWriter) {
  const auto volume = Started("read", Mode::MULTI_NODE_MULTI_WRITER);
  const auto other = StartedElsewhere(volume);
  base::UniqueFd file(open((volume.target / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  Stalls stalls;
  for (int round = 0; round < SurvivalRounds(5, 50); ++round) {
    const std::string content = "round " + std::to_string(1000 + round);
    // The writer holds the right to the file, and to its directory.
    ASSERT_EQ(pwrite(file.get(), content.data(), content.size(), 0), ssize_t(content.size()));
    const pid_t victim = node_->DataPathOf(volume);
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    const auto begin = steady_clock::now();
    EXPECT_EQ(ReadWhole(other.target / "file"), content);
    EXPECT_EQ(WriteWhole(other.target / ("made-" + std::to_string(round)), "x"), 0);
    const auto waited = steady_clock::now() - begin;
    EXPECT_LT(waited, kOthersWaitMax);
    stalls.Add(waited);
    ASSERT_TRUE(SurvivorOf(volume).HasAnother(victim));
  }
  file.Reset();
  stalls.Print("another node read and wrote after a writer's death");
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

TEST_F(CephfsSurvival, OfTwoNodesOneHoldsALock) {
  const auto here = Started("fought-for", Mode::MULTI_NODE_MULTI_WRITER);
  const auto there = StartedElsewhere(here);
  for (const Mutex* mutex : {&ExclusiveFileMutex(), &LinkMutex()})
    FightFor(*mutex, {here.target, there.target}, SurvivalRounds(6, 50),
             [&](int round) { Kill(round % 2 == 0 ? here : there); });
  ASSERT_GRPC_OK(node_->End(there));
  ASSERT_GRPC_OK(node_->End(here));
}

// The OSD has the dead client's writes before it and takes them up when it goes on.
TEST_F(CephfsSurvival, LateWritesOfADeadDataPathDoNotLandOnNewerOnes) {
  const auto volume = Started("late", Mode::MULTI_NODE_MULTI_WRITER);
  const auto other = StartedElsewhere(volume);
  auto writers = std::make_unique<BlockWriters>(volume.target / "file");
  for (int round = 0; round < SurvivalRounds(2, 10); ++round) {
    ASSERT_TRUE(writers->AllAdvance());
    ASSERT_TRUE(node_->cluster().Freeze(lab::CephDaemon::kOsd));
    poll(nullptr, 0, kFrozenMs / 10);  // each block's write is under way then
    const pid_t victim = node_->DataPathOf(volume);
    ASSERT_EQ(kill(victim, SIGKILL), 0);
    poll(nullptr, 0, kFrozenMs);
    ASSERT_TRUE(node_->cluster().Thaw(lab::CephDaemon::kOsd));
    ASSERT_TRUE(writers->AllAdvance());
  }
  writers->Finish();
  const auto content = ReadWhole(other.target / "file");
  ASSERT_TRUE(content.has_value());
  EXPECT_EQ(BlockWriters::VersionsIn(*content), writers->versions());
  writers.reset();
  ASSERT_GRPC_OK(node_->End(other));
  ASSERT_GRPC_OK(node_->End(volume));
}

// --- what is open

TEST_F(CephfsSurvival, OpenFilesAndLocksOfTheNodeAreAsTheyWere) {
  const auto volume = Started("open", Mode::SINGLE_NODE_MULTI_WRITER);
  const fs::path path = volume.target / "file";
  base::UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  base::UniqueFd other(open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file && other);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  ASSERT_EQ(fcntl(file.get(), F_OFD_SETLK, &lock), 0);
  ASSERT_EQ(write(file.get(), "one", 3), 3);
  ASSERT_TRUE(fs::create_directory(volume.target / "directory"));
  base::UniqueFd directory(
      open((volume.target / "directory").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Kill(volume);
  ASSERT_EQ(write(file.get(), "two", 3), 3);
  std::array<char, 8> content{};
  EXPECT_EQ(pread(other.get(), content.data(), content.size(), 0), 6);
  EXPECT_STREQ(content.data(), "onetwo");
  lock = {};
  lock.l_type = F_WRLCK;
  EXPECT_EQ(fcntl(other.get(), F_OFD_SETLK, &lock), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(mkdirat(directory.get(), "below", 0755), 0);
  EXPECT_TRUE(fs::exists(volume.target / "directory/below"));
  for (auto* open_file : {&file, &other, &directory}) open_file->Reset();
  ASSERT_GRPC_OK(node_->End(volume));
}

// Only the dead client's session held it (plugins/cephfs/node/README.md). For a moment the MDS still has it,
// with a size from before the last writes: nothing of it may be shown.
TEST_F(CephfsSurvival, AnOpenFileWithoutANameIsSaidToBeLost) {
  const auto volume = Started("nameless", Mode::SINGLE_NODE_MULTI_WRITER);
  for (int round = 0; round < SurvivalRounds(3, 20); ++round) {
    const fs::path path = volume.target / "file";
    base::UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644));
    ASSERT_TRUE(file);
    alignas(4096) std::array<char, 4096> block{};
    ASSERT_EQ(pwrite(file.get(), block.data(), block.size(), 0), ssize_t(block.size()));
    ASSERT_TRUE(fs::remove(path));
    ASSERT_EQ(pread(file.get(), block.data(), block.size(), 0), ssize_t(block.size()));
    Kill(volume);
    EXPECT_EQ(pread(file.get(), block.data(), block.size(), 0), -1);
    EXPECT_EQ(errno, ESTALE);
    EXPECT_EQ(pwrite(file.get(), block.data(), block.size(), 0), -1);
    EXPECT_EQ(errno, ESTALE);
  }
  ASSERT_GRPC_OK(node_->End(volume));
}

}  // namespace
}  // namespace gantry::tests
