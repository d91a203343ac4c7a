// SPDX-License-Identifier: Apache-2.0
// A disk of a real target (tgtd): what it reads, writes, and refuses.
#include <algorithm>
#include <cerrno>
#include <random>

#include "plugins/iscsi/datapath/testing/disk_fixture_test.hpp"

namespace gantry::iscsi::test {
namespace {

constexpr milliseconds kAtOnceMs{1000};
constexpr size_t kDepth = 32;
constexpr size_t kOperations = 3000;

TEST_F(DiskTest, OpensAndTellsWhatItIs) {
  FakeHost host;
  Disk disk(host);
  const Ended opened = disk.Open(Source());
  ASSERT_EQ(opened.error_number, 0) << disk.log();
  EXPECT_EQ(opened.facts.size_bytes, kSizeBytes);
  EXPECT_EQ(opened.facts.block_bytes, 512u);
  EXPECT_GT(opened.facts.discard_granularity_bytes, 0u);
}

// Writes of random places and sizes, none of two under way at one place, and a shadow of the disk.
TEST_F(DiskTest, ReadsBackWhatWasWrittenAtDepth32) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
  constexpr size_t kSlotBytes = 1 << 20;
  Data shadow(kDepth * kSlotBytes);
  struct Slot {
    gantry_op op = 0;
    size_t at = 0;
    Data data;
    bool read = false;
  };
  std::vector<Slot> slots(kDepth);
  std::mt19937_64 random(7);
  size_t begun = 0;
  const auto finish = [&](size_t index) {
    Slot& slot = slots[index];
    ASSERT_EQ(host.Take(slot.op).error_number, 0) << disk.log();
    const auto place = shadow.begin() + static_cast<ptrdiff_t>(index * kSlotBytes + slot.at);
    if (slot.read) {
      ASSERT_TRUE(std::equal(slot.data.begin(), slot.data.end(), place));
    } else {
      std::copy(slot.data.begin(), slot.data.end(), place);
    }
    slot.op = 0;
  };
  const auto begin = [&](size_t index) {
    Slot& slot = slots[index];
    // Small ones mostly, and some of the largest.
    const size_t blocks_max = random() % 16 == 0 ? kSlotBytes / 512 : 16;
    const size_t blocks = 1 + random() % blocks_max;
    slot.at = random() % (kSlotBytes / 512 - blocks + 1) * 512;
    slot.read = random() % 2 == 0;
    slot.data = slot.read ? Data(blocks * 512) : Pattern(blocks * 512, random());
    const uint64_t offset = index * kSlotBytes + slot.at;
    slot.op = slot.read
                  ? disk.Read(offset, slot.data)
                  : disk.Write(offset, slot.data,
                               random() % 8 == 0 ? uint32_t{GANTRY_DISK_FORCE_UNIT_ACCESS} : 0);
  };
  const auto all_finished = [&] {
    return std::all_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.op == 0; });
  };
  while (begun < kOperations || !all_finished()) {
    for (size_t i = 0; i < kDepth; ++i) {
      if (slots[i].op != 0 && !host.IsUnderWay(slots[i].op)) finish(i);
      if (slots[i].op == 0 && begun < kOperations) {
        begin(i);
        ++begun;
      }
    }
    const size_t before = host.under_way();
    ASSERT_TRUE(host.Run([&] { return before == 0 || host.under_way() < before; }, seconds(10)));
  }
  EXPECT_EQ(disk.Wait(disk.Step(&IscsiDataPath::Flush)), 0);
  for (size_t i = 0; i < kDepth; ++i) {
    const Data back = disk.ReadBack(i * kSlotBytes, kSlotBytes);
    const auto place = shadow.begin() + static_cast<ptrdiff_t>(i * kSlotBytes);
    EXPECT_TRUE(std::equal(back.begin(), back.end(), place)) << "slot " << i;
  }
}

