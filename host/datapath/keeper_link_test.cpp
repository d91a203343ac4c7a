// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/keeper_link.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>

namespace gantry::datapath {
namespace {

using wire::KeeperKind;
using wire::KeeperMessage;

class KeeperLinkTest : public ::testing::Test {
 protected:
  KeeperLinkTest() {
    int pair[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    keeper_ = base::UniqueFd(pair[0]);
    link_.emplace(base::UniqueFd(pair[1]));
  }
  static KeeperMessage Request() {
    KeeperMessage request;
    request.kind = KeeperKind::kTakeFd;
    return request;
  }
  // With this id, before it is asked for: the socket keeps it.
  void Reply(uint64_t id) {
    KeeperMessage reply;
    reply.id = id;
    ASSERT_TRUE(wire::SendKeeper(keeper_.get(), reply));
  }
  base::Code Ask() {
    const auto reply = link_->Call(Request());
    return reply ? base::Code::kOk : reply.error().code;
  }

  base::UniqueFd keeper_;
  std::optional<KeeperLink> link_;
};

TEST_F(KeeperLinkTest, WaitsForASilentKeeperOnceAndAgainWhenItIsHeard) {
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(Ask(), base::Code::kDeadlineExceeded);
  constexpr int kMore = 100;
  for (int i = 0; i < kMore; ++i) EXPECT_EQ(Ask(), base::Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - began,
            kMore * std::chrono::milliseconds(kKeeperMsMax))
      << "the volume's thread stood still each time";
  Reply(1);
  link_->OnReadable();
  Reply(kMore + 2);
  EXPECT_EQ(Ask(), base::Code::kOk);
}

TEST_F(KeeperLinkTest, TakesNoOtherRequestsReplyForItsOwn) {
  Reply(7);
  Reply(1);
  EXPECT_EQ(Ask(), base::Code::kOk);
}

TEST_F(KeeperLinkTest, AKeeperThatIsGoneIsMissed) {
  keeper_.Reset();
  EXPECT_EQ(Ask(), base::Code::kUnavailable);
  EXPECT_TRUE(link_->missed());
  EXPECT_FALSE(link_->connected());
}

}  // namespace
}  // namespace gantry::datapath
