// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/rpc_stream.hpp"

#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

#include <map>
#include <memory>
#include <random>
#include <set>

#include "plugins/nfs/rpc/connect.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"
#include "plugins/nfs/rpc/test_wire.hpp"

namespace gantry::nfs {
namespace {

using test::Bytes;
using test::Xdr;

constexpr StreamSizes kSmall = {kRingBytesMin, kRingBytesMin, 8};

struct AlignedDelete {
  void operator()(std::byte* memory) const { operator delete[](memory, std::align_val_t{4096}); }
};

FileHandle Handle(std::string_view text) {
  FileHandle handle;
  handle.size = static_cast<uint32_t>(text.size());
  std::memcpy(handle.bytes.data(), text.data(), text.size());
  return handle;
}

// A stream whose server is the test, over a socketpair.
class RpcStreamTest : public testing::Test {
 protected:
  void Make(const StreamSizes& sizes, uint32_t first_xid = 100) {
    const size_t bytes = RpcStream::RegionBytes(sizes);
    memory_.reset(new (std::align_val_t{4096}) std::byte[bytes]());
    region_ = {memory_.get(), bytes};
    auto made = RpcStream::Create(region_, sizes, first_xid);
    ASSERT_TRUE(made) << made.error().message;
    stream_.emplace(std::move(*made));
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ours_.Reset(fds[0]);
    theirs_.Reset(fds[1]);
  }

