// SPDX-License-Identifier: Apache-2.0
// Sessions and commands against a real target (tgtd).
#include "tests/lab/tgt.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <numeric>
#include <optional>
#include <stdexcept>

#include "plugins/iscsi/scsi/unit.hpp"

namespace gantry::iscsi::scsi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kTarget = "iqn.2026-01.test.gantry:t1";
constexpr const char* kInitiator = "iqn.2026-01.test.gantry:node-1";
constexpr milliseconds kSoonMs{5000};
constexpr milliseconds kAtOnceMs{1000};
constexpr uint64_t kSizeBytes = 64 << 20;

Wait Within(milliseconds time) { return {steady_clock::now() + time}; }
Wait Soon() { return Within(kSoonMs); }

class TgtSession : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    auto started = lab::Tgt::Start({.addresses = {"127.0.0.1", "[::1]"}});
    ASSERT_TRUE(started) << started.error().message;
    server_.emplace(*std::move(started));
    ASSERT_TRUE(server_->NewTarget(1, kTarget));
    ASSERT_TRUE(server_->NewLun({}));
    ASSERT_TRUE(server_->Allow(1, kInitiator));
    options_.initiator = kInitiator;
    options_.target = kTarget;
  }

  std::vector<Portal> Portals(size_t count = 1) {
    std::vector<Portal> portals;
    for (size_t i = 0; i < count; ++i) portals.push_back(*ParsePortal(server_->portals()[i]));
    return portals;
  }
  Session Login(const LoginOptions& options) {
    auto session = Session::Login(options, Portals(), Soon());
    if (!session) throw std::runtime_error(session.error().message);
    return *std::move(session);
  }
  Session Login() { return Login(options_); }
  LoginOptions As(const std::string& initiator) {
    LoginOptions options = options_;
    options.initiator = initiator;
    return options;
  }

  std::optional<lab::Tgt> server_;
  LoginOptions options_;
};

TEST_F(TgtSession, ReadsWhatALunIs) {
  Session session = Login();
  EXPECT_EQ(*ReadLuns(session, Soon()), (std::vector<uint32_t>{0, 1}));
  EXPECT_NE(ReadInquiry(session, 0, Soon())->type, 0) << "tgtd's LUN 0 is its controller";
  const auto inquiry = ReadInquiry(session, 1, Soon());
  ASSERT_TRUE(inquiry) << inquiry.error().message;
  EXPECT_EQ(inquiry->qualifier, 0);
  EXPECT_EQ(inquiry->type, 0);
  EXPECT_EQ(*ReadSerial(session, 1, Soon()), "c0ffee0000000001");
  EXPECT_EQ(ReadIdentities(session, 1, Soon())->front(), "naa.6000000000000000c0ffee0000000001");
  const auto capacity = ReadCapacity(session, 1, Soon());
  ASSERT_TRUE(capacity) << capacity.error().message;
  EXPECT_EQ(capacity->size_bytes(), kSizeBytes);
  EXPECT_TRUE(capacity->thin);
  EXPECT_TRUE(ReadProvisioning(session, 1, Soon())->unmap);
  EXPECT_TRUE(ReadMode(session, 1, Soon())->force_unit_access);
  EXPECT_TRUE(ReadBlockLimits(session, 1, Soon()));
}

TEST_F(TgtSession, WritesReadBackAndUnmappedBlocksAreZero) {
  Session session = Login();
  std::vector<std::byte> data(1 << 20);
  std::iota(reinterpret_cast<unsigned char*>(data.data()),
            reinterpret_cast<unsigned char*>(data.data() + data.size()), 1);
  ASSERT_TRUE(Write(session, 1, 100, 512, data, true, Soon()));
  ASSERT_TRUE(Flush(session, 1, Soon()));
  std::vector<std::byte> back(data.size());
  ASSERT_TRUE(Read(session, 1, 100, 512, back, Soon()));
  EXPECT_EQ(back, data);
  const std::vector<std::byte> zeroes(512);
  ASSERT_TRUE(WriteSame(session, 1, {100, 8}, zeroes, true, Soon()));
  ASSERT_TRUE(Read(session, 1, 100, 512, std::span(back).first(4096), Soon()));
  EXPECT_EQ(std::count(back.begin(), back.begin() + 4096, std::byte{}), 4096);
  EXPECT_TRUE(std::equal(back.begin() + 4096, back.end(), data.begin() + 4096));
}

