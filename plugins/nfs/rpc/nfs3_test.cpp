// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/nfs3.hpp"

#include <gtest/gtest.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-zdr.h>

#include <random>

#include "plugins/nfs/rpc/test_wire.hpp"

namespace gantry::nfs {
namespace {

using test::Bytes;
using test::Xdr;

FileHandle Handle(std::string_view text) {
  FileHandle handle;
  handle.size = static_cast<uint32_t>(text.size());
  std::memcpy(handle.bytes.data(), text.data(), text.size());
  return handle;
}

template <class Call>
Bytes Encoded(const Call& call) {
  EXPECT_TRUE(call.Check()) << call.Check().error().message;
  Bytes bytes(kCallHeadBytesMax);
  ZDR zdr;
  libnfs_zdrmem_create(&zdr, reinterpret_cast<char*>(bytes.data()), kCallHeadBytesMax, ZDR_ENCODE);
  EXPECT_TRUE(call.Encode(&zdr));
  bytes.resize(libnfs_zdr_getpos(&zdr));
  libnfs_zdr_destroy(&zdr);
  return bytes;
}

template <class Call>
NfsResult<typename Call::Reply> Decode(Bytes body) {
  return Call::Decode(body);
}

void ExpectFattr(const Attributes& attributes) {
  EXPECT_EQ(attributes.type, FileType::kRegular);
  EXPECT_EQ(attributes.mode, 0644u);
  EXPECT_EQ(attributes.links, 2u);
  EXPECT_EQ(attributes.uid, 1000u);
  EXPECT_EQ(attributes.gid, 1001u);
  EXPECT_EQ(attributes.size, 4711u);
  EXPECT_EQ(attributes.used, 8192u);
  EXPECT_EQ(attributes.device_major, 8u);
  EXPECT_EQ(attributes.device_minor, 9u);
  EXPECT_EQ(attributes.fsid, 77u);
  EXPECT_EQ(attributes.fileid, 88u);
  EXPECT_EQ(attributes.atime, (Time{1, 2}));
  EXPECT_EQ(attributes.mtime, (Time{3, 4}));
  EXPECT_EQ(attributes.ctime, (Time{5, 6}));
}

void ExpectWcc(const WeakCacheData& wcc) {
  ASSERT_TRUE(wcc.before);
  EXPECT_EQ(wcc.before->size, 10u);
  EXPECT_EQ(wcc.before->mtime, (Time{1, 2}));
  EXPECT_EQ(wcc.before->ctime, (Time{3, 4}));
  ASSERT_TRUE(wcc.after);
  ExpectFattr(*wcc.after);
}

const Bytes kNoChange = Xdr().U32(0).U32(0).U32(0).U32(0).U32(0).U32(0).bytes;

TEST(Nfs3Encode, SimpleCallsCarryTheirHandle) {
  const Bytes handle = Xdr().Opaque("handle").bytes;
  EXPECT_TRUE(Encoded(NullCall{}).empty());
  EXPECT_EQ(Encoded(GetAttr{Handle("handle")}), handle);
  EXPECT_EQ(Encoded(ReadLink{Handle("handle")}), handle);
  EXPECT_EQ(Encoded(FsStat{Handle("handle")}), handle);
  EXPECT_EQ(Encoded(FsInfo{Handle("handle")}), handle);
  EXPECT_EQ(Encoded(PathConf{Handle("handle")}), handle);
  EXPECT_EQ(Encoded(Access{Handle("handle"), 3}), Xdr().Opaque("handle").U32(3).bytes);
  EXPECT_EQ(Encoded(Read{Handle("h"), 5, 6}), Xdr().Opaque("h").U64(5).U32(6).bytes);
  EXPECT_EQ(Encoded(Commit{Handle("h"), 5, 6}), Xdr().Opaque("h").U64(5).U32(6).bytes);
}

TEST(Nfs3Encode, NamesFollowTheirDirectory) {
  const Bytes entry = Xdr().Opaque("dir").Opaque("name").bytes;
  EXPECT_EQ(Encoded(Lookup{Handle("dir"), "name"}), entry);
  EXPECT_EQ(Encoded(Remove{Handle("dir"), "name"}), entry);
  EXPECT_EQ(Encoded(RemoveDir{Handle("dir"), "name"}), entry);
  EXPECT_EQ(Encoded(Rename{Handle("dir"), "name", Handle("to"), "other"}),
            Xdr().Append(entry).Opaque("to").Opaque("other").bytes);
  EXPECT_EQ(Encoded(Link{Handle("file"), Handle("dir"), "name"}),
            Xdr().Opaque("file").Append(entry).bytes);
}

TEST(Nfs3Encode, AttributesAreSetOnlyWhereGiven) {
  EXPECT_EQ(Encoded(SetAttr{Handle("h"), {}, std::nullopt}),
            Xdr().Opaque("h").Append(kNoChange).U32(0).bytes);
  SetAttributes all;
  all.mode = 0750;
  all.uid = 1;
  all.gid = 2;
  all.size = 3;
  all.atime = {TimeChange::How::kServerTime, {}};
  all.mtime = {TimeChange::How::kClientTime, {4, 5}};
  EXPECT_EQ(Encoded(SetAttr{Handle("h"), all, Time{6, 7}}), Xdr()
                                                                .Opaque("h")
                                                                .U32(1)
                                                                .U32(0750)
                                                                .U32(1)
                                                                .U32(1)
                                                                .U32(1)
                                                                .U32(2)
                                                                .U32(1)
                                                                .U64(3)
                                                                .U32(1)
                                                                .U32(2)
                                                                .U32(4)
                                                                .U32(5)
                                                                .U32(1)
                                                                .U32(6)
                                                                .U32(7)
                                                                .bytes);
}

TEST(Nfs3Encode, CreationsSayHow) {
  const Bytes entry = Xdr().Opaque("dir").Opaque("name").bytes;
  Create create{Handle("dir"), "name", Create::How::kUnchecked, {}, {}};
  EXPECT_EQ(Encoded(create), Xdr().Append(entry).U32(0).Append(kNoChange).bytes);
  create.how = Create::How::kGuarded;
  EXPECT_EQ(Encoded(create), Xdr().Append(entry).U32(1).Append(kNoChange).bytes);
  create.how = Create::How::kExclusive;
  std::memcpy(create.verifier.data(), "verifier", 8);
  EXPECT_EQ(Encoded(create), Xdr().Append(entry).U32(2).Raw("verifier").bytes);
  EXPECT_EQ(Encoded(MakeDir{Handle("dir"), "name", {}}),
            Xdr().Append(entry).Append(kNoChange).bytes);
  EXPECT_EQ(Encoded(SymLink{Handle("dir"), "name", "../target", {}}),
            Xdr().Append(entry).Append(kNoChange).Opaque("../target").bytes);
  EXPECT_EQ(Encoded(MakeNode{Handle("dir"), "name", FileType::kFifo, {}, 0, 0}),
            Xdr().Append(entry).U32(7).Append(kNoChange).bytes);
  EXPECT_EQ(Encoded(MakeNode{Handle("dir"), "name", FileType::kBlock, {}, 8, 1}),
            Xdr().Append(entry).U32(3).Append(kNoChange).U32(8).U32(1).bytes);
}

TEST(Nfs3Encode, ListingsCarryCookieAndVerifier) {
  Verifier verifier;
  std::memcpy(verifier.data(), "verifier", 8);
  EXPECT_EQ(Encoded(ReadDir{Handle("d"), 9, verifier, 4096}),
            Xdr().Opaque("d").U64(9).Raw("verifier").U32(4096).bytes);
  EXPECT_EQ(Encoded(ReadDirPlus{Handle("d"), 9, verifier, 1024, 4096}),
            Xdr().Opaque("d").U64(9).Raw("verifier").U32(1024).U32(4096).bytes);
}

TEST(Nfs3Encode, TheLargestCallFitsItsHead) {
  const std::string name(kNameBytesMax, 'n'), target(kPathBytesMax - 1, 't');
  const FileHandle handle = Handle(std::string(kHandleBytesMax, 'h'));
  EXPECT_LT(Encoded(SymLink{handle, name, target, {}}).size() + 40 + kAuthBytesMax,
            kCallHeadBytesMax);
}

TEST(Nfs3Check, RefusesNamesThatAreNoNames) {
  for (const std::string_view name :
       {std::string_view(""), std::string_view("a/b"), std::string_view("a\0b", 3)}) {
    const auto outcome = Lookup{Handle("d"), name}.Check();
    ASSERT_FALSE(outcome) << name;
    EXPECT_EQ(outcome.error().failure, Failure::kInvalid);
    EXPECT_NE(outcome.error().message.find("name"), std::string::npos);
  }
  const std::string long_name(256, 'n');
  EXPECT_TRUE((Lookup{Handle("d"), long_name}.Check().error().Is(NfsStatus3::kNameTooLong)));
  EXPECT_FALSE((Lookup{FileHandle{}, "name"}.Check()));
  EXPECT_FALSE((ReadDir{Handle("d"), 0, {}, kDirReplyBytesMax + 1}.Check()));
  EXPECT_FALSE((MakeNode{Handle("d"), "n", FileType::kRegular, {}, 0, 0}.Check()));
}

TEST(Nfs3Decode, KeepsTheServersStatus) {
  const auto result = Decode<Lookup>(Xdr().U32(2).U32(0).bytes);
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().Is(NfsStatus3::kNoEnt));
  EXPECT_EQ(result.error().message, "LOOKUP: NFS3ERR_NOENT (No such file or directory)");
  EXPECT_EQ(ToErrno(result.error()), ENOENT);
  EXPECT_EQ(ToCode(result.error()), plugin::code::kNotFound);
}

TEST(Nfs3Decode, AStatusThatIsNotInTheRfcIsAnError) {
  const auto result = Decode<GetAttr>(Xdr().U32(0xffffffff).bytes);
  ASSERT_FALSE(result);
  EXPECT_EQ(ToErrno(result.error()), EIO);
  EXPECT_EQ(ToCode(result.error()), plugin::code::kUnavailable);
}

TEST(Nfs3Decode, Attributes) {
  const auto reply = Decode<GetAttr>(Xdr().U32(0).Fattr().bytes);
  ASSERT_TRUE(reply) << reply.error().message;
  ExpectFattr(reply->attributes);
}

TEST(Nfs3Decode, Changes) {
  const Bytes body = Xdr().U32(0).Wcc().bytes;
  const auto set = Decode<SetAttr>(body);
  ASSERT_TRUE(set);
  ExpectWcc(set->wcc);
  ExpectWcc(Decode<Remove>(body)->wcc);
  ExpectWcc(Decode<RemoveDir>(body)->wcc);
  const auto renamed = Decode<Rename>(Xdr().U32(0).Wcc().U32(0).U32(0).bytes);
  ASSERT_TRUE(renamed);
  ExpectWcc(renamed->from);
  EXPECT_FALSE(renamed->to.before);
  EXPECT_FALSE(renamed->to.after);
  const auto linked = Decode<Link>(Xdr().U32(0).U32(1).Fattr().Wcc().bytes);
  ASSERT_TRUE(linked);
  ExpectFattr(*linked->attributes);
  ExpectWcc(linked->directory);
}

TEST(Nfs3Decode, Handles) {
  const auto found = Decode<Lookup>(Xdr().U32(0).Opaque("found").U32(1).Fattr().U32(0).bytes);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->handle, Handle("found"));
  ExpectFattr(*found->attributes);
  EXPECT_FALSE(found->directory);
  const Bytes made = Xdr().U32(0).U32(1).Opaque("made").U32(1).Fattr().Wcc().bytes;
  for (const auto& reply : {Decode<Create>(made), Decode<MakeDir>(made), Decode<SymLink>(made),
                            Decode<MakeNode>(made)}) {
    ASSERT_TRUE(reply);
    EXPECT_EQ(*reply->handle, Handle("made"));
    ExpectFattr(*reply->attributes);
    ExpectWcc(reply->directory);
  }
  const auto without = Decode<Create>(Xdr().U32(0).U32(0).U32(0).U32(0).U32(0).bytes);
  ASSERT_TRUE(without);
  EXPECT_FALSE(without->handle);
}

