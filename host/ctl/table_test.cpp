// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/table.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace gantry::ctl {
namespace {

TEST(Table, AlignsColumnsByCharacters) {
  Table table({"NAME", "STATE", "WHAT"});
  table.Add({"a", "", "first"});
  table.Add({"b\xc3\xa4rlauch", "up", "second"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "NAME      STATE  WHAT\n"
            "a         -      first\n"
            "b\xc3\xa4rlauch  up     second\n");
}

TEST(Table, LetsNobodyDriveTheTerminal) {
  Table table({"NAME"});
  table.Add({"\x1b[2Jx\ny"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "NAME\n?[2Jx?y\n");
  EXPECT_EQ(CleanLines("a\n\x1b[1m"), "a\n?[1m");
}

TEST(Format, IsShort) {
  EXPECT_EQ(FormatBytes(0), "0");
  EXPECT_EQ(FormatBytes(1023), "1023");
  EXPECT_EQ(FormatBytes(23'383'245), "22.3M");
  EXPECT_EQ(FormatMs(999), "999ms");
  EXPECT_EQ(FormatMs(1500), "1.5s");
  EXPECT_EQ(FormatMs(125'000), "2m05s");
  EXPECT_EQ(FormatPercent(0.125), "12.5%");
}

}  // namespace
}  // namespace gantry::ctl
