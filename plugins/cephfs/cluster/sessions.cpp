// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/sessions.hpp"

#include <cephfs/libcephfs.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "plugins/cephfs/cluster/ceph_error.hpp"

namespace gantry::cephfs {
namespace {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

// Until the process ends: unmounting can block for ever.
class Client {
 public:
  int Open(const EvictRequest& request) {
    if (const int failed = ceph_create(&mount_, request.user.c_str()); failed != 0) return failed;
    for (const auto& [name, value] :
         {std::pair{"mon_host", request.mon_host}, std::pair{"key", request.key},
          std::pair{"keyring", std::string("/dev/null")}, std::pair{"log_file", std::string()},
          std::pair{"log_to_stderr", std::string("false")},
          std::pair{"err_to_stderr", std::string("false")},
          std::pair{"admin_socket", std::string()},
          std::pair{"client_mount_timeout", std::to_string(request.timeout_s)}})
      if (const int failed = ceph_conf_set(mount_, name, value.c_str()); failed != 0) return failed;
    if (const int failed = ceph_select_filesystem(mount_, request.fs_name.c_str()); failed != 0)
      return failed;
    return ceph_init(mount_);
  }

  // To the MDS of one rank of the filesystem.
  Result<json> Ask(const std::string& mds, const json& command) {
    const std::string text = command.dump();
    const char* words = text.c_str();
    char* out = nullptr;
    char* said = nullptr;
    size_t out_length = 0;
    size_t said_length = 0;
    const int number = ceph_mds_command(mount_, mds.c_str(), &words, 1, "", 0, &out, &out_length,
                                        &said, &said_length);
    const std::string answer = out == nullptr ? "" : std::string(out, out_length);
    const std::string complaint = said == nullptr ? "" : std::string(said, said_length);
    ceph_buffer_free(out);
    ceph_buffer_free(said);
    const std::string what = command.value("prefix", "") + " at mds." + mds;
    if (number != 0) return tl::unexpected(FromErrno(number, what, complaint));
    json parsed = json::parse(answer, nullptr, false);
    if (parsed.is_discarded()) return json::array();  // An eviction answers nothing.
    return parsed;
  }

 private:
  ceph_mount_info* mount_ = nullptr;
};

std::string AddressOf(const json& session) {
  const json addr = session.value("entity", json::object()).value("addr", json::object());
  return addr.value("addr", "") + "/" + std::to_string(addr.value("nonce", uint64_t{0}));
}

}  // namespace

std::string Encode(const EvictRequest& request) {
  return json{{"mon_host", request.mon_host},
              {"user", request.user},
              {"key", request.key},
              {"fs_name", request.fs_name},
              {"entity", request.entity},
              {"timeout_s", request.timeout_s},
              {"mds", request.mds}}
      .dump();
}

Result<EvictRequest> DecodeEvictRequest(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Fail(code::kInvalidArgument, "the job's input is no JSON object");
  EvictRequest request;
  request.mon_host = object.value("mon_host", "");
  request.user = object.value("user", "");
  request.key = object.value("key", "");
  request.fs_name = object.value("fs_name", "");
  request.entity = object.value("entity", "");
  request.timeout_s = object.value("timeout_s", 0);
  request.mds = object.value("mds", std::vector<std::string>());
  if (request.entity.empty()) return Fail(code::kInvalidArgument, "the job's entity is missing");
  return request;
}

std::string EncodeAddresses(const std::vector<std::string>& addresses) {
  return json(addresses).dump();
}

Result<std::vector<std::string>> DecodeAddresses(std::string_view text) {
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return Fail(code::kInternal, "the job's output is no JSON list");
  std::vector<std::string> addresses;
  for (const auto& item : list)
    addresses.push_back(item.is_string() ? item.get<std::string>() : "");
  return addresses;
}

Result<std::vector<std::string>> EvictSessions(const EvictRequest& request) {
  Client client;
  if (const int failed = client.Open(request); failed != 0)
    return tl::unexpected(FromErrno(failed, "connecting to the cluster"));
  std::vector<std::string> addresses;
  for (const auto& mds : request.mds) {
    GANTRY_PLUGIN_TRY_ASSIGN(const json sessions,
                             client.Ask(mds, {{"prefix", "session ls"}, {"format", "json"}}));
    for (const auto& session : sessions) {
      const json metadata = session.value("client_metadata", json::object());
      if (metadata.value("entity_id", "") != request.entity) continue;
      const std::string filter = "id=" + std::to_string(session.value("id", uint64_t{0}));
      const json evict = {
          {"prefix", "session evict"}, {"filters", json::array({filter})}, {"format", "json"}};
      GANTRY_PLUGIN_TRY(client.Ask(mds, evict));
      addresses.push_back(AddressOf(session));
    }
  }
  return addresses;
}

}  // namespace gantry::cephfs
