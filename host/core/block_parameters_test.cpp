// SPDX-License-Identifier: Apache-2.0
#include "host/core/block_parameters.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::core {
namespace {

using base::Code;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(BlockParameters, NothingSaidIsNothingWanted) {
  const auto read = ReadBlockParameters({}, "volume_context");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->mkfs_options, "");
  EXPECT_FALSE(read->encrypted);
}

TEST(BlockParameters, AreReadFromTheContext) {
  TextMap context;
  context["mkfsOptions"] = "-m 0";
  context["encrypted"] = "true";
  const auto read = ReadBlockParameters(context, "volume_context");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->mkfs_options, "-m 0");
  EXPECT_TRUE(read->encrypted);
}

TEST(BlockParameters, AWordThatIsNeitherTrueNorFalseIsRefused) {
  TextMap context;
  context["encrypted"] = "yes";
  const auto read = ReadBlockParameters(context, "volume_context");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kInvalidArgument);
  EXPECT_THAT(read.error().message, HasSubstr("volume_context.encrypted: \"yes\""));
  context["encrypted"] = "false";
  context["mkfsOptions"] = std::string(kMkfsOptionsBytesMax + 1, 'x');
  EXPECT_FALSE(ReadBlockParameters(context, "volume_context"));
}

TEST(BlockParameters, GoToTheContextWhereTheBackendHasNotSetThem) {
  TextMap parameters;
  parameters["mkfsOptions"] = "-m 0";
  parameters["encrypted"] = "true";
  parameters["server"] = "x";
  TextMap context;
  context["mkfsOptions"] = "-m 1";
  CopyBlockParameters(parameters, &context);
  EXPECT_THAT(context,
              UnorderedElementsAre(Pair("mkfsOptions", "-m 1"), Pair("encrypted", "true")));
}

}  // namespace
}  // namespace gantry::core