TEST_F(TgtSession, WriteSameFillsARange) {
  Session session = Login();
  const std::vector<std::byte> block(512, std::byte{7});
  ASSERT_TRUE(WriteSame(session, 1, {10, 100}, block, false, Soon()));
  std::vector<std::byte> back(102 * 512);
  ASSERT_TRUE(Read(session, 1, 9, 512, back, Soon()));
  EXPECT_EQ(back[511], std::byte{});
  EXPECT_EQ(std::count(back.begin(), back.end(), std::byte{7}), 100 * 512);
}

TEST_F(TgtSession, TellsMappedBlocksFromOthers) {
  Session session = Login();
  const std::vector<std::byte> data(1 << 20, std::byte{1});
  ASSERT_TRUE(Write(session, 1, 8192, 512, data, false, Soon()));
  const auto status = ReadLbaStatus(session, 1, 8192, Soon());
  ASSERT_TRUE(status) << status.error().message;
  ASSERT_FALSE(status->empty());
  EXPECT_EQ(status->front().extent.lba, 8192u);
  EXPECT_EQ(status->front().state, LbaState::kMapped);
}

TEST_F(TgtSession, ARangeBeyondTheEndIsRefused) {
  Session session = Login();
  std::vector<std::byte> data(512);
  const auto read = Read(session, 1, kSizeBytes / 512, 512, data, Soon());
  ASSERT_FALSE(read);
  EXPECT_TRUE(read.error().Is(kIllegalRequest, 0x2100)) << read.error().message;
}

TEST_F(TgtSession, WorksOverIpv6AndNames) {
  const auto v6 = Session::Login(options_, {*ParsePortal(server_->portals()[1])}, Soon());
  ASSERT_TRUE(v6) << v6.error().message;
  EXPECT_EQ(v6->portal().host, "::1");
  const auto name =
      Session::Login(options_, {{"localhost", ParsePortal(server_->portal())->port}}, Soon());
  EXPECT_TRUE(name) << name.error().message;
}

TEST_F(TgtSession, AnotherPortalServesWhereOneIsAway) {
  auto portals = Portals(2);
  portals[0].port = 1;
  const auto session = Session::Login(options_, portals, Soon());
  ASSERT_TRUE(session) << session.error().message;
  EXPECT_EQ(session->portal(), portals[1]);
}

TEST_F(TgtSession, NobodyThereIsUnavailable) {
  const auto session = Session::Login(options_, {{"127.0.0.1", 1}}, Soon());
  ASSERT_FALSE(session);
  EXPECT_EQ(ToCode(session.error()), plugin::code::kUnavailable) << session.error().message;
  EXPECT_NE(session.error().message.find("portal 127.0.0.1:1: "), std::string::npos);
}

TEST_F(TgtSession, AnInitiatorThatIsNotLetInIsToldSo) {
  const auto session =
      Session::Login(As("iqn.2026-01.test.gantry:stranger"), Portals(), Within(kAtOnceMs));
  ASSERT_FALSE(session);
  EXPECT_EQ(ToCode(session.error()), plugin::code::kNotFound) << session.error().message;
  EXPECT_NE(session.error().message.find("not open to this initiator"), std::string::npos);
}

TEST_F(TgtSession, ChapIsAskedForAndAWrongSecretIsSaidAtOnce) {
  ASSERT_TRUE(server_->NewAccount("alice", "secret123456"));
  ASSERT_TRUE(server_->BindAccount(1, "alice"));
  for (const char* secret : {"wrong1234567", ""}) {
    LoginOptions options = options_;
    if (*secret != '\0') options.chap = Chap("alice", secret);
    const auto session = Session::Login(options, Portals(2), Within(kAtOnceMs));
    ASSERT_FALSE(session);
    EXPECT_EQ(ToCode(session.error()), plugin::code::kUnauthenticated) << session.error().message;
    EXPECT_EQ(session.error().message.find("wrong1234567"), std::string::npos);
  }
  options_.chap = Chap("alice", "secret123456");
  EXPECT_TRUE(Session::Login(options_, Portals(), Soon()));
}

