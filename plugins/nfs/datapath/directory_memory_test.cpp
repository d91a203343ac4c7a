// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/directory_memory.hpp"

#include <gtest/gtest.h>

#include <string_view>

namespace gantry::nfs {
namespace {

using std::chrono::milliseconds;

FileHandle Handle(std::string_view text) {
  FileHandle handle;
  handle.size = static_cast<uint32_t>(text.size());
  std::memcpy(handle.bytes.data(), text.data(), text.size());
  return handle;
}

Attributes Directory(uint32_t ctime_s, uint32_t links) {
  Attributes attributes;
  attributes.type = FileType::kDirectory;
  attributes.links = links;
  attributes.ctime.seconds = ctime_s;
  return attributes;
}

class DirectoryMemoryTest : public testing::Test {
 protected:
  const TimePoint now_{std::chrono::hours(1)};
  DirectoryMemory memory_;
};

TEST_F(DirectoryMemoryTest, KnowsWhatTheLastChangeSaidForAShortTime) {
  memory_.Note(Handle("d"), Directory(1, 2), now_);
  memory_.Note(Handle("d"), Directory(2, 3), now_);
  ASSERT_NE(memory_.Find(Handle("d"), now_), nullptr);
  EXPECT_EQ(memory_.Find(Handle("d"), now_)->links, 3u);
  EXPECT_EQ(memory_.Find(Handle("e"), now_), nullptr);
  EXPECT_EQ(memory_.Find(Handle("d"), now_ + kDirectoryBelievedMs), nullptr);
}

TEST_F(DirectoryMemoryTest, BelievesNoAnswerThatWasOvertaken) {
  memory_.Note(Handle("d"), Directory(2, 3), now_);
  memory_.Note(Handle("d"), Directory(1, 2), now_);
  EXPECT_EQ(memory_.Find(Handle("d"), now_)->links, 3u);
}

TEST_F(DirectoryMemoryTest, KnowsNothingAfterAChangeThatSaidNothing) {
  memory_.Note(Handle("d"), Directory(1, 2), now_);
  memory_.Note(Handle("d"), std::nullopt, now_);
  EXPECT_EQ(memory_.Find(Handle("d"), now_), nullptr);
}

TEST_F(DirectoryMemoryTest, KnowsNoFiles) {
  Attributes file = Directory(1, 1);
  file.type = FileType::kRegular;
  memory_.Note(Handle("f"), file, now_);
  EXPECT_EQ(memory_.Find(Handle("f"), now_), nullptr);
}

TEST_F(DirectoryMemoryTest, KeepsTheLatestOfMany) {
  for (size_t i = 0; i <= kDirectoriesRemembered; ++i)
    memory_.Note(Handle(std::to_string(i)), Directory(1, 2), now_ + milliseconds(i));
  EXPECT_EQ(memory_.Find(Handle("0"), now_ + milliseconds(20)), nullptr);
  EXPECT_NE(memory_.Find(Handle("1"), now_ + milliseconds(20)), nullptr);
}

}  // namespace
}  // namespace gantry::nfs