TEST(Nfs3Decode, Data) {
  Bytes body = Xdr().U32(0).U32(1).Fattr().U32(5).U32(1).Opaque("bytes").bytes;
  const auto read = Read::Decode(body);
  ASSERT_TRUE(read);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(read->data.data()), read->data.size()),
            "bytes");
  EXPECT_TRUE(read->eof);
  const auto written = Decode<Write>(Xdr().U32(0).Wcc().U32(5).U32(2).Raw("verifier").bytes);
  ASSERT_TRUE(written);
  EXPECT_EQ(written->count, 5u);
  EXPECT_EQ(written->committed, Stable::kFileSync);
  EXPECT_EQ(std::memcmp(written->verifier.data(), "verifier", 8), 0);
  const auto committed = Decode<Commit>(Xdr().U32(0).Wcc().Raw("verifier").bytes);
  ASSERT_TRUE(committed);
  EXPECT_EQ(committed->verifier, written->verifier);
  EXPECT_EQ(Decode<ReadLink>(Xdr().U32(0).U32(0).Opaque("a/b").bytes)->target, "a/b");
  EXPECT_EQ(Decode<Access>(Xdr().U32(0).U32(0).U32(31).bytes)->access, 31u);
}

TEST(Nfs3Decode, Listings) {
  const auto list = Decode<ReadDir>(Xdr()
                                        .U32(0)
                                        .U32(0)
                                        .Raw("verifier")
                                        .U32(1)
                                        .U64(7)
                                        .Opaque("one")
                                        .U64(1)
                                        .U32(1)
                                        .U64(8)
                                        .Opaque("four")
                                        .U64(2)
                                        .U32(0)
                                        .U32(1)
                                        .bytes);
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->entries.size(), 2u);
  EXPECT_EQ(list->entries[0].name, "one");
  EXPECT_EQ(list->entries[1].name, "four");
  EXPECT_EQ(list->entries[1].fileid, 8u);
  EXPECT_EQ(list->entries[1].cookie, 2u);
  EXPECT_TRUE(list->eof);
  const auto plus = Decode<ReadDirPlus>(Xdr()
                                            .U32(0)
                                            .U32(1)
                                            .Fattr()
                                            .Raw("verifier")
                                            .U32(1)
                                            .U64(7)
                                            .Opaque("one")
                                            .U64(1)
                                            .U32(1)
                                            .Fattr()
                                            .U32(1)
                                            .Opaque("h1")
                                            .U32(1)
                                            .U64(8)
                                            .Opaque("two")
                                            .U64(2)
                                            .U32(0)
                                            .U32(0)
                                            .U32(0)
                                            .U32(0)
                                            .bytes);
  ASSERT_TRUE(plus) << plus.error().message;
  ASSERT_EQ(plus->entries.size(), 2u);
  EXPECT_EQ(*plus->entries[0].handle, Handle("h1"));
  ExpectFattr(*plus->entries[0].attributes);
  EXPECT_FALSE(plus->entries[1].handle);
  EXPECT_FALSE(plus->eof);
}

