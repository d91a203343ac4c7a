// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/sessions.hpp"

#include <nlohmann/json.hpp>

namespace gantry::cephfs {
namespace {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

std::string AddressOf(const json& session) {
  const json addr = session.value("entity", json::object()).value("addr", json::object());
  return addr.value("addr", "") + "/" + std::to_string(addr.value("nonce", uint64_t{0}));
}

}  // namespace

std::string Encode(const EvictRequest& request) {
  json object = {{"entity", request.entity}, {"mds", request.mds}};
  AddIdentity(request.as, &object);
  return object.dump();
}

Result<EvictRequest> DecodeEvictRequest(std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, ParseJobInput(text));
  EvictRequest request;
  request.as = IdentityFrom(object);
  request.entity = object.value("entity", "");
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
  ThrowawayClient client;
  GANTRY_PLUGIN_TRY(client.Open(request.as));
  std::vector<std::string> addresses;
  for (const auto& mds : request.mds) {
    // By the name that the monitors have proved; what a client tells of itself it may have made up.
    const json list = {{"prefix", "session ls"},
                       {"filters", json::array({"auth_name=" + request.entity})},
                       {"format", "json"}};
    GANTRY_PLUGIN_TRY_ASSIGN(const json sessions, client.AskMds(mds, list));
    for (const auto& session : sessions) {
      const std::string filter = "id=" + std::to_string(session.value("id", uint64_t{0}));
      const json evict = {
          {"prefix", "session evict"}, {"filters", json::array({filter})}, {"format", "json"}};
      GANTRY_PLUGIN_TRY(client.AskMds(mds, evict));
      addresses.push_back(AddressOf(session));
    }
  }
  return addresses;
}

}  // namespace gantry::cephfs
