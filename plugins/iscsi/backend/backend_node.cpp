// SPDX-License-Identifier: Apache-2.0
// The node's half of the iSCSI backend: how a LUN is reached, by whom it is known, and what it has to
// prove to be.
#include <map>
#include <string>

#include "plugins/common/json_config.hpp"
#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/backend/publish_context.hpp"

namespace gantry::iscsi {
namespace {

namespace code = plugin::code;
using plugin::Result;

std::string Find(const std::map<std::string, std::string>& context, const std::string& key,
                 const std::string& otherwise) {
  const auto found = context.find(key);
  return found == context.end() ? otherwise : found->second;
}

// As plugins/iscsi/datapath/options.hpp describes them.
std::map<std::string, std::string> DiskParameters(const PublishContext& publish,
                                                  const std::map<std::string, std::string>& volume,
                                                  const std::string& handle,
                                                  const std::string& node_id) {
  const std::string timeout = Find(volume, "ioTimeoutSeconds", "0");
  std::map<std::string, std::string> parameters = {
      {"portals", plugin::JoinNames(publish.portals, ",")},
      {"target", publish.iqn},
      {"lun", std::to_string(publish.lun)},
      {"initiator", publish.initiator},
      {"chap", std::string(NameOf(publish.chap))},
      {"ioTimeoutSeconds", timeout == "0" ? "wait" : timeout},
      {"fence", publish.several_write ? "none" : "reservation"}};
  if (publish.chap != ChapMode::kNone) {
    parameters["chapHandle"] = handle;
    parameters["chapIncarnation"] = Find(volume, "incarnation", "");
    parameters["chapNode"] = node_id;
  }
  return parameters;
}

}  // namespace

Status IscsiBackend::EmitSource(Call& call, const gantry_attach& request) const {
  const auto publish = DecodePublishContext(ToMap(request.publish_context));
  if (!publish) return ToStatus(publish.error());
  const auto volume = ToMap(request.context);
  const auto mounter = ParseMounter(Find(volume, "mounter", "userspace"));
  if (mounter != Mounter::kUserspace)
    return Refuse(code::kInvalidArgument, "volume_context[\"mounter\"] is \"" +
                                              Find(volume, "mounter", "") +
                                              "\"; expected userspace");
  const auto parameters =
      DiskParameters(*publish, volume, ToString(request.handle), ToString(request.node_id));
  const MapRef map(parameters);
  gantry_source source{};
  source.kind = GANTRY_SOURCE_DISK;
  source.identity = ToStr(publish->identity);
  source.size_bytes = publish->size_bytes;
  source.flags = publish->may_format ? GANTRY_SOURCE_MAY_FORMAT : 0;
  source.parameters = map.get();
  call.Emit(source);
  return Ok();
}

Status IscsiBackend::Attach(Call& call, const gantry_attach& request) {
  if (config_.fixed) return EmitStaticSource(call, request);
  return EmitSource(call, request);
}

// The data path asks the target itself; which disk it is has not changed.
Status IscsiBackend::Rescan(Call& call, const gantry_attach& request) {
  if (config_.fixed) return Ok();  // Asked by the data path, which has the secrets.
  return EmitSource(call, request);
}

}  // namespace gantry::iscsi
