// SPDX-License-Identifier: Apache-2.0
// What is written and not committed, with servers that lose it and processes that die.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "plugins/nfs/datapath/testing/uncommitted_fixture.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::HasSubstr;

TEST_F(UncommittedTest, MakesALoneSmallWriteStableAndCommitsTheOthersOnce) {
  Open();
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, "a", 0)).length, 1u);
  EXPECT_EQ(Unstable(), 0u);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Commits(), 0u) << "there was nothing to commit";
  Write("file", 1, "b");
  EXPECT_EQ(Unstable(), 1u);
  const std::string large(100'000, 'l');
  EXPECT_EQ(volume_.Wait(volume_.Write("els1", 0, large, 0)).length, large.size());
  EXPECT_EQ(Unstable(), 2u);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Commits(), 1u);
  EXPECT_EQ(Stable("file"), "ab");
}

TEST_F(UncommittedTest, WritesDurablyWhatIsToBeDurable) {
  Open();
  Write("file", 0, "a");
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 1, "b")).length, 1u);
  EXPECT_EQ(Unstable(), 1u);
  EXPECT_EQ(Commits(), 1u) << "what was before it might be written again, and over it";
  EXPECT_EQ(Stable("file"), "ab");
}

// It might be written again, over what another node has written meanwhile.
TEST_F(UncommittedTest, WritesDurablyWhereSeveralNodesWrite) {
  DataPathFixture::Open(Keeping({{"writers", "several"}}));
  Write("file", 0, "data");
  EXPECT_EQ(Unstable(), 0u);
  EXPECT_EQ(Stable("file"), "data");
}

TEST_F(UncommittedTest, WritesDurablyAndTakesNoMemoryWhereNobodyAskedForMore) {
  for (const char* asked : {"", "false"}) {
    DataPathFixture::Open({{"writers", "one"}, {"commitsAtClose", asked}});
    Write("file", 0, "data");
    EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
    EXPECT_EQ(Unstable(), 0u);
    EXPECT_EQ(Commits(), 0u);
    EXPECT_EQ(Stable("file"), "data");
    EXPECT_EQ(host_.Region("writes"), nullptr);
    EXPECT_EQ(host_.Region("lost-files"), nullptr);
    ASSERT_EQ(volume_.Close().error_number, 0);
  }
}

// Nor could what it kept be written over it.
TEST_F(UncommittedTest, CommitsBeforeItWritesDurably) {
  Open();
  Write("file", 0, "aaaa");
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, "bbbb")).length, 4u);
  EXPECT_EQ(Commits(), 1u);
  const size_t writes = server_.Seen(nfs::Write::kNumber).size();
  RestartServer();
  EXPECT_EQ(Read(volume_, "file"), "bbbb");
  EXPECT_EQ(server_.Seen(nfs::Write::kNumber).size(), writes);
}

TEST_F(UncommittedTest, CommitsByItselfAfterAWhile) {
  Open();
  Write("file", 0, "data");
  EXPECT_TRUE(host_.Run([&] { return Stable("file") == "data"; }, 5s));
}

TEST_F(UncommittedTest, GivesARestartedServerWhatItHasLostBeforeAnythingIsRead) {
  Open();
  Write("file", 0, "aaaa");
  Write("file", 2, "bbbb");
  Write("els1", 0, "else");
  RestartServer();
  EXPECT_EQ(Read(volume_, "file"), "aabbbb");
  EXPECT_EQ(Stable("file"), "aabbbb");
  EXPECT_EQ(Stable("els1"), "else");
  EXPECT_THAT(volume_.log(), HasSubstr("written again"));
}

TEST_F(UncommittedTest, LetsAServerAloneThatHasOnlyLostItsConnection) {
  Open();
  Write("file", 0, "data");
  const size_t writes = server_.Seen(nfs::Write::kNumber).size();
  LoseTheConnection();
  EXPECT_EQ(Read(volume_, "file"), "data");
  EXPECT_EQ(Commits(), 1u);
  EXPECT_EQ(server_.Seen(nfs::Write::kNumber).size(), writes);
}

