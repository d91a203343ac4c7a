// SPDX-License-Identifier: Apache-2.0
#include "host/admin/reload.hpp"

#include <gtest/gtest.h>

namespace gantry::admin {
namespace {

core::Config Config() {
  core::Config config;
  config.plugin_directory = "/plugins";
  for (const char* name : {"a", "b"}) {
    auto& backend = config.backends[name];
    backend.name = name;
    backend.plugin = "nfs";
    backend.uid = 61001;
    backend.config_json = "{}";
  }
  config.drivers = {{"d", "unix:///d.sock", {"a", "b"}, "a", {}}};
  return config;
}

TEST(Reload, OfTheSameChangesNothing) {
  EXPECT_EQ(PlanChange(Config(), Config()).changes_size(), 0);
  EXPECT_TRUE(SwapsFor(Config(), Config()).empty());
}

TEST(Reload, SwapsABackendWhosePluginOrConfigurationChanged) {
  auto next = Config();
  next.backends["a"].config_json = "{\"x\":1}";
  next.backends["b"].plugin = "nfs2";
  const auto plan = PlanChange(Config(), next);
  ASSERT_EQ(plan.changes_size(), 2);
  EXPECT_EQ(plan.changes(0).key(), "backends.a.config");
  EXPECT_TRUE(plan.changes(0).by_swap());
  EXPECT_EQ(plan.changes(1).key(), "backends.b.plugin");
  EXPECT_FALSE(plan.needs_restart());
  const auto swaps = SwapsFor(Config(), next);
  ASSERT_EQ(swaps.size(), 2u);
  EXPECT_EQ(swaps[0].config_json, "{\"x\":1}");
  EXPECT_EQ(swaps[0].plugin_file, std::nullopt);
  EXPECT_EQ(swaps[1].config_json, std::nullopt);
  EXPECT_EQ(swaps[1].plugin_file, "/plugins/nfs2.so");
}

TEST(Reload, NeedsARestartForEverythingElse) {
  const auto needs = [](auto&& change) {
    auto next = Config();
    change(next);
    const auto plan = PlanChange(Config(), next);
    return plan.needs_restart() ? plan.changes(0).key() : "nothing";
  };
  EXPECT_EQ(needs([](auto& c) { c.backends["a"].uid = 5; }), "backends.a.uid");
  EXPECT_EQ(needs([](auto& c) { c.backends["a"].grants.userspace = true; }), "backends.a.grants");
  EXPECT_EQ(needs([](auto& c) { c.backends["a"].credentials["k"] = "/k"; }),
            "backends.a.credentials");
  EXPECT_EQ(needs([](auto& c) { c.backends.erase("b"); }), "backends.b");
  EXPECT_EQ(needs([](auto& c) { c.backends["c"] = c.backends["a"]; }), "backends.c");
  EXPECT_EQ(needs([](auto& c) { c.drivers[0].endpoint = "unix:///e.sock"; }), "drivers");
  EXPECT_EQ(needs([](auto& c) { c.log.json = true; }), "log");
  EXPECT_EQ(needs([](auto& c) { c.kubelet_directory = "/k"; }), "kubelet_directory");
}

}  // namespace
}  // namespace gantry::admin