TEST_F(DiskTest, ZeroedRangesReadAsZeroAndNothingElseDoes) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
  const Data data = Pattern(1 << 20, 1);
  for (uint64_t at = 0; at < kSizeBytes; at += data.size()) {
    ASSERT_EQ(disk.Wait(disk.Write(at, data)), 0);
  }
  // Longer than one command may be.
  ASSERT_EQ(disk.Wait(disk.Range(&IscsiDataPath::Zero, 512, 40 << 20)), 0) << disk.log();
  ASSERT_EQ(
      disk.Wait(disk.Range(&IscsiDataPath::Zero, (40 << 20) + 512, 4096, GANTRY_DISK_MAY_UNMAP)),
      0);
  ASSERT_EQ(disk.Wait(disk.Range(&IscsiDataPath::Zero, 50 << 20, 10 << 20, GANTRY_DISK_MAY_UNMAP)),
            0)
      << disk.log();
  const auto is_zero = [](const Data& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
  };
  const auto part = [&](size_t from, size_t count) {
    return Data(data.begin() + static_cast<ptrdiff_t>(from),
                data.begin() + static_cast<ptrdiff_t>(from + count));
  };
  EXPECT_EQ(disk.ReadBack(0, 512), part(0, 512));
  for (uint64_t at = 512; at + 65536 < (40u << 20); at += 1 << 20) {
    EXPECT_TRUE(is_zero(disk.ReadBack(at, 65536))) << at;
  }
  EXPECT_TRUE(is_zero(disk.ReadBack((40 << 20) - 512, 1024 + 4096)));
  EXPECT_EQ(disk.ReadBack((40 << 20) + 512 + 4096, 512), part(512 + 4096, 512));
  EXPECT_TRUE(is_zero(disk.ReadBack(50 << 20, 1 << 20)));
  EXPECT_TRUE(is_zero(disk.ReadBack(59 << 20, 1 << 20)));
  EXPECT_EQ(disk.ReadBack(60 << 20, 1 << 20), data);
}

TEST_F(DiskTest, WritesZeroesWhereTheTargetHasNoWriteSame) {
  ASSERT_TRUE(server_->DeleteLun(1, 1));
  lun_.type = "aio";
  ASSERT_TRUE(server_->NewLun(lun_));
  FakeHost host;
  Disk disk(host);
  const Ended opened = disk.Open(Source());
  ASSERT_EQ(opened.error_number, 0) << disk.log();
  EXPECT_EQ(opened.facts.discard_granularity_bytes, 0u);
  ASSERT_EQ(disk.Wait(disk.Write(0, Pattern(1 << 20, 1))), 0);
  ASSERT_EQ(disk.Wait(disk.Range(&IscsiDataPath::Zero, 512, (1 << 20) - 1024)), 0) << disk.log();
  const Data back = disk.ReadBack(0, 1 << 20);
  EXPECT_EQ(std::count(back.begin() + 512, back.end() - 512, std::byte{}), (1 << 20) - 1024);
  EXPECT_NE(std::count(back.begin(), back.begin() + 512, std::byte{}), 512);
}

TEST_F(DiskTest, WhatIsNotWholeBlocksOrBeyondTheEndIsRefused) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
  Data data(512);
  EXPECT_EQ(disk.Wait(disk.Read(1, data)), EINVAL);
  EXPECT_EQ(disk.Wait(disk.Write(kSizeBytes, data)), EINVAL);
  EXPECT_EQ(disk.Wait(disk.Range(&IscsiDataPath::Zero, 0, kSizeBytes + 512)), EINVAL);
  EXPECT_EQ(disk.Wait(disk.Range(&IscsiDataPath::Zero, UINT64_MAX - 511, 512)), EINVAL);
  Data none;
  EXPECT_EQ(disk.Wait(disk.Read(0, none)), 0);
}

