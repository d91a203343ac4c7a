// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/look.hpp"

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

std::string Encode(const LookRequest& request) {
  json object = {{"path", request.path}};
  AddIdentity(request.as, &object);
  return object.dump();
}

Result<LookRequest> DecodeLookRequest(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Fail(code::kInvalidArgument, "the job's input is no JSON object");
  LookRequest request{IdentityFrom(object), object.value("path", "")};
  if (request.path.empty()) return Fail(code::kInvalidArgument, "the job's path is missing");
  return request;
}

std::string Encode(const Look& look) {
  json object = {{"there", look.there}, {"used_bytes", look.used_bytes}};
  if (look.quota_bytes) object["quota_bytes"] = *look.quota_bytes;
  return object.dump();
}

Result<Look> DecodeLook(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Fail(code::kInternal, "the job's output is no JSON object");
  Look look;
  look.there = object.value("there", false);
  look.used_bytes = object.value("used_bytes", uint64_t{0});
  if (object.contains("quota_bytes")) look.quota_bytes = object.value("quota_bytes", uint64_t{0});
  return look;
}

Result<Look> LookAt(const LookRequest& request) {
  ThrowawayClient client;
  GANTRY_PLUGIN_TRY(client.Open(request.as));
  Look look;
  if (const auto mounted = client.Mount(request.path); !mounted) {
    if (mounted.error().code == code::kNotFound) return look;
    return tl::unexpected(mounted.error());
  }
  look.there = true;
  // Where there is no quota, libcephfs has no such attribute or says 0.
  look.quota_bytes = client.Number("ceph.quota.max_bytes");
  if (look.quota_bytes == 0) look.quota_bytes.reset();
  look.used_bytes = client.Number("ceph.dir.rbytes").value_or(0);
  client.Unmount();
  return look;
}

}  // namespace gantry::cephfs
