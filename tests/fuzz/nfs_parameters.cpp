// SPDX-License-Identifier: Apache-2.0
// What the NFS plugin is told: its configuration, a StorageClass's parameters, a pod's mount flags,
// the options of a data path.
//
// Input: which of them on a line; "config" is followed by JSON, the others by key=value lines
// (flags: a flag a line).
#include <map>
#include <vector>

#include "plugins/nfs/config.hpp"
#include "plugins/nfs/datapath/options.hpp"
#include "plugins/nfs/mount_flags.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

constexpr const char* kConfig =
    R"({"shares": [{"server": "nas", "share": "/x"}, {"server": "nas", "share": "/y", "port": 2049}]})";

void Configuration(std::string_view json) {
  const auto config = nfs::ParseConfig(json);
  if (!config) {
    GANTRY_FUZZ_EXPECT(config.error().code == plugin::code::kInvalidArgument);
    return;
  }
  GANTRY_FUZZ_EXPECT(!config->shares.empty() && config->shares.size() <= nfs::kSharesMax);
  GANTRY_FUZZ_EXPECT(config->timeout.count() >= 1 &&
                     config->timeout.count() <= nfs::kTimeoutSecondsMax);
  GANTRY_FUZZ_EXPECT(config->connections_max >= 1 &&
                     config->connections_max <= nfs::kConnectionsOfShareMax);
  GANTRY_FUZZ_EXPECT(config->default_mode <= 07777 && config->uid != UINT32_MAX);
  for (size_t i = 0; i < config->shares.size(); ++i) {
    const auto& share = config->shares[i];
    GANTRY_FUZZ_EXPECT(share.share.starts_with('/') && share.id.size() == 8);
    GANTRY_FUZZ_EXPECT((share.share + "/").find("/../") == std::string::npos);
    GANTRY_FUZZ_EXPECT(i == 0 || config->shares[i - 1].id < share.id, "lists are in this order");
    // A StorageClass names it so.
    const auto found = nfs::FindShare(*config, {{"server", share.server}, {"share", share.share}});
    GANTRY_FUZZ_EXPECT(found && *found == &share);
  }
}

void Parameters(const std::map<std::string, std::string>& given) {
  static const auto config = nfs::ParseConfig(kConfig);
  const auto parameters = nfs::ParseParameters(*config, given);
  if (!parameters) {
    GANTRY_FUZZ_EXPECT(parameters.error().code == plugin::code::kInvalidArgument,
                       parameters.error().message);
    return;
  }
  GANTRY_FUZZ_EXPECT(parameters->share != nullptr);
  GANTRY_FUZZ_EXPECT(!parameters->mode || *parameters->mode <= 07777);
  GANTRY_FUZZ_EXPECT(parameters->uid != UINT32_MAX && parameters->gid != UINT32_MAX);
  // One spelling: what a volume is compared by reads as itself.
  const auto again = nfs::ParseParameters(*config, parameters->durable);
  GANTRY_FUZZ_EXPECT(again.has_value(), again ? "" : again.error().message);
  GANTRY_FUZZ_EXPECT(again->durable == parameters->durable && again->mode == parameters->mode &&
                     again->uid == parameters->uid && again->disposal == parameters->disposal);
}

void Flags(const std::vector<std::string_view>& flags) {
  static const auto config = nfs::ParseConfig(kConfig);
  const auto judged = nfs::JudgeMountFlags(flags, config->shares.front(), false);
  if (!judged) {
    GANTRY_FUZZ_EXPECT(judged.error().code == plugin::code::kInvalidArgument);
    return;
  }
  GANTRY_FUZZ_EXPECT(judged->soft_timeout_seconds <= nfs::kSoftTimeoutSecondsMax);
}

void Options(const std::map<std::string, std::string>& given) {
  std::vector<gantry_pair> pairs;
  for (const auto& [key, value] : given)
    pairs.push_back({{key.data(), key.size()}, {value.data(), value.size()}});
  const auto options = nfs::ParseOptions({pairs.data(), pairs.size()});
  if (!options) {
    GANTRY_FUZZ_EXPECT(options.error().failure == nfs::Failure::kInvalid);
    return;
  }
  GANTRY_FUZZ_EXPECT(options->server.export_path.starts_with('/'));
  GANTRY_FUZZ_EXPECT(options->path.size() <= nfs::kPathDepthMax);
  for (const auto& name : options->path)
    GANTRY_FUZZ_EXPECT(!name.empty() && name != "." && name != ".." &&
                       name.size() <= nfs::kNameBytesMax && name.find('/') == std::string::npos);
  GANTRY_FUZZ_EXPECT(!options->timeout || options->timeout->count() <= nfs::kSoftTimeoutSecondsMax);
  GANTRY_FUZZ_EXPECT(!options->fixed || options->fixed->uid != UINT32_MAX);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto kind = input.Line();
  if (kind == "config") Configuration(input.Rest());
  std::vector<std::string_view> lines;
  std::map<std::string, std::string> pairs;
  while (!input.empty()) {
    const auto line = input.Line();
    lines.push_back(line);
    const auto key = line.substr(0, line.find('='));
    pairs.emplace(key, line.substr(std::min(key.size() + 1, line.size())));
  }
  if (kind == "parameters") Parameters(pairs);
  if (kind == "flags") Flags(lines);
  if (kind == "options") Options(pairs);
  return 0;
}
