// SPDX-License-Identifier: Apache-2.0
#include "host/admin/convert.hpp"

#include <gtest/gtest.h>

namespace gantry::admin {
namespace {

v1::SwapRequest Request() {
  v1::SwapRequest request;
  request.set_backend("fast");
  request.set_plugin_file("/tmp/nfs.so");
  return request;
}

TEST(SwapRequest, IsAllAtOnceWhereNothingElseIsSaid) {
  const auto swap = FromMessage(Request());
  ASSERT_TRUE(swap);
  EXPECT_EQ(swap->shift_percent_start, 100u);
  EXPECT_EQ(swap->shift.count(), 0);
}

TEST(SwapRequest, ShiftsForADayAtMost) {
  auto request = Request();
  request.set_shift_ms(24ULL * 3600 * 1000);
  EXPECT_TRUE(FromMessage(request));
  for (const uint64_t ms : {uint64_t{24} * 3600 * 1000 + 1, uint64_t{1} << 63, UINT64_MAX}) {
    request.set_shift_ms(ms);
    EXPECT_EQ(FromMessage(request).error().code, base::Code::kInvalidArgument) << ms;
  }
}

TEST(SwapRequest, NamesAFileThatAPathCanName) {
  auto request = Request();
  request.set_plugin_file("nfs.so");
  EXPECT_FALSE(FromMessage(request));
  request.set_plugin_file(std::string("/tmp/a\0b", 8));
  EXPECT_FALSE(FromMessage(request));
}

}  // namespace
}  // namespace gantry::admin
