// SPDX-License-Identifier: Apache-2.0
#include "host/wire/channel.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <random>

#include "host/wire/socket_pair.hpp"

namespace gantry::wire {
namespace {

using ::testing::HasSubstr;
constexpr std::chrono::seconds kLong{30};

// Collects messages; everything may be waited for.
class Inbox : public Receiver {
 public:
  void OnMessage(Message message) override {
    if (on_message) on_message(message);
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(closed_) << "a message after OnClosed";
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  void OnClosed(const base::Error& error) override {
    if (on_closed) on_closed();
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(closed_) << "OnClosed twice";
    closed_ = error;
    changed_.notify_all();
  }
  // The messages, once there are `count`, or what there is after a long time.
  std::deque<Message>& Wait(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return messages_.size() >= count; }))
        << messages_.size() << " of " << count << " messages came"
        << (closed_ ? ", closed: " + closed_->message : "");
    return messages_;
  }
  base::Error WaitClosed() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return closed_.has_value(); }));
    return closed_.value_or(base::Error{});
  }

  std::function<void(const Message&)> on_message;
  std::function<void()> on_closed;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::optional<base::Error> closed_;
};

Message Make(Kind kind, uint64_t call_id, std::string payload = "") {
  return {kind, call_id, std::move(payload), {}, {}};
}

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return text;
}

base::UniqueFd MemFd(const std::string& content) {
  base::UniqueFd fd(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(pwrite(fd.get(), content.data(), content.size(), 0),
            static_cast<ssize_t>(content.size()));
  return fd;
}

std::string ContentOf(const base::UniqueFd& fd) {
  char buffer[64];
  const ssize_t n = pread(fd.get(), buffer, sizeof(buffer), 0);
  return n < 0 ? "unreadable" : std::string(buffer, static_cast<size_t>(n));
}

// Two channels that are started when the test wants the peer to read.
struct ChannelTest : testing::Test {
  ChannelTest() { Connect({}); }
  void Connect(ChannelOptions options) {
    a.reset();
    b.reset();
    auto pair = MakeChannelPair();
    a = Channel::Create(std::move(pair->ours), options).value();
    b = Channel::Create(std::move(pair->theirs), options).value();
  }
  void StartBoth() {
    ASSERT_TRUE(a->Start(a_inbox));
    ASSERT_TRUE(b->Start(b_inbox));
  }

  Inbox a_inbox;
  Inbox b_inbox;
  std::unique_ptr<Channel> a;
  std::unique_ptr<Channel> b;
};

// A channel whose peer is a bare socket.
struct RawPeerTest : testing::Test {
  RawPeerTest() {
    auto pair = MakeChannelPair();
    peer = std::move(pair->theirs);
    channel = Channel::Create(std::move(pair->ours)).value();
  }
  void Start() { ASSERT_TRUE(channel->Start(inbox)); }
  void Raw(std::string_view bytes, const std::vector<int>& fds = {}) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))] = {};
    if (!fds.empty()) {
      header.msg_control = control;
      header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    }
    ASSERT_EQ(sendmsg(peer.get(), &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  static std::string Header(Kind kind, uint32_t length, uint8_t fd_count = 0) {
    const FrameHeader header{kFrameVersion, static_cast<uint8_t>(kind), 0, fd_count, length, 1};
    std::string bytes(sizeof(header), '\0');
    std::memcpy(bytes.data(), &header, sizeof(header));
    return bytes;
  }

  Inbox inbox;
  base::UniqueFd peer;
  std::unique_ptr<Channel> channel;
};

TEST_F(ChannelTest, CarriesMessagesBothWays) {
  StartBoth();
  ASSERT_TRUE(a->Send(Make(Kind::kCall, 1, "there")));
  ASSERT_TRUE(b->Send(Make(Kind::kFinish, 1, "back")));
  EXPECT_EQ(b_inbox.Wait(1)[0].payload, "there");
  EXPECT_EQ(a_inbox.Wait(1)[0].payload, "back");
}

TEST_F(ChannelTest, BothEndsMayWriteAMebibyteBeforeReading) {
  const std::string large = Pattern(1024 * 1024);
  ASSERT_TRUE(a->Send(Make(Kind::kCall, 1, large)));
  ASSERT_TRUE(b->Send(Make(Kind::kEmit, 1, large)));
  StartBoth();
  EXPECT_TRUE(b_inbox.Wait(1)[0].payload == large);
  EXPECT_TRUE(a_inbox.Wait(1)[0].payload == large);
}

TEST_F(ChannelTest, HigherPrioritiesOvertakeALargeMessage) {
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(kMessageBytesMax))));
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 2)));
  ASSERT_TRUE(a->Send(Make(Kind::kFinish, 3)));
  ASSERT_TRUE(a->Send(Make(Kind::kHostReply, 4)));
  ASSERT_TRUE(a->Send(Make(Kind::kPing, 5)));
  StartBoth();
  std::vector<uint64_t> order;
  for (const Message& message : b_inbox.Wait(5)) order.push_back(message.call_id);
  EXPECT_EQ(order, (std::vector<uint64_t>{5, 4, 3, 1, 2}));
}

