// SPDX-License-Identifier: Apache-2.0
// What is written and not committed, with servers that do not take it again, and what callers are told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "plugins/nfs/datapath/testing/uncommitted_fixture.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

// --- refusals that may pass

TEST_F(UncommittedTest, WaitsForARestartedServerThatRefusesAtFirst) {
  for (const uint32_t status : {kIoStatus, kAccessStatus, kServerFaultStatus, kJukeboxStatus}) {
    Open();
    Write("file", 0, "data");
    const size_t writes = server_.Seen(nfs::Write::kNumber).size();
    RefuseWrites(status);
    RestartServer();
    ASSERT_TRUE(Sees(nfs::Write::kNumber, writes + 2)) << status;
    RefuseWrites(0);
    EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0) << status;
    EXPECT_EQ(Stable("file"), "data");
    ASSERT_EQ(volume_.Close().error_number, 0);
  }
}

TEST_F(UncommittedTest, CommitsOtherFilesThanOneThatIsRefused) {
  Open();
  RefuseCommits(kAccessStatus, "bad0");
  RefuseWritesOf("bad0", kAccessStatus);
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, ".", 0)).length, 1u);
  RefuseWrites(0);
  Write("bad0", 0, "bad");
  RefuseWritesOf("bad0", kAccessStatus);
  const gantry_op refused = volume_.Commit("bad0");
  Write("file", 0, "data");
  EXPECT_TRUE(host_.Run([&] { return Stable("file") == "data"; }, 5s));
  EXPECT_TRUE(host_.IsUnderWay(refused));
}

TEST_F(UncommittedTest, AFileThatIsRefusedHoldsUpNoOther) {
  for (const uint32_t status : {kJukeboxStatus, kAccessStatus}) {
    Open();
    Write("bad0", 0, "bad");
    Write("file", 0, "data");
    RefuseWritesOf("bad0", status);
    RestartServer();
    EXPECT_EQ(Read(volume_, "file"), "data");
    char buffer[3] = {};
    const gantry_op read = volume_.Read("bad0", 0, buffer, 3);
    Write("file", 0, "more");
    EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
    EXPECT_EQ(Stable("file"), "more");
    EXPECT_TRUE(host_.IsUnderWay(read));
    RefuseWrites(0);
    EXPECT_EQ(volume_.Wait(read).length, 3u);
    EXPECT_EQ(std::string(buffer, 3), "bad");
    ASSERT_EQ(volume_.Close().error_number, 0);
  }
}

// Nothing after the file's data can be freed in the log.
TEST_F(UncommittedTest, AFileThatIsRefusedHoldsUpNoOtherWhenTheLogIsFull) {
  Open();
  Write("bad0", 0, "bad");
  RefuseWritesOf("bad0", kJukeboxStatus);
  RestartServer();
  const std::string megabyte(1 << 20, 'm');
  for (uint32_t i = 0; i < 2 * (kWriteLogBytes >> 20); ++i)
    ASSERT_EQ(volume_.Wait(volume_.Write("file", 0, megabyte, 0)).length, megabyte.size()) << i;
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_TRUE(Stable("file") == megabyte);
}

TEST_F(UncommittedTest, ASoftCallerOfAFileThatIsRefusedIsToldInItsTime) {
  DataPathFixture::Open(Keeping({{"timeoutSeconds", "1"}}));
  Write("file", 0, "data");
  RefuseWrites(kJukeboxStatus);
  RestartServer();
  char buffer[4] = {};
  const auto begun = std::chrono::steady_clock::now();
  const gantry_op read = volume_.Read("file", 0, buffer, 4);
  const gantry_op commit = volume_.Commit("file");
  const gantry_op attributes = volume_.Node(&NfsDataPath::Getattr, "file");
  const gantry_op truncation = Truncate(volume_, "file", 2);
  for (const gantry_op op : {read, commit, attributes, truncation})
    EXPECT_EQ(volume_.Wait(op).error_number, EIO);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 3s);
  RefuseWrites(0);
  EXPECT_TRUE(host_.Run([&] { return Stable("file") == "data"; }, 10s));
}

