// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/record_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::iscsi::target {
namespace {

using ::testing::HasSubstr;
namespace code = plugin::code;

constexpr std::string_view kOne = "{\"version\": \"one\"}\n";
constexpr std::string_view kTwo = "{\"version\": \"two\"}\n";
constexpr std::string_view kThree = "{\"version\": \"three\"}\n";

std::string Newest(std::string_view file) {
  const auto read = ReadRecordFile(file, "volume x");
  if (!read) return read.error().message;
  return *read ? std::string((*read)->text) : "nothing";
}

// As the store does it.
void Add(std::string* file, std::string_view text) {
  const auto now = ReadRecordFile(*file, "").value().value();
  const auto slot = MakeSlot(text, now.sequence + 1, now.slot_bytes).value();
  file->replace(now.older_slot * now.slot_bytes, now.slot_bytes, slot);
}

TEST(RecordFile, TheNewestVersionCounts) {
  std::string file = FirstRecordFile(kOne);
  EXPECT_EQ(file.size(), 2 * kSlotUnitBytes);
  EXPECT_EQ(Newest(file), kOne);
  Add(&file, kTwo);
  EXPECT_EQ(Newest(file), kTwo);
  Add(&file, kThree);
  EXPECT_EQ(Newest(file), kThree);
  EXPECT_EQ(file.size(), 2 * kSlotUnitBytes);
}

// Whatever of a write reached the disk.
TEST(RecordFile, AVersionThatIsHalfWrittenLeavesTheOneBefore) {
  std::string before = FirstRecordFile(kOne);
  Add(&before, kTwo);
  std::string after = before;
  Add(&after, kThree);
  ASSERT_EQ(after.substr(kSlotUnitBytes), before.substr(kSlotUnitBytes));
  const size_t end = after.find("\n\n", after.find("three"));
  for (size_t torn = 1; torn < end; ++torn) {
    for (const std::string& half :
         {after.substr(0, torn) + before.substr(torn), before.substr(0, torn) + after.substr(torn)})
      ASSERT_EQ(Newest(half), half == after ? kThree : kTwo) << torn;
    ASSERT_EQ(Newest(std::string(torn, '\0') + after.substr(torn)), kTwo) << torn;
  }
}

TEST(RecordFile, AFirstVersionThatIsHalfWrittenIsNone) {
  const std::string file = FirstRecordFile(kOne);
  const size_t end = file.find("\n\n");
  for (size_t torn = 0; torn < end; ++torn) {
    ASSERT_EQ(Newest(file.substr(0, torn)), "nothing") << torn;
    ASSERT_EQ(Newest(file.substr(0, torn) + std::string(file.size() - torn, '\0')), "nothing");
  }
  EXPECT_EQ(Newest(std::string(file.size(), '\0')), "nothing");
  const std::string large = FirstRecordFile("{" + std::string(2 * kSlotUnitBytes, 'x') + "}");
  for (size_t torn = 0; torn < large.size(); torn += kSlotUnitBytes)
    ASSERT_EQ(Newest(large.substr(0, torn)), "nothing") << torn;
}

TEST(RecordFile, OneThatHadVersionsAndHasNoneIsDataLoss) {
  std::string file = FirstRecordFile(kOne);
  Add(&file, kTwo);
  file[kSlotUnitBytes + 125] ^= 1;
  EXPECT_EQ(Newest(file), kOne) << "the older one is whole";
  file[125] ^= 1;
  const auto lost = ReadRecordFile(file, "volume x");
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, code::kDataLoss);
  EXPECT_THAT(lost.error().message, HasSubstr("volume x"));
}

TEST(RecordFile, ALargeVersionNeedsALargerFile) {
  const std::string file = FirstRecordFile(kOne);
  const std::string large = "{" + std::string(2 * kSlotUnitBytes, ' ') + "}";
  const auto now = ReadRecordFile(file, "").value().value();
  EXPECT_FALSE(MakeSlot(large, 2, now.slot_bytes));
  const std::string whole = WholeRecordFile(large, 2);
  EXPECT_EQ(Newest(whole), large);
  EXPECT_EQ(ReadRecordFile(whole, "").value()->sequence, 2U);
}

TEST(RecordFile, OneWithoutSlotsIsRead) {
  const auto old = ReadRecordFile(kOne, "").value();
  EXPECT_EQ(old->text, kOne);
  EXPECT_EQ(old->slot_bytes, 0U);
}

}  // namespace
}  // namespace gantry::iscsi::target
