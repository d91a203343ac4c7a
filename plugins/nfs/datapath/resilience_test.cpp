// SPDX-License-Identifier: Apache-2.0
// Lost connections, servers that are away, operations given up, processes that die.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "plugins/nfs/datapath/data_path.hpp"
#include "plugins/nfs/datapath/testing/data_path_fixture.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::HasSubstr;

class ResilienceTest : public DataPathFixture {};

// --- the connection

TEST_F(ResilienceTest, SendsAgainFromTheSamePortUnderTheSameXid) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return NoWcc(); });
  server_.HangUpOn(Remove::kNumber);
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, 0);
  const auto seen = server_.Seen(Remove::kNumber);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].xid, seen[1].xid);
  EXPECT_EQ(seen[0].source_port, seen[1].source_port);
  EXPECT_EQ(seen[0].arguments, seen[1].arguments);
  EXPECT_TRUE(host_.HasKept("nfs"));
}

TEST_F(ResilienceTest, HoldsItsPortAgainstOthersWhileItHasNoConnection) {
  Open();
  const uint16_t source = server_.Seen(GetAttr::kNumber).back().source_port;
  server_.Stop();
  ASSERT_TRUE(host_.Run([&] { return volume_.log().find("trying on") != std::string::npos; }, 10s));
  const plugin::UniqueFd other(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(source);
  EXPECT_NE(bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(errno, EADDRINUSE);
  server_.On(Remove::kNumber, [](const FakeCall&) { return NoWcc(); });
  server_.Begin(server_.port());
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, 0);
  EXPECT_EQ(server_.Seen(Remove::kNumber).back().source_port, source);
}

TEST_F(ResilienceTest, TakesNoRefusalForTrueAfterTheConnectionWasLost) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  server_.On(MakeDir::kNumber, [](const FakeCall&) { return Status(kExistStatus); });
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, ENOENT);
  EXPECT_EQ(volume_.Wait(Mkdir("x")).error_number, EEXIST);
  server_.HangUpOn(Remove::kNumber);
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, EIO);
  server_.HangUpOn(MakeDir::kNumber);
  EXPECT_EQ(volume_.Wait(Mkdir("x")).error_number, EIO);
}

TEST_F(ResilienceTest, ASoleWriterKnowsItsOwnWorkAfterTheConnectionWasLost) {
  Open({{"writers", "one"}});
  server_.On(Remove::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  server_.On(MakeDir::kNumber, [](const FakeCall&) { return Status(kExistStatus); });
  server_.On(nfs::Rename::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, ENOENT);
  EXPECT_EQ(volume_.Wait(Mkdir("file")).error_number, EEXIST);
  server_.HangUpOn(Remove::kNumber);
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, 0);
  server_.HangUpOn(MakeDir::kNumber);
  const Ended made = volume_.Wait(Mkdir("file"));
  EXPECT_EQ(made.error_number, 0);
  EXPECT_EQ(made.handle, "file");
  server_.HangUpOn(nfs::Rename::kNumber);
  EXPECT_EQ(volume_.Wait(volume_.Rename("root", "x", "root", "y")).error_number, 0);
}

TEST_F(ResilienceTest, ProvesALinkByWhatItsNameLeadsTo) {
  Open();
  server_.On(nfs::Link::kNumber, [](const FakeCall&) { return Status(kExistStatus); });
  EXPECT_EQ(volume_.Wait(volume_.Link("file", "root", "l")).error_number, EEXIST);
  server_.HangUpOn(nfs::Link::kNumber);
  EXPECT_EQ(volume_.Wait(volume_.Link("file", "root", "l")).error_number, 0);
  server_.HangUpOn(nfs::Link::kNumber);
  EXPECT_EQ(volume_.Wait(volume_.Link("els1", "root", "l")).error_number, EIO);
}

TEST_F(ResilienceTest, EndsWhatItCantRepeatWithEioWhereItsPortIsTaken) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return std::nullopt; });
  server_.On(nfs::Write::kNumber, [](const FakeCall&) { return std::nullopt; });
  const gantry_op remove = Unlink("x");
  const gantry_op write = volume_.Write("file", 0, "data");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  ASSERT_TRUE(Sees(nfs::Write::kNumber, 1));
  const uint16_t source = server_.Seen(Remove::kNumber)[0].source_port;
  server_.Stop();
  // Somebody else listens on our port now.
  plugin::UniqueFd thief;
  ASSERT_TRUE(host_.Run(
      [&] {
        thief.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_port = htons(source);
        const int on = 1;
        setsockopt(thief.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        return bind(thief.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
               listen(thief.get(), 1) == 0;
      },
      10s));
  server_.On(nfs::Write::kNumber, [](const FakeCall&) { return Written(4); });
  server_.Begin(server_.port());
  EXPECT_EQ(volume_.Wait(remove, 60s).error_number, EIO);
  EXPECT_EQ(volume_.Wait(write).length, 4u);
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), 1u);
  EXPECT_NE(server_.Seen(nfs::Write::kNumber).back().source_port, source);
}

