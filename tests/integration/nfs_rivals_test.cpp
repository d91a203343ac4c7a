// SPDX-License-Identifier: Apache-2.0
// What a successor of a data path must not do to others, nor its predecessor to it: bytes of the dead
// process that reach the server late, and locks made of names that another node fights for.
#include <gtest/gtest.h>

#include <csignal>

#include "tests/integration/holding_relay.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/rivals.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kProgressMax{30};

pid_t DataPathOf(const NfsNode& node) {
  const auto pids = node.DataPathPids();
  return pids.empty() ? 0 : pids.front();
}

void KillDataPath(const NfsNode& node) {
  const pid_t victim = DataPathOf(node);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  ASSERT_TRUE(
      Soon([&] { return DataPathOf(node) > 0 && DataPathOf(node) != victim; }, kProgressMax));
}

TEST(NfsRivals, LateBytesOfADeadDataPathDoNotLandOnNewerOnes) {
  auto server = lab::Ganesha::Start();
  ASSERT_TRUE(server) << server.error().message;
  HoldingRelay relay(server->port());
  NfsNodeOptions options;
  options.own_server = false;
  options.shares = {"{server: 127.0.0.1, share: " + server->export_path() +
                    ", port: " + std::to_string(relay.port()) +
                    ", mountPort: " + std::to_string(server->mount_port()) + "}"};
  NfsNode node(options);
  const Volume volume = node.Run("late");
  auto writers = std::make_unique<BlockWriters>(volume.target / "file");
  const std::vector<milliseconds> holds =
      SurvivalRounds(0, 1) > 0
          ? std::vector<milliseconds>{seconds(1), seconds(2), seconds(3), seconds(4), seconds(5)}
          : std::vector<milliseconds>{milliseconds(1000), milliseconds(1500)};
  for (const milliseconds hold : holds) {
    ASSERT_TRUE(writers->AllAdvance());
    const uint64_t before = relay.held_bytes();
    relay.Hold(hold);
    ASSERT_TRUE(Soon([&] { return relay.held_bytes() > before; }, kProgressMax));
    KillDataPath(node);
    ASSERT_TRUE(writers->AllAdvance());
  }
  writers->Finish();
  const auto content = ReadWhole(server->root() / "late" / "file");
  ASSERT_TRUE(content.has_value());
  EXPECT_EQ(BlockWriters::VersionsIn(*content), writers->versions());
  writers.reset();
  ASSERT_GRPC_OK(node.End(volume));
}

// --- two nodes

// Another node of the same server, with the first one's volume.
class Elsewhere {
 public:
  Elsewhere(NfsNode& first, const Volume& volume)
      : node_([&] {
          NfsNodeOptions options;
          options.own_server = false;
          options.shares = {ShareOf(first.server())};
          options.host.node_id = "node-2";
          return options;
        }()),
        volume_(node_.Plan(volume.backing.filename())) {
    volume_.id = volume.id;
    volume_.context = volume.context;
    const auto staged = node_.Stage(volume_);
    const auto published = staged.ok() ? node_.Publish(volume_) : staged;
    if (!published.ok()) throw std::runtime_error(Text(published));
  }
  const std::filesystem::path& target() const { return volume_.target; }
  NfsNode& node() { return node_; }
  // Deleting it is the first node's.
  grpc::Status Leave() {
    const auto unpublished = node_.Unpublish(volume_);
    return unpublished.ok() ? node_.Unstage(volume_) : unpublished;
  }

 private:
  NfsNode node_;
  Volume volume_;
};

TEST(NfsRivals, WhatOneNodeHasClosedAnotherSeesWhenItOpens) {
  NfsNode first;
  const Volume volume = first.Run("close-to-open");
  Elsewhere second(first, volume);
  std::string content;
  for (int round = 0; round < 20; ++round) {
    content += "round " + std::to_string(round) + "\n";
    const std::filesystem::path& writer = round % 2 == 0 ? volume.target : second.target();
    const std::filesystem::path& reader = round % 2 == 0 ? second.target() : volume.target;
    ASSERT_EQ(WriteWhole(writer / "file", content), 0);
    ASSERT_EQ(ReadWhole(reader / "file"), content) << "round " << round;
  }
  ASSERT_GRPC_OK(second.Leave());
  ASSERT_GRPC_OK(first.End(volume));
}

TEST(NfsRivals, OfTwoNodesOneHoldsALock) {
  NfsNode first;
  const Volume volume = first.Run("fought-for");
  Elsewhere second(first, volume);

  for (const Mutex* mutex : {&ExclusiveFileMutex(), &DirectoryMutex(), &LinkMutex()})
    FightFor(*mutex, {volume.target, second.target()}, SurvivalRounds(6, 30),
             [&](int round) { KillDataPath(round % 2 == 0 ? first : second.node()); });
  ASSERT_GRPC_OK(second.Leave());
  ASSERT_GRPC_OK(first.End(volume));
}

}  // namespace
}  // namespace gantry::tests
