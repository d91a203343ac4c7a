// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/look.hpp"

#include <charconv>

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

namespace {

// None: there is no such snapshot.
Result<std::optional<int64_t>> CutOf(ThrowawayClient* client, const std::string& snapshot) {
  const auto text = client->Attribute("/.snap/" + snapshot, "ceph.snap.btime");
  if (!text && text.error().code == code::kNotFound) return std::nullopt;
  if (!text) return tl::unexpected(text.error());
  auto cut = ParseSeconds(text->value_or(""));
  if (!cut)
    return Fail(code::kUnavailable, "ceph.snap.btime of snapshot " + snapshot + " is \"" +
                                        text->value_or("") + "\"; expected seconds since 1970");
  return cut;
}

}  // namespace

std::string Encode(const LookRequest& request) {
  json object = {{"path", request.path}, {"snapshot", request.snapshot}};
  AddIdentity(request.as, &object);
  return object.dump();
}

Result<LookRequest> DecodeLookRequest(std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, ParseJobInput(text));
  LookRequest request{IdentityFrom(object), object.value("path", ""), object.value("snapshot", "")};
  if (request.path.empty()) return Fail(code::kInvalidArgument, "the job's path is missing");
  return request;
}

std::string Encode(const Look& look) {
  json object = {{"there", look.there}, {"used_bytes", look.used_bytes}};
  if (look.quota_bytes) object["quota_bytes"] = *look.quota_bytes;
  if (look.snapshot_cut_ns) object["snapshot_cut_ns"] = *look.snapshot_cut_ns;
  return object.dump();
}

Result<Look> DecodeLook(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Fail(code::kInternal, "the job's output is no JSON object");
  Look look;
  look.there = object.value("there", false);
  look.used_bytes = object.value("used_bytes", uint64_t{0});
  if (object.contains("quota_bytes")) look.quota_bytes = object.value("quota_bytes", uint64_t{0});
  if (object.contains("snapshot_cut_ns"))
    look.snapshot_cut_ns = object.value("snapshot_cut_ns", int64_t{0});
  return look;
}

std::optional<int64_t> ParseSeconds(std::string_view text) {
  constexpr size_t kFractionDigits = 9;
  const char* const end = text.data() + text.size();
  int64_t seconds = 0;
  int64_t fraction = 0;
  const auto whole = std::from_chars(text.data(), end, seconds);
  if (whole.ec != std::errc() || whole.ptr + 1 + kFractionDigits != end || *whole.ptr != '.')
    return std::nullopt;
  const auto rest = std::from_chars(whole.ptr + 1, end, fraction);
  if (rest.ec != std::errc() || rest.ptr != end || fraction < 0) return std::nullopt;
  return seconds * 1'000'000'000 + fraction;
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
  Result<std::optional<int64_t>> cut = std::nullopt;
  if (!request.snapshot.empty()) cut = CutOf(&client, request.snapshot);
  client.Unmount();
  if (!cut) return tl::unexpected(cut.error());
  look.snapshot_cut_ns = *cut;
  return look;
}

}  // namespace gantry::cephfs
