// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/new_directories.hpp"

#include <gtest/gtest.h>

namespace gantry::nfs {
namespace {

FileHandle Handle(std::string_view text) {
  FileHandle handle;
  handle.size = static_cast<uint32_t>(text.size());
  std::memcpy(handle.bytes.data(), text.data(), text.size());
  return handle;
}

class NewDirectoriesTest : public testing::Test {
 protected:
  const TimePoint now_{std::chrono::hours(1)};
  NewDirectories directories_;
};

TEST_F(NewDirectoriesTest, LackWhatWasNotMadeInThem) {
  directories_.Note(Handle("d"), now_);
  EXPECT_TRUE(directories_.Lacks(Handle("d"), "f", now_));
  directories_.AddName(Handle("d"), "f");
  EXPECT_FALSE(directories_.Lacks(Handle("d"), "f", now_));
  EXPECT_TRUE(directories_.Lacks(Handle("d"), "g", now_));
  EXPECT_FALSE(directories_.Lacks(Handle("e"), "g", now_)) << "a directory that nobody knows";
}

TEST_F(NewDirectoriesTest, AreNewForASecond) {
  directories_.Note(Handle("d"), now_);
  directories_.Note(Handle("e"), now_ + kNewDirectoryMs / 2);
  EXPECT_FALSE(directories_.Lacks(Handle("d"), "f", now_ + kNewDirectoryMs));
  EXPECT_TRUE(directories_.Lacks(Handle("e"), "f", now_ + kNewDirectoryMs));
}

TEST_F(NewDirectoriesTest, AreForgottenWhenTheyHoldTooMuch) {
  directories_.Note(Handle("d"), now_);
  for (size_t i = 0; i <= kNamesOfNewDirectoryMax; ++i)
    directories_.AddName(Handle("d"), std::to_string(i));
  EXPECT_FALSE(directories_.Lacks(Handle("d"), "f", now_));
}

TEST_F(NewDirectoriesTest, AreTheLatestOfMany) {
  for (size_t i = 0; i <= kNewDirectoriesMax; ++i)
    directories_.Note(Handle(std::to_string(i)), now_);
  EXPECT_FALSE(directories_.Lacks(Handle("0"), "f", now_));
  EXPECT_TRUE(directories_.Lacks(Handle("1"), "f", now_));
}

}  // namespace
}  // namespace gantry::nfs
