// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <gantry/gantry.hpp>

namespace gantry::cephfs {
namespace {

using ::testing::HasSubstr;
using Parameters = std::map<std::string, std::string>;

const Parameters kGood = {{"monitors", "10.0.0.1:6789"}, {"user", "pod"}, {"path", "/volumes/a"}};

plugin::Result<DataPathOptions> Parse(const Parameters& parameters) {
  const MapRef map(parameters);
  return ParseDataPathOptions(map.get());
}

TEST(CephDataPathOptions, AreTakenAsTheyAre) {
  Parameters all = kGood;
  all["fsName"] = "fs";
  all["msMode"] = "prefer-secure";
  all["timeoutSeconds"] = "7";
  all["cache"] = "writeback";
  all["oneNode"] = "true";
  all["sealedKey"] = "another's";
  const auto options = Parse(all);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->monitors, "10.0.0.1:6789");
  EXPECT_EQ(options->filesystem, "fs");
  EXPECT_EQ(options->client_mode, "secure crc");
  EXPECT_EQ(options->timeout, std::chrono::seconds(7));
  EXPECT_TRUE(options->writeback);
  EXPECT_EQ(Parse(kGood)->timeout, kOperationDefault);
  EXPECT_FALSE(Parse(kGood)->writeback);
  EXPECT_TRUE(options->one_node);
  EXPECT_FALSE(Parse(kGood)->one_node);
}

TEST(CephDataPathOptions, ErrorsNameTheParameter) {
  for (const char* key : {"monitors", "user", "path"}) {
    Parameters some = kGood;
    some.erase(key);
    const auto options = Parse(some);
    ASSERT_FALSE(options) << key;
    EXPECT_THAT(options.error().message, HasSubstr(key));
  }
  const Parameters bad = {{"path", "relative"},
                          {"msMode", "legacy"},
                          {"timeoutSeconds", "0"},
                          {"cache", "none"},
                          {"oneNode", "1"}};
  for (const auto& [key, value] : bad) {
    Parameters some = kGood;
    some[key] = value;
    const auto options = Parse(some);
    ASSERT_FALSE(options) << key;
    EXPECT_THAT(options.error().message, HasSubstr(key));
    EXPECT_THAT(options.error().message, HasSubstr("\"" + value + "\""));
  }
}

}  // namespace
}  // namespace gantry::cephfs
