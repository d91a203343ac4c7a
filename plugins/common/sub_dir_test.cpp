// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/sub_dir.hpp"

#include <gtest/gtest.h>

#include <string>

namespace gantry::plugin {
namespace {

TEST(SubDir, TakesRelativePathsAlone) {
  EXPECT_EQ(*ParseSubDir("a/b c/\xc3\xa4"), (Path{"a", "b c", "\xc3\xa4"}));
  for (const char* bad :
       {"", "/a", "a/", "a//b", "..", "a/../b", ".", "a/.", ".gantry", "x/.gantry-trash-1",
        "=claim", "a\nb", "\xff\xfe", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q"}) {
    EXPECT_FALSE(ParseSubDir(bad)) << bad;
  }
  EXPECT_FALSE(ParseSubDir(std::string_view("a\0b", 3)));
  EXPECT_FALSE(ParseSubDir(std::string(256, 'x')));
  EXPECT_TRUE(ParseSubDir(std::string(255, 'x')));
}

TEST(SubDir, TemplatesNeedTheirValues) {
  const auto value = [](std::string_view variable) -> std::optional<std::string> {
    if (variable == "pvc.metadata.name") return "data";
    if (variable == "evil") return "../..";
    return std::nullopt;
  };
  EXPECT_EQ(*ExpandTemplate("x-${pvc.metadata.name}/y", value), "x-data/y");
  EXPECT_FALSE(ExpandTemplate("${pv.metadata.name}", value));
  EXPECT_FALSE(ExpandTemplate("${evil}", value));
  EXPECT_FALSE(ExpandTemplate("${pvc.metadata.name", value));
}

}  // namespace
}  // namespace gantry::plugin