TEST(Nfs3Decode, FileSystems) {
  const auto stat =
      Decode<FsStat>(Xdr().U32(0).U32(0).U64(1).U64(2).U64(3).U64(4).U64(5).U64(6).U32(7).bytes);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->bytes_available, 3u);
  EXPECT_EQ(stat->files_available, 6u);
  const auto info = Decode<FsInfo>(Xdr()
                                       .U32(0)
                                       .U32(0)
                                       .U32(1)
                                       .U32(2)
                                       .U32(3)
                                       .U32(4)
                                       .U32(5)
                                       .U32(6)
                                       .U32(7)
                                       .U64(8)
                                       .U32(9)
                                       .U32(10)
                                       .U32(11)
                                       .bytes);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->read_max, 1u);
  EXPECT_EQ(info->write_max, 4u);
  EXPECT_EQ(info->file_size_max, 8u);
  EXPECT_EQ(info->time_delta, (Time{9, 10}));
  const auto conf =
      Decode<PathConf>(Xdr().U32(0).U32(0).U32(100).U32(255).U32(1).U32(0).U32(0).U32(1).bytes);
  ASSERT_TRUE(conf);
  EXPECT_EQ(conf->links_max, 100u);
  EXPECT_EQ(conf->name_bytes_max, 255u);
  EXPECT_TRUE(conf->no_trunc);
  EXPECT_FALSE(conf->chown_restricted);
}