// The COMMIT of one is put off again and again.
TEST_F(UncommittedTest, AFileThatIsNotCommittedHoldsUpNoOtherWhenTheLogIsFull) {
  Open();
  RefuseCommits(kJukeboxStatus, "bad0");
  const std::string megabyte(1 << 20, 'm');
  Write("bad0", 0, megabyte);
  for (uint32_t i = 2; i < kWriteLogBytes >> 20; ++i)
    ASSERT_EQ(volume_.Wait(volume_.Write("bad0", 0, megabyte, 0)).length, megabyte.size()) << i;
  const gantry_op waits = volume_.Write("bad0", 0, megabyte, 0);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, megabyte, 0)).length, megabyte.size());
  EXPECT_TRUE(Stable("file") == megabyte);
  EXPECT_TRUE(host_.IsUnderWay(waits));
  RefuseCommits(0);
  EXPECT_EQ(volume_.Wait(waits).length, megabyte.size());
}

// --- the bound of a restore

TEST_F(UncommittedTest, AllFilesTogetherAreLostWhenARestoreWasRefusedForTooLong) {
  Open();
  const std::vector<std::string> names = {"aaaa", "bbbb", "cccc"};
  for (const std::string& name : names) Write(name, 0, "data");
  Write("file", 0, "data");
  RefuseWrites(kAccessStatus);
  RestartServer();
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() > 0; }, 5s));
  std::vector<gantry_op> commits;
  for (const std::string& name : names) commits.push_back(volume_.Commit(name));
  RefusedMs() = kRestoreMsMax - 1'000;
  const auto begun = std::chrono::steady_clock::now();
  for (const gantry_op commit : commits) EXPECT_EQ(volume_.Wait(commit).error_number, EACCES);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() == 0; }, 10s)) << "the next one has all its time";
  RefuseWrites(0);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, EACCES) << "it was not told before";
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  Write("file", 0, "more");
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_THAT(volume_.log(), HasSubstr("has lost 4 bytes"));
}

TEST_F(UncommittedTest, ASuccessorDoesNotBeginTheTimeOfARestoreAnew) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kAccessStatus);
  RestartServer();
  volume_.Die();
  uint32_t refused_ms = 0;
  for (int death = 0; death < 5; ++death) {
    Volume successor(host_);
    ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
    ASSERT_TRUE(host_.Run([&] { return RefusedMs() > refused_ms; }, 10s)) << refused_ms;
    refused_ms = RefusedMs();
    successor.Die();
    if (death % 2 == 0) host_.LoseKept();
  }
  RefusedMs() = kRestoreMsMax;
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, EACCES);
}

TEST_F(UncommittedTest, TheTimeInWhichAServerIsAwayIsNotCountedAsRefused) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kAccessStatus);
  RestartServer();
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() > 0; }, 5s));
  server_.Stop();
  const uint32_t refused_ms = RefusedMs();
  EXPECT_FALSE(host_.Run([&] { return RefusedMs() > refused_ms; }, 3s));
  server_.Begin(server_.port());
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() > refused_ms; }, 10s));
  EXPECT_LT(RefusedMs(), refused_ms + 1'500);
}

// --- what is told of a loss

TEST_F(UncommittedTest, SaysOnceThatTheServerDoesNotTakeItAgain) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kNoSpaceStatus);
  RestartServer();
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, ENOSPC);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_THAT(volume_.log(), HasSubstr("does not take them again"));
}

TEST_F(UncommittedTest, ACloseIsToldOfALossAndDoesNotSettleIt) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kNoSpaceStatus);
  RestartServer();
  ASSERT_TRUE(Logs("has lost"));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(volume_.Wait(volume_.Commit("file", GANTRY_FS_COMMIT_CLOSE)).error_number, ENOSPC);
  }
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, ENOSPC);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
}

