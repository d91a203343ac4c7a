// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/lost_files.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "plugins/nfs/datapath/testing/fake_host.hpp"

namespace gantry::nfs {
namespace {

TEST(LostFilesTest, BeginAnewInMemoryOfAnotherLayout) {
  test::FakeHost host;
  FileHandle file{};
  file.size = 4;
  LostFiles files;
  ASSERT_TRUE(files.Prepare(host.table()));
  files.Add(file, EIO);
  LostFiles successor;
  ASSERT_TRUE(successor.Prepare(host.table()));
  EXPECT_EQ(successor.ErrorOf(file), EIO);
  std::memset(host.Region("lost-files"), 0x77, 8);
  LostFiles other;
  ASSERT_TRUE(other.Prepare(host.table()));
  EXPECT_EQ(other.ErrorOf(file), 0);
}

}  // namespace
}  // namespace gantry::nfs
