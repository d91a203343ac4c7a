// SPDX-License-Identifier: Apache-2.0
// The CephFS backend: volumes are subvolumes that the cluster's manager makes (its volumes module),
// and what there is to know about them are records in the cluster (records.hpp). On a node it says
// where the directory is.
#pragma once

#include <gantry/gantry.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/cephfs/backend/config.hpp"

namespace gantry::cephfs {

inline constexpr uint32_t kRecordFormat = 1;

Status ToStatus(const plugin::Error& error);
Status Refuse(gantry_code code, std::string message);

class CephfsBackend {
 public:
  static gantry::Made<CephfsBackend> Create(const gantry::Host& host, const gantry_create& request);

  Status Probe(Call& call);

 private:
  CephfsBackend(Config config, std::string owner);

  const Config config_;
  const std::string owner_;
};

}  // namespace gantry::cephfs
