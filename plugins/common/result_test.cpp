// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/result.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "plugins/common/unique_fd.hpp"

namespace gantry::plugin {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail(code::kInvalidArgument, "value: 3 is odd");
  return value / 2;
}

Result<int> Quarter(int value) {
  GANTRY_PLUGIN_TRY_ASSIGN(const int half, Half(value));
  GANTRY_PLUGIN_TRY(Half(half));
  return half / 2;
}

TEST(PluginResult, PassesAValueThroughTheMacros) { EXPECT_EQ(*Quarter(8), 2); }

TEST(PluginResult, ReturnsTheFirstError) {
  const auto result = Quarter(6);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, code::kInvalidArgument);
  EXPECT_EQ(Wrap(result.error(), "quarter").message, "quarter: value: 3 is odd");
}

TEST(PluginUniqueFd, ClosesOnceAndMoves) {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    UniqueFd first(fd);
    UniqueFd second(std::move(first));
    EXPECT_EQ(second.get(), fd);
    EXPECT_FALSE(first);
    EXPECT_NE(fcntl(fd, F_GETFD), -1);
  }
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

}  // namespace
}  // namespace gantry::plugin