// It could do nothing about it, and the storage does what they ask for.
TEST_F(UncommittedTest, ALossIsToldToNobodyWhoDidNotAskForIt) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kNoSpaceStatus);
  RestartServer();
  const gantry_op waits = volume_.Setattr("file", GANTRY_FS_SET_MODE, {});
  EXPECT_EQ(volume_.Wait(waits).error_number, 0);
  ASSERT_TRUE(Logs("has lost"));
  RefuseWrites(0);
  EXPECT_EQ(volume_.Wait(Truncate(volume_, "file", 2)).error_number, 0);
  EXPECT_EQ(volume_.Wait(volume_.Setattr("file", GANTRY_FS_SET_MODE, {})).error_number, 0);
  Write("file", 0, "more");
  EXPECT_EQ(volume_.Wait(volume_.Setattr("file", GANTRY_FS_SET_MODE, {})).error_number, 0);
  Write("file", 0, "more");
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, "data")).length, 4u);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, ENOSPC);
}

TEST_F(UncommittedTest, ACloseDoesNotWaitForAServerThatIsAwayOrRefuses) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kAccessStatus);
  const uint16_t port = server_.port();
  server_.Stop();
  ASSERT_TRUE(Logs("can't be connected to"));
  EXPECT_EQ(volume_.Wait(volume_.Commit("file", GANTRY_FS_COMMIT_CLOSE)).error_number, 0);
  server_.Begin(port);
  RestartServer();
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() > 0; }, 10s));
  EXPECT_EQ(volume_.Wait(volume_.Commit("file", GANTRY_FS_COMMIT_CLOSE)).error_number, 0);
  EXPECT_NE(Stable("file"), "data");
  RefuseWrites(0);
  EXPECT_TRUE(host_.Run([&] { return Stable("file") == "data"; }, 10s));
}

TEST_F(UncommittedTest, ASuccessorSaysWhatItsPredecessorHasLost) {
  Open();
  Write("file", 0, "data");
  RefuseWrites(kNoSpaceStatus);
  RestartServer();
  ASSERT_TRUE(Logs("has lost"));
  volume_.Die();
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, ENOSPC);
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, 0);
}

TEST_F(UncommittedTest, SaysOfEveryFileThatItsDataIsLost) {
  Open();
  std::vector<std::string> names;
  for (size_t i = 0; i < kLostFilesMax + 3; ++i) names.push_back(std::to_string(1000 + i));
  for (const std::string& name : names) Write(name, 0, "data");
  RefuseWrites(kNoSpaceStatus);
  RestartServer();
  for (const std::string& name : names)
    EXPECT_EQ(volume_.Wait(volume_.Commit(name)).error_number, ENOSPC) << name;
}

TEST_F(UncommittedTest, SaysToWhoWaitsThatTheFileIsGone) {
  Open();
  Write("file", 0, "data");
  server_.HangUpOn(nfs::Commit::kNumber);
  const gantry_op commit = volume_.Commit("file");
  ASSERT_TRUE(Sees(nfs::Commit::kNumber, 1));
  RefuseCommits(kStaleStatus);
  RestartServer();
  EXPECT_EQ(volume_.Wait(commit).error_number, ESTALE);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
}

TEST_F(UncommittedTest, SaysToWhoAsksLaterThatTheFileIsGone) {
  Open();
  Write("file", 0, "data");
  RefuseCommits(kStaleStatus);
  RestartServer();
  // Until then it is kept.
  EXPECT_TRUE(host_.Run(
      [&] {
        const gantry_op close = volume_.Commit("file", GANTRY_FS_COMMIT_CLOSE);
        return volume_.Wait(close).error_number == ESTALE;
      },
      10s));
  volume_.Die();
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, ESTALE);
  EXPECT_EQ(successor.Wait(successor.Commit("file")).error_number, 0);
}

