// SPDX-License-Identifier: Apache-2.0
// Against a real NFS-Ganesha with a VFS export that root may write. It is told by the environment
// where; a missing variable fails the test, it does not skip it.
//   GANTRY_NFS_SERVER GANTRY_NFS_PORT GANTRY_MOUNT_PORT GANTRY_NFS_EXPORT  the server
//   GANTRY_NFS_CONTROL             a program; with the word freeze, thaw, kill or restart it does
//                                  that to the server and returns when it has happened
//   GANTRY_NFS_V4_PORT             a server on the same host for version 4 alone
//   GANTRY_NFS_PRIVILEGED_PORT GANTRY_MOUNT_PRIVILEGED_PORT  one that insists on reserved ports
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <thread>

#include "plugins/nfs/rpc/pool.hpp"

extern char** environ;

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TimePoint In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  EXPECT_NE(value, nullptr) << name << " is not set; see the head of ganesha_test.cpp";
  return value != nullptr ? value : "";
}

uint16_t PortSetting(const char* name) {
  const std::string value = Setting(name);
  return static_cast<uint16_t>(std::strtoul(value.c_str(), nullptr, 10));
}

Server TheServer() {
  Server server;
  server.host = Setting("GANTRY_NFS_SERVER");
  server.nfs_port = PortSetting("GANTRY_NFS_PORT");
  server.mount_port = PortSetting("GANTRY_MOUNT_PORT");
  server.export_path = Setting("GANTRY_NFS_EXPORT");
  return server;
}

void Control(const char* verb) {
  std::string program = Setting("GANTRY_NFS_CONTROL"), word = verb;
  char* const arguments[] = {program.data(), word.data(), nullptr};
  pid_t pid = 0;
  ASSERT_EQ(posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, environ), 0);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_EQ(status, 0) << program << " " << verb;
}

Credentials Root() { return *Credentials::Sys(0, 0, {}); }

SetAttributes Mode(uint32_t mode) {
  SetAttributes attributes;
  attributes.mode = mode;
  return attributes;
}

std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

#define ASSERT_DONE(result)                                   \
  if (const auto& checked_result = (result); !checked_result) \
  FAIL() << checked_result.error().message
#define EXPECT_DONE(result)                                   \
  if (const auto& checked_result = (result); !checked_result) \
  ADD_FAILURE() << checked_result.error().message

// A directory of its own for each test, emptied at the end.
class GaneshaTest : public testing::Test {
 protected:
  void SetUp() override {
    client_.emplace(TheServer(), Root());
    const auto root = client_->MountRoot(In(10s));
    ASSERT_DONE(root);
    root_ = *root;
    name_ = std::string("t-") + testing::UnitTest::GetInstance()->current_test_info()->name() +
            "-" + std::to_string(getpid());
    const auto made = client_->Do(MakeDir{root_, name_, Mode(0755)}, In(10s));
    ASSERT_DONE(made);
    ASSERT_TRUE(made->handle);
    dir_ = *made->handle;
  }
  void TearDown() override {
    if (dir_.size == 0) return;
    Empty(dir_);
    EXPECT_TRUE(client_->Do(RemoveDir{root_, name_}, In(10s)));
  }
  void Empty(const FileHandle& directory) {
    const auto list = client_->Do(ReadDirPlus{directory}, In(10s));
    ASSERT_DONE(list);
    for (const auto& entry : list->entries) {
      if (entry.name == "." || entry.name == "..") continue;
      if (!client_->Do(Remove{directory, entry.name}, In(10s))) {
        ASSERT_TRUE(entry.handle);
        Empty(*entry.handle);
        EXPECT_TRUE(client_->Do(RemoveDir{directory, entry.name}, In(10s))) << entry.name;
      }
    }
  }
  FileHandle NewFile(std::string_view name) {
    const auto made =
        client_->Do(Create{dir_, name, Create::How::kGuarded, Mode(0644), {}}, In(10s));
    EXPECT_TRUE(made) << made.error().message;
    return made ? made->handle.value_or(FileHandle{}) : FileHandle{};
  }

  std::optional<SyncClient> client_;
  FileHandle root_, dir_;
  std::string name_;
};

