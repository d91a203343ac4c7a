// SPDX-License-Identifier: Apache-2.0
#include "host/worker/load.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace gantry::worker {
namespace {

template <size_t N>
gantry_str Text(const char (&text)[N]) {
  return {text, N - 1};
}

// A plugin that passes, for each test to spoil in one place.
class CheckPluginTest : public testing::Test {
 protected:
  CheckPluginTest() {
    manifest.size = sizeof(manifest);
    manifest.name = Text("zoo");
    manifest.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER);
    manifest.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
    table.magic = GANTRY_MAGIC;
    table.size = sizeof(table);
    table.abi_major = GANTRY_ABI_MAJOR;
    table.abi_minor = GANTRY_ABI_MINOR;
    table.manifest = &manifest;
    table.create = [](const gantry_host*, gantry_call, const gantry_create*, gantry_instance**) {};
    table.destroy = [](gantry_instance*) {};
    table.extension = [](gantry_instance*, const char*) -> const void* { return nullptr; };
  }
  std::string Check() const {
    const auto loaded = CheckPlugin(&table, nullptr);
    return loaded ? "accepted" : loaded.error().message;
  }

  gantry_manifest manifest{};
  gantry_plugin table{};
};

TEST_F(CheckPluginTest, TakesAGoodOneAndFillsInTheDefaults) {
  const auto loaded = CheckPlugin(&table, nullptr);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->manifest.calls_max, 16u);
  EXPECT_EQ(loaded->manifest.domain_calls_max, 8u);
}

TEST_F(CheckPluginTest, SaysWhyThePluginRefuses) {
  EXPECT_EQ(CheckPlugin(nullptr, "needs minor 7").error().message,
            "the plugin refuses this host (ABI 0.4): needs minor 7");
}

TEST_F(CheckPluginTest, NamesTheFieldOfTheTableThatDoesNotMatch) {
  table.magic = 1;
  EXPECT_EQ(Check(), "magic is 0x00000001, expected 0x47544e59");
  table.magic = GANTRY_MAGIC;
  table.abi_major = 9;
  EXPECT_EQ(Check(), "abi_major is 9, expected 0");
  table.abi_major = 0;
  table.abi_minor = GANTRY_ABI_MINOR + 1;
  EXPECT_EQ(Check(), "abi_minor is 5, expected 1 to 4");
  table.abi_minor = 1;
  table.size = 8;
  EXPECT_EQ(Check(), "size is 8, expected at least 96");
  table.size = sizeof(table);
  table.destroy = nullptr;
  EXPECT_EQ(Check(), "destroy is NULL, expected a function");
  table.manifest = nullptr;
  EXPECT_EQ(Check(), "manifest is NULL, expected a gantry_manifest");
}

TEST_F(CheckPluginTest, NamesTheFieldOfTheManifestThatDoesNotFit) {
  manifest.name = Text("Zoo");
  EXPECT_EQ(Check(), "manifest.name is \"Zoo\", expected 1 to 32 of [a-z0-9-]");
  manifest.name = Text("zoo");
  manifest.thread_model = 3;
  EXPECT_EQ(Check(), "manifest.thread_model is 3, expected 0 to 2");
  manifest.thread_model = 0;
  manifest.calls_max = 257;
  EXPECT_EQ(Check(), "manifest.calls_max is 257, expected 0 to 256");
  manifest.calls_max = 1;
  manifest.access_modes = 1;
  EXPECT_EQ(Check(), "manifest.access_modes is 0x00000001, expected some of the bits 0x000000fe");
  manifest.access_modes = 2;
  manifest.version = {nullptr, 3};
  EXPECT_EQ(Check(), "manifest.version is NULL with a length of 3, expected a string");
  manifest.version = {};
  manifest.record_format_min = 2;
  EXPECT_EQ(Check(), "manifest.record_format_min is 2, expected at most record_format_max, 0");
}

TEST_F(CheckPluginTest, TakesATableOfALaterMinorThatIsLonger) {
  struct {
    gantry_plugin table;
    void* more;
  } longer{table, nullptr};
  longer.table.size = sizeof(longer);
  EXPECT_TRUE(CheckPlugin(&longer.table, nullptr));
}

TEST(LoadPlugin, CarriesTheLinkersReason) {
  const auto loaded = LoadPlugin("/nowhere/x.so");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, base::Code::kFailedPrecondition);
  EXPECT_NE(loaded.error().message.find("No such file"), std::string::npos)
      << loaded.error().message;
}

}  // namespace
}  // namespace gantry::worker
