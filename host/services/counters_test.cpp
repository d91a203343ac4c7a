// SPDX-License-Identifier: Apache-2.0
#include "host/services/counters.hpp"

#include <gtest/gtest.h>

namespace gantry::services {
namespace {

TEST(Counters, AddUpForEachBackend) {
  Counters counters;
  EXPECT_TRUE(counters.Add("a", "retries_total", 2));
  EXPECT_TRUE(counters.Add("a", "retries_total", 3));
  EXPECT_TRUE(counters.Add("b", "retries_total", 1));
  EXPECT_EQ(counters.Read().at("a").at("retries_total"), 5U);
  EXPECT_EQ(counters.Read().at("b").at("retries_total"), 1U);
}

TEST(Counters, ABackendHasABoundedNumberAndOthersAreNotHurt) {
  Counters counters;
  for (size_t i = 0; i < kCountersMax; ++i)
    EXPECT_TRUE(counters.Add("a", "n" + std::to_string(i), 1));
  EXPECT_FALSE(counters.Add("a", "one_more", 1));
  EXPECT_TRUE(counters.Add("a", "n0", 1));
  EXPECT_TRUE(counters.Add("b", "one_more", 1));
  EXPECT_EQ(counters.dropped(), 1U);
}

TEST(Counters, NamesThatWouldBreakAScrapeAreDropped) {
  Counters counters;
  for (const char* name : {"", "Upper", "a-b", "a b", "a{x=\"1\"}", "\n"})
    EXPECT_FALSE(counters.Add("a", name, 1)) << name;
  EXPECT_FALSE(counters.Add("a", std::string(kCounterNameBytesMax + 1, 'x'), 1));
  EXPECT_TRUE(counters.Add("a", std::string(kCounterNameBytesMax, 'x'), 1));
}

}  // namespace
}  // namespace gantry::services