TEST(Nfs3Decode, RefusesNamesThatPointElsewhere) {
  for (const std::string_view name :
       {std::string_view("../etc"), std::string_view(""), std::string_view("a\0b", 3)}) {
    const auto list = Decode<ReadDir>(
        Xdr().U32(0).U32(0).Raw("verifier").U32(1).U64(7).Opaque(name).U64(1).U32(0).U32(1).bytes);
    ASSERT_FALSE(list) << name;
    EXPECT_EQ(list.error().failure, Failure::kMalformed);
  }
}

TEST(Nfs3Decode, RefusesAHandleOfNoBytes) {
  const auto found = Decode<Lookup>(Xdr().U32(0).Opaque("").U32(0).U32(0).bytes);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().failure, Failure::kMalformed);
  const auto made = Decode<MakeDir>(Xdr().U32(0).U32(1).Opaque("").U32(0).U32(0).U32(0).bytes);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().failure, Failure::kMalformed);
}

// libnfs alone reads out of bounds here: the sum of position and length becomes negative.
TEST(Nfs3Decode, RefusesALengthThatOverflows) {
  for (const uint32_t length : {0x80000000u, 0xffffffffu, 0xffffffe0u, 0x7fffffffu}) {
    EXPECT_FALSE(Decode<Read>(Xdr().U32(0).U32(0).U32(length).U32(1).U32(length).U64(0).bytes));
    EXPECT_FALSE(Decode<Lookup>(Xdr().U32(0).U32(length).U64(0).U64(0).bytes));
    EXPECT_FALSE(Decode<ReadLink>(Xdr().U32(0).U32(0).U32(length).U64(0).bytes));
    EXPECT_FALSE(Decode<ReadDir>(
        Xdr().U32(0).U32(0).Raw("verifier").U32(1).U64(7).U32(length).U64(0).U64(0).bytes));
  }
}

