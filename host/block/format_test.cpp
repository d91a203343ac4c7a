// SPDX-License-Identifier: Apache-2.0
#include "host/block/format.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "host/block/content.hpp"
#include "host/block/testing.hpp"

namespace gantry::block {
namespace {

using base::Code;
using ::testing::HasSubstr;

TEST(Format, MakesWhatCanBeMountedAndWrittenTo) {
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    const TestDisk disk(512 * kMiB);
    const auto made = Format(disk.Open().get(), {fs_type, NewUuid(), {}, false}, Soon());
    ASSERT_TRUE(made) << fs_type << ": " << made.error().message;
    const TestMount mount(disk.path(), fs_type);
    std::ofstream(mount.path() / "file") << "data";
    EXPECT_EQ(std::filesystem::file_size(mount.path() / "file"), 4U);
  }
}

TEST(Format, TakesOptionsAndPassesOnWhatMkfsComplainsOf) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(
      Format(disk.Open().get(), {"ext4", NewUuid(), {"-O", "^has_journal"}, false}, Soon()));
  const auto refused =
      Format(disk.Open().get(), {"ext4", NewUuid(), {"-O", "no_such_feature"}, false}, Soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(refused.error().message, HasSubstr("no_such_feature"));
}

TEST(Format, ADiskThatIsInUseIsRefusedByMkfs) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(Format(disk.Open().get(), {"ext4", NewUuid(), {}, false}, Soon()));
  const TestMount mount(disk.path(), "ext4");
  EXPECT_FALSE(Format(disk.Open().get(), {"ext4", NewUuid(), {}, true}, Soon()));
}

TEST(Format, ATypeThatIsNotKnownRunsNothing) {
  const TestDisk disk(8 * kMiB);
  EXPECT_EQ(Format(disk.Open().get(), {"ext4/../x", NewUuid(), {}, false}, Soon()).error().code,
            Code::kInvalidArgument);
  const auto content = Examine(disk.Open().get());
  ASSERT_TRUE(content);
  EXPECT_EQ(content->kind, Content::Kind::kBlank);
}

}  // namespace
}  // namespace gantry::block
