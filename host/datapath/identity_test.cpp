// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/identity.hpp"

#include <gtest/gtest.h>

namespace gantry::datapath {
namespace {

TEST(Identity, IsTheCallersByDefault) {
  for (const char* text : {"", "caller"}) {
    const auto ids = Identity::Parse(text, "").value().For({5, 6});
    EXPECT_EQ(ids.uid, 5U);
    EXPECT_EQ(ids.gid, 6U);
  }
}

TEST(Identity, IsAlwaysTheFixedOne) {
  const auto ids = Identity::Parse("fixed(1000,0)", "").value().For({5, 6});
  EXPECT_EQ(ids.uid, 1000U);
  EXPECT_EQ(ids.gid, 0U);
}

TEST(Identity, AddsTheMountGroup) {
  EXPECT_EQ(Identity::Parse("caller", "4000").value().groups(), std::vector<uint32_t>{4000});
  EXPECT_TRUE(Identity::Parse("caller", "").value().groups().empty());
}

TEST(Identity, RefusesWhatItDoesNotUnderstand) {
  for (const char* text :
       {"root", "fixed", "fixed()", "fixed(1)", "fixed(1,)", "fixed(1,2", "fixed(a,2)",
        "fixed(1,2,3)", "fixed(4294967295,1)", "fixed(-1,1)", "fixed( 1,1)"})
    EXPECT_FALSE(Identity::Parse(text, "")) << text;
  EXPECT_FALSE(Identity::Parse("", "users"));
}

}  // namespace
}  // namespace gantry::datapath