TEST_F(DiskTest, AnotherDiskOrASmallerOneIsNotOpened) {
  FakeHost host;
  Disk disk(host);
  EXPECT_EQ(disk.Open(Source(), "naa.6000000000000000c0ffee0000000002").error_number, ENODEV);
  EXPECT_NE(disk.log().find(kIdentity), std::string::npos) << disk.log();
  EXPECT_EQ(disk.Open(Source(), kIdentity, kSizeBytes + 1).error_number, ENODEV);
  auto session = Observe();
  EXPECT_TRUE(scsi::ReadKeys(session, 1, Soon())->empty()) << "nothing was touched";
  EXPECT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
}

TEST_F(DiskTest, EveryNameOfTheLunIdentifiesIt) {
  auto session = Observe();
  const auto names = scsi::ReadIdentities(session, 1, Soon());
  ASSERT_TRUE(names);
  for (const std::string& name : *names) {
    FakeHost host;
    Disk disk(host);
    EXPECT_EQ(disk.Open(Source(), name).error_number, 0) << name << disk.log();
    EXPECT_EQ(disk.Close().error_number, 0);
  }
}

TEST_F(DiskTest, NoSuchLunAndNoSuchTargetAreSaidAtOnce) {
  FakeHost host;
  Disk disk(host);
  const auto begin = steady_clock::now();
  EXPECT_EQ(disk.Open(Source(kNode1, {{"lun", "9"}})).error_number, ENXIO) << disk.log();
  EXPECT_EQ(disk.Open(Source(kNode1, {{"target", "iqn.2026-01.test.gantry:none"}})).error_number,
            EINVAL)
      << "the memory belongs to the first";
  FakeHost other;
  Disk none(other);
  EXPECT_EQ(none.Open(Source(kNode1, {{"target", "iqn.2026-01.test.gantry:none"}})).error_number,
            ENXIO)
      << none.log();
  EXPECT_LT(steady_clock::now() - begin, kAtOnceMs);
}

TEST_F(DiskTest, ChapIsUsedAndAWrongSecretIsSaidAtOnceAndNeverShown) {
  ASSERT_TRUE(server_->NewAccount("alice", "secret123456"));
  ASSERT_TRUE(server_->BindAccount(1, "alice"));
  FakeHost host;
  Disk disk(host);
  EXPECT_EQ(disk.Open(Source(kNode1, {{"chap", "oneWay"}})).error_number, EKEYREJECTED);
  host.SetSecret("node.session.auth.username", "alice");
  host.SetSecret("node.session.auth.password", "wrong1234567");
  const auto begin = steady_clock::now();
  EXPECT_EQ(disk.Open(Source(kNode1, {{"chap", "oneWay"}})).error_number, EKEYREJECTED);
  EXPECT_LT(steady_clock::now() - begin, kAtOnceMs);
  EXPECT_EQ(disk.log().find("wrong1234567"), std::string::npos) << disk.log();
  host.SetSecret("node.session.auth.password", "secret123456");
  EXPECT_EQ(disk.Open(Source(kNode1, {{"chap", "oneWay"}})).error_number, 0) << disk.log();
  EXPECT_EQ(disk.log().find("secret123456"), std::string::npos) << disk.log();
}

TEST_F(DiskTest, AReadOnlyDiskReservesNothingAndWritesNothing) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source(), kIdentity, kSizeBytes, true).error_number, 0) << disk.log();
  EXPECT_EQ(disk.Wait(disk.Write(0, Data(512))), EROFS);
  EXPECT_EQ(disk.Wait(disk.Range(&IscsiDataPath::Zero, 0, 512)), EROFS);
  disk.ReadBack(0, 512);
  auto session = Observe();
  EXPECT_TRUE(scsi::ReadKeys(session, 1, Soon())->empty());
}

TEST_F(DiskTest, AWriteProtectedLunIsNotOpenedForWriting) {
  ASSERT_TRUE(server_->SetLun(1, 1, "readonly=1"));
  FakeHost host;
  Disk disk(host);
  EXPECT_EQ(disk.Open(Source()).error_number, EROFS) << disk.log();
  EXPECT_EQ(disk.Open(Source(), kIdentity, kSizeBytes, true).error_number, 0) << disk.log();
}