// A server says that of every file before it has found the disk.
TEST_F(UncommittedTest, DoesNotTakeAFileForGoneWhereTheVolumeIsGone) {
  Open();
  Write("file", 0, "data");
  RefuseCommits(kStaleStatus);
  server_.On(nfs::GetAttr::kNumber, [&](const FakeCall&) { return Status(kStaleStatus); });
  RestartServer();
  ASSERT_TRUE(Sees(nfs::Commit::kNumber, 3));
  // The file is asked before and the root after that.
  server_.On(nfs::GetAttr::kNumber, [&](const FakeCall&) {
    RefuseCommits(0);
    return Xdr().U32(0).Append(FattrOf(2)).bytes;
  });
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
}

// Or else 256 files of a share that is gone are lost, and who asks for another one is told nothing.
TEST_F(UncommittedTest, SaysOfAVolumeThatIsGoneThatAllIsLost) {
  Open();
  for (size_t i = 0; i < kLostFilesMax + 1; ++i) Write(std::to_string(1000 + i), 0, "data");
  RefuseCommits(kStaleStatus);
  RefuseWrites(kStaleStatus);
  server_.On(nfs::GetAttr::kNumber, [](const FakeCall&) { return Status(kStaleStatus); });
  RestartServer();
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() > 0; }, 5s));
  RefusedMs() = kRestoreMsMax;
  EXPECT_TRUE(host_.Run([&] { return RefusedMs() == 0; }, 20s)) << RefusedMs();
  for (const std::string name : {"1000", "1255", "1256"})
    EXPECT_EQ(volume_.Wait(volume_.Commit(name)).error_number, EIO) << name;
  EXPECT_THAT(volume_.log(), HasSubstr("has lost 4 bytes"));
}

// As a temporary file is: nobody asks any more, and nobody needs to know.
TEST_F(UncommittedTest, AFileThatIsRemovedBeforeItIsCommittedIsNoLossToSpeakOf) {
  Open();
  Write("file", 0, "data");
  RefuseCommits(kStaleStatus);
  ASSERT_TRUE(Sees(nfs::Commit::kNumber, 2));
  RefuseCommits(0);
  Write("els1", 0, "more");
  EXPECT_EQ(volume_.Wait(volume_.Commit("els1")).error_number, 0);
  EXPECT_EQ(volume_.log(), "");
}

// Or else the next one that is refused would have none.
TEST_F(UncommittedTest, AFileThatIsRemovedTakesNoPatience) {
  Open();
  Write("file", 0, "data");
  RefusedMs() = kRestoreMsMax - 1;
  RefuseCommits(kStaleStatus);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, ESTALE) << "not lost, but removed";
}

// --- what empties a file

TEST_F(UncommittedTest, EmptiesAFileForTwoAtTheSameTime) {
  Open();
  Write("file", 0, "data");
  const gantry_op first = Truncate(volume_, "file", 0);
  const gantry_op second = Truncate(volume_, "file", 0);
  EXPECT_EQ(volume_.Wait(first).error_number, 0);
  EXPECT_EQ(volume_.Wait(second).error_number, 0);
  EXPECT_EQ(Stable("file"), "");
}

TEST_F(UncommittedTest, EmptiesAFileWithoutWhatWasWrittenToIt) {
  Open();
  Write("file", 0, "data");
  const size_t writes = server_.Seen(nfs::Write::kNumber).size();
  EXPECT_EQ(volume_.Wait(Truncate(volume_, "file", 0)).error_number, 0);
  RestartServer();
  EXPECT_EQ(Read(volume_, "file"), "");
  EXPECT_EQ(Commits(), 0u);
  EXPECT_EQ(server_.Seen(nfs::Write::kNumber).size(), writes);
}

TEST_F(UncommittedTest, EmptiesAFileThatIsRefused) {
  Open();
  Write("file", 0, "data");
  RefuseCommits(kAccessStatus);
  RefuseWrites(kAccessStatus);
  const gantry_op commit = volume_.Commit("file");
  ASSERT_TRUE(host_.Run([&] { return Commits() > 0 && RefusedMs() > 0; }, 5s));
  EXPECT_EQ(volume_.Wait(Truncate(volume_, "file", 0)).error_number, 0);
  EXPECT_EQ(volume_.Wait(commit).error_number, 0) << "nothing is left to be stable";
  EXPECT_EQ(Stable("file"), "");
}

