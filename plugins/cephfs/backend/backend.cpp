// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/backend.hpp"

#include <utility>

namespace gantry::cephfs {

namespace code = plugin::code;

Status ToStatus(const plugin::Error& error) { return {error.code, error.message}; }

Status Refuse(gantry_code error_code, std::string message) {
  return {error_code, std::move(message)};
}

Made<CephfsBackend> CephfsBackend::Create(const Host& host, const gantry_create& request) {
  if (request.record_format > kRecordFormat || request.context_format > kContextFormat)
    return Refuse(code::kInvalidArgument,
                  "record_format and context_format are " + std::to_string(request.record_format) +
                      " and " + std::to_string(request.context_format) + "; expected 0 or 1");
  auto config = ParseConfig(View(request.config_json));
  if (!config) return ToStatus(config.error());
  std::unique_ptr<CephfsBackend> backend(
      new CephfsBackend(std::move(*config), ToString(request.owner)));
  if ((request.roles & GANTRY_ROLE_DATAPATH) != 0) {
    if (auto opened = backend->OpenDataPath(host, request); !opened.ok()) return opened;
  }
  return backend;
}

CephfsBackend::CephfsBackend(Config config, std::string owner)
    : config_(std::move(config)), owner_(std::move(owner)) {}

// Whether the cluster answers is its volumes' business: a backend whose cluster is away answers so.
Status CephfsBackend::Probe(Call&) { return Ok(); }

}  // namespace gantry::cephfs
