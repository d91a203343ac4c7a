// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/client.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "plugins/nfs/rpc/test_wire.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::FakeCall;
using test::FakeServer;
using test::Xdr;

TimePoint In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

FileHandle Handle(std::string_view text) {
  FileHandle handle;
  handle.size = static_cast<uint32_t>(text.size());
  std::memcpy(handle.bytes.data(), text.data(), text.size());
  return handle;
}

Server At(uint16_t port) {
  Server server;
  server.host = "127.0.0.1";
  server.export_path = "/export";
  server.nfs_port = port;
  server.mount_port = port;
  server.portmap_port = port;
  return server;
}

Bytes Attr(const FakeCall& call) { return test::ReplyTo(call.xid, Xdr().U32(0).Fattr().bytes); }
Bytes Removed(const FakeCall& call) { return test::ReplyTo(call.xid, Xdr().U32(0).Wcc().bytes); }

const GetAttr kGetAttr{Handle("h")};
const Remove kRemove{Handle("d"), "name"};

TEST(SyncClient, DoesACall) {
  const FakeServer server([](const FakeCall& call) { return Attr(call); });
  SyncClient client(At(server.port()), {});
  const auto reply = client.Do(kGetAttr, In(5s));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->attributes.size, 4711u);
}

TEST(SyncClient, SendsAnIdempotentCallAgainAfterALostConnection) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall& call) -> std::optional<Bytes> {
    if (++calls <= 2) return std::nullopt;
    return Attr(call);
  });
  SyncClient client(At(server.port()), {});
  EXPECT_TRUE(client.Do(kGetAttr, In(5s)));
  EXPECT_EQ(calls, 3);
}

TEST(SyncClient, SendsAnIdempotentCallAgainOnlySoOften) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall&) -> std::optional<Bytes> {
    ++calls;
    return std::nullopt;
  });
  SyncClient client(At(server.port()), {});
  const auto reply = client.Do(kGetAttr, In(5s));
  ASSERT_FALSE(reply);
  EXPECT_FALSE(reply.error().outcome_unknown);
  EXPECT_EQ(ToCode(reply.error()), plugin::code::kUnavailable);
  EXPECT_EQ(calls, 1 + kResendsMax);
}

TEST(SyncClient, NeverSendsAnotherCallTwice) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall&) -> std::optional<Bytes> {
    ++calls;
    return std::nullopt;
  });
  SyncClient client(At(server.port()), {});
  const auto reply = client.Do(kRemove, In(5s));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().failure, Failure::kLost);
  EXPECT_TRUE(reply.error().outcome_unknown);
  EXPECT_NE(ToError(reply.error()).message.find("may have been executed"), std::string::npos);
  EXPECT_EQ(calls, 1);
}

TEST(SyncClient, UsesANewConnectionWhereTheOldOneWasClosedInBetween) {
  uint16_t port = 0;
  std::optional<SyncClient> client;
  {
    const FakeServer server([](const FakeCall& call) { return Removed(call); });
    port = server.port();
    client.emplace(At(port), Credentials{});
    ASSERT_TRUE(client->Do(kRemove, In(5s)));
  }
  const FakeServer again([](const FakeCall& call) { return Removed(call); }, port);
  const auto reply = client->Do(kRemove, In(5s));
  EXPECT_TRUE(reply) << reply.error().message;
}

TEST(SyncClient, EndsByItsDeadlineAndSaysWhatIsUnknown) {
  const FakeServer server([](const FakeCall&) { return Bytes{}; });
  SyncClient client(At(server.port()), {});
  const auto begin = std::chrono::steady_clock::now();
  const auto removed = client.Do(kRemove, In(200ms));
  ASSERT_FALSE(removed);
  EXPECT_EQ(ToCode(removed.error()), plugin::code::kDeadlineExceeded);
  EXPECT_TRUE(removed.error().outcome_unknown);
  EXPECT_TRUE(client.silence());
  const auto read = client.Do(kGetAttr, In(200ms));
  ASSERT_FALSE(read);
  EXPECT_FALSE(read.error().outcome_unknown);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
}

TEST(SyncClient, AsksAgainWhereTheServerSaysNotNow) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall& call) {
    if (++calls <= 3) return test::ReplyTo(call.xid, Xdr().U32(10008).U32(0).U32(0).bytes);
    return Removed(call);
  });
  SyncClient client(At(server.port()), {});
  EXPECT_TRUE(client.Do(kRemove, In(10s)));
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(server.connections(), 1);
}