TEST_F(ResilienceTest, ReconnectsWhenARepeatedCallIsNotAnswered) {
  Open();
  std::atomic<int> calls{0};
  // As Ganesha does with what it is still executing.
  server_.On(Remove::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (++calls < 2) return std::nullopt;
    return NoWcc();
  });
  server_.HangUpOn(Remove::kNumber);
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, 0);
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), 3u);
}

TEST_F(ResilienceTest, TakesAnotherPortWhenTheXidsOfOneAreUsedUp) {
  Open();
  auto* header = reinterpret_cast<StreamHeader*>(host_.Region("rpc") + 4096);
  ASSERT_EQ(header->magic, StreamHeader::kMagic);
  header->xids_used = kXidsRenewAt - 1;
  const auto before = server_.Seen(GetAttr::kNumber).back();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, 0);
  }
  EXPECT_NE(server_.Seen(GetAttr::kNumber).back().source_port, before.source_port);
  EXPECT_LT(header->xids_used, 10u);
}

// --- giving up

TEST_F(ResilienceTest, EndsAnInterruptedOperationAtOnceAndDropsItsAnswer) {
  Open();
  std::atomic<bool> answers{false};
  server_.On(GetAttr::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (!answers) return std::nullopt;
    return Xdr().U32(0).Append(FattrOf(2)).bytes;
  });
  const gantry_op op = volume_.Node(&NfsDataPath::Getattr, "root");
  EXPECT_TRUE(Sees(GetAttr::kNumber, 2));
  volume_.path().Interrupt(op);
  EXPECT_EQ(volume_.Wait(op).error_number, EINTR);
  volume_.path().Interrupt(op);
  answers = true;
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, 0);
}

TEST_F(ResilienceTest, HoldsAChangeBackUntilAnInterruptedOneOfTheSameFileIsAnswered) {
  Open();
  std::atomic<bool> frozen{true};
  std::mutex mutex;
  std::vector<uint32_t> unanswered;
  server_.On(nfs::Write::kNumber, [&](const FakeCall& call) -> std::optional<Bytes> {
    if (frozen && WordAt(call.arguments, 4) == 0x66696c65) return std::nullopt;
    return Written(4);
  });
  const gantry_op old = volume_.Write("file", 0, "OLD ");
  ASSERT_TRUE(Sees(nfs::Write::kNumber, 1));
  volume_.path().Interrupt(old);
  EXPECT_EQ(volume_.Wait(old).error_number, EINTR);
  const gantry_op next = volume_.Write("file", 0, "NEW ");
  EXPECT_EQ(volume_.Wait(volume_.Write("els1", 0, "ELSE")).length, 4u);
  EXPECT_TRUE(host_.IsUnderWay(next));
  EXPECT_EQ(server_.Seen(nfs::Write::kNumber).size(), 2u);
  // The answer comes over the next connection, to the old call sent again.
  frozen = false;
  const uint16_t port = server_.port();
  server_.Stop();
  server_.Begin(port);
  EXPECT_EQ(volume_.Wait(next).length, 4u);
  const auto seen = server_.Seen(nfs::Write::kNumber);
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[2].xid, seen[0].xid);
  EXPECT_EQ(std::memcmp(seen[3].arguments.data() + 28, "NEW ", 4), 0);
}

TEST_F(ResilienceTest, EndsWithATimeoutOnlyWhenItIsToldTo) {
  Open({{"timeoutSeconds", "1"}, {"timeoutError", "ETIMEDOUT"}});
  server_.Stop();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, ETIMEDOUT);
  EXPECT_EQ(volume_.Wait(Mkdir("x")).error_number, ETIMEDOUT);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(ResilienceTest, WaitsForItsServerAsLongAsItTakes) {
  Open();
  const uint16_t port = server_.port();
  server_.Stop();
  const gantry_op op = volume_.Node(&NfsDataPath::Getattr, "root");
  EXPECT_FALSE(host_.Run([&] { return !host_.IsUnderWay(op); }, 1500ms));
  server_.Begin(port);
  EXPECT_EQ(volume_.Wait(op).error_number, 0);
}

