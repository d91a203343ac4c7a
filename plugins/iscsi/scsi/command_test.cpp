// SPDX-License-Identifier: Apache-2.0
// The bytes of SPC-5 and SBC-4, and replies that are short, long or wrong.
#include "plugins/iscsi/scsi/command.hpp"

#include <gtest/gtest.h>

#include <initializer_list>

#include "plugins/iscsi/scsi/reply.hpp"

namespace gantry::iscsi::scsi {
namespace {

std::vector<uint8_t> Cdb(const Command& command) {
  return {command.cdb.begin(), command.cdb.begin() + command.cdb_bytes};
}

std::vector<uint8_t> Parameters(const Command& command) {
  std::vector<uint8_t> bytes;
  for (const std::byte byte : command.parameters) bytes.push_back(static_cast<uint8_t>(byte));
  return bytes;
}

std::vector<std::byte> Reply(std::initializer_list<int> bytes) {
  std::vector<std::byte> reply;
  for (const int byte : bytes) reply.push_back(static_cast<std::byte>(byte));
  return reply;
}

using Expected = std::vector<uint8_t>;

TEST(Command, ReadAndWriteCarryAddressCountAndFua) {
  std::vector<std::byte> buffer(8192);
  EXPECT_EQ(Cdb(Read16(0x0102030405060708, 4096, buffer)),
            (Expected{0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 2, 0, 0}));
  EXPECT_EQ(Cdb(Write16(1, 512, buffer, true)),
            (Expected{0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0}));
  EXPECT_EQ(Cdb(Write16(1, 512, buffer, false))[1], 0);
}

TEST(Command, WriteSameMayUnmap) {
  std::vector<std::byte> block(512);
  EXPECT_EQ(Cdb(WriteSame16({5, 7}, block, true)),
            (Expected{0x93, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0}));
  EXPECT_EQ(Cdb(WriteSame16({5, 7}, block, false))[1], 0);
}

TEST(Command, ReservationsCarryBothKeys) {
  const Command command = PersistentReserveOut(
      ReserveOut::kPreempt, ReservationType::kWriteExclusiveRegistrants, 0xa, 0xb);
  EXPECT_EQ(Cdb(command), (Expected{0x5f, 4, 5, 0, 0, 0, 0, 0, 24, 0}));
  EXPECT_EQ(Parameters(command),
            (Expected{0, 0, 0, 0, 0, 0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0xb, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Command, InquiryPagesAreAskedForByNumber) {
  EXPECT_EQ(Cdb(InquiryPage(0x83)), (Expected{0x12, 1, 0x83, 0, 255, 0}));
  EXPECT_EQ(Cdb(ReadCapacity16()),
            (Expected{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}));
}

TEST(Reply, TgtdsIdentificationPageGivesTheKernelsName) {
  auto page = Reply({0, 0x83, 0, 0x48, 2, 1, 0, 0x24});
  const std::string t10 = "c0ffee00000000a1";
  for (size_t i = 0; i < 0x24; ++i) {
    page.push_back(static_cast<std::byte>(i < t10.size() ? t10[i] : 0));
  }
  const auto naa = Reply({1,    3, 0, 8, 0x30, 0, 0, 1, 0,    0,    0,    1, 1, 3, 0, 0x10,
                          0x60, 0, 0, 0, 0,    0, 0, 0, 0xc0, 0xff, 0xee, 0, 0, 0, 0, 0xa1});
  page.insert(page.end(), naa.begin(), naa.end());
  const auto identities = ParseIdentities(page);
  ASSERT_TRUE(identities);
  ASSERT_EQ(identities->size(), 3u);
  EXPECT_EQ(identities->at(0), "naa.6000000000000000c0ffee00000000a1");
  EXPECT_EQ(identities->at(1), "naa.3000000100000001");
  std::string nuls;
  for (int i = 0; i < 20; ++i) nuls += "\\0";
  EXPECT_EQ(identities->at(2), "t10." + t10 + nuls);
}

TEST(Reply, NamesAreRankedAsTheKernelDoes) {
  const auto page = Reply({0, 0x83, 0, 52,                                       //
                           1, 2,    0, 8,  0,    0x25, 0x38, 1,   2,   3, 4, 5,  // EUI-64
                           1, 3,    0, 8,  0x50, 0,    0,    0,   0,   0, 0, 9,  // NAA 5
                           1, 0x13, 0, 8,  0x60, 0,    0,    0,   0,   0, 0, 7,  // of a port
                           3, 8,    0, 12, 'i',  'q',  'n',  '.', 'x', 0, 0, 0, 0, 0, 0, 0});
  const auto identities = ParseIdentities(page);
  ASSERT_TRUE(identities);
  EXPECT_EQ(*identities,
            (std::vector<std::string>{"iqn.x", "naa.5000000000000009", "eui.0025380102030405"}));
}

TEST(Reply, ANameThatIsCutShortIsNone) {
  const auto identities =
      ParseIdentities(Reply({0, 0x83, 0, 12, 1, 3, 0, 16, 0x60, 0, 0, 0, 0, 0, 0, 7}));
  ASSERT_TRUE(identities);
  EXPECT_TRUE(identities->empty());
}

TEST(Reply, AnotherPageIsMalformed) {
  EXPECT_EQ(ParseIdentities(Reply({0, 0x80, 0, 0})).error().failure, Failure::kMalformed);
  EXPECT_FALSE(ParseSerial(Reply({0, 0x80})));
  EXPECT_FALSE(ParseInquiry(Reply({0, 0, 0})));
}

TEST(Reply, ASerialLosesTheSpacesAroundIt) {
  EXPECT_EQ(*ParseSerial(Reply({0, 0x80, 0, 6, ' ', ' ', 'a', ' ', 'b', ' ', 'x'})), "a b");
}

TEST(Reply, ALunWithoutANameIsKnownByItsMakerAndSerialNumber) {
  InquiryData inquiry;
  inquiry.vendor = "ACME";
  inquiry.product = "DISK";
  EXPECT_EQ(SerialIdentity(inquiry, "0001"), "serial.ACME.DISK.0001");
  EXPECT_EQ(SerialIdentity(inquiry, std::string(300, 'x')).size(), kIdentityBytesMax);
}

TEST(Reply, CapacityIsTheLastBlockPlusOne) {
  const auto capacity =
      ParseCapacity(Reply({0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 2, 0, 0, 0, 0xc0, 0}));
  ASSERT_TRUE(capacity);
  EXPECT_EQ(capacity->blocks, 0x20000u);
  EXPECT_EQ(capacity->size_bytes(), 64u << 20);
  EXPECT_TRUE(capacity->thin);
  EXPECT_TRUE(capacity->unmapped_is_zero);
}

TEST(Reply, CapacityWithOddBlocksOrMoreThanThereCanBeIsMalformed) {
  EXPECT_FALSE(ParseCapacity(Reply({0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 8})));
  EXPECT_FALSE(ParseCapacity(Reply({0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})));
  EXPECT_FALSE(ParseCapacity(Reply({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0})));
}

TEST(Reply, LunsOfBothAddressingMethodsAreRead) {
  const auto luns = ParseLuns(Reply({0,    0, 0, 32, 0, 0, 0, 0,     //
                                     0,    0, 0, 0,  0, 0, 0, 0,     // 0
                                     0,    7, 0, 0,  0, 0, 0, 0,     // 7
                                     0x41, 2, 0, 0,  0, 0, 0, 0,     // 258, flat
                                     0x80, 1, 0, 0,  0, 0, 0, 0}));  // another method
  ASSERT_TRUE(luns);
  EXPECT_EQ(*luns, (std::vector<uint32_t>{0, 7, 258}));
}

TEST(Reply, ALengthBeyondTheReplyIsNotFollowed) {
  EXPECT_EQ(ParseLuns(Reply({0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0}))->size(),
            1u);
  EXPECT_TRUE(ParseLbaStatus(Reply({0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 2}))->empty());
}

TEST(Reply, MoreKeysThanAreShownIsAnError) {
  const auto keys = ParseKeys(Reply({0, 0, 0, 1, 0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 2}));
  ASSERT_TRUE(keys);
  EXPECT_EQ(*keys, (std::vector<uint64_t>{0x0100000000000002}));
  EXPECT_FALSE(ParseKeys(Reply({0, 0, 0, 1, 0, 0, 0, 16, 1, 0, 0, 0, 0, 0, 0, 2})));
}

TEST(Reply, AReservationHasAKeyAndATypeOrIsNone) {
  EXPECT_EQ(*ParseReservation(Reply({0, 0, 0, 1, 0, 0, 0, 0})), std::nullopt);
  const auto held = ParseReservation(
      Reply({0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 5, 0, 0}));
  ASSERT_TRUE(held && *held);
  EXPECT_EQ((*held)->key, 9u);
  EXPECT_EQ((*held)->type, ReservationType::kWriteExclusiveRegistrants);
}

TEST(Reply, ModeSenseTellsProtectionFuaAndTheCache) {
  const auto mode = ParseMode(Reply({7, 0, 0x90, 0, 8, 0x12, 4}));
  ASSERT_TRUE(mode);
  EXPECT_TRUE(mode->write_protected);
  EXPECT_TRUE(mode->force_unit_access);
  EXPECT_TRUE(mode->write_cache);
  EXPECT_FALSE(ParseMode(Reply({3, 0, 0, 0}))->write_cache);
}

TEST(Reply, BlockLimitsThatAreNotReportedAreZero) {
  const auto limits = ParseBlockLimits(Reply({0, 0xb0, 0, 60, 0, 0, 0, 0, 0, 0, 4, 0}));
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->transfer_blocks_max, 1024u);
  EXPECT_EQ(limits->write_same_blocks_max, 0u);
  const auto thin = ParseProvisioning(Reply({0, 0xb2, 0, 4, 0, 0xc0, 2, 0}));
  ASSERT_TRUE(thin);
  EXPECT_TRUE(thin->unmap);
  EXPECT_TRUE(thin->write_same_unmap);
}

}  // namespace
}  // namespace gantry::iscsi::scsi
