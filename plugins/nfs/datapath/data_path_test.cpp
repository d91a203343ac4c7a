// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/data_path.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugins/nfs/datapath/table.hpp"
#include "plugins/nfs/datapath/testing/data_path_fixture.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

class DataPathTest : public DataPathFixture {};

// --- open and close

TEST_F(DataPathTest, OpensTheExportsRootAndLeavesNothingBehindWhenItIsClosed) {
  Open();
  EXPECT_TRUE(host_.HasKept("nfs"));
  EXPECT_EQ(volume_.Close().error_number, 0);
  EXPECT_FALSE(host_.HasKept("nfs"));
  EXPECT_EQ(host_.watches(), 0u);
  EXPECT_FALSE(host_.timer_armed());
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, ESHUTDOWN);
  Open();
}

TEST_F(DataPathTest, RefusesAPathThroughASymbolicLinkOrAFile) {
  auto parameters = server_.Parameters();
  parameters["path"] = "a/b";
  for (const auto& [type, error_number] : {std::pair{5u, ELOOP}, std::pair{1u, ENOTDIR}}) {
    server_.On(GetAttr::kNumber, [type = type](const FakeCall& call) {
      const bool root = WordAt(call.arguments, 4) == 0x726f6f74;
      return Xdr().U32(0).Append(FattrOf(root ? 2 : type)).bytes;
    });
    EXPECT_EQ(volume_.Open(parameters).error_number, error_number) << volume_.log();
    EXPECT_THAT(volume_.log(), HasSubstr("/export/a is"));
    EXPECT_FALSE(host_.HasKept("nfs"));
  }
}

TEST_F(DataPathTest, WalksToThePathByHandle) {
  auto parameters = server_.Parameters();
  parameters["path"] = "a/b";
  const Ended ended = volume_.Open(parameters);
  EXPECT_EQ(ended.error_number, 0) << volume_.log();
  EXPECT_EQ(ended.handle, "file");
  const auto lookups = server_.Seen(Lookup::kNumber);
  ASSERT_EQ(lookups.size(), 2u);
  EXPECT_EQ(lookups[0].arguments, Xdr().Opaque("root").Opaque("a").bytes);
  EXPECT_EQ(lookups[1].arguments, Xdr().Opaque("file").Opaque("b").bytes);
}

TEST_F(DataPathTest, SaysWhatIsWrongWithAParameter) {
  const auto refused = [&](const std::string& key, const std::string& value) {
    auto parameters = server_.Parameters();
    parameters[key] = value;
    EXPECT_EQ(volume_.Open(parameters).error_number, EINVAL);
    return volume_.log();
  };
  EXPECT_THAT(refused("server", ""), HasSubstr("parameter server: \"\""));
  EXPECT_THAT(refused("share", "export"), HasSubstr("parameter share: \"export\""));
  for (const char* path : {"../x", "a//b", "/a", "a/", "a/./b"}) {
    EXPECT_THAT(refused("path", path), HasSubstr("parameter path: \"" + std::string(path) + "\""));
  }
  EXPECT_THAT(refused("port", "65536"), HasSubstr("parameter port: \"65536\""));
  EXPECT_THAT(refused("identity", "root"), HasSubstr("expected caller or fixed"));
  EXPECT_THAT(refused("identity", "fixed"), HasSubstr("parameter uid: \"\""));
  EXPECT_THAT(refused("reservedPorts", "yes"), HasSubstr("expected true or false"));
  EXPECT_THAT(refused("timeoutSeconds", "-1"), HasSubstr("parameter timeoutSeconds"));
  EXPECT_THAT(refused("timeoutError", "ENOENT"), HasSubstr("expected EIO or ETIMEDOUT"));
  EXPECT_THAT(refused("writers", "two"), HasSubstr("expected one or several"));
  EXPECT_THAT(refused("commitsAtClose", "yes"), HasSubstr("parameter commitsAtClose"));
}

TEST_F(DataPathTest, FailsToOpenWhereNobodyListensAndOpensOnceSomebodyDoes) {
  const uint16_t port = server_.port();
  server_.Stop();
  EXPECT_EQ(volume_.Open(server_.Parameters()).error_number, EHOSTUNREACH);
  server_.Begin(port);
  Open();
}

// --- identity

