// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/connect.hpp"

#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include "plugins/nfs/rpc/test_wire.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;

TimePoint In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

std::optional<test::Bytes> Silent(const test::FakeCall&) { return test::Bytes{}; }

TEST(Connect, ConnectsByAddressAndByName) {
  const test::FakeServer server(Silent);
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const auto fd = ConnectTcp(host, server.port(), {}, In(5s));
    ASSERT_TRUE(fd) << host << ": " << fd.error().message;
    int no_delay = 0;
    socklen_t size = sizeof no_delay;
    ASSERT_EQ(getsockopt(fd->get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
    EXPECT_NE(no_delay, 0);
  }
}

TEST(Connect, NamesTheServerThatRefuses) {
  uint16_t port = 0;
  { port = test::FakeServer(Silent).port(); }
  const auto fd = ConnectTcp("127.0.0.1", port, {}, In(5s));
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().failure, Failure::kUnreachable);
  EXPECT_EQ(ToCode(fd.error()), plugin::code::kUnavailable);
  EXPECT_EQ(fd.error().message,
            "server 127.0.0.1 port " + std::to_string(port) + ": Connection refused");
}

TEST(Connect, NamesAHostThatDoesNotExist) {
  const auto fd = ConnectTcp("no-such-host.invalid", 2049, {}, In(20s));
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().failure, Failure::kUnreachable);
  EXPECT_NE(fd.error().message.find("\"no-such-host.invalid\""), std::string::npos);
}

// A listener whose queue is full answers no SYN, as a dead host does.
TEST(Connect, EndsByItsDeadline) {
  const plugin::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const uint16_t port = ntohs(address.sin_port);
  std::vector<plugin::UniqueFd> queued;
  NfsResult<plugin::UniqueFd> last;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {
    last = ConnectTcp("127.0.0.1", port, {}, In(300ms));
    if (!last) break;
    queued.push_back(std::move(*last));
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(ToCode(last.error()), plugin::code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
}

TEST(Connect, TakesAReservedPortOnlyWhenAsked) {
  const test::FakeServer server(Silent);
  const auto port_of = [](int fd) {
    sockaddr_in address = {};
    socklen_t size = sizeof address;
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
  };
  const auto free_port = ConnectTcp("127.0.0.1", server.port(), {}, In(5s));
  ASSERT_TRUE(free_port);
  EXPECT_GE(port_of(free_port->get()), 1024);
  const auto reserved = ConnectTcp("127.0.0.1", server.port(), {.reserved_port = true}, In(5s));
  if (reserved) {
    EXPECT_GE(port_of(reserved->get()), kReservedPortMin);
    EXPECT_LE(port_of(reserved->get()), kReservedPortMax);
  } else {
    // Without the capability the error must say so.
    EXPECT_NE(reserved.error().message.find("CAP_NET_BIND_SERVICE"), std::string::npos);
    EXPECT_EQ(ToCode(reserved.error()), plugin::code::kPermissionDenied);
  }
}

}  // namespace
}  // namespace gantry::nfs