TEST_F(ResilienceTest, ClosesWithAServerThatIsAway) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return std::nullopt; });
  const gantry_op op = Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(volume_.Close().error_number, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
  EXPECT_EQ(volume_.Wait(op).error_number, ESHUTDOWN);
  EXPECT_THAT(volume_.log(), HasSubstr("may still make them"));
  EXPECT_EQ(host_.watches(), 0u);
}

TEST_F(ResilienceTest, QueuesMoreThanTheStreamCanHold) {
  Open();
  server_.On(nfs::Write::kNumber, [](const FakeCall& call) { return Written(CountOf(call)); });
  const std::string data(1 << 20, 'x');
  std::vector<gantry_op> ops;
  for (uint64_t i = 0; i < 20; ++i) ops.push_back(volume_.Write("file", i << 20, data));
  for (int i = 0; i < 200; ++i) ops.push_back(volume_.Node(&NfsDataPath::Getattr, "root"));
  for (const gantry_op op : ops) EXPECT_EQ(volume_.Wait(op).error_number, 0);
}

// --- a successor

TEST_F(ResilienceTest, GoesOnWithTheStreamOfAPredecessorThatDied) {
  Open();
  std::atomic<bool> answers{false};
  server_.On(Remove::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (!answers) return std::nullopt;
    return NoWcc();
  });
  (void)Mkdir("d");
  (void)volume_.Node(&NfsDataPath::Getattr, "root");
  volume_.Die();
  Volume successor(host_);
  const Ended ended = successor.Open(server_.Parameters());
  EXPECT_EQ(ended.error_number, 0) << successor.log();
  EXPECT_EQ(ended.handle, "root");
  EXPECT_EQ(server_.Seen(MakeDir::kNumber).size(), 1u);
  EXPECT_EQ(server_.Seen(MakeDir::kNumber)[0].source_port,
            server_.Seen(GetAttr::kNumber).back().source_port);
  EXPECT_EQ(successor.log(), "");
}

TEST_F(ResilienceTest, SendsAPredecessorsCallsAgainWhenTheConnectionIsGoneTooBeforeItAsksAnything) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return std::nullopt; });
  (void)Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  const size_t asked = server_.Seen(GetAttr::kNumber).size();
  volume_.Die();
  host_.LoseKept();
  std::atomic<bool> removed{false};
  server_.On(Remove::kNumber, [&](const FakeCall&) {
    removed = true;
    return NoWcc();
  });
  server_.On(GetAttr::kNumber, [&](const FakeCall&) {
    EXPECT_TRUE(removed);
    return Xdr().U32(0).Append(FattrOf(2)).bytes;
  });
  Volume successor(host_);
  EXPECT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  const auto seen = server_.Seen(Remove::kNumber);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].xid, seen[1].xid);
  EXPECT_EQ(seen[0].source_port, seen[1].source_port);
  EXPECT_EQ(server_.Seen(GetAttr::kNumber).size(), asked + 1);
}

TEST_F(ResilienceTest, AsksNothingBeforeAPredecessorsCallsAreAnswered) {
  Open();
  std::atomic<int> calls{0};
  server_.On(Remove::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (++calls == 1) return std::nullopt;
    return NoWcc();
  });
  (void)Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  volume_.Die();
  server_.On(GetAttr::kNumber, [&](const FakeCall&) {
    EXPECT_EQ(calls, 2);
    return Xdr().U32(0).Append(FattrOf(2)).bytes;
  });
  // The answer does not come on the old connection, so the call is sent again on another.
  Volume successor(host_);
  EXPECT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  EXPECT_EQ(server_.Seen(Remove::kNumber)[1].xid, server_.Seen(Remove::kNumber)[0].xid);
}

