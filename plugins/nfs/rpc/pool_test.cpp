// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/pool.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "plugins/nfs/rpc/test_wire.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::FakeCall;
using test::FakeServer;
using test::Xdr;

TimePoint In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

Server At(uint16_t port) {
  Server server;
  server.host = "127.0.0.1";
  server.export_path = "/export";
  server.nfs_port = port;
  server.mount_port = port;
  return server;
}

Bytes Answer(const FakeCall& call, std::string_view root = "root") {
  if (call.program == kMountProgram) {
    return test::ReplyTo(call.xid, Xdr().U32(0).Opaque(root).U32(0).bytes);
  }
  if (call.procedure == NullCall::kNumber) return test::ReplyTo(call.xid);
  return test::ReplyTo(call.xid, Xdr().U32(0).Fattr().bytes);
}

NfsResult<AttributesReply> GetRoot(ClientPool& pool, TimePoint deadline) {
  return pool.Run(deadline, [&](SyncClient& client, const FileHandle& root) {
    return client.Do(GetAttr{root}, deadline);
  });
}

TEST(ClientPool, ReusesItsConnections) {
  const FakeServer server([](const FakeCall& call) { return Answer(call); });
  ClientPool pool(At(server.port()), {});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(GetRoot(pool, In(5s)));
  EXPECT_EQ(server.connections(), 2);  // One for MOUNT.
  EXPECT_EQ(pool.size(), 1u);
}

TEST(ClientPool, WaitsForAConnectionAtMostToTheDeadline) {
  const FakeServer server([](const FakeCall& call) { return Answer(call); });
  PoolOptions options;
  options.connections_max = 1;
  ClientPool pool(At(server.port()), {}, options);
  {
    const auto lease = pool.Acquire(In(5s));
    ASSERT_TRUE(lease);
    const auto refused = pool.Acquire(In(50ms));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().failure, Failure::kBusy);
    EXPECT_EQ(ToCode(refused.error()), plugin::code::kUnavailable);
  }
  EXPECT_TRUE(pool.Acquire(In(50ms)));
}

TEST(ClientPool, ServesMoreThreadsThanItHasConnections) {
  const FakeServer server([](const FakeCall& call) { return Answer(call); });
  PoolOptions options;
  options.connections_max = 3;
  ClientPool pool(At(server.port()), {}, options);
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) done += GetRoot(pool, In(20s)) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(done, 400);
  EXPECT_LE(pool.size(), 3u);
}

TEST(ClientPool, DropsAConnectionThatWasIdleTooLong) {
  const FakeServer server([](const FakeCall& call) { return Answer(call); });
  PoolOptions options;
  options.idle_max = 0ms;
  ClientPool pool(At(server.port()), {}, options);
  ASSERT_TRUE(GetRoot(pool, In(5s)));
  ASSERT_TRUE(GetRoot(pool, In(5s)));
  EXPECT_EQ(server.connections(), 3);
  EXPECT_EQ(pool.size(), 1u);
}

TEST(ClientPool, DropsABrokenConnection) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall& call) -> std::optional<Bytes> {
    if (call.program == kNfsProgram && ++calls == 1) return std::nullopt;
    return Answer(call);
  });
  ClientPool pool(At(server.port()), {});
  const auto lost = pool.Run(In(5s), [&](SyncClient& client, const FileHandle& root) {
    return client.Do(Remove{root, "name"}, In(5s));
  });
  ASSERT_FALSE(lost);
  EXPECT_EQ(pool.size(), 0u);
  EXPECT_TRUE(GetRoot(pool, In(5s)));
}

