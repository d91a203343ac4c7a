// SPDX-License-Identifier: Apache-2.0
#include "host/base/file.hpp"

#include <gtest/gtest.h>

#include "host/base/temp_dir.hpp"

namespace gantry::base {
namespace {

TEST(File, WritesReplacesAndReadsBack) {
  TempDir dir;
  ASSERT_TRUE(WriteFileDurably(dir.path() / "a", "one", 0600));
  ASSERT_TRUE(WriteFileDurably(dir.path() / "a", "two", 0600));
  EXPECT_EQ(ReadFile(dir.path() / "a", 100).value(), "two");
  EXPECT_EQ(ListFiles(dir.path()).value(), std::vector<std::string>{"a"});
}

TEST(File, OverwritesATemporaryLeftByACrash) {
  TempDir dir;
  ASSERT_TRUE(WriteFileDurably(dir.path() / "a.tmp", "half written and longer", 0600));
  ASSERT_TRUE(WriteFileDurably(dir.path() / "a", "new", 0600));
  EXPECT_EQ(ReadFile(dir.path() / "a", 100).value(), "new");
}

TEST(File, RefusesToReadMoreThanAsked) {
  TempDir dir;
  ASSERT_TRUE(WriteFileDurably(dir.path() / "a", "0123456789", 0600));
  EXPECT_EQ(ReadFile(dir.path() / "a", 9).error().code, Code::kResourceExhausted);
}

TEST(File, RemovingWhatIsNotThereSucceeds) {
  TempDir dir;
  EXPECT_TRUE(RemoveFileDurably(dir.path() / "never"));
}

TEST(File, ListsNothingInADirectoryThatIsNotThere) {
  TempDir dir;
  EXPECT_TRUE(ListFiles(dir.path() / "never").value().empty());
}

}  // namespace
}  // namespace gantry::base