TEST_F(TgtSession, WithMutualChapTheTargetHasToProveItself) {
  ASSERT_TRUE(server_->NewAccount("alice", "secret123456"));
  ASSERT_TRUE(server_->BindAccount(1, "alice"));
  options_.chap = Chap("alice", "secret123456");
  options_.mutual = Chap("target", "outsecret1234");
  auto session = Session::Login(options_, Portals(), Soon());
  ASSERT_FALSE(session) << "the target has no account to prove itself with";
  EXPECT_EQ(ToCode(session.error()), plugin::code::kUnauthenticated) << session.error().message;
  ASSERT_TRUE(server_->NewAccount("target", "outsecret1234"));
  ASSERT_TRUE(server_->BindAccount(1, "target", true));
  session = Session::Login(options_, Portals(), Soon());
  EXPECT_TRUE(session) << session.error().message;
  options_.mutual = Chap("target", "anothersecret");
  session = Session::Login(options_, Portals(), Soon());
  ASSERT_FALSE(session);
  EXPECT_EQ(ToCode(session.error()), plugin::code::kUnauthenticated) << session.error().message;
}

TEST_F(TgtSession, HeaderDigestsAreUsedWhereTheTargetHasThem) {
  options_.header_digest = true;
  Session session = Login();
  EXPECT_EQ(ReadCapacity(session, 1, Soon())->size_bytes(), kSizeBytes);
}

TEST_F(TgtSession, DiscoversTargetsThatAreOpenToThisInitiator) {
  ASSERT_TRUE(server_->NewTarget(2, "iqn.2026-01.test.gantry:t2"));
  const auto targets = DiscoverTargets(options_, Portals(), Soon());
  ASSERT_TRUE(targets) << targets.error().message;
  ASSERT_EQ(targets->size(), 1u);
  EXPECT_EQ(targets->front().name, kTarget);
  EXPECT_EQ(targets->front().portals.front(), Portals().front());
}

TEST_F(TgtSession, DiscoveryHasAChapOfItsOwn) {
  ASSERT_TRUE(server_->NewAccount("scout", "scoutsecret12"));
  ASSERT_TRUE(server_->BindDiscoveryAccount("scout"));
  const auto refused = DiscoverTargets(options_, Portals(), Soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(ToCode(refused.error()), plugin::code::kUnauthenticated) << refused.error().message;
  options_.chap = Chap("scout", "scoutsecret12");
  EXPECT_EQ(DiscoverTargets(options_, Portals(), Soon())->size(), 1u);
}

TEST_F(TgtSession, AReservationKeepsOthersFromWriting) {
  ASSERT_TRUE(server_->Allow(1, "iqn.2026-01.test.gantry:node-2"));
  Session one = Login();
  Session two = Login(As("iqn.2026-01.test.gantry:node-2"));
  constexpr auto kType = ReservationType::kWriteExclusiveRegistrants;
  ASSERT_TRUE(Register(one, 1, 0, 0xa, Soon()));
  ASSERT_TRUE(Reserve(one, 1, 0xa, kType, Soon()));
  std::vector<std::byte> data(512);
  const auto refused = Write(two, 1, 0, 512, data, false, Soon());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().IsReservationConflict()) << refused.error().message;
  EXPECT_TRUE(Read(two, 1, 0, 512, data, Soon()));

  ASSERT_TRUE(RegisterAndIgnore(two, 1, 0xb, Soon()));
  EXPECT_EQ(*ReadKeys(two, 1, Soon()), (std::vector<uint64_t>{0xa, 0xb}));
  ASSERT_TRUE(Preempt(two, 1, 0xb, 0xa, kType, Soon()));
  EXPECT_EQ((*ReadReservation(two, 1, Soon()))->key, 0xbu);
  EXPECT_FALSE(Write(one, 1, 0, 512, data, false, Soon()));
  EXPECT_TRUE(Write(two, 1, 0, 512, data, false, Soon()));
  ASSERT_TRUE(Release(two, 1, 0xb, kType, Soon()));
  EXPECT_EQ(*ReadReservation(two, 1, Soon()), std::nullopt);
  ASSERT_TRUE(ClearReservations(two, 1, 0xb, Soon()));
  EXPECT_TRUE(ReadKeys(two, 1, Soon())->empty());
  EXPECT_TRUE(Write(one, 1, 0, 512, data, false, Soon()));
}