TEST_F(DiskTest, CloseGivesUpTheReservationAndTheSession) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
  auto session = Observe();
  EXPECT_EQ(scsi::ReadKeys(session, 1, Soon())->size(), 1u);
  EXPECT_EQ(disk.Close().error_number, 0);
  EXPECT_TRUE(scsi::ReadKeys(session, 1, Soon())->empty());
  EXPECT_EQ(*scsi::ReadReservation(session, 1, Soon()), std::nullopt);
  EXPECT_EQ(server_->Sessions(1)->size(), 1u) << "the observer's";
}

TEST_F(DiskTest, AForeignReservationIsLeftAlone) {
  auto session = Observe();
  constexpr auto kType = scsi::ReservationType::kWriteExclusiveRegistrants;
  ASSERT_TRUE(scsi::Register(session, 1, 0, 0xbeef, Soon()));
  ASSERT_TRUE(scsi::Reserve(session, 1, 0xbeef, kType, Soon()));
  FakeHost host;
  Disk disk(host);
  EXPECT_EQ(disk.Open(Source()).error_number, EBUSY) << disk.log();
  EXPECT_EQ((*scsi::ReadReservation(session, 1, Soon()))->key, 0xbeefu);
}

TEST_F(DiskTest, WithoutAFenceTwoMayWrite) {
  FakeHost one_host;
  FakeHost two_host;
  Disk one(one_host);
  Disk two(two_host);
  ASSERT_EQ(one.Open(Source(kNode1, {{"fence", "none"}})).error_number, 0) << one.log();
  ASSERT_EQ(two.Open(Source(kNode2, {{"fence", "none"}})).error_number, 0) << two.log();
  EXPECT_EQ(one.Wait(one.Write(0, Pattern(512, 1))), 0);
  EXPECT_EQ(two.Wait(two.Write(512, Pattern(512, 2))), 0);
  EXPECT_EQ(one.ReadBack(512, 512), Pattern(512, 2));
}

TEST_F(DiskTest, ARefreshSeesTheNewSizeAndKeepsTheReservation) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
  ASSERT_EQ(disk.Wait(disk.Write(0, Pattern(4096, 5))), 0);
  lun_.size_bytes = 2 * kSizeBytes;
  const auto resized = server_->ResizeLun(lun_);
  ASSERT_TRUE(resized) << resized.error().message;
  const Ended refreshed = host.Wait(disk.Step(&IscsiDataPath::Refresh));
  ASSERT_EQ(refreshed.error_number, 0) << disk.log();
  EXPECT_EQ(refreshed.facts.size_bytes, 2 * kSizeBytes);
  EXPECT_EQ(disk.Wait(disk.Write(kSizeBytes, Pattern(4096, 6))), 0);
  EXPECT_EQ(disk.ReadBack(0, 4096), Pattern(4096, 5));
  auto session = Observe();
  EXPECT_EQ(scsi::ReadKeys(session, 1, Soon())->size(), 1u);
}

TEST_F(DiskTest, ARefreshUnderLoadLosesNothing) {
  FakeHost host;
  Disk disk(host);
  ASSERT_EQ(disk.Open(Source()).error_number, 0) << disk.log();
  std::vector<Data> data;
  std::vector<gantry_op> ops;
  for (uint64_t i = 0; i < kDepth; ++i) data.push_back(Pattern(1 << 20, i));
  for (uint64_t i = 0; i < kDepth; ++i) ops.push_back(disk.Write(i << 20, data[i]));
  const gantry_op refresh = disk.Step(&IscsiDataPath::Refresh);
  for (const gantry_op op : ops) EXPECT_EQ(disk.Wait(op), 0) << disk.log();
  EXPECT_EQ(disk.Wait(refresh), 0);
  for (uint64_t i = 0; i < kDepth; ++i) EXPECT_EQ(disk.ReadBack(i << 20, 1 << 20), data[i]);
}

}  // namespace
}  // namespace gantry::iscsi::test