TEST_F(ChannelTest, NothingOvertakesAnEarlierMessageOfItsCall) {
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(kMessageBytesMax))));
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 2, "last")));
  ASSERT_TRUE(a->Send(Make(Kind::kFinish, 2)));
  ASSERT_TRUE(a->Send(Make(Kind::kCancel, 2)));
  StartBoth();
  std::vector<Kind> order;
  for (const Message& message : b_inbox.Wait(4))
    if (message.call_id == 2) order.push_back(message.kind);
  EXPECT_EQ(order, (std::vector<Kind>{Kind::kEmit, Kind::kFinish, Kind::kCancel}));
}

TEST_F(ChannelTest, CarriesEverySizeAroundTheLimits) {
  StartBoth();
  std::vector<size_t> sizes = {0, 1, 2, 3, 15, 16, 17};
  const size_t edges[] = {kFrameBytesMax - sizeof(FrameHeader), kFrameBytesMax, 2 * kFrameBytesMax,
                          kReceiveBytesMax - sizeof(FrameHeader), kMessageBytesMax - 1};
  for (const size_t edge : edges)
    for (int delta = -1; delta <= 1; ++delta) sizes.push_back(edge + static_cast<size_t>(delta));
  const std::string pattern = Pattern(kMessageBytesMax);
  for (size_t i = 0; i < sizes.size(); ++i) {
    ASSERT_TRUE(a->Send(Make(Kind::kEmit, i, pattern.substr(0, sizes[i]))));
    ASSERT_TRUE(b_inbox.Wait(i + 1)[i].payload == pattern.substr(0, sizes[i])) << sizes[i];
  }
}

TEST_F(ChannelTest, GivesFdsToTheirMessageAmongManySmallOnes) {
  constexpr size_t kGroups = 20;
  for (size_t i = 0; i < kGroups; ++i) {
    for (int n = 0; n < 10; ++n) ASSERT_TRUE(a->Send(Make(Kind::kEmit, 0, "small")));
    Message message = Make(Kind::kCall, i, i % 2 ? "" : Pattern(3 * kFrameBytesMax));
    for (size_t fd = 0; fd < 1 + i % 4; ++fd)
      message.fds.push_back(MemFd(std::to_string(i) + "." + std::to_string(fd)));
    ASSERT_TRUE(a->Send(std::move(message)));
    for (int n = 0; n < 10; ++n) ASSERT_TRUE(a->Send(Make(Kind::kEmit, 0, "small")));
  }
  StartBoth();
  size_t calls = 0;
  for (const Message& message : b_inbox.Wait(kGroups * 21)) {
    if (message.kind == Kind::kEmit) {
      EXPECT_TRUE(message.fds.empty());
      continue;
    }
    ASSERT_EQ(message.fds.size(), 1 + message.call_id % 4);
    for (size_t fd = 0; fd < message.fds.size(); ++fd) {
      EXPECT_EQ(ContentOf(message.fds[fd]),
                std::to_string(message.call_id) + "." + std::to_string(fd));
      EXPECT_EQ(fcntl(message.fds[fd].get(), F_GETFD), FD_CLOEXEC);
    }
    ++calls;
  }
  EXPECT_EQ(calls, kGroups);
}