TEST(ClientPool, FailsFastWhileTheServerIsDeadAndRecoversAtOnce) {
  std::atomic<bool> frozen{false};
  const FakeServer server([&](const FakeCall& call) { return frozen ? Bytes{} : Answer(call); });
  PoolOptions options;
  options.server_dead = 1h;
  options.probe_max = 1s;
  ClientPool pool(At(server.port()), {}, options);
  ASSERT_TRUE(GetRoot(pool, In(5s)));
  frozen = true;
  ASSERT_FALSE(GetRoot(pool, In(200ms)));
  const auto begin = std::chrono::steady_clock::now();
  const auto refused = GetRoot(pool, In(60s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(ToCode(refused.error()), plugin::code::kUnavailable);
  EXPECT_NE(refused.error().message.find("does not answer"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  frozen = false;
  const auto again = GetRoot(pool, In(5s));
  EXPECT_TRUE(again) << again.error().message;
}

TEST(ClientPool, ManyCallersShareOneProbeOfADeadServer) {
  std::atomic<bool> frozen{false};
  const FakeServer server([&](const FakeCall& call) { return frozen ? Bytes{} : Answer(call); });
  PoolOptions options;
  options.server_dead = 1h;
  options.probe_max = 1s;
  ClientPool pool(At(server.port()), {}, options);
  ASSERT_TRUE(GetRoot(pool, In(5s)));
  frozen = true;
  ASSERT_FALSE(GetRoot(pool, In(100ms)));
  const int before = server.connections();
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] { refused += GetRoot(pool, In(60s)) ? 0 : 1; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(refused, 8);
  EXPECT_LT(server.connections() - before, 8);
}

TEST(ClientPool, TriesInEarnestSomeTimeAfterAFailure) {
  std::atomic<bool> frozen{false};
  // Answers, but later than a probe waits.
  const FakeServer server([&](const FakeCall& call) {
    if (frozen) return Bytes{};
    poll(nullptr, 0, 100);  // The slowness that is tested.
    return Answer(call);
  });
  PoolOptions options;
  options.server_dead = 0ms;
  options.probe_max = 1ms;
  ClientPool pool(At(server.port()), {}, options);
  ASSERT_TRUE(GetRoot(pool, In(5s)));
  frozen = true;
  ASSERT_FALSE(GetRoot(pool, In(200ms)));
  frozen = false;
  EXPECT_TRUE(GetRoot(pool, In(5s)));
}

TEST(ClientPool, WorksWithAServerThatWasStartedAgain) {
  uint16_t port = 0;
  std::optional<ClientPool> pool;
  {
    const FakeServer server([](const FakeCall& call) { return Answer(call); });
    port = server.port();
    pool.emplace(At(port), Credentials{});
    ASSERT_TRUE(GetRoot(*pool, In(5s)));
  }
  const auto refused = GetRoot(*pool, In(5s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(ToCode(refused.error()), plugin::code::kUnavailable);
  const FakeServer server([](const FakeCall& call) { return Answer(call); }, port);
  const auto again = GetRoot(*pool, In(5s));
  EXPECT_TRUE(again) << again.error().message;
}

TEST(ClientPool, MountsAgainWhenTheRootIsStale) {
  std::atomic<bool> made_again{false};
  const FakeServer server([&](const FakeCall& call) {
    const std::string_view root = made_again ? "new-root" : "root";
    if (call.program == kNfsProgram && call.arguments != Xdr().Opaque(root).bytes) {
      return test::ReplyTo(call.xid, Xdr().U32(70).bytes);
    }
    return Answer(call, root);
  });
  ClientPool pool(At(server.port()), {});
  ASSERT_TRUE(GetRoot(pool, In(5s)));
  made_again = true;
  EXPECT_TRUE(GetRoot(pool, In(5s)));
}

TEST(ClientPool, ReturnsStaleWhenTheRootIsStillTheSame) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall& call) {
    if (call.program == kNfsProgram) {
      ++calls;
      return test::ReplyTo(call.xid, Xdr().U32(70).bytes);
    }
    return Answer(call);
  });
  ClientPool pool(At(server.port()), {});
  const auto reply = GetRoot(pool, In(5s));
  ASSERT_FALSE(reply);
  EXPECT_TRUE(reply.error().Is(NfsStatus3::kStale));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace gantry::nfs