  uint32_t SubmitNull(uint64_t tag, TimePoint deadline = kNoDeadline) {
    auto xid = Submit(*stream_, NullCall{}, Credentials{}, tag, deadline);
    EXPECT_TRUE(xid) << xid.error().message;
    return xid ? *xid : 0;
  }
  void Flush() {
    while (stream_->WantsWrite()) ASSERT_TRUE(stream_->OnWritable(ours_.get()));
  }
  void ServerSends(std::span<const std::byte> bytes) {
    ASSERT_EQ(send(theirs_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  Bytes ServerReceives() {
    Bytes all(1 << 20);
    const ssize_t got = recv(theirs_.get(), all.data(), all.size(), MSG_DONTWAIT);
    all.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return all;
  }
  NfsOutcome Receive() {
    return stream_->OnReadable(ours_.get(), [this](const Reply& reply) {
      replies_[reply.tag] = Bytes(reply.body.begin(), reply.body.end());
      order_.push_back(reply.tag);
    });
  }

  std::unique_ptr<std::byte[], AlignedDelete> memory_;
  std::span<std::byte> region_;
  std::optional<RpcStream> stream_;
  plugin::UniqueFd ours_, theirs_;
  std::map<uint64_t, Bytes> replies_;
  std::vector<uint64_t> order_;
};

TEST_F(RpcStreamTest, WritesAWholeCallAsRfc5531HasIt) {
  Make(kSmall);
  const uint32_t groups[] = {7, 8};
  const auto credentials = Credentials::Sys(1000, 1001, groups);
  ASSERT_TRUE(credentials);
  const std::string data = "hello";
  Write call{Handle("fh"), 9, std::as_bytes(std::span(data)), Stable::kDataSync};
  ASSERT_TRUE(Submit(*stream_, call, *credentials, 1, kNoDeadline));
  Flush();
  auto sent = ServerReceives();
  ASSERT_GT(sent.size(), 40u);
  const uint32_t stamp = test::WordAt(sent, 36);  // The time, which no server looks at.
  const Bytes expected = test::Record(Xdr()
                                          .U32(100)
                                          .U32(0)
                                          .U32(2)
                                          .U32(100003)
                                          .U32(3)
                                          .U32(7)
                                          .U32(1)
                                          .U32(36)
                                          .U32(stamp)
                                          .Opaque("gantry")
                                          .U32(1000)
                                          .U32(1001)
                                          .U32(2)
                                          .U32(7)
                                          .U32(8)
                                          .U32(0)
                                          .U32(0)
                                          .Opaque("fh")
                                          .U64(9)
                                          .U32(5)
                                          .U32(1)
                                          .Opaque("hello")
                                          .bytes);
  EXPECT_EQ(sent, expected);
}

TEST_F(RpcStreamTest, MatchesRepliesByXidInAnyOrder) {
  Make(kSmall);
  const uint32_t first = SubmitNull(11), second = SubmitNull(22);
  Flush();
  ServerSends(test::ReplyTo(second, Xdr().U32(2).bytes));
  ServerSends(test::ReplyTo(first, Xdr().U32(1).bytes));
  ASSERT_TRUE(Receive());
  EXPECT_EQ(order_, (std::vector<uint64_t>{22, 11}));
  EXPECT_EQ(replies_[11], Xdr().U32(1).bytes);
  EXPECT_EQ(stream_->outstanding(), 0u);
}

TEST_F(RpcStreamTest, TakesRepliesThatWrapAroundTheRing) {
  Make(kSmall);
  std::mt19937 random(1);
  for (uint64_t round = 0; round < 400; ++round) {
    const uint32_t xid = SubmitNull(round);
    Flush();
    ServerReceives();
    std::string text(random() % 9000, '\0');
    for (auto& c : text) c = static_cast<char>(random());
    ServerSends(test::ReplyTo(xid, Xdr().Opaque(text).bytes));
    ASSERT_TRUE(Receive());
    ASSERT_EQ(replies_[round], Xdr().Opaque(text).bytes) << "round " << round;
  }
  EXPECT_GT(stream_->header().in_head.load(), 50u * kRingBytesMin);
}

TEST_F(RpcStreamTest, SendsCallsThatWrapAroundTheRing) {
  Make(kSmall);
  std::mt19937 random(2);
  for (uint64_t round = 0; round < 300; ++round) {
    std::string text(random() % 9000, '\0');
    for (auto& c : text) c = static_cast<char>(random());
    const Write call{Handle("f"), round, std::as_bytes(std::span(text)), Stable::kFileSync};
    const auto xid = Submit(*stream_, call, Credentials{}, round, kNoDeadline);
    ASSERT_TRUE(xid) << xid.error().message;
    Flush();
    const auto bytes = static_cast<uint32_t>(text.size());
    EXPECT_EQ(ServerReceives(), test::Record(Xdr()
                                                 .U32(*xid)
                                                 .U32(0)
                                                 .U32(2)
                                                 .U32(100003)
                                                 .U32(3)
                                                 .U32(7)
                                                 .U32(0)
                                                 .U32(0)
                                                 .U32(0)
                                                 .U32(0)
                                                 .Opaque("f")
                                                 .U64(round)
                                                 .U32(bytes)
                                                 .U32(2)
                                                 .Opaque(text)
                                                 .bytes))
        << "round " << round;
    ServerSends(test::ReplyTo(*xid));
    ASSERT_TRUE(Receive());
  }
}

TEST_F(RpcStreamTest, TakesAReplyCutAtEveryByte) {
  const std::string text = "0123456789abcdef";
  const size_t bytes = test::ReplyTo(0, Xdr().Opaque(text).bytes).size();
  for (size_t cut = 1; cut < bytes; ++cut) {
    Make(kSmall);
    replies_.clear();
    const auto reply = test::ReplyTo(SubmitNull(5), Xdr().Opaque(text).bytes);
    Flush();
    ServerSends(std::span(reply).first(cut));
    ASSERT_TRUE(Receive());
    EXPECT_TRUE(replies_.empty()) << "cut " << cut;
    ServerSends(std::span(reply).subspan(cut));
    ASSERT_TRUE(Receive());
    EXPECT_EQ(replies_[5], Xdr().Opaque(text).bytes) << "cut " << cut;
  }
}

TEST_F(RpcStreamTest, TakesManyRepliesByteByByteAcrossTheWrap) {
  Make(kSmall);
  for (uint64_t round = 0; round < 40; ++round) {
    const std::string text(997, static_cast<char>('a' + round % 26));
    const auto reply = test::ReplyTo(SubmitNull(round), Xdr().Opaque(text).bytes);
    Flush();
    for (const std::byte& byte : reply) {
      ServerSends({&byte, 1});
      ASSERT_TRUE(Receive());
    }
    ASSERT_EQ(replies_[round], Xdr().Opaque(text).bytes) << "round " << round;
  }
}

TEST_F(RpcStreamTest, GoesOnWritingWhereTheSocketWasFull) {
  Make({1 << 20, kRingBytesMin, 8});
  const int small = 4608;
  ASSERT_EQ(setsockopt(ours_.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  const std::string text(300'000, 'w');
  const Write call{Handle("f"), 0, std::as_bytes(std::span(text)), Stable::kFileSync};
  const auto xid = Submit(*stream_, call, Credentials{}, 1, kNoDeadline);
  ASSERT_TRUE(xid);
  Bytes all;
  int partial = 0;
  while (stream_->WantsWrite()) {
    ASSERT_TRUE(stream_->OnWritable(ours_.get()));
    partial += stream_->WantsWrite() ? 1 : 0;
    const auto some = ServerReceives();
    all.insert(all.end(), some.begin(), some.end());
  }
  EXPECT_GT(partial, 5);
  EXPECT_EQ(all, test::Record(Xdr()
                                  .U32(*xid)
                                  .U32(0)
                                  .U32(2)
                                  .U32(100003)
                                  .U32(3)
                                  .U32(7)
                                  .U32(0)
                                  .U32(0)
                                  .U32(0)
                                  .U32(0)
                                  .Opaque("f")
                                  .U64(0)
                                  .U32(300'000)
                                  .U32(2)
                                  .Opaque(text)
                                  .bytes));
}

TEST_F(RpcStreamTest, JoinsFragments) {
  Make(kSmall);
  const auto whole = test::ReplyTo(SubmitNull(3), Xdr().Opaque("fragmented").bytes);
  Flush();
  const std::span<const std::byte> body = std::span(whole).subspan(4);
  Bytes sent;
  for (size_t at = 0; at < body.size(); at += 5) {
    const auto piece = body.subspan(at, std::min<size_t>(5, body.size() - at));
    const bool last = at + 5 >= body.size();
    const auto marker =
        Xdr().U32((last ? 0x80000000u : 0) | static_cast<uint32_t>(piece.size())).bytes;
    sent.insert(sent.end(), marker.begin(), marker.end());
    sent.insert(sent.end(), piece.begin(), piece.end());
  }
  ServerSends(sent);
  ASSERT_TRUE(Receive());
  EXPECT_EQ(replies_[3], Xdr().Opaque("fragmented").bytes);
}

TEST_F(RpcStreamTest, RefusesACallWhenTheTableIsFull) {
  Make(kSmall);
  uint32_t first = 0;
  for (uint64_t i = 0; i < kSmall.calls; ++i) {
    const uint32_t xid = SubmitNull(i);
    if (i == 0) first = xid;
  }
  const auto refused = Submit(*stream_, NullCall{}, Credentials{}, 99, kNoDeadline);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().failure, Failure::kBusy);
  Flush();
  ServerSends(test::ReplyTo(first));
  ASSERT_TRUE(Receive());
  EXPECT_TRUE(Submit(*stream_, NullCall{}, Credentials{}, 99, kNoDeadline));
}

TEST_F(RpcStreamTest, RefusesACallWhenTheRingHoldsUnansweredOnes) {
  Make(kSmall);
  const std::string text(7000, 'x');
  const Write call{Handle("f"), 0, std::as_bytes(std::span(text)), Stable::kFileSync};
  const auto first = Submit(*stream_, call, Credentials{}, 1, kNoDeadline);
  ASSERT_TRUE(first);
  ASSERT_TRUE(Submit(*stream_, call, Credentials{}, 2, kNoDeadline));
  Flush();
  // Sent, but kept: without an answer it might have to be sent again.
  const auto refused = Submit(*stream_, call, Credentials{}, 3, kNoDeadline);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().failure, Failure::kBusy);
  ServerSends(test::ReplyTo(*first));
  ASSERT_TRUE(Receive());
  EXPECT_TRUE(Submit(*stream_, call, Credentials{}, 3, kNoDeadline));
}

TEST_F(RpcStreamTest, RefusesACallLargerThanTheRing) {
  Make(kSmall);
  const std::string text(kRingBytesMin, 'x');
  const Write call{Handle("f"), 0, std::as_bytes(std::span(text)), Stable::kFileSync};
  const auto refused = Submit(*stream_, call, Credentials{}, 1, kNoDeadline);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().failure, Failure::kInvalid);
}

TEST_F(RpcStreamTest, NeverUsesAnXidTwice) {
  Make(kSmall, 0xfffffffau);
  std::set<uint32_t> seen;
  const uint32_t slow = SubmitNull(0);
  seen.insert(slow);
  for (uint64_t i = 1; i < 200; ++i) {
    const uint32_t xid = SubmitNull(i);
    EXPECT_TRUE(seen.insert(xid).second) << xid;
    Flush();
    ServerSends(test::ReplyTo(xid));
    ASSERT_TRUE(Receive());
  }
  ServerSends(test::ReplyTo(slow));
  ASSERT_TRUE(Receive());
  EXPECT_EQ(order_.back(), 0u);
}

TEST_F(RpcStreamTest, ReportsAnExpiredCallOnceAndDropsItsLateAnswer) {
  Make(kSmall);
  const auto now = std::chrono::steady_clock::now();
  const uint32_t late = SubmitNull(1, now + std::chrono::seconds(1));
  SubmitNull(2, now + std::chrono::seconds(9));
  EXPECT_EQ(stream_->NextDeadline(), now + std::chrono::seconds(1));
  Flush();
  std::vector<uint64_t> expired;
  const auto note = [&](const Unanswered& call) {
    EXPECT_TRUE(call.sent);
    expired.push_back(call.tag);
  };
  stream_->Expire(now, note);
  EXPECT_TRUE(expired.empty());
  stream_->Expire(now + std::chrono::seconds(1), note);
  stream_->Expire(now + std::chrono::seconds(2), note);
  EXPECT_EQ(expired, std::vector<uint64_t>{1});
  EXPECT_EQ(stream_->NextDeadline(), now + std::chrono::seconds(9));
  EXPECT_EQ(stream_->outstanding(), 2u);
  ServerSends(test::ReplyTo(late));
  ASSERT_TRUE(Receive());
  EXPECT_TRUE(replies_.empty());
  EXPECT_EQ(stream_->outstanding(), 1u);
  EXPECT_EQ(stream_->header().replies_dropped.load(), 1u);
}

TEST_F(RpcStreamTest, DropsAReplyToAnUnknownXidAndARepeatedOne) {
  Make(kSmall);
  const uint32_t xid = SubmitNull(1);
  Flush();
  ServerSends(test::ReplyTo(xid + 1000));
  ServerSends(test::ReplyTo(xid));
  ServerSends(test::ReplyTo(xid));
  ASSERT_TRUE(Receive());
  EXPECT_EQ(order_, std::vector<uint64_t>{1});
  EXPECT_EQ(stream_->header().replies_dropped.load(), 2u);
}

TEST_F(RpcStreamTest, DropsAReplyToACallThatWasNotSent) {
  Make(kSmall);
  ServerSends(test::ReplyTo(SubmitNull(1)));
  ASSERT_TRUE(Receive());
  EXPECT_TRUE(replies_.empty());
  EXPECT_EQ(stream_->outstanding(), 1u);
}

TEST_F(RpcStreamTest, TellsWhatTheServerSaysInsteadOfResults) {
  Make(kSmall);
  const uint32_t xid = SubmitNull(1);
  Flush();
  ServerSends(test::ReplyWith(xid, 2, Xdr().U32(4).U32(4).bytes));
  ReplyHead head;
  ASSERT_TRUE(stream_->OnReadable(ours_.get(), [&](const Reply& reply) { head = reply.head; }));
  EXPECT_EQ(head.status, ReplyStatus::kProgramMismatch);
  EXPECT_EQ(head.low, 4u);
  const uint32_t second = SubmitNull(2);
  Flush();
  ServerSends(test::Record(Xdr().U32(second).U32(1).U32(1).U32(1).U32(5).bytes));
  ASSERT_TRUE(stream_->OnReadable(ours_.get(), [&](const Reply& reply) { head = reply.head; }));
  EXPECT_EQ(head.status, ReplyStatus::kAuthError);
  EXPECT_EQ(head.low, 5u);
}

TEST_F(RpcStreamTest, ReportsTheEndOfTheStreamAndWhatWasSent) {
  Make(kSmall);
  SubmitNull(1);
  Flush();
  SubmitNull(2);
  theirs_.Reset();
  const auto ended = Receive();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().failure, Failure::kLost);
  std::map<uint64_t, bool> sent;
  stream_->FailAll([&](const Unanswered& call) { sent[call.tag] = call.sent; });
  EXPECT_EQ(sent, (std::map<uint64_t, bool>{{1, true}, {2, false}}));
  EXPECT_FALSE(Submit(*stream_, NullCall{}, Credentials{}, 3, kNoDeadline));
}

TEST_F(RpcStreamTest, RefusesARecordLargerThanItsRing) {
  for (const uint32_t marker : {0x80000000u | kRingBytesMin, 0x7fffffffu, 0xffffffffu}) {
    Make(kSmall);
    ServerSends(Xdr().U32(marker).bytes);
    const auto refused = Receive();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().failure, Failure::kMalformed);
  }
}

TEST_F(RpcStreamTest, RefusesFragmentsThatNeverEnd) {
  Make(kSmall);
  NfsOutcome result;
  for (uint32_t i = 0; result && i < kRingBytesMin; ++i) {
    ServerSends(Xdr().U32(0).bytes);
    result = Receive();
  }
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().failure, Failure::kMalformed);
}

TEST_F(RpcStreamTest, SurvivesJunkFromTheServer) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    Make(kSmall);
    const uint32_t xid = SubmitNull(1);
    Flush();
    Bytes junk = test::ReplyTo(xid, Xdr().Opaque("results").bytes);
    const int style = round % 3;
    if (style == 0) {
      for (auto& byte : junk) byte = static_cast<std::byte>(random());
    } else {
      // A right marker, and a body with some bytes changed.
      for (int i = 0; i <= style; ++i) {
        junk[4 + random() % (junk.size() - 4)] = static_cast<std::byte>(random());
      }
    }
    ServerSends(junk);
    const auto result = Receive();
    if (!result) {
      EXPECT_EQ(result.error().failure, Failure::kMalformed);
    }
  }
}

TEST_F(RpcStreamTest, RefusesBadSizesAndForeignRegions) {
  Make(kSmall);
  EXPECT_FALSE(RpcStream::Create(region_, {kRingBytesMin + 1, kRingBytesMin, 8}, 0));
  EXPECT_FALSE(RpcStream::Create(region_, {kRingBytesMin, kRingBytesMin, 7}, 0));
  EXPECT_FALSE(RpcStream::Create(region_.first(4096), kSmall, 0));
  EXPECT_TRUE(RpcStream::Open(region_));
  EXPECT_FALSE(RpcStream::Open(region_.first(region_.size() - 4096)));
  region_[0] ^= std::byte{1};
  EXPECT_FALSE(RpcStream::Open(region_));
}

// What a successor process does, in one process: the first stream stops in the middle of a record
// sent and of a record received.
TEST_F(RpcStreamTest, ASecondStreamGoesOnFromTheRegionAlone) {
  Make({1 << 20, kRingBytesMin, 8});
  const int small = 4608;
  ASSERT_EQ(setsockopt(ours_.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  const uint32_t first = SubmitNull(1);
  Flush();
  ServerReceives();
  const std::string text(100'000, 'y');
  const Write call{Handle("f"), 0, std::as_bytes(std::span(text)), Stable::kFileSync};
  const auto second = Submit(*stream_, call, Credentials{}, 2, kNoDeadline);
  ASSERT_TRUE(second);
  ASSERT_TRUE(stream_->OnWritable(ours_.get()));
  ASSERT_TRUE(stream_->WantsWrite());
  const auto reply = test::ReplyTo(first, Xdr().Opaque("answer").bytes);
  ServerSends(std::span(reply).first(17));
  ASSERT_TRUE(Receive());

  auto successor = RpcStream::Open(region_);
  ASSERT_TRUE(successor) << successor.error().message;
  stream_.emplace(std::move(*successor));
  EXPECT_EQ(stream_->outstanding(), 2u);
  ServerSends(std::span(reply).subspan(17));
  ASSERT_TRUE(Receive());
  EXPECT_EQ(replies_[1], Xdr().Opaque("answer").bytes);
  Bytes all;
  while (stream_->WantsWrite()) {
    const auto some = ServerReceives();
    all.insert(all.end(), some.begin(), some.end());
    ASSERT_TRUE(stream_->OnWritable(ours_.get()));
  }
  const auto rest = ServerReceives();
  all.insert(all.end(), rest.begin(), rest.end());
  EXPECT_EQ(all, test::Record(Xdr()
                                  .U32(*second)
                                  .U32(0)
                                  .U32(2)
                                  .U32(100003)
                                  .U32(3)
                                  .U32(7)
                                  .U32(0)
                                  .U32(0)
                                  .U32(0)
                                  .U32(0)
                                  .Opaque("f")
                                  .U64(0)
                                  .U32(100'000)
                                  .U32(2)
                                  .Opaque(text)
                                  .bytes));
  EXPECT_NE(SubmitNull(3), first);
}

TEST_F(RpcStreamTest, ASecondStreamForgetsACallThatWasNotPublished) {
  Make(kSmall);
  SubmitNull(1);
  // As if the first had died between filling the entry and moving out_tail.
  auto& header = *reinterpret_cast<StreamHeader*>(region_.data());
  header.out_tail = 0;
  const auto successor = RpcStream::Open(region_);
  ASSERT_TRUE(successor);
  EXPECT_EQ(successor->outstanding(), 0u);
  EXPECT_FALSE(successor->WantsWrite());
}

TEST_F(RpcStreamTest, RemembersThatACallWasSentOverAnEarlierConnection) {
  Make(kSmall);
  const uint32_t sent = SubmitNull(1);
  Flush();
  const uint32_t unsent = SubmitNull(2);
  const auto keep = [](const Unanswered&) { return true; };
  stream_->Renew(keep);
  // Lost again before a byte went over the second one, by another process.
  auto successor = RpcStream::Open(region_);
  ASSERT_TRUE(successor) << successor.error().message;
  stream_.emplace(std::move(*successor));
  std::map<uint64_t, bool> seen;
  stream_->Renew([&](const Unanswered& call) {
    seen[call.tag] = call.sent;
    return true;
  });
  EXPECT_EQ(seen, (std::map<uint64_t, bool>{{1, true}, {2, false}}));
  Flush();
  ServerReceives();
  ServerSends(test::ReplyTo(sent));
  ServerSends(test::ReplyTo(unsent));
  std::map<uint64_t, bool> repeated;
  ASSERT_TRUE(stream_->OnReadable(
      ours_.get(), [&](const Reply& reply) { repeated[reply.tag] = reply.repeated; }));
  EXPECT_EQ(repeated, seen);
}

TEST_F(RpcStreamTest, TheKernelKnowsTheStreamsPositions) {
  test::FakeServer server([](const test::FakeCall& call) {
    return test::ReplyTo(call.xid, Xdr().Opaque(std::string(300, 'r')).bytes);
  });
  Make(kSmall);
  auto fd = ConnectTcp("127.0.0.1", server.port(), {},
                       std::chrono::steady_clock::now() + std::chrono::seconds(5));
  ASSERT_TRUE(fd) << fd.error().message;
  ours_ = std::move(*fd);
  for (uint64_t i = 0; i < 100; ++i) {
    SubmitNull(i);
    Flush();
    while (stream_->outstanding() > 0) {
      pollfd waiting = {ours_.get(), POLLIN, 0};
      ASSERT_EQ(poll(&waiting, 1, 5000), 1);
      ASSERT_TRUE(Receive());
    }
  }
  tcp_info before = {}, after = {};
  int queued = 0, unread = 0;
  do {
    socklen_t size = sizeof before;
    ASSERT_EQ(getsockopt(ours_.get(), IPPROTO_TCP, TCP_INFO, &before, &size), 0);
    ASSERT_EQ(ioctl(ours_.get(), SIOCOUTQ, &queued), 0);
    ASSERT_EQ(ioctl(ours_.get(), SIOCINQ, &unread), 0);
    size = sizeof after;
    ASSERT_EQ(getsockopt(ours_.get(), IPPROTO_TCP, TCP_INFO, &after, &size), 0);
  } while (before.tcpi_bytes_acked != after.tcpi_bytes_acked);
  EXPECT_EQ(after.tcpi_bytes_acked - 1 + static_cast<uint64_t>(queued),
            stream_->header().out_sent.load());
  EXPECT_EQ(after.tcpi_bytes_received - static_cast<uint64_t>(unread),
            stream_->header().in_tail.load());
}

}  // namespace
}  // namespace gantry::nfs