// uid, gid and groups of an AUTH_SYS credential.
Bytes IdsOf(const FakeCall& call) {
  const size_t ids = 8 + (WordAt(call.credential, 4) + 3) / 4 * 4;
  return {call.credential.begin() + static_cast<ptrdiff_t>(ids), call.credential.end()};
}

TEST_F(DataPathTest, CallsAsTheCaller) {
  Open();
  volume_.As(1000, 1001, {5, 6});
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, 0);
  EXPECT_EQ(IdsOf(server_.Seen(GetAttr::kNumber).back()),
            Xdr().U32(1000).U32(1001).U32(2).U32(5).U32(6).bytes);
  // AUTH_SYS carries 16.
  volume_.As(1000, 1001, std::vector<uint32_t>(20, 9));
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, 0);
  EXPECT_EQ(IdsOf(server_.Seen(GetAttr::kNumber).back()).size(), 4u * (3 + 16));
}

TEST_F(DataPathTest, CallsAsTheFixedIdentity) {
  Open({{"identity", "fixed"}, {"uid", "7"}, {"gid", "8"}});
  volume_.As(1000, 1001, {5, 6});
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).error_number, 0);
  for (const FakeCall& call : server_.Seen(GetAttr::kNumber)) {
    EXPECT_EQ(IdsOf(call), Xdr().U32(7).U32(8).U32(0).bytes);
  }
}

// --- answers

TEST_F(DataPathTest, AsksForAttributesThatTheServerLeavesOut) {
  Open();
  server_.On(Lookup::kNumber,
             [](const FakeCall&) { return Xdr().U32(0).Opaque("dir1").U32(0).U32(0).bytes; });
  const Ended ended = volume_.Wait(volume_.Name(&NfsDataPath::Lookup, "root", "x"));
  EXPECT_EQ(ended.error_number, 0);
  EXPECT_EQ(ended.handle, "dir1");
  EXPECT_EQ(ended.attributes.mode, S_IFDIR | 0644u);
  EXPECT_EQ(ended.attributes.fileid, 88u);
  EXPECT_EQ(ended.attributes.mtime_ns, 3'000'000'004);
}

TEST_F(DataPathTest, LooksUpWhatACreateGivesNoHandleOf) {
  Open();
  server_.On(MakeDir::kNumber,
             [](const FakeCall&) { return Xdr().U32(0).U32(0).U32(0).U32(0).U32(0).bytes; });
  EXPECT_EQ(volume_.Wait(Mkdir("d")).handle, "file");
}

TEST_F(DataPathTest, AsksForNoNameInADirectoryThatItHasJustMade) {
  Open();
  server_.On(MakeDir::kNumber, [](const FakeCall&) { return Made("new1"); });
  server_.On(nfs::Create::kNumber, [](const FakeCall&) { return Made("file"); });
  ASSERT_EQ(volume_.Wait(Mkdir("d")).handle, "new1");
  const auto look = [&] {
    return volume_.Wait(volume_.Name(&NfsDataPath::Lookup, "new1", "f")).error_number;
  };
  EXPECT_EQ(look(), ENOENT);
  EXPECT_EQ(server_.Seen(Lookup::kNumber).size(), 0u);
  EXPECT_EQ(volume_.Wait(volume_.Make(&NfsDataPath::Create, "new1", "f", S_IFREG | 0640)).handle,
            "file");
  EXPECT_EQ(look(), 0);
  EXPECT_EQ(server_.Seen(Lookup::kNumber).size(), 1u);
}

TEST_F(DataPathTest, BelievesForAMomentWhatAChangeSaidOfItsDirectory) {
  Open();
  server_.On(MakeDir::kNumber, [](const FakeCall&) {
    return Xdr()
        .U32(0)
        .U32(1)
        .Opaque("new1")
        .U32(1)
        .Append(FattrOf(2))
        .U32(0)
        .U32(1)
        .Append(FattrOf(2))
        .bytes;
  });
  ASSERT_EQ(volume_.Wait(Mkdir("d")).handle, "new1");
  const size_t asked = server_.Seen(GetAttr::kNumber).size();
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root")).attributes.fileid, 88u);
  EXPECT_EQ(server_.Seen(GetAttr::kNumber).size(), asked);
  EXPECT_TRUE(host_.Run(
      [&] {
        (void)volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "root"));
        return server_.Seen(GetAttr::kNumber).size() > asked;
      },
      10s));
}

