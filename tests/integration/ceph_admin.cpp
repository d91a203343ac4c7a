// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/ceph_admin.hpp"

#include <cephfs/libcephfs.h>
#include <rados/librados.h>

#include <stdexcept>

namespace gantry::tests {
namespace {

constexpr const char* kTimeoutSeconds = "60";

void Need(int result, const std::string& what, const std::string& said = {}) {
  if (result != 0) throw std::runtime_error(what + ": " + std::to_string(result) + " " + said);
}

// Runs one of the libraries' command functions, which all end alike.
template <class Run>
std::string Command(const nlohmann::json& command, Run&& run) {
  const std::string text = command.dump();
  const char* words[] = {text.c_str()};
  char* output = nullptr;
  size_t output_bytes = 0;
  char* status = nullptr;
  size_t status_bytes = 0;
  const int result = run(words, &output, &output_bytes, &status, &status_bytes);
  const auto take = [](char* buffer, size_t bytes) {
    std::string taken(buffer == nullptr ? "" : buffer, buffer == nullptr ? 0 : bytes);
    rados_buffer_free(buffer);
    return taken;
  };
  std::string written = take(output, output_bytes);
  Need(result, text, take(status, status_bytes));
  written.erase(written.find_last_not_of(" \n") + 1);
  written.erase(0, written.find_first_not_of(" \n"));
  return written;
}

}  // namespace

struct CephAdmin::Connections {
  rados_t rados = nullptr;
  ceph_mount_info* mds = nullptr;
};

CephAdmin::CephAdmin(const lab::Ceph& cluster) : connections_(std::make_unique<Connections>()) {
  auto& [rados, mds] = *connections_;
  Need(rados_create2(&rados, "ceph", "client.admin", 0), "rados_create2");
  Need(ceph_create(&mds, "admin"), "ceph_create");
  const std::pair<const char*, std::string> settings[] = {
      {"mon_host", cluster.monitor()},
      {"key", cluster.admin_key()},
      {"keyring", "/dev/null"},
      {"client_mount_timeout", kTimeoutSeconds}};
  for (const auto& [name, value] : settings) {
    Need(rados_conf_set(rados, name, value.c_str()), name);
    Need(ceph_conf_set(mds, name, value.c_str()), name);
  }
  Need(rados_connect(rados), "rados_connect");
  Need(ceph_init(mds), "ceph_init");
}

CephAdmin::~CephAdmin() {
  rados_shutdown(connections_->rados);
  (void)ceph_release(connections_->mds);
}

std::string CephAdmin::Manager(const nlohmann::json& command) {
  return Command(command, [&](const char** words, auto... results) {
    return rados_mgr_command(connections_->rados, words, 1, "", 0, results...);
  });
}

std::string CephAdmin::Monitor(const nlohmann::json& command) {
  return Command(command, [&](const char** words, auto... results) {
    return rados_mon_command(connections_->rados, words, 1, "", 0, results...);
  });
}

std::string CephAdmin::MetadataServer(const nlohmann::json& command) {
  return Command(command, [&](const char** words, auto... results) {
    return ceph_mds_command(connections_->mds, "*", words, 1, "", 0, results...);
  });
}

}  // namespace gantry::tests