TEST_F(TgtSession, TgtdDoesNotAbortWhatItPreempts) {
  Session session = Login();
  ASSERT_TRUE(RegisterAndIgnore(session, 1, 0xa, Soon()));
  const auto aborted =
      PreemptAndAbort(session, 1, 0xa, 0xb, ReservationType::kWriteExclusiveRegistrants, Soon());
  ASSERT_FALSE(aborted);
  EXPECT_TRUE(aborted.error().IsUnsupported()) << aborted.error().message;
}

TEST_F(TgtSession, AResetIsFollowedByAnAttentionThatIsAbsorbed) {
  Session session = Login();
  ASSERT_TRUE(TestReady(session, 1, Soon()));
  ASSERT_TRUE(session.ResetLun(1, Soon()));
  const auto raw = session.RunOnce(1, TestUnitReady(), Soon());
  ASSERT_FALSE(raw);
  EXPECT_TRUE(raw.error().IsUnitAttention()) << raw.error().message;
  ASSERT_TRUE(session.ResetLun(1, Soon()));
  EXPECT_TRUE(TestReady(session, 1, Soon()));
}

TEST_F(TgtSession, ALunThatIsNotThereIsNamedSo) {
  Session session = Login();
  const auto ready = TestReady(session, 9, Soon());
  ASSERT_FALSE(ready);
  EXPECT_TRUE(ready.error().IsNoSuchLun()) << ready.error().message;
}

TEST_F(TgtSession, AFrozenTargetCostsItsDeadlineAndTheSession) {
  Session session = Login();
  ASSERT_TRUE(TestReady(session, 1, Soon()));
  ASSERT_TRUE(server_->Freeze());
  const auto begin = steady_clock::now();
  const auto ready = TestReady(session, 1, Within(milliseconds(200)));
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().failure, Failure::kDeadline) << ready.error().message;
  EXPECT_LT(steady_clock::now() - begin, kAtOnceMs);
  EXPECT_TRUE(session.lost());
  const auto login = Session::Login(options_, Portals(), Within(milliseconds(200)));
  ASSERT_FALSE(login);
  EXPECT_EQ(ToCode(login.error()), plugin::code::kDeadlineExceeded) << login.error().message;
  ASSERT_TRUE(server_->Thaw());
  EXPECT_TRUE(Session::Login(options_, Portals(), Soon()));
}

TEST_F(TgtSession, AKilledTargetIsNoticedAtOnce) {
  Session session = Login();
  ASSERT_TRUE(TestReady(session, 1, Soon()));
  ASSERT_TRUE(server_->Kill());
  const auto ready = TestReady(session, 1, Within(kAtOnceMs));
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().failure, Failure::kLost) << ready.error().message;
  EXPECT_EQ(ToCode(ready.error()), plugin::code::kUnavailable);
}

TEST_F(TgtSession, LogoutEndsTheSessionAtTheTarget) {
  Session session = Login();
  ASSERT_EQ(server_->Sessions(1)->size(), 1u);
  session.Logout(Soon());
  EXPECT_TRUE(server_->Sessions(1)->empty());
  EXPECT_TRUE(session.lost());
}

TEST_F(TgtSession, AnIdleLinkNoticesThatTheTargetIsGone) {
  Session session = Login();
  ASSERT_TRUE(TestReady(session, 1, Soon()));
  const auto link = session.TakeLink();
  ASSERT_TRUE(server_->Kill());
  for (int turns = 0; turns < 100 && !link->lost(); ++turns) link->Service(link->events());
  EXPECT_TRUE(link->lost());
  EXPECT_EQ(link->fd(), -1);
  EXPECT_EQ(link->events(), 0);
}

TEST_F(TgtSession, ADroppedLinkEndsWhatIsUnderWayOnce) {
  Session session = Login();
  const auto link = session.TakeLink();
  int ended = 0;
  for (int i = 0; i < 32; ++i) {
    link->Submit(1, TestUnitReady(), [&](ScsiResult<Reply> reply) {
      ++ended;
      EXPECT_EQ(reply.error().failure, Failure::kLost);
    });
  }
  EXPECT_EQ(link->outstanding(), 32u);
  link->Drop("enough");
  EXPECT_EQ(ended, 32);
  EXPECT_EQ(link->outstanding(), 0u);
}

}  // namespace
}  // namespace gantry::iscsi::scsi
