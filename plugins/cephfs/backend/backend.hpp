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
#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {

inline constexpr uint32_t kRecordFormat = 1;

Status ToStatus(const plugin::Error& error);
Status Refuse(gantry_code code, std::string message);

class CephfsBackend {
 public:
  static gantry::Made<CephfsBackend> Create(const gantry::Host& host, const gantry_create& request);

  // gantry.datapath/1, in a process of one volume's own (backend_node.cpp).
  static const gantry_datapath* DataPath();
  bool Offers(std::string_view extension) const;

  Status Probe(Call& call);

  Status Attach(Call& call, const gantry_attach& request);

 private:
  CephfsBackend(Config config, std::string owner);

  Status OpenDataPath(const gantry::Host& host, const gantry_create& request);
  static CephDataPath& DataPathOf(gantry_instance* instance);

  const Config config_;
  const std::string owner_;
  std::unique_ptr<CephDataPath> data_path_;  // only where the role asks for it
};

}  // namespace gantry::cephfs