TEST(Nfs3Decode, RefusesAListThatWouldExhaustTheStack) {
  Xdr list;
  list.U32(0).U32(0).Raw("verifier");
  for (uint32_t i = 0; i <= kDirEntriesMax; ++i) list.U32(1).U64(7).Opaque("n").U64(1);
  EXPECT_FALSE(Decode<ReadDir>(list.U32(0).U32(1).bytes));
}

struct Sample {
  const char* name;
  Bytes body;
  bool (*decode)(Bytes body);
};

template <class Call>
Sample Of(Xdr body) {
  return {Call::kName, body.bytes, [](Bytes bytes) {
            // A buffer of exactly this size, so that a read beyond it is seen.
            const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
            std::copy(bytes.begin(), bytes.end(), exact.get());
            return Call::Decode({exact.get(), bytes.size()}).has_value();
          }};
}

std::vector<Sample> Samples() {
  const Xdr made = Xdr().U32(0).U32(1).Opaque("made").U32(1).Fattr().Wcc();
  return {
      Of<GetAttr>(Xdr().U32(0).Fattr()),
      Of<SetAttr>(Xdr().U32(0).Wcc()),
      Of<Lookup>(Xdr().U32(0).Opaque("found").U32(1).Fattr().U32(1).Fattr()),
      Of<Access>(Xdr().U32(0).U32(1).Fattr().U32(31)),
      Of<ReadLink>(Xdr().U32(0).U32(1).Fattr().Opaque("target")),
      Of<Read>(Xdr().U32(0).U32(1).Fattr().U32(5).U32(1).Opaque("bytes")),
      Of<Write>(Xdr().U32(0).Wcc().U32(5).U32(2).Raw("verifier")),
      Of<Create>(made),
      Of<MakeDir>(made),
      Of<SymLink>(made),
      Of<MakeNode>(made),
      Of<Remove>(Xdr().U32(0).Wcc()),
      Of<RemoveDir>(Xdr().U32(0).Wcc()),
      Of<Rename>(Xdr().U32(0).Wcc().Wcc()),
      Of<Link>(Xdr().U32(0).U32(1).Fattr().Wcc()),
      Of<ReadDir>(Xdr()
                      .U32(0)
                      .U32(0)
                      .Raw("verifier")
                      .U32(1)
                      .U64(7)
                      .Opaque("one")
                      .U64(1)
                      .U32(1)
                      .U64(8)
                      .Opaque("two")
                      .U64(2)
                      .U32(0)
                      .U32(1)),
      Of<ReadDirPlus>(Xdr()
                          .U32(0)
                          .U32(0)
                          .Raw("verifier")
                          .U32(1)
                          .U64(7)
                          .Opaque("one")
                          .U64(1)
                          .U32(1)
                          .Fattr()
                          .U32(1)
                          .Opaque("h1")
                          .U32(0)
                          .U32(1)),
      Of<FsStat>(Xdr().U32(0).U32(0).U64(1).U64(2).U64(3).U64(4).U64(5).U64(6).U32(7)),
      Of<FsInfo>(Xdr()
                     .U32(0)
                     .U32(0)
                     .U32(1)
                     .U32(2)
                     .U32(3)
                     .U32(4)
                     .U32(5)
                     .U32(6)
                     .U32(7)
                     .U64(8)
                     .U32(9)
                     .U32(10)
                     .U32(11)),
      Of<PathConf>(Xdr().U32(0).U32(0).U32(100).U32(255).U32(1).U32(0).U32(0).U32(1)),
      Of<Commit>(Xdr().U32(0).Wcc().Raw("verifier")),
  };
}

