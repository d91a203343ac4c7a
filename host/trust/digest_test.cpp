// SPDX-License-Identifier: Apache-2.0
#include "host/trust/digest.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>

#include "host/base/fd.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::trust {
namespace {

// FIPS 180-2, "abc"
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Digest, IsSha256WhateverThePiecesAre) {
  Sha256 sum;
  sum.Update("a");
  sum.Update("");
  sum.Update("bc");
  EXPECT_EQ(Hex(sum.Finish().value()), kAbc);
}

TEST(Digest, IsOfAWholeFileAndRefusesALargerOne) {
  const base::TempDir temp;
  std::ofstream(temp.path() / "f") << "abc";
  const auto of = [&](size_t bytes_max) {
    const base::UniqueFd fd(open((temp.path() / "f").c_str(), O_RDONLY | O_CLOEXEC));
    return DigestOf(fd.get(), bytes_max, "f");
  };
  EXPECT_EQ(Hex(of(3).value()), kAbc);
  EXPECT_EQ(of(2).error().code, base::Code::kResourceExhausted);
}

TEST(Digest, HexHasOneSpelling) {
  EXPECT_EQ(Hex(ParseHex(kAbc).value()), kAbc);
  std::string upper(kAbc);
  upper[1] = 'A';
  for (const std::string& bad : {upper, std::string(kAbc) + "0", std::string(kAbc).substr(1),
                                 std::string(), "g" + std::string(kAbc).substr(1)})
    EXPECT_EQ(ParseHex(bad).error().code, base::Code::kInvalidArgument) << bad;
}

}  // namespace
}  // namespace gantry::trust
