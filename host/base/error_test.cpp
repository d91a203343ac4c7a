// SPDX-License-Identifier: Apache-2.0
#include "host/base/error.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace gantry::base {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Fail(Code::kInvalidArgument, "n is odd");
  return n / 2;
}

Result<int> Quarter(int n) {
  GANTRY_TRY_ASSIGN(const int half, Half(n));
  GANTRY_TRY(Half(half));
  return half / 2;
}

TEST(Error, TryPassesValuesOnAndReturnsTheFirstError) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(Quarter(6).error().message, "n is odd");
}

TEST(Error, NamesKnownCodesAndNumbersOthers) {
  EXPECT_EQ(CodeName(Code::kFailedPrecondition), "FAILED_PRECONDITION");
  EXPECT_EQ(CodeName(Code::kUnauthenticated), "UNAUTHENTICATED");
  EXPECT_EQ(CodeName(static_cast<Code>(99)), "CODE_99");
}

TEST(Error, TakesErrnoWithEitherSign) {
  EXPECT_EQ(FromErrno(-ENOENT, "open /x").message, "open /x: No such file or directory");
  EXPECT_EQ(FromErrno(ENOENT, "open /x").code, Code::kNotFound);
  EXPECT_EQ(FromErrno(ENOSPC, "write").code, Code::kResourceExhausted);
}

}  // namespace
}  // namespace gantry::base