// A read that was under way is answered by the new server, but not before it has everything again.
TEST_F(UncommittedTest, HoldsAReadBackThatWasUnderWay) {
  Open();
  Write("file", 0, "data");
  char buffer[4] = {};
  server_.HangUpOn(nfs::Read::kNumber);
  const gantry_op read = volume_.Read("file", 0, buffer, 4);
  ASSERT_TRUE(Sees(nfs::Read::kNumber, 1));
  RestartServer();
  EXPECT_EQ(volume_.Wait(read).length, 4u);
  EXPECT_EQ(std::string(buffer, 4), "data");
}

TEST_F(UncommittedTest, CommitsBeforeItChangesAttributes) {
  Open();
  Write("file", 0, "data");
  EXPECT_EQ(volume_.Wait(Truncate(volume_, "file", 2)).error_number, 0);
  EXPECT_EQ(Commits(), 1u);
  RestartServer();
  EXPECT_EQ(Read(volume_, "file"), "da");
}

TEST_F(UncommittedTest, ASuccessorGivesTheServerWhatItsPredecessorHadWritten) {
  Open();
  Write("file", 0, "data");
  volume_.Die();
  host_.LoseKept();
  RestartServer();
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(Read(successor, "file"), "data");
  EXPECT_EQ(Stable("file"), "data");
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, 0);
}

// It had found out that the server is another one, and died before the data was there.
TEST_F(UncommittedTest, ASuccessorGoesOnWithWhatItsPredecessorHadBegunToRestore) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kServerFaultStatus);
  RestartServer();
  ASSERT_TRUE(Sees(nfs::Write::kNumber, 3));
  volume_.Die();
  RefuseWrites(0);
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(Read(successor, "file"), "data");
  EXPECT_EQ(Stable("file"), "data");
}

TEST_F(UncommittedTest, ASuccessorOnTheSameConnectionCommits) {
  Open();
  Write("file", 0, "data");
  volume_.Die();
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
  EXPECT_EQ(Commits(), 1u);
}

TEST_F(UncommittedTest, WritesAgainWhatACommitFailedFor) {
  Open();
  Write("file", 0, "data");
  RefuseCommits(kIoStatus);
  const size_t writes = server_.Seen(nfs::Write::kNumber).size();
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(server_.Seen(nfs::Write::kNumber).size(), writes + 1);
  EXPECT_EQ(Stable("file"), "data");
}

TEST_F(UncommittedTest, HearsThatACommitHasFailedWhateverItsStatus) {
  for (const uint32_t status : {kIoStatus, kServerFaultStatus}) {
    Open();
    Write("file", 0, "data");
    SayOnceThatACommitHasFailed(status);
    EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
    EXPECT_EQ(Stable("file"), "data") << status;
    ASSERT_EQ(volume_.Close().error_number, 0);
  }
}

// What it says is the answer to a repetition that nobody waits for any more.
TEST_F(UncommittedTest, HearsOverAnotherConnectionThatACommitHasFailed) {
  Open();
  Write("file", 0, "data");
  SayOnceThatACommitHasFailed(kIoStatus);
  server_.HangUpOn(nfs::Commit::kNumber);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
}

// The server has dropped that too.
TEST_F(UncommittedTest, WritesAgainWhatWasUnderWayWhenACommitFailed) {
  Open();
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 8, "base", 0)).length, 4u);  // Alone: stable.
  const gantry_op waits = WriteUnanswered("file", 0, "aaaa");
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 4, "bbbb", 0)).length, 4u);
  SayOnceThatACommitHasFailed(kIoStatus);
  const uint64_t received = Received();
  const gantry_op commit = volume_.Commit("file");
  ASSERT_TRUE(host_.Run([&] { return Received() > received; }, 5s));
  LoseTheConnection();
  EXPECT_EQ(volume_.Wait(waits).length, 4u);
  EXPECT_EQ(volume_.Wait(commit).error_number, 0);
  EXPECT_EQ(Stable("file"), "aaaabbbbbase");
}

TEST_F(UncommittedTest, ASuccessorHearsThatItsPredecessorsCommitHasFailed) {
  Open();
  Write("file", 0, "data");
  DieBeforeAFailedCommitIsHeard();
  HoldCommitsBack(false);
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
}

