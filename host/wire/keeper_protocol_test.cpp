// SPDX-License-Identifier: Apache-2.0
#include "host/wire/keeper_protocol.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace gantry::wire {
namespace {

class KeeperProtocolTest : public ::testing::Test {
 protected:
  KeeperProtocolTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    a_ = base::UniqueFd(pair[0]);
    b_ = base::UniqueFd(pair[1]);
  }
  base::UniqueFd a_;
  base::UniqueFd b_;
};

TEST_F(KeeperProtocolTest, CarriesFieldsAndFds) {
  KeeperMessage message;
  message.kind = KeeperKind::kSpawn;
  message.id = 42;
  message.code = base::Code::kAborted;
  message.Add(KeeperTag::kVolume, "v").Add(KeeperTag::kBytes, uint64_t{1} << 40);
  const base::UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(SendKeeper(a_.get(), message, {null.get(), null.get()}));
  const auto received = ReceiveKeeper(b_.get());
  ASSERT_TRUE(received && received->has_value());
  const KeeperMessage& got = **received;
  EXPECT_EQ(got.kind, KeeperKind::kSpawn);
  EXPECT_EQ(got.id, 42U);
  EXPECT_EQ(got.code, base::Code::kAborted);
  EXPECT_EQ(got.Text(KeeperTag::kVolume), "v");
  EXPECT_EQ(got.Number(KeeperTag::kBytes), uint64_t{1} << 40);
  EXPECT_EQ(got.Text(KeeperTag::kFault), "");
  ASSERT_EQ(got.fds.size(), 2U);
  EXPECT_NE(fcntl(got.fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(KeeperProtocolTest, SaysWhenThereIsNothing) {
  const auto nothing = ReceiveKeeper(b_.get());
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->has_value());
}

TEST_F(KeeperProtocolTest, SaysWhenThePeerIsGone) {
  a_.Reset();
  EXPECT_EQ(ReceiveKeeper(b_.get()).error().code, base::Code::kUnavailable);
  EXPECT_EQ(SendKeeper(b_.get(), {}).error().code, base::Code::kUnavailable);
}

TEST_F(KeeperProtocolTest, NeverWaitsForAPeerThatDoesNotRead) {
  KeeperMessage message;
  message.Add(KeeperTag::kMessage, std::string(32 * 1024, 'x'));
  base::Status status;
  for (int i = 0; i < 100 && status; ++i) status = SendKeeper(a_.get(), message);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, base::Code::kResourceExhausted);
}

TEST_F(KeeperProtocolTest, RefusesToSendMoreThanTheLimit) {
  KeeperMessage message;
  message.Add(KeeperTag::kMessage, std::string(kKeeperMessageBytesMax, 'x'));
  EXPECT_EQ(SendKeeper(a_.get(), message).error().code, base::Code::kInvalidArgument);
}

// Every prefix and every flipped byte of a valid message is refused or understood, never more.
TEST_F(KeeperProtocolTest, RefusesJunk) {
  KeeperMessage message;
  message.Add(KeeperTag::kVolume, "volume").Add(KeeperTag::kPid, 7);
  ASSERT_TRUE(SendKeeper(a_.get(), message));
  std::string valid(1000, '\0');
  valid.resize(static_cast<size_t>(recv(b_.get(), valid.data(), valid.size(), 0)));
  const auto receive = [&](const std::string& bytes) {
    EXPECT_EQ(send(a_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return ReceiveKeeper(b_.get());
  };
  for (size_t length = 1; length < valid.size(); ++length)
    EXPECT_FALSE(receive(valid.substr(0, length))) << length;
  EXPECT_FALSE(receive(valid + "x"));
  for (size_t i = 0; i < valid.size(); ++i) {
    std::string bent = valid;
    bent[i] = static_cast<char>(bent[i] ^ 0x80);
    const auto received = receive(bent);
    EXPECT_TRUE(!received || (*received)->fields.size() <= 2) << i;
  }
  EXPECT_TRUE(receive(valid));
}

}  // namespace
}  // namespace gantry::wire