TEST_F(ChannelTest, CarriesSecretsApartFromPayloads) {
  StartBoth();
  Message message = Make(Kind::kSecrets, 1);
  message.secret = base::SecretBytes(Pattern(3 * kFrameBytesMax + 5));
  ASSERT_TRUE(a->Send(std::move(message)));
  const Message& received = b_inbox.Wait(1)[0];
  EXPECT_TRUE(received.secret.view() == Pattern(3 * kFrameBytesMax + 5));
  EXPECT_TRUE(received.payload.empty());
}

TEST_F(ChannelTest, RefusesMessagesThatBreakARuleAndStaysOpen) {
  StartBoth();
  const auto refused = [&](Message message) {
    const base::Status status = a->Send(std::move(message));
    if (status) return std::string("sent");
    EXPECT_EQ(status.error().code, base::Code::kInvalidArgument);
    return status.error().message;
  };
  EXPECT_THAT(refused(Make(Kind{99}, 1)), HasSubstr("kind 99"));
  EXPECT_THAT(refused(Make(Kind::kCall, 1, std::string(kMessageBytesMax + 1, 'x'))),
              HasSubstr("8388609 bytes"));
  EXPECT_THAT(refused(Make(Kind::kSecrets, 1, "in the open")), HasSubstr("belongs into secret"));
  Message secret = Make(Kind::kCall, 1);
  secret.secret = base::SecretBytes("x");
  EXPECT_THAT(refused(std::move(secret)), HasSubstr("carries no secret"));
  Message fd = Make(Kind::kFinish, 1);
  fd.fds.push_back(MemFd("x"));
  EXPECT_THAT(refused(std::move(fd)), HasSubstr("carries no fds"));
  Message fds = Make(Kind::kCall, 1);
  for (size_t i = 0; i <= kMessageFdsMax; ++i) fds.fds.push_back(MemFd("x"));
  EXPECT_THAT(refused(std::move(fds)), HasSubstr("17 fds"));
  ASSERT_TRUE(a->Send(Make(Kind::kPing, 7)));
  EXPECT_EQ(b_inbox.Wait(1)[0].call_id, 7u);
}

TEST_F(ChannelTest, CarriesAsManyFdsAsAllowed) {
  StartBoth();
  Message message = Make(Kind::kCall, 1);
  for (size_t i = 0; i < kMessageFdsMax; ++i) message.fds.push_back(MemFd(std::to_string(i)));
  ASSERT_TRUE(a->Send(std::move(message)));
  EXPECT_EQ(ContentOf(b_inbox.Wait(1)[0].fds.at(kMessageFdsMax - 1)), "15");
}

TEST_F(ChannelTest, BoundsTheBytesOfAPriorityAndLeavesTheOthersRoom) {
  base::Status status;
  size_t sent = 0;
  while (sent < 100 && (status = a->Send(Make(Kind::kEmit, 1, Pattern(kMessageBytesMax / 4)))))
    ++sent;
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, base::Code::kResourceExhausted);
  EXPECT_THAT(status.error().message, HasSubstr("queue is full"));
  EXPECT_GE(sent, 7u);
  EXPECT_LE(sent, 9u);
  EXPECT_TRUE(a->Send(Make(Kind::kFinish, 1)));
  EXPECT_TRUE(a->Send(Make(Kind::kPing, 1)));
  StartBoth();
  b_inbox.Wait(sent + 2);
  EXPECT_TRUE(a->Send(Make(Kind::kEmit, 2, Pattern(kMessageBytesMax))));
  b_inbox.Wait(sent + 3);
  EXPECT_EQ(a->Statistics().messages_refused, 1u);
}

TEST_F(ChannelTest, BoundsTheMessagesOfAPriority) {
  Connect({.queue_messages_max = 10});
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(kMessageBytesMax))));
  for (int i = 1; i < 10; ++i) ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1)));
  const base::Status full = a->Send(Make(Kind::kEmit, 1));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, base::Code::kResourceExhausted);
}