// Who heard it dies while it still waits for another answer.
TEST_F(UncommittedTest, ASuccessorsSuccessorKnowsThatACommitHasFailed) {
  Open();
  Write("file", 0, "data");
  WriteUnanswered("els1", 0, std::string(100'000, 'e'));
  DieBeforeAFailedCommitIsHeard();
  const uint64_t received = Received();
  HoldCommitsBack(false);
  Volume first(host_);
  auto parameters = server_.Parameters();
  parameters.merge(Keeping());
  first.BeginOpen(parameters);
  ASSERT_TRUE(host_.Run([&] { return Received() > received; }, 5s));
  first.Die();
  host_.LoseKept();
  Volume second(host_);
  ASSERT_EQ(OpenAgain(second).error_number, 0) << second.log();
  EXPECT_EQ(second.Wait(second.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
}

// As a release that keeps nothing would go on, whose writes are newer than what is kept.
TEST_F(UncommittedTest, NobodyGoesOnWhoKeepsNothing) {
  Open();
  Write("file", 0, "data");
  volume_.Die();
  RestartServer();
  Volume other(host_);
  EXPECT_EQ(OpenAgain(other, {{"writers", "one"}}).error_number, EINVAL);
  EXPECT_THAT(other.log(), HasSubstr("belongs to another volume"));
  other.Die();
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(Read(successor, "file"), "data");
}

TEST_F(UncommittedTest, MakesAWriteOfMorePartsThanTheLogHoldsStable) {
  server_.SetTransferMax(256);
  Open();
  Write("file", 0, "data");
  const std::string large(256 * (kWriteLogEntries + 1), 'l');
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, large, 0)).length, large.size());
  EXPECT_TRUE(Stable("file") == large);
}

// What is written again goes over what was written after it, so that has to be as well.
TEST_F(UncommittedTest, GoesOnWithARestoreThatWasRefusedInTheMiddle) {
  Open();
  CutARestoreShort();
  RefuseWrites(0);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "new");
}

TEST_F(UncommittedTest, ASuccessorGoesOnWithARestoreThatWasCutShort) {
  Open();
  CutARestoreShort();
  volume_.Die();
  RefuseWrites(0);
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "new");
}

TEST_F(UncommittedTest, BeginsAPartAnewThatARestoreWasWrittenOver) {
  Open();
  const gantry_op newer = WriteInPiecesAcrossARestore();
  EXPECT_EQ(volume_.Wait(newer).length, 3u);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "new");
}

TEST_F(UncommittedTest, CountsNothingOfAPartThatARestoreWasWrittenOver) {
  Open();
  RefuseWrites(kAccessStatus, 4);
  const gantry_op newer = WriteInPiecesAcrossARestore();
  EXPECT_EQ(volume_.Wait(newer).error_number, EACCES);
  RefuseWrites(0);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "old");
}

TEST_F(UncommittedTest, WritesAllAgainWhereARestartedServerDoesNotSayWhatItHasLost) {
  Open();
  Write("file", 0, "data");
  RefuseCommits(kIoStatus);
  RestartServer();
  EXPECT_EQ(Read(volume_, "file"), "data");
  EXPECT_EQ(Stable("file"), "data");
}

TEST_F(UncommittedTest, AnInterruptedCommitGoesOnWithoutItsCaller) {
  Open();
  Write("file", 0, "data");
  server_.Stop();
  const gantry_op commit = volume_.Commit("file");
  volume_.path().Interrupt(commit);
  EXPECT_EQ(volume_.Wait(commit).error_number, EINTR);
  server_.Begin(server_.port());
  EXPECT_TRUE(host_.Run([&] { return Stable("file") == "data"; }, 10s));
}