TEST_F(ResilienceTest, FindsOutWhatThePredecessorSentAndReceivedWithoutNotingIt) {
  Open();
  // Answered when nobody is left to read it, whatever the threads' turns.
  std::promise<void> died;
  server_.On(Remove::kNumber, [after = died.get_future().share()](const FakeCall&) {
    after.wait();
    return NoWcc();
  });
  auto* header = reinterpret_cast<StreamHeader*>(host_.Region("rpc") + 4096);
  char* in_ring = host_.Region("rpc") + 4096 + RpcStream::RegionBytes(kPathStreamSizes) -
                  kPathStreamSizes.in_bytes;
  const uint64_t sent = header->out_sent;
  (void)Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  volume_.Die();
  died.set_value();
  ASSERT_GT(header->out_sent, sent);
  header->out_sent = sent;
  const plugin::UniqueFd kept(host_.table().take_fd(host_.table().ctx, ToStr("nfs")));
  pollfd readable = {kept.get(), POLLIN, 0};
  ASSERT_EQ(poll(&readable, 1, 10'000), 1);
  ASSERT_GT(recv(kept.get(), in_ring + header->in_tail, 4096, 0), 0);
  Volume successor(host_);
  EXPECT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), 1u);
  EXPECT_EQ(successor.log(), "");
}

// --- operations that a predecessor had begun

TEST_F(ResilienceTest, TakesTheAnswerThatItsPredecessorGotForARepetition) {
  Open();
  // Without a handle, so that a LOOKUP has to follow, which is not answered.
  server_.On(MakeDir::kNumber,
             [](const FakeCall&) { return Xdr().U32(0).U32(0).U32(0).U32(0).U32(0).bytes; });
  std::atomic<bool> answers{false};
  server_.On(nfs::Lookup::kNumber, [&](const FakeCall&) -> std::optional<Bytes> {
    if (!answers) return std::nullopt;
    return Xdr().U32(0).Opaque("made").U32(0).U32(0).bytes;
  });
  const gantry_op op = Mkdir("x");
  ASSERT_TRUE(Sees(nfs::Lookup::kNumber, 1));
  volume_.Die();
  host_.LoseKept();
  answers = true;
  server_.On(MakeDir::kNumber, [](const FakeCall&) { return Status(kExistStatus); });
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(op);
  EXPECT_EQ(
      successor.Wait(successor.Make(&NfsDataPath::Mkdir, "root", "x", S_IFDIR | 0755)).error_number,
      0);
  EXPECT_EQ(server_.Seen(MakeDir::kNumber).size(), 1u);
}

TEST_F(ResilienceTest, TakesTheAnswerThatCameAfterItsPredecessorsDeathForARepetition) {
  Open();
  std::promise<void> died;
  server_.On(Remove::kNumber, [after = died.get_future().share()](const FakeCall&) {
    after.wait();
    return NoWcc();
  });
  const gantry_op op = Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  volume_.Die();
  died.set_value();
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  server_.On(Remove::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  successor.Repeat(op);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, 0);
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), 1u);
  // The entry was for that one only.
  successor.Replayed(false);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, ENOENT);
}

TEST_F(ResilienceTest, BelievesARefusalOfWhatItsPredecessorNeverSent) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  volume_.Die();
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(4711);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, ENOENT);
}

TEST_F(ResilienceTest, TakesNoRefusalForTrueThatARepeatedCallOfItsPredecessorGot) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return std::nullopt; });
  const gantry_op op = Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  volume_.Die();
  host_.LoseKept();
  // A server that has lost its reply cache.
  server_.On(Remove::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(op);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, EIO);
}

TEST_F(ResilienceTest, KnowsThatItsPredecessorHadSentACallOverAnEarlierConnection) {
  Open();
  std::promise<void> died;
  // The second time by a server that has lost its reply cache.
  server_.On(Remove::kNumber, [after = died.get_future().share()](const FakeCall&) {
    after.wait();
    return Status(kNoEntStatus);
  });
  server_.HangUpOn(Remove::kNumber);
  const gantry_op op = Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 2));
  volume_.Die();
  died.set_value();
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), 2u);
  successor.Repeat(op);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, EIO);
}

TEST_F(ResilienceTest, KnowsThatItsPredecessorMadeACallAnewWhoseOutcomeWasUnknown) {
  Open();
  std::promise<void> died;
  std::atomic<int> calls{0};
  server_.On(Remove::kNumber, [&, after = died.get_future().share()](const FakeCall&) {
    if (++calls == 1) return Status(kJukeboxStatus);
    after.wait();
    return Status(kNoEntStatus);
  });
  server_.HangUpOn(Remove::kNumber);
  const gantry_op op = Unlink("x");
  ASSERT_TRUE(Sees(Remove::kNumber, 3));
  volume_.Die();
  died.set_value();
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(op);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, EIO);
}