TEST_F(GaneshaTest, WritesAndReadsAFile) {
  const FileHandle file = NewFile("file");
  std::string text(client_->PayloadBytesMax(), '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  for (const auto how : {Stable::kUnstable, Stable::kDataSync, Stable::kFileSync}) {
    const auto written = client_->Do(Write{file, 0, BytesOf(text), how}, In(10s));
    ASSERT_DONE(written);
    ASSERT_EQ(written->count, text.size());
    EXPECT_GE(written->committed, how);
    const auto committed = client_->Do(Commit{file, 0, 0}, In(10s));
    ASSERT_DONE(committed);
    EXPECT_EQ(committed->verifier, written->verifier);
  }
  std::string back(text.size(), '\0');
  const auto read = client_->ReadInto(file, 0, std::as_writable_bytes(std::span(back)), In(10s));
  ASSERT_DONE(read);
  EXPECT_EQ(read->count, text.size());
  EXPECT_EQ(back, text);
  const auto end =
      client_->ReadInto(file, text.size(), std::as_writable_bytes(std::span(back)), In(10s));
  ASSERT_DONE(end);
  EXPECT_EQ(end->count, 0u);
  EXPECT_TRUE(end->eof);
}

TEST_F(GaneshaTest, GetsAndSetsAttributes) {
  const FileHandle file = NewFile("file");
  SetAttributes change = Mode(0640);
  change.uid = 1234;
  change.gid = 4321;
  change.size = 70'000;
  change.mtime = {TimeChange::How::kClientTime, {1'000'000, 0}};
  ASSERT_DONE(client_->Do(SetAttr{file, change, std::nullopt}, In(10s)));
  const auto got = client_->Do(GetAttr{file}, In(10s));
  ASSERT_DONE(got);
  EXPECT_EQ(got->attributes.type, FileType::kRegular);
  EXPECT_EQ(got->attributes.mode, 0640u);
  EXPECT_EQ(got->attributes.uid, 1234u);
  EXPECT_EQ(got->attributes.gid, 4321u);
  EXPECT_EQ(got->attributes.size, 70'000u);
  EXPECT_EQ(got->attributes.mtime.seconds, 1'000'000u);
  const auto wrong = client_->Do(SetAttr{file, Mode(0600), Time{1, 1}}, In(10s));
  ASSERT_FALSE(wrong);
  EXPECT_TRUE(wrong.error().Is(NfsStatus3::kNotSync)) << wrong.error().message;
  ASSERT_DONE(client_->Do(SetAttr{file, Mode(0600), got->attributes.ctime}, In(10s)));
}

TEST_F(GaneshaTest, LooksUpNamesAndRefusesWrongOnes) {
  const FileHandle file = NewFile("file");
  const auto found = client_->Do(Lookup{dir_, "file"}, In(10s));
  ASSERT_DONE(found);
  EXPECT_EQ(found->handle, file);
  const auto missing = client_->Do(Lookup{dir_, "missing"}, In(10s));
  ASSERT_FALSE(missing);
  EXPECT_TRUE(missing.error().Is(NfsStatus3::kNoEnt));
  EXPECT_THAT(missing.error().message,
              HasSubstr("server " + TheServer().host + ": LOOKUP: NFS3ERR_NOENT"));
  const auto through_file = client_->Do(Lookup{file, "x"}, In(10s));
  ASSERT_FALSE(through_file);
  EXPECT_TRUE(through_file.error().Is(NfsStatus3::kNotDir));
  const auto again =
      client_->Do(Create{dir_, "file", Create::How::kGuarded, Mode(0644), {}}, In(10s));
  ASSERT_FALSE(again);
  EXPECT_TRUE(again.error().Is(NfsStatus3::kExist));
  EXPECT_DONE(client_->Do(Create{dir_, "file", Create::How::kUnchecked, Mode(0644), {}}, In(10s)));
}

TEST_F(GaneshaTest, AnExclusiveCreateIsItsOwnersAlone) {
  Create create{dir_, "file", Create::How::kExclusive, {}, {}};
  create.verifier.fill(std::byte{0x11});
  const auto first = client_->Do(create, In(10s));
  ASSERT_DONE(first);
  client_->Close();
  const auto again = client_->Do(create, In(10s));
  ASSERT_DONE(again);
  EXPECT_EQ(*first->handle, *again->handle);
  create.verifier.fill(std::byte{0x22});
  const auto other = client_->Do(create, In(10s));
  ASSERT_FALSE(other);
  EXPECT_TRUE(other.error().Is(NfsStatus3::kExist));
}

TEST_F(GaneshaTest, LinksRenamesAndRemoves) {
  const FileHandle file = NewFile("file");
  const auto linked = client_->Do(Link{file, dir_, "link"}, In(10s));
  ASSERT_DONE(linked);
  const auto exists = client_->Do(Link{file, dir_, "link"}, In(10s));
  ASSERT_FALSE(exists);
  EXPECT_TRUE(exists.error().Is(NfsStatus3::kExist));
  EXPECT_EQ(ToCode(exists.error()), plugin::code::kAlreadyExists);
  EXPECT_EQ(client_->Do(GetAttr{file}, In(10s))->attributes.links, 2u);
  ASSERT_DONE(client_->Do(Remove{dir_, "link"}, In(10s)));
  ASSERT_DONE(client_->Do(Rename{dir_, "file", dir_, "renamed"}, In(10s)));
  EXPECT_EQ(client_->Do(Lookup{dir_, "renamed"}, In(10s))->handle, file);
  EXPECT_FALSE(client_->Do(Lookup{dir_, "file"}, In(10s)));
  const auto sub = client_->Do(MakeDir{dir_, "sub", Mode(0755)}, In(10s));
  ASSERT_DONE(sub);
  ASSERT_DONE(client_->Do(Rename{dir_, "renamed", *sub->handle, "inside"}, In(10s)));
  const auto full = client_->Do(RemoveDir{dir_, "sub"}, In(10s));
  ASSERT_FALSE(full);
  EXPECT_TRUE(full.error().Is(NfsStatus3::kNotEmpty));
  ASSERT_DONE(client_->Do(Remove{*sub->handle, "inside"}, In(10s)));
  ASSERT_DONE(client_->Do(RemoveDir{dir_, "sub"}, In(10s)));
  const auto stale = client_->Do(GetAttr{file}, In(10s));
  ASSERT_FALSE(stale);
  EXPECT_TRUE(stale.error().Is(NfsStatus3::kStale)) << stale.error().message;
}

TEST_F(GaneshaTest, MakesSymbolicLinksAndSpecialFiles) {
  const auto link = client_->Do(SymLink{dir_, "link", "../some/target", Mode(0777)}, In(10s));
  ASSERT_DONE(link);
  const auto target = client_->Do(ReadLink{*link->handle}, In(10s));
  ASSERT_DONE(target);
  EXPECT_EQ(target->target, "../some/target");
  for (const auto type : {FileType::kFifo, FileType::kSocket}) {
    const std::string name = "node" + std::to_string(static_cast<int>(type));
    const auto node = client_->Do(MakeNode{dir_, name, type, Mode(0600), 0, 0}, In(10s));
    ASSERT_DONE(node);
    EXPECT_EQ(client_->Do(GetAttr{*node->handle}, In(10s))->attributes.type, type);
  }
}

TEST_F(GaneshaTest, ListsADirectoryPageByPage) {
  std::set<std::string> expected = {".", ".."};
  std::vector<std::string> names;
  for (int i = 0; i < 500; ++i) names.push_back("entry-" + std::to_string(i));
  std::vector<Create> creates;
  for (const auto& name : names) {
    creates.push_back({dir_, name, Create::How::kGuarded, Mode(0644), {}});
    expected.insert(name);
  }
  for (const auto& result : client_->DoAll<Create>(creates, In(30s))) ASSERT_DONE(result);
  const auto list_all = [&](auto call) {
    std::set<std::string> seen;
    int pages = 0;
    for (bool eof = false; !eof && pages < 1000; ++pages) {
      const auto list = client_->Do(call, In(10s));
      EXPECT_TRUE(list) << list.error().message;
      if (!list) break;
      for (const auto& entry : list->entries) {
        EXPECT_TRUE(seen.insert(entry.name).second) << entry.name;
        call.cookie = entry.cookie;
      }
      call.verifier = list->verifier;
      eof = list->eof;
    }
    EXPECT_GT(pages, 2);
    return seen;
  };
  ReadDir by_name{dir_};
  by_name.count = 4096;
  EXPECT_EQ(list_all(by_name), expected);
  ReadDirPlus with_attributes{dir_};
  with_attributes.dir_count = 4096;
  with_attributes.max_count = 8192;
  EXPECT_EQ(list_all(with_attributes), expected);
  std::vector<Remove> removes;
  for (const auto& name : names) removes.push_back({dir_, name});
  for (const auto& result : client_->DoAll<Remove>(removes, In(30s))) ASSERT_DONE(result);
}

TEST_F(GaneshaTest, TellsWhatTheFileSystemIs) {
  const auto stat = client_->Do(FsStat{root_}, In(10s));
  ASSERT_DONE(stat);
  EXPECT_GT(stat->bytes_total, 0u);
  const auto info = client_->Do(FsInfo{root_}, In(10s));
  ASSERT_DONE(info);
  EXPECT_GE(info->read_max, 65'536u);
  EXPECT_GE(info->write_max, 65'536u);
  const auto conf = client_->Do(PathConf{root_}, In(10s));
  ASSERT_DONE(conf);
  EXPECT_GE(conf->name_bytes_max, 255u);
  const auto access = client_->Do(Access{root_, kAccessRead | kAccessModify}, In(10s));
  ASSERT_DONE(access);
  EXPECT_EQ(access->access, kAccessRead | kAccessModify);
  EXPECT_DONE(client_->Do(NullCall{}, In(10s)));
}

TEST_F(GaneshaTest, IsWhoItIsToldToBe) {
  ASSERT_DONE(client_->Do(SetAttr{dir_, Mode(0770), std::nullopt}, In(10s)));
  SetAttributes to_group;
  to_group.gid = 5555;
  ASSERT_DONE(client_->Do(SetAttr{dir_, to_group, std::nullopt}, In(10s)));
  SyncClient stranger(TheServer(), *Credentials::Sys(4000, 4000, {}));
  const auto refused = stranger.Do(MakeDir{dir_, "no", Mode(0755)}, In(10s));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().Is(NfsStatus3::kAcces)) << refused.error().message;
  EXPECT_EQ(ToCode(refused.error()), plugin::code::kPermissionDenied);
  const uint32_t groups[] = {5555};
  SyncClient member(TheServer(), *Credentials::Sys(4000, 4000, groups));
  const auto made = member.Do(MakeDir{dir_, "yes", Mode(0755)}, In(10s));
  ASSERT_DONE(made);
  EXPECT_EQ(client_->Do(GetAttr{*made->handle}, In(10s))->attributes.uid, 4000u);
}

TEST_F(GaneshaTest, AnEventLoopKeepsManyLargeCallsInFlight) {
  const FileHandle file = NewFile("file");
  auto fd = ConnectTcp(TheServer().host, TheServer().nfs_port, {}, In(10s));
  ASSERT_DONE(fd);
  constexpr uint32_t kChunkBytes = 1 << 20;
  constexpr uint64_t kChunks = 48;
  auto channel = Channel::Create(std::move(*fd), {8 << 20, 4 << 20, 64}, 77);
  ASSERT_DONE(channel);
  RpcStream& stream = channel->stream();
  std::string chunk(kChunkBytes, '\0');
  uint64_t done = 0;
  uint32_t in_flight_max = 0;
  const auto transfer = [&](const auto& submit, const RpcStream::OnReply& on_reply) {
    done = 0;
    for (uint64_t next = 0; done < kChunks;) {
      while (next < kChunks && submit(next)) ++next;
      in_flight_max = std::max(in_flight_max, stream.outstanding());
      const auto turned = channel->Turn(In(10s), on_reply);
      ASSERT_DONE(turned);
    }
  };
  transfer(
      [&](uint64_t i) {
        std::fill(chunk.begin(), chunk.end(), static_cast<char>('a' + i % 26));
        return Submit(stream, Write{file, i * kChunkBytes, BytesOf(chunk), Stable::kUnstable},
                      Root(), i, kNoDeadline)
            .has_value();
      },
      [&](const Reply& reply) {
        const auto written = DecodeReply<Write>(reply);
        ASSERT_DONE(written);
        EXPECT_EQ(written->count, kChunkBytes);
        ++done;
      });
  transfer(
      [&](uint64_t i) {
        return Submit(stream, Read{file, i * kChunkBytes, kChunkBytes}, Root(), i, kNoDeadline)
            .has_value();
      },
      [&](const Reply& reply) {
        const auto read = DecodeReply<Read>(reply);
        ASSERT_DONE(read);
        EXPECT_EQ(read->data.size(), kChunkBytes);
        const auto expected = static_cast<std::byte>('a' + reply.tag % 26);
        EXPECT_TRUE(std::all_of(read->data.begin(), read->data.end(),
                                [&](std::byte byte) { return byte == expected; }));
        ++done;
      });
  EXPECT_GT(in_flight_max, 4u);
}

TEST_F(GaneshaTest, ManyThreadsShareAPool) {
  ClientPool pool(TheServer(), Root());
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        const auto result =
            pool.Run(In(30s), [&](SyncClient& client, const FileHandle&) -> NfsOutcome {
              GANTRY_PLUGIN_TRY_ASSIGN(const CreateReply made,
                                       client.Do(MakeDir{dir_, name, Mode(0755)}, In(30s)));
              GANTRY_PLUGIN_TRY(client.Do(GetAttr{*made.handle}, In(30s)));
              GANTRY_PLUGIN_TRY(client.Do(RemoveDir{dir_, name}, In(30s)));
              return {};
            });
        failed += result ? 0 : 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_LE(pool.size(), kConnectionsMax);
}

TEST_F(GaneshaTest, AFrozenServerCostsABoundedErrorAndThenWorksAgain) {
  ClientPool pool(TheServer(), Root());
  const auto get = [&](TimePoint deadline) {
    return pool.Run(deadline, [&](SyncClient& client, const FileHandle& root) {
      return client.Do(GetAttr{root}, deadline);
    });
  };
  ASSERT_DONE(get(In(10s)));
  Control("freeze");
  const auto begin = std::chrono::steady_clock::now();
  const auto frozen = get(In(1s));
  const auto first = std::chrono::steady_clock::now() - begin;
  const auto fast = get(In(30s));
  const auto second = std::chrono::steady_clock::now() - begin - first;
  Control("thaw");
  ASSERT_FALSE(frozen);
  EXPECT_EQ(ToCode(frozen.error()), plugin::code::kDeadlineExceeded) << frozen.error().message;
  EXPECT_LT(first, 1500ms);
  ASSERT_FALSE(fast);
  EXPECT_EQ(ToCode(fast.error()), plugin::code::kUnavailable) << fast.error().message;
  EXPECT_LT(second, 2s);
  const auto thawed = get(In(10s));
  ASSERT_DONE(thawed);
}

TEST_F(GaneshaTest, AKilledAndRestartedServerNeedsNoNewPool) {
  ClientPool pool(TheServer(), Root());
  const auto make = [&](std::string_view name) {
    return pool.Run(In(10s), [&](SyncClient& client, const FileHandle&) {
      return client.Do(MakeDir{dir_, name, Mode(0755)}, In(10s));
    });
  };
  ASSERT_DONE(make("before"));
  Control("kill");
  const auto begin = std::chrono::steady_clock::now();
  const auto gone = make("during");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  ASSERT_FALSE(gone);
  EXPECT_EQ(ToCode(gone.error()), plugin::code::kUnavailable) << gone.error().message;
  EXPECT_FALSE(gone.error().outcome_unknown) << gone.error().message;
  Control("restart");
  const auto after = make("after");
  ASSERT_DONE(after);
}

TEST(GaneshaErrors, AnExportThatIsNotThere) {
  Server server = TheServer();
  server.export_path = "/no-such-export";
  const auto root = MountRoot(server, Root(), In(10s));
  ASSERT_FALSE(root);
  EXPECT_THAT(root.error().message,
              HasSubstr("server " + server.host + ", export \"/no-such-export\": "));
  RecordProperty("message", root.error().message);
}

TEST(GaneshaErrors, AServerForVersion4Alone) {
  Server server = TheServer();
  server.nfs_port = PortSetting("GANTRY_NFS_V4_PORT");
  server.mount_port = static_cast<uint16_t>(server.nfs_port + 1);
  const auto root = MountRoot(server, Root(), In(10s));
  ASSERT_FALSE(root);
  EXPECT_THAT(root.error().message, HasSubstr("server " + server.host + " speaks no NFSv3"));
  SyncClient client(server, Root());
  const auto null = client.Do(NullCall{}, In(10s));
  ASSERT_FALSE(null);
  EXPECT_THAT(null.error().message, HasSubstr("speaks no NFSv3"));
}

TEST(GaneshaErrors, AServerThatInsistsOnAReservedPort) {
  Server server = TheServer();
  server.nfs_port = PortSetting("GANTRY_NFS_PRIVILEGED_PORT");
  server.mount_port = PortSetting("GANTRY_MOUNT_PRIVILEGED_PORT");
  for (const bool reserved : {false, true}) {
    server.reserved_port = reserved;
    SyncClient client(server, Root());
    const auto root = client.MountRoot(In(10s));
    const NfsResult<AttributesReply> attributes =
        root ? client.Do(GetAttr{*root}, In(10s)) : tl::make_unexpected(root.error());
    EXPECT_EQ(attributes.has_value(), reserved)
        << (attributes ? std::string("allowed") : attributes.error().message);
    if (!attributes) {
      EXPECT_EQ(ToCode(attributes.error()), plugin::code::kPermissionDenied);
      EXPECT_THAT(attributes.error().message, HasSubstr("reserved source port"));
    }
  }
}

}  // namespace
}  // namespace gantry::nfs
