// SPDX-License-Identifier: Apache-2.0
#include "host/core/export_pattern.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::core {
namespace {

bool Matches(std::string_view pattern, std::string_view server, std::string_view path) {
  const auto parsed = ParseServer(server);
  EXPECT_TRUE(parsed) << server;
  return parsed && MatchesExport(pattern, *parsed, path);
}

TEST(ExportPattern, AllowsTheDirectoryAndWhatLiesBeneathIt) {
  EXPECT_TRUE(Matches("nas:/vol/fast", "nas", "/vol/fast"));
  EXPECT_TRUE(Matches("nas:/vol/fast", "NAS", "/vol/fast/pvc-1"));
  EXPECT_TRUE(Matches("nas:/vol/fast/", "nas", "//vol//fast/"));
  EXPECT_TRUE(Matches("nas:/", "nas", "/anything"));
  EXPECT_TRUE(Matches("10.0.0.0/24:/vol", "10.0.0.9:2049", "/vol"));
  EXPECT_TRUE(Matches("fd00::/64:/vol", "[fd00::7]", "/vol/x"));
  EXPECT_TRUE(Matches("*:/vol", "any.example", "/vol"));
}

TEST(ExportPattern, AllowsNoNeighbourNoParentAndNoWayAround) {
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", "/vol/faster"));
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", "/vol"));
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", "/"));
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", "/vol/fast/../slow"));
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", "/vol/./fast"));
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", "vol/fast"));
  EXPECT_FALSE(Matches("nas:/vol/fast", "nas", ""));
  EXPECT_FALSE(Matches("nas:/vol/fast", "other", "/vol/fast"));
}

TEST(ExportPattern, SaysWhatOneLooksLike) {
  for (const char* good : {"nas:/vol", "10.0.0.7:/", "*.nas.example:/a b", "fd00::7:/vol"})
    EXPECT_TRUE(CheckExportPattern(good)) << good;
  for (const char* bad :
       {"", "nas", "nas:", "nas:vol", ":/vol", "/vol", "nas:/vol/../x", "a/b:/vol", "fd00::/64"}) {
    const auto checked = CheckExportPattern(bad);
    ASSERT_FALSE(checked) << bad;
    EXPECT_THAT(
        checked.error().message,
        ::testing::AllOf(::testing::HasSubstr("export pattern \"" + std::string(bad) + "\""),
                         ::testing::HasSubstr("nas.example.com:/vol/fast")));
    EXPECT_FALSE(MatchesExport(bad, *ParseServer("nas"), "/vol")) << bad;
  }
}

}  // namespace
}  // namespace gantry::core