TEST_F(ChannelTest, BoundsTheFdsQueued) {
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(kMessageBytesMax))));
  const auto with_fds = [] {
    Message message = Make(Kind::kCall, 2);
    for (size_t i = 0; i < kMessageFdsMax; ++i) message.fds.push_back(MemFd("x"));
    return message;
  };
  for (size_t i = 0; i < kQueueFdsMax / kMessageFdsMax; ++i) ASSERT_TRUE(a->Send(with_fds()));
  const base::Status full = a->Send(with_fds());
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, base::Code::kResourceExhausted);
  StartBoth();
  b_inbox.Wait(1 + kQueueFdsMax / kMessageFdsMax);
  ASSERT_TRUE(a->Flush(std::chrono::steady_clock::now() + kLong));
  EXPECT_TRUE(a->Send(with_fds()));
}

TEST_F(ChannelTest, FlushWaitsUntilAllIsSentOrTheDeadline) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(1024 * 1024))));
  EXPECT_EQ(a->Flush(now() + std::chrono::milliseconds(5)).error().code,
            base::Code::kDeadlineExceeded);
  StartBoth();
  EXPECT_TRUE(a->Flush(now() + kLong));
  EXPECT_EQ(a->Statistics().messages_sent, 1u);
  a->Close();
  EXPECT_EQ(a->Flush(now() + kLong).error().code, base::Code::kUnavailable);
  EXPECT_EQ(b_inbox.Wait(1).size(), 1u);
}

TEST_F(ChannelTest, CountsWhatPasses) {
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(5 * kFrameBytesMax))));
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, "12345678")));
  StartBoth();
  b_inbox.Wait(2);
  ASSERT_TRUE(a->Flush(std::chrono::steady_clock::now() + kLong));
  const ChannelStatistics sent = a->Statistics();
  EXPECT_EQ(sent.messages_sent, 2u);
  EXPECT_EQ(sent.frames_sent, 6u);
  EXPECT_EQ(sent.bytes_sent, 5 * kFrameBytesMax + 8 + 6 * sizeof(FrameHeader));
  EXPECT_EQ(sent.messages_queued_peak, 2u);
  EXPECT_GE(sent.bytes_queued_peak, 5 * kFrameBytesMax);
  const ChannelStatistics received = b->Statistics();
  EXPECT_EQ(received.messages_received, 2u);
  EXPECT_EQ(received.bytes_received, sent.bytes_sent);
}

TEST_F(ChannelTest, DeliversWhatThePeerSentBeforeItClosed) {
  StartBoth();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, "last words")));
  ASSERT_TRUE(a->Flush(std::chrono::steady_clock::now() + kLong));
  a->Close();
  b_inbox.Wait(100);
  const base::Error error = b_inbox.WaitClosed();
  EXPECT_EQ(error.code, base::Code::kUnavailable);
  EXPECT_EQ(error.message, "peer closed the channel");
  EXPECT_EQ(b->Send(Make(Kind::kPing, 1)).error().code, base::Code::kUnavailable);
}

TEST_F(ChannelTest, CloseTellsTheReceiverOnceAndIsIdempotent) {
  StartBoth();
  a->Close();
  EXPECT_EQ(a_inbox.WaitClosed().code, base::Code::kCancelled);
  a->Close();
  const base::Status status = a->Send(Make(Kind::kPing, 1));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, base::Code::kUnavailable);
  EXPECT_EQ(b_inbox.WaitClosed().code, base::Code::kUnavailable);
}

TEST_F(ChannelTest, CloseDropsWhatThePeerDoesNotRead) {
  ASSERT_TRUE(a->Start(a_inbox));
  Message message = Make(Kind::kCall, 1, Pattern(kMessageBytesMax));
  message.fds.push_back(MemFd("x"));
  ASSERT_TRUE(a->Send(std::move(message)));
  a->Close();
  EXPECT_EQ(a_inbox.WaitClosed().code, base::Code::kCancelled);
}

