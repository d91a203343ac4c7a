// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/block/format.hpp"

namespace gantry::block {
namespace {

using ::testing::Contains;
using ::testing::Not;

TEST(MkfsArguments, EndsWithTheOptionsAndTheDevice) {
  for (const std::string fs_type : {"ext4", "xfs", "btrfs"}) {
    const auto words = MkfsArguments({fs_type, "u-1", {"-m", "0"}, false}, "/dev/loop7");
    ASSERT_GT(words.size(), 3U);
    EXPECT_EQ(words.front(), "mkfs." + fs_type);
    EXPECT_EQ(std::vector<std::string>(words.end() - 3, words.end()),
              (std::vector<std::string>{"-m", "0", "/dev/loop7"}));
  }
}

TEST(MkfsArguments, DiscardsOnlyWhatAnEarlierAttemptHasWritten) {
  EXPECT_THAT(MkfsArguments({"ext4", "u", {}, false}, "/dev/x"), Contains("nodiscard"));
  EXPECT_THAT(MkfsArguments({"ext4", "u", {}, true}, "/dev/x"), Contains("discard"));
  EXPECT_THAT(MkfsArguments({"xfs", "u", {}, false}, "/dev/x"), Contains("-K"));
  EXPECT_THAT(MkfsArguments({"xfs", "u", {}, true}, "/dev/x"), Not(Contains("-K")));
  EXPECT_THAT(MkfsArguments({"btrfs", "u", {}, false}, "/dev/x"), Contains("--nodiscard"));
  EXPECT_THAT(MkfsArguments({"btrfs", "u", {}, true}, "/dev/x"), Not(Contains("--nodiscard")));
}

}  // namespace
}  // namespace gantry::block