TEST(Nfs3Decode, RefusesEveryTruncatedReply) {
  for (const auto& sample : Samples()) {
    EXPECT_TRUE(sample.decode(sample.body)) << sample.name;
    for (size_t bytes = 0; bytes < sample.body.size(); ++bytes) {
      EXPECT_FALSE(sample.decode(
          Bytes(sample.body.begin(), sample.body.begin() + static_cast<ptrdiff_t>(bytes))))
          << sample.name << " cut at " << bytes;
    }
  }
}

TEST(Nfs3Decode, SurvivesRandomChanges) {
  std::mt19937 random(4);
  constexpr uint32_t kBad[] = {0xffffffff, 0x80000000, 0x7fffffff, 0xfffffff0, 64, 65, 2, 0};
  for (const auto& sample : Samples()) {
    for (int round = 0; round < 3000; ++round) {
      Bytes body = sample.body;
      for (uint32_t i = 0; i <= random() % 3; ++i) {
        if (random() % 2 == 0) {
          body[random() % body.size()] = static_cast<std::byte>(random());
        } else {
          const Bytes word = Xdr().U32(kBad[random() % std::size(kBad)]).bytes;
          std::copy(word.begin(), word.end(),
                    body.begin() + static_cast<ptrdiff_t>(random() % (body.size() / 4) * 4));
        }
      }
      sample.decode(body);
    }
  }
}

}  // namespace
}  // namespace gantry::nfs
