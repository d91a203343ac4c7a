// SPDX-License-Identifier: Apache-2.0
// The configuration file.
#include "host/core/config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/core/ids.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

void ExpectPath(const std::filesystem::path& path) {
  GANTRY_FUZZ_EXPECT(path.is_absolute(), path.string());
  GANTRY_FUZZ_EXPECT(path == path.lexically_normal(), path.string());
  GANTRY_FUZZ_EXPECT(path.native().find('\0') == std::string::npos, path.string());
}

void ExpectTrust(const trust::Policy& policy) {
  GANTRY_FUZZ_EXPECT(policy.any || !policy.digests.empty() || !policy.keys.empty());
  for (const auto& key : policy.keys) ExpectPath(key);
}

void ExpectBackend(const core::BackendConfig& backend) {
  GANTRY_FUZZ_EXPECT(core::IsBackendName(backend.name));
  GANTRY_FUZZ_EXPECT(core::IsBackendName(backend.plugin));
  GANTRY_FUZZ_EXPECT(backend.uid != 0 && backend.gid != 0 && backend.uid != UINT32_MAX);
  const auto json = nlohmann::json::parse(backend.config_json, nullptr, false);
  GANTRY_FUZZ_EXPECT(json.is_object(), backend.config_json);
  for (const auto& [name, file] : backend.credentials) ExpectPath(file);
  for (const auto& [name, helper] : backend.grants.helpers) ExpectPath(helper.program);
  ExpectTrust(backend.trust);
  GANTRY_FUZZ_EXPECT(backend.stuck.age_max >= backend.stuck.grace);
  GANTRY_FUZZ_EXPECT(backend.limits.memory_mib >= wire::kMemoryMibMin &&
                     backend.limits.memory_mib <= wire::kMemoryMibMax);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = core::ParseConfig(text, "gantry.yaml");
  if (!config) {
    GANTRY_FUZZ_EXPECT(config.error().code == base::Code::kInvalidArgument);
    GANTRY_FUZZ_EXPECT(config.error().message.find("gantry.yaml:") != std::string::npos,
                       config.error().message);
    return 0;
  }
  constexpr size_t kSunPathBytesMax = 107;
  for (const auto* path :
       {&config->state_directory, &config->plugin_directory, &config->kubelet_directory,
        &config->keeper_socket, &config->admin_socket, &config->cgroup.root})
    ExpectPath(*path);
  for (const auto* path : {&config->keeper_socket, &config->admin_socket})
    GANTRY_FUZZ_EXPECT(path->native().size() <= kSunPathBytesMax, path->string());
  GANTRY_FUZZ_EXPECT(config->cgroup.path.native().find('\0') == std::string::npos);
  GANTRY_FUZZ_EXPECT(!config->node_id.empty() && config->node_id.size() <= 128);
  ExpectTrust(config->trust);
  for (const auto& [name, backend] : config->backends) {
    GANTRY_FUZZ_EXPECT(name == backend.name);
    ExpectBackend(backend);
  }
  GANTRY_FUZZ_EXPECT(!config->drivers.empty());
  for (const auto& driver : config->drivers) {
    GANTRY_FUZZ_EXPECT(driver.endpoint.find('\0') == std::string::npos);
    for (const auto& name : driver.backends) GANTRY_FUZZ_EXPECT(config->backends.contains(name));
    GANTRY_FUZZ_EXPECT(std::find(driver.backends.begin(), driver.backends.end(),
                                 driver.default_backend) != driver.backends.end());
  }
  GANTRY_FUZZ_EXPECT(core::ParseConfig(text, "gantry.yaml") == *config);
  return 0;
}