TEST_F(DataPathTest, WaitsWhileTheServerSaysNotNow) {
  Open();
  std::atomic<int> calls{0};
  server_.On(Remove::kNumber,
             [&](const FakeCall&) { return ++calls < 3 ? Status(kJukeboxStatus) : NoWcc(); });
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, 0);
  EXPECT_EQ(calls, 3);
}

TEST_F(DataPathTest, GivesUpOnAServerThatKeepsFailing) {
  Open();
  server_.On(Remove::kNumber, [&](const FakeCall&) { return Status(kServerFaultStatus); });
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, EIO);
  EXPECT_EQ(server_.Seen(Remove::kNumber).size(), size_t{kServerFaultTriesMax});
}

TEST_F(DataPathTest, TakesNoRefusalForTrueAfterAServerFault) {
  Open();
  std::atomic<int> calls{0};
  server_.On(Remove::kNumber, [&](const FakeCall&) {
    return Status(++calls == 1 ? kServerFaultStatus : kNoEntStatus);
  });
  EXPECT_EQ(volume_.Wait(Unlink("x")).error_number, EIO);
}

TEST_F(DataPathTest, TurnsAStaleHandleIntoEstale) {
  Open();
  server_.On(GetAttr::kNumber, [](const FakeCall&) { return Status(70); });
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "file")).error_number, ESTALE);
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, "")).error_number, ESTALE);
  EXPECT_EQ(volume_.Wait(volume_.Node(&NfsDataPath::Getattr, std::string(65, 'x'))).error_number,
            ESTALE);
}

// --- data