TEST_F(ChannelTest, MayBeClosedFromItsReceiver) {
  a_inbox.on_message = [&](const Message&) { a->Close(); };
  a_inbox.on_closed = [&] { a->Close(); };
  ASSERT_TRUE(b->Send(Make(Kind::kPing, 1)));
  ASSERT_TRUE(b->Send(Make(Kind::kPing, 2)));
  StartBoth();
  EXPECT_EQ(a_inbox.WaitClosed().code, base::Code::kCancelled);
  EXPECT_EQ(a_inbox.Wait(1).size(), 1u);
}

TEST_F(ChannelTest, NeverStartedIsClosedQuietly) {
  ASSERT_TRUE(a->Send(Make(Kind::kEmit, 1, Pattern(kMessageBytesMax))));
  a.reset();
}

TEST_F(ChannelTest, KeepsEachThreadsOrderWhenManySend) {
  constexpr uint64_t kThreads = 8;
  constexpr size_t kEach = 400;
  StartBoth();
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < kEach; ++i) {
        const size_t padding = i % 50 == 0 ? 100000 : 10;
        const std::string text = std::to_string(i) + ":" + std::string(padding, 'x');
        while (!a->Send(Make(Kind::kEmit, t, text))) std::this_thread::yield();
      }
      while (!a->Send(Make(Kind::kFinish, t))) std::this_thread::yield();
    });
  for (std::thread& thread : threads) thread.join();
  std::array<size_t, kThreads> next{};
  for (const Message& message : b_inbox.Wait(kThreads * (kEach + 1))) {
    if (message.kind == Kind::kFinish) {
      EXPECT_EQ(next[message.call_id], kEach);
    } else {
      EXPECT_EQ(std::stoul(message.payload), next[message.call_id]++);
    }
  }
}

TEST_F(ChannelTest, MayBeClosedWhileManySend) {
  for (int round = 0; round < 20; ++round) {
    Inbox left;
    Inbox right;
    auto pair = MakeChannelPair();
    a = Channel::Create(std::move(pair->ours)).value();
    b = Channel::Create(std::move(pair->theirs)).value();
    ASSERT_TRUE(a->Start(left));
    ASSERT_TRUE(b->Start(right));
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        while (true) {
          const auto status = a->Send(Make(Kind::kEmit, t, std::string(round * 1000, 'x')));
          if (status || status.error().code == base::Code::kResourceExhausted) continue;
          EXPECT_EQ(status.error().code, base::Code::kUnavailable);
          return;
        }
      });
    right.Wait(10);
    std::thread other([&] { a->Close(); });
    (round % 2 ? a : b)->Close();
    other.join();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(left.WaitClosed().code, left.WaitClosed().message == "closed by this side"
                                          ? base::Code::kCancelled
                                          : base::Code::kUnavailable);
    right.WaitClosed();
    a.reset();
    b.reset();
  }
}

TEST_F(RawPeerTest, SaysThatThePeerLeftInsideAFrame) {
  Raw(Header(Kind::kCall, 100) + "0123456789");
  peer.Reset();
  Start();
  const base::Error error = inbox.WaitClosed();
  EXPECT_EQ(error.code, base::Code::kUnavailable);
  EXPECT_EQ(error.message,
            "peer closed the channel in a CALL frame, 10 of 100 payload bytes received");
}

TEST_F(RawPeerTest, SaysThatThePeerLeftWithMessagesUnread) {
  ASSERT_TRUE(channel->Send(Make(Kind::kPing, 1)));
  peer.Reset();
  Start();
  EXPECT_THAT(inbox.WaitClosed().message, HasSubstr("messages unread"));
}

TEST_F(RawPeerTest, ClosesOnJunkAndThePeerSeesIt) {
  Start();
  Raw("GET / HTTP/1.1\r\n\r\n");
  const base::Error error = inbox.WaitClosed();
  EXPECT_EQ(error.code, base::Code::kInternal);
  EXPECT_THAT(error.message, HasSubstr("frame begins with 0x47, expected 0xc1"));
  pollfd wait{peer.get(), POLLIN, 0};
  ASSERT_EQ(poll(&wait, 1, 10000), 1);
  char byte;
  EXPECT_EQ(read(peer.get(), &byte, 1), 0);
}

