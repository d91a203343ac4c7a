// SPDX-License-Identifier: Apache-2.0
// Who gets in, and who does not any more, at a real tgtd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "tests/iscsi_target/target_fixture.hpp"

namespace gantry::iscsi::target {
namespace {

using testing::kMiB;
using testing::kNodeA;
using testing::kNodeB;
using testing::kPrefix;
using testing::Soon;
namespace code = plugin::code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class AccessTest : public testing::TargetFixture {
 protected:
  static PublishVolume WithChap(PublishVolume request, bool mutual = false) {
    request.chap = Chap{request.handle + ".user-" + request.node_id, "geheim-geheim-1", "", ""};
    if (mutual) {
      request.chap->user_in = request.handle + ".target";
      request.chap->password_in = "anders-anders-1";
    }
    return request;
  }
  static PublishVolume Shared(PublishVolume request) {
    request.single_node = false;
    return request;
  }
};

TEST_F(AccessTest, OnlyThePublishedInitiatorGetsInAndFindsWhatItWasTold) {
  Must(Make("t0-1", 64 * kMiB));
  const auto volume = Must(Publish("t0-1"));
  ASSERT_EQ(volume.nodes.size(), 1U);
  EXPECT_EQ(volume.nodes[0].node_id, "node-a");
  auto session = Login(volume);
  EXPECT_THAT(scsi::ReadIdentities(session, kLun, Soon()).value(), Contains(volume.identity.naa));
  EXPECT_THAT(scsi::ReadSerial(session, kLun, Soon()).value(), HasSubstr(volume.identity.serial));
  EXPECT_EQ(scsi::ReadCapacity(session, kLun, Soon())->size_bytes(), volume.size_bytes);
  EXPECT_TRUE(scsi::ReadProvisioning(session, kLun, Soon())->unmap);
  EXPECT_TRUE(Must(GetVolume{"t0-1"}).never_written);
  WriteText(session, "data");
  EXPECT_FALSE(Must(GetVolume{"t0-1"}).never_written);
  EXPECT_FALSE(TryLogin(volume, kNodeB));
}

TEST_F(AccessTest, TheSameAgainIsFineAndAnotherWishIsNot) {
  Must(Make("t0-1"));
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  EXPECT_EQ(Must(Publish("t0-1")), volume);
  EXPECT_EQ(ReadText(session), "") << "the session goes on";
  ExpectError(Publish("t0-1", "node-a", kNodeB), code::kAlreadyExists, "another initiator");
  auto request = Publish("t0-1");
  request.readonly = true;
  ExpectError(request, code::kAlreadyExists, "another readonly");
  ExpectError(WithChap(Publish("t0-1")), code::kAlreadyExists, "another chap");
  request = Publish("t0-1");
  request.incarnation = std::string(32, '0');
  ExpectError(request, code::kNotFound, "made anew");
}

TEST_F(AccessTest, ASecondNodeIsRefusedByTheNameOfTheFirst) {
  Must(Make("t0-1"));
  Must(Publish("t0-1"));
  ExpectError(Publish("t0-1", "node-b", kNodeB), code::kFailedPrecondition,
              "node node-a has it for itself");
  ExpectError(Shared(Publish("t0-1", "node-b", kNodeB)), code::kFailedPrecondition, "node node-a");
  Must(Unpublish("t0-1"));
  Must(Shared(Publish("t0-1")));
  ExpectError(Publish("t0-1", "node-b", kNodeB), code::kFailedPrecondition, "node node-a has it");
  Must(Shared(Publish("t0-1", "node-b", kNodeB)));
}

TEST_F(AccessTest, OneNodeOfTwoLeavesAndTheOtherGoesOn) {
  Must(Make("t0-1"));
  Must(Shared(Publish("t0-1")));
  const auto volume = Must(Shared(Publish("t0-1", "node-b", kNodeB)));
  ASSERT_EQ(volume.nodes.size(), 2U);
  auto a = Login(volume, kNodeA);
  auto b = Login(volume, kNodeB);
  WriteText(a, "from a");
  Must(Unpublish("t0-1", "node-a"));
  EXPECT_EQ(ReadText(b), "from a");
  WriteText(b, "from b");
  EXPECT_FALSE(scsi::Flush(a, kLun, Soon()));
  EXPECT_FALSE(TryLogin(volume, kNodeA));
  EXPECT_EQ(Must(GetVolume{"t0-1"}).nodes.size(), 1U);
  Must(Unpublish("t0-1", ""));
  EXPECT_THAT(Must(GetVolume{"t0-1"}).nodes, IsEmpty());
  EXPECT_EQ(tgt_->Show().value(), "");
}

TEST_F(AccessTest, ReadOnlyIsKeptByTheTarget) {
  MakeWith("t0-1", "data");
  auto request = Shared(Publish("t0-1"));
  request.readonly = true;
  const auto volume = Must(request);
  auto session = Login(volume);
  EXPECT_EQ(ReadText(session), "data");
  const auto data = Block("late");
  EXPECT_FALSE(scsi::Write(session, kLun, 0, kBlockBytes, data, false, Soon()));
  EXPECT_EQ(ReadText(session), "data");
  ExpectError(Shared(Publish("t0-1", "node-b", kNodeB)), code::kFailedPrecondition, "read-only");
}

TEST_F(AccessTest, WithChapTheSecretIsAskedForBothWays) {
  Must(Make("t0-1"));
  const auto request = WithChap(Publish("t0-1"), true);
  const auto volume = Must(request);
  EXPECT_TRUE(volume.nodes[0].chap);
  EXPECT_EQ(Must(request), volume);
  EXPECT_FALSE(TryLogin(volume, kNodeA)) << "without a secret";
  Chap wrong = *request.chap;
  wrong.password = "falsch-falsch-1";
  EXPECT_FALSE(TryLogin(volume, kNodeA, wrong));
  wrong = *request.chap;
  wrong.password_in = "falsch-falsch-1";
  EXPECT_FALSE(TryLogin(volume, kNodeA, wrong)) << "a target that cannot prove itself";
  EXPECT_TRUE(TryLogin(volume, kNodeA, request.chap));
  Must(Unpublish("t0-1"));
  EXPECT_THAT(tgt_->Adm({"--op", "show", "--mode", "account"}).value(), Not(HasSubstr("t0-1")));
}

TEST_F(AccessTest, NoSecretIsInTheStore) {
  Must(Make("t0-1"));
  Must(WithChap(Publish("t0-1"), true));
  for (const auto& name : Files("volumes")) {
    if (!name.ends_with(".json")) continue;
    std::ifstream file(store_path() / "volumes" / name);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    EXPECT_THAT(text, HasSubstr("sealed_chap"));
    EXPECT_THAT(text, Not(HasSubstr("geheim")));
    EXPECT_THAT(text, Not(HasSubstr("anders")));
  }
}

TEST_F(AccessTest, AccessEndsWithoutTheKeyOfTheSecrets) {
  Must(Make("t0-1"));
  const auto a = WithChap(Shared(Publish("t0-1")));
  const auto b = WithChap(Shared(Publish("t0-1", "node-b", kNodeB)));
  Must(a);
  const auto volume = Must(b);
  std::filesystem::remove(key_path());
  Must(Unpublish("t0-1", "node-a"));
  EXPECT_FALSE(TryLogin(volume, kNodeA, a.chap));
  EXPECT_TRUE(TryLogin(volume, kNodeB, b.chap));
  ExpectError(a, code::kFailedPrecondition, "chap_key_file");
  Must(Unpublish("t0-1", "node-b"));
  EXPECT_EQ(tgt_->Show().value(), "");
}

TEST_F(AccessTest, TwoNodesHaveSecretsOfTheirOwn) {
  Must(Make("t0-1"));
  const auto a = WithChap(Shared(Publish("t0-1")), true);
  auto b = WithChap(Shared(Publish("t0-1", "node-b", kNodeB)), true);
  b.chap->password = "geheim-geheim-2";
  Must(a);
  const auto volume = Must(b);
  EXPECT_TRUE(TryLogin(volume, kNodeA, a.chap));
  EXPECT_TRUE(TryLogin(volume, kNodeB, b.chap));
  Must(Unpublish("t0-1", "node-a"));
  EXPECT_FALSE(TryLogin(volume, kNodeA, a.chap));
  EXPECT_TRUE(TryLogin(volume, kNodeB, b.chap)) << "its accounts are still there";
}

// A write of the node that is lost runs in the target while the volume is taken from it.
TEST_F(AccessTest, UnpublishComesBackOnlyWhenNothingOfTheNodeIsRunning) {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  const std::string shim =
      std::string(build != nullptr ? build : ".") + "/tests/iscsi_target/slow_write.so";
  ASSERT_TRUE(std::filesystem::exists(shim));
  const std::string mark = temp_.path() / "slow-write-runs";
  StartTgt(shim, mark);
  Open();
  Must(Make("t0-1"));
  const auto volume = Must(Publish("t0-1"));
  auto session = Login(volume);
  const auto data = Block("SLOW");
  std::thread writer(
      [&] { EXPECT_FALSE(scsi::Write(session, kLun, 0, kBlockBytes, data, false, Soon())); });
  while (!std::filesystem::exists(mark)) std::this_thread::yield();
  const auto early = Ask(Unpublish("t0-1"), milliseconds(200));
  ASSERT_FALSE(early) << "the write takes 1.5 s";
  EXPECT_EQ(CodeName(early.error().code), "DEADLINE_EXCEEDED") << early.error().message;
  EXPECT_EQ(Must(GetVolume{"t0-1"}).nodes.size(), 1U) << "the node still has it";
  ExpectError(Publish("t0-1", "node-b", kNodeB), code::kFailedPrecondition, "node node-a");
  Must(Unpublish("t0-1"));
  // Whatever the write did, it has done it: nothing comes later.
  std::string image;
  for (const auto& name : Files("volumes"))
    if (name.ends_with(".img")) image = name;
  std::ifstream file(store_path() / "volumes" / image);
  std::string text(4, '\0');
  file.read(text.data(), 4);
  EXPECT_EQ(text, "SLOW");
  writer.join();
  const auto next = Must(Publish("t0-1", "node-b", kNodeB));
  auto other = Login(next, kNodeB);
  WriteText(other, "NEW");
  EXPECT_EQ(ReadText(other), "NEW");
}

TEST_F(AccessTest, NobodyElseWaitsForALockLongerThanItsDeadline) {
  Must(Make("t0-1"));
  auto store = Store::Open(store_path(), [](const char*) {});
  ASSERT_TRUE(store);
  const auto locks = store->LockAll({{RecordKind::kVolume, "t0-1"}}, steady_clock::now());
  ASSERT_TRUE(locks);
  const auto reply = Ask(Publish("t0-1"), milliseconds(50));
  ASSERT_FALSE(reply);
  EXPECT_EQ(CodeName(reply.error().code), "ABORTED");
  EXPECT_TRUE(Ask(GetVolume{"t0-1"}, milliseconds(50))) << "readers do not wait";
}

TEST_F(AccessTest, ADaemonThatForgotEverythingGetsItBack) {
  const auto a = WithChap(Publish("t0-1"), true);
  Must(Make("t0-1"));
  const auto first = Must(a);
  Must(Make("t0-2"));
  const auto second = Must(Publish("t0-2"));
  {
    auto session = Login(second);
    WriteText(session, "data");
  }
  MakeWith("t0-3", "gone");
  Must(DeleteVolume{"t0-3", ""});
  Must(Make("t0-4"));
  ASSERT_TRUE(tgt_->Restart());
  EXPECT_EQ(tgt_->Show().value(), "");
  EXPECT_EQ(Must(Rebuild{}), (Progress{2, 2, true}));
  auto session = Login(second);
  EXPECT_EQ(ReadText(session), "data");
  EXPECT_THAT(scsi::ReadIdentities(session, kLun, Soon()).value(), Contains(second.identity.naa));
  EXPECT_TRUE(TryLogin(first, kNodeA, a.chap));
  EXPECT_FALSE(TryLogin(first, kNodeA));
  EXPECT_EQ(Must(Rebuild{}), (Progress{0, 0, true})) << "nothing is missing any more";
  EXPECT_EQ(ReadText(session), "data") << "and nobody was disturbed";
}

TEST_F(AccessTest, AWatchGivesARestartedDaemonItsTargetsByItself) {
  Must(Make("t0-1"));
  const auto volume = Must(Publish("t0-1"));
  auto watching = Service::Open(MakeConfig(), "0-test");
  ASSERT_TRUE(watching);
  constexpr milliseconds kWatchMs{6000};
  std::string answer;
  std::thread watcher([&] {
    answer = (*watching)->Answer(
        EncodeRequest({"cluster-a", kWatchMs}, RunTask{{TaskKind::kRestoreTargets, ""}}));
  });
  ASSERT_TRUE(tgt_->Kill());
  EXPECT_FALSE(TryLogin(volume, kNodeA));
  ASSERT_TRUE(tgt_->Restart());
  const auto back = steady_clock::now();
  while (!TryLogin(volume, kNodeA) && steady_clock::now() < back + kWatchMs)
    std::this_thread::yield();
  const auto took = steady_clock::now() - back;
  EXPECT_LT(took, milliseconds(2000));
  RecordProperty("restore_ms",
                 static_cast<int>(std::chrono::duration_cast<milliseconds>(took).count()));
  watcher.join();
  const auto progress = DecodeReply<Progress>(answer);
  ASSERT_TRUE(progress) << progress.error().message;
  EXPECT_EQ(progress->done, 1U);
  EXPECT_FALSE(progress->finished);
}

TEST_F(AccessTest, TargetsThatNoRecordWantsAreRemovedAndOthersLeftAlone) {
  ASSERT_TRUE(tgt_->NewTarget(5, std::string(kPrefix) + ":t0-9.aaaaaaaaaaaa"));
  ASSERT_TRUE(tgt_->NewTarget(6, "iqn.2020-01.somebody:else"));
  Must(Make("t0-1"));
  Must(Publish("t0-1"));
  EXPECT_EQ(Must(Rebuild{}).done, 1U);
  const auto show = tgt_->Show().value();
  EXPECT_THAT(show, Not(HasSubstr("t0-9")));
  EXPECT_THAT(show, HasSubstr("somebody:else"));
  EXPECT_THAT(show, HasSubstr("store:t0-1."));
}

}  // namespace
}  // namespace gantry::iscsi::target
