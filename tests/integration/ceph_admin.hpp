// SPDX-License-Identifier: Apache-2.0
// A cluster's administrator, by its libraries: a command is a few milliseconds, where the command line
// takes half a second, and in an emulated machine a minute.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/lab/ceph.hpp"

namespace gantry::tests {

// Throws std::runtime_error with what the cluster said.
class CephAdmin {
 public:
  explicit CephAdmin(const lab::Ceph& cluster);
  CephAdmin(const CephAdmin&) = delete;
  ~CephAdmin();

  // {"prefix": "fs subvolume create", ...}; what the command wrote, without blanks around it.
  std::string Manager(const nlohmann::json& command);
  std::string Monitor(const nlohmann::json& command);
  std::string MetadataServer(const nlohmann::json& command);

 private:
  struct Connections;
  const std::unique_ptr<Connections> connections_;
};

}  // namespace gantry::tests