TEST_F(UncommittedTest, KeepsWhatWasWrittenToAFileThatCouldNotBeEmptied) {
  Open();
  Write("file", 0, "data");
  RefuseSetattrs(kAccessStatus);
  EXPECT_EQ(volume_.Wait(Truncate(volume_, "file", 0)).error_number, EACCES);
  RestartServer();
  EXPECT_EQ(Read(volume_, "file"), "data");
}

// The data was not dropped yet, and is restored before the operation is repeated.
TEST_F(UncommittedTest, ASuccessorEmptiesAFileAgain) {
  Open();
  Write("file", 0, "data");
  std::atomic<bool> done{false};
  server_.On(nfs::SetAttr::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (done.exchange(true)) return Changed();
    return std::nullopt;  // Done, and its answer is lost.
  });
  const gantry_op truncation = Truncate(volume_, "file", 0);
  ASSERT_TRUE(host_.Run([&] { return done.load(); }, 5s));
  volume_.Die();
  RestartServer();
  Volume successor(host_);
  ASSERT_EQ(OpenAgain(successor).error_number, 0) << successor.log();
  successor.Repeat(truncation);
  const gantry_op again = Truncate(successor, "file", 0);
  EXPECT_EQ(successor.Wait(again).error_number, 0);
  EXPECT_GE(server_.Seen(nfs::SetAttr::kNumber).size(), 2u);
}

// It may be made at any time until it is answered.
TEST_F(UncommittedTest, NothingOvertakesATruncationThatWasInterrupted) {
  Open();
  Write("file", 0, "data");
  std::atomic<bool> goes_on{false};
  server_.On(nfs::SetAttr::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    while (!goes_on) std::this_thread::yield();
    return Changed();
  });
  const size_t writes = server_.Seen(nfs::Write::kNumber).size();
  const gantry_op truncation = Truncate(volume_, "file", 0);
  ASSERT_TRUE(Sees(nfs::SetAttr::kNumber, 1));
  volume_.path().Interrupt(truncation);
  EXPECT_EQ(volume_.Wait(truncation).error_number, EINTR);
  const gantry_op write = volume_.Write("file", 0, Keep("more"), 0);
  EXPECT_FALSE(host_.Run([&] { return server_.Seen(nfs::Write::kNumber).size() > writes; }, 300ms));
  goes_on = true;
  EXPECT_EQ(volume_.Wait(write).length, 4u);
}

// --- attributes

TEST_F(UncommittedTest, TellsNoSizeOfBeforeARestore) {
  Open();
  server_.On(nfs::Link::kNumber, [](const FakeCall&) {
    return Xdr().U32(0).U32(1).Fattr().U32(0).U32(0).bytes;  // Of 4711 bytes.
  });
  server_.On(nfs::Create::kNumber, [](const FakeCall&) { return Made("file"); });
  Write("file", 0, "data");
  const std::vector<std::pair<uint32_t, std::function<gantry_op()>>> asked = {
      {nfs::Link::kNumber, [&] { return volume_.Link("file", "root", "name"); }},
      {nfs::Create::kNumber,
       [&] { return volume_.Make(&NfsDataPath::Create, "root", "name", S_IFREG | 0644); }},
      {nfs::Lookup::kNumber, [&] { return volume_.Name(&NfsDataPath::Lookup, "root", "name"); }}};
  for (const auto& [procedure, ask] : asked) {
    Write("file", 0, "data");
    server_.HangUpOn(procedure);
    const gantry_op op = ask();
    ASSERT_TRUE(Sees(procedure, 1));
    RestartServer();
    EXPECT_EQ(volume_.Wait(op).attributes.size_bytes, 4u) << procedure;
    EXPECT_EQ(Stable("file"), "data");
  }
}