TEST_F(RawPeerTest, LosesNoFdSilently) {
  const base::UniqueFd fd = MemFd("x");
  Raw(Header(Kind::kCall, 0, 16), std::vector<int>(17, fd.get()));
  Start();
  const base::Error error = inbox.WaitClosed();
  EXPECT_EQ(error.code, base::Code::kInternal);
  EXPECT_THAT(error.message, HasSubstr("fds were lost"));
}

TEST_F(RawPeerTest, ClosesTheFdsOfARefusedFrame) {
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  base::UniqueFd reader(pipe_fds[0]);
  base::UniqueFd writer(pipe_fds[1]);
  Raw(Header(Kind::kPing, 0), {writer.get()});
  writer.Reset();
  Start();
  EXPECT_THAT(inbox.WaitClosed().message, HasSubstr("no frame announces"));
  channel->Close();
  pollfd wait{reader.get(), POLLIN, 0};
  ASSERT_EQ(poll(&wait, 1, 10000), 1);  // POLLHUP: no writer is left anywhere
  EXPECT_NE(wait.revents & POLLHUP, 0);
}

TEST_F(RawPeerTest, AttributesFdsWhenThePeerSendsFramesInPieces) {
  Start();
  const base::UniqueFd fd = MemFd("mine");
  const std::string frame = Header(Kind::kCall, 5, 1) + "hello";
  Raw(Header(Kind::kPing, 0) + Header(Kind::kPing, 0));
  Raw(frame.substr(0, 1), {fd.get()});
  Raw(frame.substr(1, 10));
  Raw(frame.substr(11) + Header(Kind::kPing, 0));
  auto& messages = inbox.Wait(4);
  EXPECT_EQ(messages[2].payload, "hello");
  ASSERT_EQ(messages[2].fds.size(), 1u);
  EXPECT_EQ(ContentOf(messages[2].fds[0]), "mine");
}

TEST_F(ChannelTest, TakesNoFdWhereNoneIsAccepted) {
  auto pair = MakeChannelPair();
  a = Channel::Create(std::move(pair->ours)).value();
  b = Channel::Create(std::move(pair->theirs), {.accept_fds = false}).value();
  Message message = Make(Kind::kCall, 1);
  message.fds.push_back(MemFd("x"));
  b_inbox.on_message = [](const Message&) { ADD_FAILURE() << "the fd came through"; };
  (void)a->Send(std::move(message));  // refused by the kernel here, or by the Decoder there
  StartBoth();
  a_inbox.WaitClosed();
  b_inbox.WaitClosed();
}

// Mutated streams over a real socket: never a hang, OnClosed always comes.
TEST(ChannelFuzz, EndsOnEveryMutatedStream) {
  std::string valid;
  for (uint8_t kind = 1; kind <= kKindCount; ++kind) {
    const FrameHeader header{kFrameVersion, kind, 0, 0, kind * 7u, kind};
    valid.append(reinterpret_cast<const char*>(&header), sizeof(header));
    valid.append(header.length, static_cast<char>('a' + kind));
  }
  std::mt19937 random(7);  // NOLINT: a fixed seed, so that a failure can be repeated
  for (int round = 0; round < 300; ++round) {
    std::string bytes = valid;
    for (size_t i = random() % 4; i > 0; --i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(bytes.size() - random() % 40);
    auto pair = MakeChannelPair();
    Inbox inbox;
    auto channel = Channel::Create(std::move(pair->ours)).value();
    ASSERT_TRUE(channel->Start(inbox));
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t n = send(pair->theirs.get(), bytes.data() + at,
                             std::min<size_t>(bytes.size() - at, 1 + random() % 200), MSG_NOSIGNAL);
      if (n < 0) break;  // refused already
      at += static_cast<size_t>(n);
    }
    pair->theirs.Reset();
    EXPECT_NE(inbox.WaitClosed().message, "");
  }
}

}  // namespace
}  // namespace gantry::wire