TEST_F(UncommittedTest, CommitsWhenItIsClosed) {
  Open();
  Write("file", 0, "data");
  EXPECT_EQ(volume_.Close().error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
  EXPECT_EQ(volume_.log(), "");
}

TEST_F(UncommittedTest, WaitsForRoomAndGoesOnWhenTheServerCommits) {
  Open();
  std::atomic<bool> commits{false};
  server_.On(nfs::Commit::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (!commits) return Status(kJukeboxStatus);
    return Xdr().U32(0).U32(0).U32(0).Raw("start100").bytes;
  });
  server_.On(nfs::Write::kNumber, [&](const FakeCall& call) {
    return Written(CountOf(call), WordAt(call.arguments, 20), "start100");
  });
  const std::string megabyte(1 << 20, 'm');
  constexpr uint32_t kFitting = kWriteLogBytes >> 20;
  for (uint32_t i = 0; i < kFitting; ++i) {
    ASSERT_EQ(volume_.Wait(volume_.Write("file", uint64_t{i} << 20, megabyte, 0)).error_number, 0);
  }
  const gantry_op more = volume_.Write("file", 0, megabyte, 0);
  EXPECT_FALSE(host_.Run([&] { return !host_.IsUnderWay(more); }, 300ms));
  commits = true;
  EXPECT_EQ(volume_.Wait(more).error_number, 0);
}

// Writes, truncations, reads and commits of three files, while the server loses its memory and the data
// path its process: whatever was answered is read, and in the end everything is stable.
TEST_F(UncommittedTest, LosesNothingWhateverDies) {
  constexpr int kSteps = 700;
  constexpr uint64_t kOffsetMax = 20'000;
  std::mt19937 random(20261130);
  server_.SetTransferMax(1500);
  Open();
  auto volume = std::make_unique<Volume>(host_);
  volume_.Die();
  ASSERT_EQ(OpenAgain(*volume).error_number, 0);
  struct Under {
    gantry_op op = 0;
    uint64_t offset = 0;
    std::string data;
    uint32_t flags = 0;
  };
  const std::vector<std::string> names = {"aaaa", "bbbb", "cccc"};
  std::map<std::string, std::string> expected;
  std::map<std::string, Under> under;
  const auto settle = [&](const std::string& name) {
    const auto node = under.extract(name);
    if (!node) return;
    const Under& write = node.mapped();
    ASSERT_EQ(volume->Wait(write.op).length, write.data.size());
    std::string& content = expected[name];
    content.resize(std::max<size_t>(content.size(), write.offset + write.data.size()));
    std::copy(write.data.begin(), write.data.end(),
              content.begin() + static_cast<long>(write.offset));
  };
  const auto begin = [&](const std::string& name) {
    Under& write = under[name];
    write.op = volume->Write(name, write.offset, write.data, write.flags);
  };
  int restarts = 0, deaths = 0;
  for (int step = 0; step < kSteps; ++step) {
    const std::string& name = names[random() % names.size()];
    const uint32_t what = random() % 1000;
    if (what < 20) {
      ++restarts;
      RestartServer();
    } else if (what < 40) {
      ++deaths;
      volume->Die();
      if (what < 27) RestartServer();
      if (what < 34) host_.LoseKept();
      volume = std::make_unique<Volume>(host_);
      ASSERT_EQ(OpenAgain(*volume).error_number, 0) << volume->log();
      for (auto& [file, write] : under) {
        volume->Repeat(write.op);
        begin(file);
      }
      volume->Replayed(false);
    } else if (what < 150) {
      settle(name);
      ASSERT_EQ(Read(*volume, name), expected[name]) << "step " << step;
    } else if (what < 180) {
      settle(name);
      const uint64_t size = random() % 3 == 0 ? 0 : random() % kOffsetMax;
      ASSERT_EQ(volume->Wait(Truncate(*volume, name, size)).error_number, 0);
      expected[name].resize(size);
    } else if (what < 230) {
      ASSERT_EQ(volume->Wait(volume->Commit(name)).error_number, 0);
    } else {
      settle(name);
      under[name] = {0, random() % kOffsetMax,
                     std::string(1 + random() % 4000, static_cast<char>('a' + step % 26)),
                     random() % 5 == 0 ? uint32_t{GANTRY_FS_WRITE_STABLE} : 0u};
      begin(name);
    }
  }
  EXPECT_GT(restarts, 5);
  EXPECT_GT(deaths, 5);
  for (const std::string& name : names) {
    settle(name);
    ASSERT_EQ(volume->Wait(volume->Commit(name)).error_number, 0);
    EXPECT_EQ(Stable(name), expected[name]);
  }
}

}  // namespace
}  // namespace gantry::nfs