TEST_F(UncommittedTest, ListsNoAttributesOfBeforeARestore) {
  Open();
  server_.On(ReadDirPlus::kNumber, [](const FakeCall&) {
    Xdr results;
    results.U32(0).U32(0).Raw("cookverf");
    for (const char* name : {"els1", "file"})
      results.U32(1).U64(1).Opaque(name).U64(1).U32(1).Fattr().U32(1).Opaque(name);
    return results.U32(0).U32(1).bytes;
  });
  const auto told = [&](gantry_op listing) {
    EXPECT_EQ(volume_.Wait(listing).error_number, 0);
    std::vector<std::string> handles;
    for (const auto& entry : host_.TakeEntries()) handles.push_back(entry.handle);
    return handles;
  };
  EXPECT_THAT(told(volume_.ReaddirPlus("root", 0)), ElementsAre("els1", "file"));
  Write("file", 0, "data");
  RefuseWrites(kAccessStatus);
  RestartServer();
  ASSERT_TRUE(host_.Run([&] { return RefusedMs() > 0; }, 10s));
  EXPECT_THAT(told(volume_.ReaddirPlus("root", 0)), ElementsAre("els1", "")) << "it is held";
  // It is written again while the answer is on its way.
  std::atomic<bool> goes_on{false};
  const auto list = [&](const FakeCall&) -> std::optional<Bytes> {
    if (!goes_on) return std::nullopt;
    return Xdr()
        .U32(0)
        .U32(0)
        .Raw("cookverf")
        .U32(1)
        .U64(1)
        .Opaque("file")
        .U64(1)
        .U32(1)
        .Fattr()
        .U32(1)
        .Opaque("file")
        .U32(0)
        .U32(1)
        .bytes;
  };
  server_.On(ReadDirPlus::kNumber, list);
  const size_t listings = server_.Seen(ReadDirPlus::kNumber).size();
  const gantry_op listing = volume_.ReaddirPlus("root", 0);
  ASSERT_TRUE(Sees(ReadDirPlus::kNumber, listings + 1));
  RefuseWrites(0);
  EXPECT_EQ(volume_.Wait(volume_.Commit("file")).error_number, 0);
  goes_on = true;
  LoseTheConnection();
  EXPECT_THAT(told(listing), ElementsAre(""));
}

// --- the end of a volume, and other releases

TEST_F(UncommittedTest, AClosingVolumeWaitsForAServerThatIsAwayForAWhile) {
  Open();
  Write("file", 0, "data");
  server_.Stop();
  const gantry_op close = host_.NewOp();
  volume_.path().Close(close);
  EXPECT_FALSE(host_.Run([&] { return !host_.IsUnderWay(close); }, 3s));
  server_.Begin(server_.port());
  EXPECT_EQ(host_.Wait(close).error_number, 0);
  EXPECT_EQ(Stable("file"), "data");
  EXPECT_THAT(volume_.log(), testing::Not(HasSubstr("may be lost")));
}

TEST_F(UncommittedTest, AClosedVolumeSaysWhatMayBeLost) {
  Open();
  Write("file", 0, "data");
  Write("els1", 0, "more");
  server_.Stop();
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(volume_.Close().error_number, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begun,
            std::chrono::milliseconds(kCloseUncommittedMsMax) + 1s);
  EXPECT_THAT(volume_.log(), HasSubstr("the 8 bytes written last to 2 files; they may be lost"));
}

TEST_F(UncommittedTest, RefusesToOpenWhatAnotherReleaseLeftInALayoutThatIsNotKnown) {
  for (const std::string region : {"writes", "lost-files"}) {
    FakeHost host;
    Volume volume(host);
    ASSERT_EQ(OpenAgain(volume).error_number, 0);
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(volume.Wait(volume.Write("file", 0, "data", 0)).length, 4u);
    volume.Die();
    std::memset(host.Region(region), 0x77, 8);
    Volume successor(host);
    EXPECT_EQ(OpenAgain(successor).error_number, EPROTONOSUPPORT) << region;
    EXPECT_THAT(successor.log(), HasSubstr("a layout that this release does not know"));
  }
}

}  // namespace
}  // namespace gantry::nfs