TEST_F(DataPathTest, ReadsInPartsAndAsksAgainForWhatIsMissing) {
  server_.SetTransferMax(1000);
  Open();
  std::string content(2500, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  server_.On(nfs::Read::kNumber, [&](const FakeCall& call) {
    EXPECT_LE(CountOf(call), 1000u);
    const uint64_t offset = OffsetOf(call);
    if (offset >= content.size()) return Data("", true);
    // Never more than 300 bytes at once.
    const std::string_view data =
        std::string_view(content).substr(offset, std::min(CountOf(call), 300u));
    return Data(data, offset + data.size() == content.size());
  });
  std::string buffer(4000, '\0');
  const Ended ended = volume_.Wait(volume_.Read("file", 0, buffer.data(), 4000));
  EXPECT_EQ(ended.error_number, 0);
  ASSERT_EQ(ended.length, 2500u);
  EXPECT_EQ(buffer.substr(0, 2500), content);
}

TEST_F(DataPathTest, RefusesMoreDataThanWasAskedFor) {
  Open();
  server_.On(nfs::Read::kNumber, [](const FakeCall&) { return Data("12345678", false); });
  char buffer[8] = {};
  EXPECT_EQ(volume_.Wait(volume_.Read("file", 0, buffer, 4)).error_number, EIO);
  EXPECT_EQ(buffer[4], '\0');
}

TEST_F(DataPathTest, WritesInPartsAndGoesOnAfterAShortWrite) {
  server_.SetTransferMax(1000);
  Open();
  std::string content(2500, '\0');
  std::mutex mutex;
  server_.On(nfs::Write::kNumber, [&](const FakeCall& call) {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(WordAt(call.arguments, 20), 2u) << "FILE_SYNC";
    const uint32_t count = std::min(CountOf(call), 700u);
    std::memcpy(content.data() + OffsetOf(call), call.arguments.data() + 28, count);
    return Written(count);
  });
  std::string data(2500, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>('a' + i % 23);
  const Ended ended = volume_.Wait(volume_.Write("file", 0, data));
  EXPECT_EQ(ended.error_number, 0);
  EXPECT_EQ(ended.length, 2500u);
  EXPECT_EQ(content, data);
}

TEST_F(DataPathTest, ReportsAWriteThatWasLessStableThanAskedForAsAnError) {
  Open();
  server_.On(nfs::Write::kNumber, [](const FakeCall&) { return Written(4, 0); });
  EXPECT_EQ(volume_.Wait(volume_.Write("file", 0, "data")).error_number, EIO);
}

// --- directories

// Entries 1 to 10, each with its number as cookie, three an answer.
Bytes ListAfter(uint64_t cookie, bool plus) {
  Xdr results;
  results.U32(0).U32(0).Raw("cookverf");
  for (uint64_t i = cookie + 1; i <= std::min<uint64_t>(cookie + 3, 10); ++i) {
    results.U32(1).U64(100 + i).Opaque("name" + std::to_string(i)).U64(i);
    if (plus) results.U32(1).Fattr().U32(0);
  }
  return results.U32(0).U32(cookie + 3 >= 10 ? 1 : 0).bytes;
}
uint64_t CookieOf(const FakeCall& call) { return OffsetOf(call); }

TEST_F(DataPathTest, ListsADirectoryInAsManyStepsAsTheHostHasRoomFor) {
  Open();
  server_.On(ReadDirPlus::kNumber, [](const FakeCall& call) {
    if (CookieOf(call) != 0) {
      EXPECT_EQ(std::memcmp(call.arguments.data() + 16, "cookverf", 8), 0);
    }
    return ListAfter(CookieOf(call), true);
  });
  for (const size_t room : {1u, 2u, 100u}) {
    host_.LimitEntries(room);
    std::vector<std::string> names;
    uint64_t cookie = 0;
    for (;;) {
      EXPECT_EQ(volume_.Wait(volume_.Readdir("root", cookie)).error_number, 0);
      const auto entries = host_.TakeEntries();
      if (entries.empty()) break;
      for (const auto& entry : entries) {
        names.push_back(entry.name);
        EXPECT_EQ(entry.type, uint32_t{S_IFREG});
      }
      cookie = entries.back().cookie;
    }
    EXPECT_THAT(names, ElementsAre("name1", "name2", "name3", "name4", "name5", "name6", "name7",
                                   "name8", "name9", "name10"));
  }
}

TEST_F(DataPathTest, TellsWhatEntriesAreOnlyInTheAnswerToTheQuestion) {
  constexpr uint32_t kRoomBytes = 10'000;
  Open();
  server_.On(ReadDirPlus::kNumber, [&](const FakeCall& call) {
    uint32_t max_count = 0;
    std::memcpy(&max_count, call.arguments.data() + call.arguments.size() - 4, 4);
    // Of a server whose handles have four bytes.
    EXPECT_EQ(be32toh(max_count), kRoomBytes / 160 * (120 + 4));
    Xdr results;
    results.U32(0).U32(0).Raw("cookverf");
    results.U32(1).U64(1).Opaque(".").U64(1).U32(1).Fattr().U32(1).Opaque("root");
    results.U32(1).U64(2).Opaque("bare").U64(2).U32(0).U32(0);
    for (uint64_t i = 3; i <= 6; ++i)
      results.U32(1)
          .U64(i)
          .Opaque("name" + std::to_string(i))
          .U64(i)
          .U32(1)
          .Fattr()
          .U32(1)
          .Opaque("handle" + std::to_string(i));
    return results.U32(0).U32(1).bytes;
  });
  host_.LimitEntries(4);
  EXPECT_EQ(volume_.Wait(volume_.ReaddirPlus("root", 0, kRoomBytes)).error_number, 0);
  std::vector<std::string> handles;
  for (const auto& entry : host_.TakeEntries()) handles.push_back(entry.handle);
  EXPECT_THAT(handles, ElementsAre("", "", "handle3", "handle4"));
  // The rest was at hand, and may be out of date.
  EXPECT_EQ(volume_.Wait(volume_.ReaddirPlus("root", 4, kRoomBytes)).error_number, 0);
  const auto rest = host_.TakeEntries();
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest.back().name, "name6");
  EXPECT_EQ(rest.back().type, uint32_t{S_IFREG});
  EXPECT_EQ(rest.back().handle, "");
  EXPECT_EQ(server_.Seen(ReadDirPlus::kNumber).size(), 1U);
}

TEST_F(DataPathTest, StartsAgainAndSkipsWhenTheServerTakesItsCookieNoMore) {
  Open();
  std::atomic<bool> changed{false};
  server_.On(ReadDirPlus::kNumber, [&](const FakeCall& call) {
    if (CookieOf(call) == 6 && changed.exchange(false)) return Status(kBadCookieStatus);
    return ListAfter(CookieOf(call), true);
  });
  host_.LimitEntries(6);
  EXPECT_EQ(volume_.Wait(volume_.Readdir("root", 0)).error_number, 0);
  host_.TakeEntries();
  EXPECT_EQ(volume_.Wait(volume_.Readdir("root", 3)).error_number, 0);
  EXPECT_EQ(host_.TakeEntries().back().name, "name6");
  changed = true;
  EXPECT_EQ(volume_.Wait(volume_.Readdir("root", 6)).error_number, 0);
  EXPECT_EQ(host_.TakeEntries().front().name, "name7");
  changed = false;
}

TEST_F(DataPathTest, EndsAListingWithAnErrorWhenItsPlaceIsGone) {
  Open();
  server_.On(ReadDirPlus::kNumber, [&](const FakeCall& call) {
    return CookieOf(call) == 77 ? Status(kBadCookieStatus) : ListAfter(CookieOf(call), true);
  });
  EXPECT_EQ(volume_.Wait(volume_.Readdir("root", 77)).error_number, EIO);
}

TEST_F(DataPathTest, ListsWithReaddirWhereThereIsNothingBetter) {
  Open();
  server_.On(ReadDirPlus::kNumber, [](const FakeCall&) { return Status(kNotSuppStatus); });
  server_.On(ReadDir::kNumber,
             [](const FakeCall& call) { return ListAfter(CookieOf(call), false); });
  EXPECT_EQ(volume_.Wait(volume_.Readdir("root", 0)).error_number, 0);
  EXPECT_EQ(host_.TakeEntries().size(), 3u);
  EXPECT_EQ(volume_.Wait(volume_.Readdir("root", 3)).error_number, 0);
  EXPECT_EQ(host_.TakeEntries().size(), 3u);
  EXPECT_EQ(server_.Seen(ReadDirPlus::kNumber).size(), 1u);
}

// --- creation

TEST_F(DataPathTest, CreatesExclusivelyByVerifierAndThenSetsTheMode) {
  Open();
  server_.On(nfs::Create::kNumber, [](const FakeCall&) { return Made("new1"); });
  server_.On(nfs::SetAttr::kNumber, [](const FakeCall&) { return Changed(); });
  const auto make = [](gantry_fs_make& r) {
    r.exclusive = 1;
    r.verifier = 0x1122334455667788;
  };
  const Ended ended =
      volume_.Wait(volume_.Make(&NfsDataPath::Create, "root", "f", S_IFREG | 0640, make));
  EXPECT_EQ(ended.error_number, 0);
  EXPECT_EQ(ended.handle, "new1");
  const auto created = server_.Seen(nfs::Create::kNumber);
  const uint64_t verifier = 0x1122334455667788;
  EXPECT_EQ(created.at(0).arguments,
            Xdr()
                .Opaque("root")
                .Opaque("f")
                .U32(2)
                .Raw({reinterpret_cast<const char*>(&verifier), sizeof verifier})
                .bytes);
  const auto set = server_.Seen(nfs::SetAttr::kNumber);
  EXPECT_EQ(WordAt(set.at(0).arguments, 12), 0640u);
}

TEST_F(DataPathTest, LeavesAnExistingFileAloneUnlessExclusive) {
  Open();
  server_.On(nfs::Create::kNumber, [](const FakeCall& call) {
    return WordAt(call.arguments, 16) == 0 ? Made("old1") : Status(kExistStatus);
  });
  EXPECT_EQ(volume_.Wait(volume_.Make(&NfsDataPath::Create, "root", "f", S_IFREG | 0640)).handle,
            "old1");
  const auto exclusive = [](gantry_fs_make& r) { r.exclusive = 1; };
  EXPECT_EQ(volume_.Wait(volume_.Make(&NfsDataPath::Create, "root", "f", S_IFREG | 0640, exclusive))
                .error_number,
            EEXIST);
}

// --- the table

NfsDataPath* table_path = nullptr;
NfsDataPath& PathOf(gantry_instance*) { return *table_path; }

// But allocate, which NFSv3 has no procedure for.
TEST_F(DataPathTest, FillsEverySlotOfTheTable) {
  const gantry_datapath* table = NfsDataPathTable<&PathOf>();
  ASSERT_EQ(table->size, sizeof *table);
  const auto* slots = reinterpret_cast<void* const*>(reinterpret_cast<const char*>(table) + 8);
  for (size_t i = 0; i < (offsetof(gantry_datapath, allocate) - 8) / sizeof(void*); ++i)
    EXPECT_NE(slots[i], nullptr);
  EXPECT_EQ(table->allocate, nullptr);
  Open();
  table_path = &volume_.path();
  gantry_fs_node request{};
  request.size = sizeof request;
  request.node = {"root", 4};
  const gantry_op op = host_.NewOp();
  table->getattr(nullptr, op, &request);
  EXPECT_EQ(volume_.Wait(op).attributes.fileid, 88u);
}

}  // namespace
}  // namespace gantry::nfs
