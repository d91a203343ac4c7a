// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/lost_files.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "plugins/nfs/datapath/testing/fake_host.hpp"

namespace gantry::nfs {
namespace {

FileHandle Handle(uint32_t number) {
  FileHandle file{};
  file.size = sizeof number;
  std::memcpy(file.bytes.data(), &number, sizeof number);
  return file;
}

TEST(LostFilesTest, AreKnownToASuccessorThatKnowsTheirLayout) {
  test::FakeHost host;
  LostFiles files;
  ASSERT_TRUE(files.Prepare(host.table()));
  files.Add(Handle(1), EIO);
  LostFiles successor;
  ASSERT_TRUE(successor.Prepare(host.table()));
  EXPECT_EQ(successor.ErrorOf(Handle(1)), EIO);
  std::memset(host.Region("lost-files"), 0x77, 8);
  LostFiles other;
  const auto prepared = other.Prepare(host.table());
  ASSERT_FALSE(prepared.has_value());
  EXPECT_EQ(prepared.error().failure, Failure::kInvalid);
}

TEST(LostFilesTest, TakeThePlaceOfFilesThatAreGone) {
  test::FakeHost host;
  LostFiles files;
  ASSERT_TRUE(files.Prepare(host.table()));
  for (uint32_t i = 0; i < kLostFilesMax + 1; ++i) files.Add(Handle(i), ESTALE);
  EXPECT_EQ(files.ErrorOf(Handle(kLostFilesMax)), 0);
  for (uint32_t i = 0; i < kLostFilesMax; ++i) files.Add(Handle(10'000 + i), EIO);
  EXPECT_EQ(files.ErrorOf(Handle(0)), 0);
  EXPECT_EQ(files.ErrorOf(Handle(10'000 + kLostFilesMax - 1)), EIO);
  files.Add(Handle(20'000), ENOSPC);
  EXPECT_EQ(files.ErrorOf(Handle(0)), ENOSPC) << "all of the volume";
}

}  // namespace
}  // namespace gantry::nfs