// Where the calls under way then are gone, with xids and bytes.
TEST_F(ResilienceTest, ClaimsNothingOfWhatItsPredecessorLostWhenItDiedBetweenTwoConnections) {
  Open();
  server_.On(Remove::kNumber, [](const FakeCall&) { return std::nullopt; });
  server_.On(nfs::SetAttr::kNumber, [](const FakeCall&) { return std::nullopt; });
  const gantry_op remove = Unlink("x");
  const gantry_op set = volume_.Setattr("file", GANTRY_FS_SET_MODE, {});
  ASSERT_TRUE(Sees(Remove::kNumber, 1));
  ASSERT_TRUE(Sees(nfs::SetAttr::kNumber, 1));
  volume_.Die();
  host_.LoseKept();
  reinterpret_cast<StreamHeader*>(host_.Region("rpc") + 4096)->magic = 0;
  server_.On(Remove::kNumber, [](const FakeCall&) { return Status(kNoEntStatus); });
  server_.On(nfs::SetAttr::kNumber, [](const FakeCall&) { return Changed(); });
  {
    // It dies too, before it is asked.
    Volume successor(host_);
    ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
    successor.Die();
  }
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(remove);
  EXPECT_EQ(successor.Wait(successor.Name(&NfsDataPath::Unlink, "root", "x")).error_number, EIO);
  successor.Repeat(set);
  EXPECT_EQ(successor.Wait(successor.Setattr("file", GANTRY_FS_SET_MODE, {})).error_number, 0);
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), 1u);
  EXPECT_EQ(server_.Seen(nfs::SetAttr::kNumber).size(), 2u);
}

TEST_F(ResilienceTest, WritesAllOfItAgainWhenItsPredecessorsAnswersCameInAnotherOrder) {
  server_.SetTransferMax(1000);
  Open();
  std::mutex mutex;
  std::string content(2000, '\0');
  const auto write = [&](const FakeCall& call, uint32_t count_max) {
    const std::lock_guard lock(mutex);
    const uint32_t count = std::min(CountOf(call), count_max);
    std::memcpy(content.data() + OffsetOf(call), call.arguments.data() + 28, count);
    return Written(count);
  };
  // Only the second half is answered, and shortly.
  server_.On(nfs::Write::kNumber, [&](const FakeCall& call) -> std::optional<Bytes> {
    if (OffsetOf(call) == 0) return std::nullopt;
    return write(call, 600);
  });
  std::string data(2000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>('a' + i % 23);
  const gantry_op op = volume_.Write("file", 0, data);
  ASSERT_TRUE(Sees(nfs::Write::kNumber, 3));
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, 0);
  volume_.Die();
  host_.LoseKept();
  server_.On(nfs::Write::kNumber, [&](const FakeCall& call) { return write(call, 500); });
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(op);
  EXPECT_EQ(successor.Wait(successor.Write("file", 0, data)).length, 2000u);
  EXPECT_EQ(content, data);
}

// CREATE with O_TRUNC is two operations of one request.
TEST_F(ResilienceTest, TellsTwoOperationsOfOneRequestApart) {
  Open();
  server_.On(nfs::Create::kNumber, [](const FakeCall&) { return Made("old1"); });
  std::promise<void> died;
  server_.On(nfs::SetAttr::kNumber, [after = died.get_future().share()](const FakeCall&) {
    after.wait();
    return Changed();
  });
  const gantry_op op = volume_.Make(&NfsDataPath::Create, "root", "f", S_IFREG | 0640);
  ASSERT_EQ(volume_.Wait(op).error_number, 0);
  host_.Repeat(op);
  (void)volume_.Setattr("old1", GANTRY_FS_SET_SIZE, {});
  ASSERT_TRUE(Sees(nfs::SetAttr::kNumber, 1));
  volume_.Die();
  died.set_value();
  Volume successor(host_);
  ASSERT_EQ(successor.Open(server_.Parameters()).error_number, 0) << successor.log();
  successor.Repeat(op);
  EXPECT_EQ(
      successor.Wait(successor.Make(&NfsDataPath::Create, "root", "f", S_IFREG | 0640)).handle,
      "old1");
  successor.Repeat(op);
  EXPECT_EQ(successor.Wait(successor.Setattr("old1", GANTRY_FS_SET_SIZE, {})).error_number, 0);
  EXPECT_EQ(server_.Seen(nfs::SetAttr::kNumber).size(), 1u);
}

TEST_F(ResilienceTest, RefusesMemoryOfAnotherVolume) {
  Open();
  volume_.Die();
  Volume successor(host_);
  auto parameters = server_.Parameters();
  parameters["path"] = "elsewhere";
  EXPECT_EQ(successor.Open(parameters).error_number, EINVAL);
}

}  // namespace
}  // namespace gantry::nfs