TEST(SyncClient, ReturnsNotNowWhenTheDeadlineIsNear) {
  const FakeServer server([](const FakeCall& call) {
    return test::ReplyTo(call.xid, Xdr().U32(10008).U32(0).U32(0).bytes);
  });
  SyncClient client(At(server.port()), {});
  const auto begin = std::chrono::steady_clock::now();
  const auto reply = client.Do(kRemove, In(150ms));
  ASSERT_FALSE(reply);
  EXPECT_TRUE(reply.error().Is(NfsStatus3::kJukebox));
  EXPECT_EQ(ToCode(reply.error()), plugin::code::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

TEST(SyncClient, ReportsAnAnswerThatMakesNoSense) {
  const FakeServer server(
      [](const FakeCall& call) { return test::ReplyTo(call.xid, Xdr().U32(0).U32(1).bytes); });
  SyncClient client(At(server.port()), {});
  const auto reply = client.Do(kRemove, In(5s));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().failure, Failure::kMalformed);
  EXPECT_TRUE(reply.error().outcome_unknown);
  EXPECT_FALSE(client.connected());
}

TEST(SyncClient, ReadsIntoABuffer) {
  const FakeServer server([](const FakeCall& call) {
    return test::ReplyTo(call.xid, Xdr().U32(0).U32(0).U32(4).U32(1).Opaque("data").bytes);
  });
  SyncClient client(At(server.port()), {});
  std::byte buffer[8] = {};
  const auto done = client.ReadInto(Handle("f"), 0, buffer, In(5s));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->count, 4u);
  EXPECT_TRUE(done->eof);
  EXPECT_EQ(std::memcmp(buffer, "data", 4), 0);
  // More than was asked for must not be written anywhere.
  EXPECT_FALSE(client.ReadInto(Handle("f"), 0, std::span(buffer).first(2), In(5s)));
  std::vector<std::byte> large(client.PayloadBytesMax() + 1);
  EXPECT_FALSE(client.ReadInto(Handle("f"), 0, large, In(5s)));
}

