// SPDX-License-Identifier: Apache-2.0
// The dashboard of deploy/grafana asks only for what is measured, and for all that a backend does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/admin/metrics.hpp"
#include "host/base/file.hpp"

namespace gantry::admin {
namespace {

// Every family, each with a value.
std::set<std::string> AllFamilies() {
  MetricSources sources;
  sources.version = "1";
  sources.backends = [] {
    core::BackendStatus backend;
    backend.name = "a";
    backend.generations.resize(1);
    backend.deaths_by_signal["SIGSEGV"] = 1;
    backend.swap_steps_total["canary"] = 1;
    return std::vector{backend};
  };
  sources.tasks = [] { return std::vector<core::TaskStatus>(1); };
  sources.plugin_counters = [] { return std::map<std::string, PluginCounters>{{"a", {{"b", 1}}}}; };
  sources.plugin_counters_dropped = [] { return uint64_t{0}; };
  sources.stuck_helpers = [] { return size_t{0}; };
  sources.log_lines_dropped = [] { return uint64_t{0}; };
  sources.ready = [] { return true; };
  Metrics metrics(std::move(sources));
  metrics.Began("M");
  metrics.Ended({"M", "a", base::Code::kOk, {}});
  std::set<std::string> names;
  for (const auto& family : metrics.Collect()) names.insert(family.name);
  return names;
}

void ForEachExpression(const nlohmann::json& value,
                       const std::function<void(const std::string&)>& visit) {
  if (value.is_object())
    for (const auto& [key, child] : value.items()) {
      if ((key == "expr" || key == "query") && child.is_string()) visit(child);
      ForEachExpression(child, visit);
    }
  if (value.is_array())
    for (const auto& child : value) ForEachExpression(child, visit);
}

// The words of an expression that name metrics of ours.
std::vector<std::string> MetricNames(std::string_view expression) {
  constexpr std::string_view kWord =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  std::vector<std::string> names;
  for (size_t at = expression.find_first_of(kWord); at != std::string_view::npos;
       at = expression.find_first_of(kWord, at)) {
    const size_t end = std::min(expression.find_first_not_of(kWord, at), expression.size());
    const std::string_view word = expression.substr(at, end - at);
    if (word.starts_with("gantry_") || word.starts_with("process_")) names.emplace_back(word);
    at = end;
  }
  return names;
}

TEST(Dashboard, NamesOnlyMetricsThatExistAndAllThatTellOfBackends) {
  const char* source = std::getenv("GANTRY_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "GANTRY_SOURCE_DIR is not set";
  constexpr size_t kDashboardBytesMax = 1 << 20;
  const auto text = base::ReadFile(std::filesystem::path(source) / "deploy/grafana/gantry.json",
                                   kDashboardBytesMax);
  ASSERT_TRUE(text) << text.error().message;
  const auto dashboard = nlohmann::json::parse(*text, nullptr, false);
  ASSERT_TRUE(dashboard.is_object());
  const auto families = AllFamilies();
  std::set<std::string> used;
  ForEachExpression(dashboard, [&](const std::string& expression) {
    for (std::string family : MetricNames(expression)) {
      for (const std::string suffix : {"_bucket", "_sum", "_count"})
        if (family.ends_with(suffix) && !families.contains(family))
          family.resize(family.size() - suffix.size());
      EXPECT_TRUE(families.contains(family)) << expression;
      used.insert(family);
    }
  });
  for (const auto& family : families) {
    const bool must_be_shown =
        family.starts_with("gantry_backend") || family.starts_with("gantry_worker") ||
        family.starts_with("gantry_csi") || family.starts_with("gantry_swap");
    EXPECT_TRUE(!must_be_shown || used.contains(family)) << family << " is shown nowhere";
  }
}

}  // namespace
}  // namespace gantry::admin
