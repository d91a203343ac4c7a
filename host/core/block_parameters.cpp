// SPDX-License-Identifier: Apache-2.0
#include "host/core/block_parameters.hpp"

namespace gantry::core {

base::Result<BlockParameters> ReadBlockParameters(const TextMap& from, const char* field) {
  BlockParameters parameters;
  if (const auto found = from.find(kMkfsOptionsParameter); found != from.end()) {
    if (found->second.size() > kMkfsOptionsBytesMax)
      return base::Fail(base::Code::kInvalidArgument,
                        std::string(field) + "." + kMkfsOptionsParameter + ": " +
                            std::to_string(found->second.size()) + " bytes, expected at most " +
                            std::to_string(kMkfsOptionsBytesMax));
    parameters.mkfs_options = found->second;
  }
  if (const auto found = from.find(kEncryptedParameter); found != from.end()) {
    if (found->second != "true" && found->second != "false")
      return base::Fail(base::Code::kInvalidArgument,
                        std::string(field) + "." + kEncryptedParameter + ": \"" +
                            found->second.substr(0, 64) + "\": expected \"true\" or \"false\"");
    parameters.encrypted = found->second == "true";
  }
  return parameters;
}

void CopyBlockParameters(const TextMap& parameters, TextMap* context) {
  for (const char* key : {kMkfsOptionsParameter, kEncryptedParameter})
    if (const auto found = parameters.find(key); found != parameters.end())
      context->insert({key, found->second});
}

}  // namespace gantry::core