TEST(SyncClient, DoesManyCallsAtOnce) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall& call) {
    // Every fifth is refused, one of them only for now.
    const int number = ++calls;
    if (number == 5) return test::ReplyTo(call.xid, Xdr().U32(10008).U32(0).U32(0).bytes);
    if (number % 5 == 0 && number <= 300) {
      return test::ReplyTo(call.xid, Xdr().U32(2).U32(0).U32(0).bytes);
    }
    return Removed(call);
  });
  SyncClient client(At(server.port()), {});
  std::vector<std::string> names;
  for (int i = 0; i < 300; ++i) names.push_back("name" + std::to_string(i));
  std::vector<Remove> removes;
  for (const auto& name : names) removes.push_back({Handle("d"), name});
  const auto results = client.DoAll<Remove>(removes, In(10s));
  ASSERT_EQ(results.size(), 300u);
  for (size_t i = 0; i < results.size(); ++i) {
    const bool refused = i % 5 == 4 && i != 4;
    EXPECT_EQ(results[i].has_value(), !refused) << i;
    if (refused && !results[i]) {
      EXPECT_TRUE(results[i].error().Is(NfsStatus3::kNoEnt));
    }
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST(SyncClient, FailsEachOfManyCallsWhenTheConnectionIsLost) {
  std::atomic<int> calls{0};
  const FakeServer server([&](const FakeCall& call) -> std::optional<Bytes> {
    if (++calls > 10) return std::nullopt;
    return Removed(call);
  });
  SyncClient client(At(server.port()), {});
  const std::vector<Remove> removes(500, kRemove);
  const auto results = client.DoAll<Remove>(removes, In(10s));
  int done = 0, unknown = 0, known = 0;
  for (const auto& result : results) {
    if (result) {
      ++done;
    } else {
      (result.error().outcome_unknown ? unknown : known)++;
    }
  }
  EXPECT_LE(done, 10);  // Closing with calls unread resets, which may take answers along.
  EXPECT_GT(unknown, 0);
  EXPECT_GT(known, 300);
  EXPECT_EQ(done + unknown + known, 500);
}

// --- MOUNT and portmapper

Bytes Mounted(const FakeCall& call) {
  return test::ReplyTo(call.xid, Xdr().U32(0).Opaque("root").U32(1).U32(1).bytes);
}

TEST(MountRoot, AsksThePortmapperWhereNoPortsAreGiven) {
  std::atomic<uint16_t> port{0};
  const FakeServer server([&](const FakeCall& call) -> std::optional<Bytes> {
    if (call.program == kPortmapProgram) {
      EXPECT_EQ(call.procedure, 3u);
      EXPECT_EQ(test::WordAt(call.arguments, 4), 3u);
      EXPECT_EQ(test::WordAt(call.arguments, 8), 6u);
      return test::ReplyTo(call.xid, Xdr().U32(port).bytes);
    }
    if (call.program == kMountProgram) {
      EXPECT_EQ(call.arguments, Xdr().Opaque("/export").bytes);
      return Mounted(call);
    }
    return Attr(call);
  });
  port = server.port();
  Server config = At(server.port());
  config.nfs_port = config.mount_port = 0;
  SyncClient client(config, {});
  const auto root = client.MountRoot(In(5s));
  ASSERT_TRUE(root) << root.error().message;
  EXPECT_EQ(*root, Handle("root"));
  EXPECT_TRUE(client.Do(GetAttr{*root}, In(5s)));
}

TEST(MountRoot, ExplainsARefusal) {
  for (const auto& [status, code, word] :
       {std::tuple{13u, plugin::code::kPermissionDenied, "MNT3ERR_ACCES"},
        std::tuple{2u, plugin::code::kNotFound, "MNT3ERR_NOENT"},
        std::tuple{20u, plugin::code::kInvalidArgument, "MNT3ERR_NOTDIR"},
        std::tuple{10006u, plugin::code::kUnavailable, "10006"}}) {
    const FakeServer server([&, number = status](const FakeCall& call) {
      return test::ReplyTo(call.xid, Xdr().U32(number).bytes);
    });
    const auto root = MountRoot(At(server.port()), {}, In(5s));
    ASSERT_FALSE(root);
    EXPECT_EQ(ToCode(root.error()), code) << word;
    EXPECT_NE(root.error().message.find("127.0.0.1, export \"/export\""), std::string::npos);
    EXPECT_NE(root.error().message.find(word), std::string::npos) << root.error().message;
  }
}

TEST(MountRoot, RefusesAServerThatWantsKerberos) {
  const FakeServer server([](const FakeCall& call) {
    return test::ReplyTo(call.xid, Xdr().U32(0).Opaque("root").U32(1).U32(390003).bytes);
  });
  const auto root = MountRoot(At(server.port()), {}, In(5s));
  ASSERT_FALSE(root);
  EXPECT_NE(root.error().message.find("AUTH_SYS"), std::string::npos);
}

TEST(MountRoot, RefusesAFlavorCountThatOverflows) {
  for (const uint32_t count : {0x40000001u, 0xffffffffu, 0x3fffffffu}) {
    const FakeServer server([&](const FakeCall& call) {
      return test::ReplyTo(call.xid,
                           Xdr().U32(0).Opaque("root").U32(count).U64(0).U64(0).U64(0).bytes);
    });
    const auto root = MountRoot(At(server.port()), {}, In(5s));
    ASSERT_FALSE(root);
    EXPECT_EQ(root.error().failure, Failure::kMalformed);
  }
}

TEST(MountRoot, SaysThatAServerSpeaksVersion4Alone) {
  const FakeServer server([](const FakeCall& call) {
    return call.program == kNfsProgram ? test::ReplyWith(call.xid, 2, Xdr().U32(4).U32(4).bytes)
                                       : test::ReplyWith(call.xid, 1);
  });
  uint16_t closed = 0;
  {
    closed = FakeServer([](const FakeCall&) { return Bytes{}; }).port();
  }
  // No MOUNT program; nobody at the MOUNT port; no portmapper.
  Server no_program = At(server.port()), no_mount = no_program, no_portmapper = no_program;
  no_mount.mount_port = closed;
  no_portmapper.mount_port = 0;
  no_portmapper.portmap_port = closed;
  for (const auto& config : {no_program, no_mount, no_portmapper}) {
    const auto root = MountRoot(config, {}, In(5s));
    ASSERT_FALSE(root);
    EXPECT_EQ(ToCode(root.error()), plugin::code::kFailedPrecondition);
    EXPECT_NE(root.error().message.find("server 127.0.0.1 speaks no NFSv3"), std::string::npos)
        << root.error().message;
  }
  SyncClient client(At(server.port()), {});
  const auto reply = client.Do(kGetAttr, In(5s));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().message,
            "server 127.0.0.1 speaks no NFSv3 (it offers versions 4 to 4); "
            "NFSv3 over TCP is needed");
}

TEST(MountRoot, SaysSoWhenThePortmapperKnowsNoNfs3) {
  const FakeServer server(
      [](const FakeCall& call) { return test::ReplyTo(call.xid, Xdr().U32(0).bytes); });
  Server config = At(server.port());
  config.nfs_port = config.mount_port = 0;
  EXPECT_NE(FindNfsPort(config, In(5s)).error().message.find("speaks no NFSv3"), std::string::npos);
  EXPECT_NE(MountRoot(config, {}, In(5s)).error().message.find("speaks no NFSv3"),
            std::string::npos);
}

TEST(MountRoot, RefusesAPathThatIsNone) {
  Server config = At(1);
  for (const auto& path : {std::string(), std::string("relative"), "/" + std::string(2000, 'x')}) {
    config.export_path = path;
    const auto root = MountRoot(config, {}, In(1s));
    ASSERT_FALSE(root);
    EXPECT_EQ(ToCode(root.error()), plugin::code::kInvalidArgument);
  }
}

TEST(CredentialsSys, RefusesMoreGroupsThanAuthSysCarries) {
  const std::vector<uint32_t> groups(kGroupsMax + 1);
  EXPECT_FALSE(Credentials::Sys(0, 0, groups));
  EXPECT_TRUE(Credentials::Sys(0, 0, std::span(groups).first(kGroupsMax)));
}

}  // namespace
}  // namespace gantry::nfs
