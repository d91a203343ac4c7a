// SPDX-License-Identifier: Apache-2.0
// Opening a volume to a node, and closing it so that none of the node's writes can land any more.
// What a node needs to know of the LUN goes with the publish context, because it may differ from one
// publish to the next (a volume that was grown, portals that were configured anew); nothing secret
// is in it (chap.hpp).
#include <algorithm>

#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/backend/publish_context.hpp"
#include "plugins/iscsi/backend/static_lun.hpp"
#include "plugins/iscsi/chap/chap.hpp"

namespace gantry::iscsi {
namespace {

namespace code = plugin::code;
using plugin::Result;

// CSI spec, ControllerPublishVolume: these modes let no second node have the volume.
bool IsSingleNode(int32_t mode) {
  return mode == GANTRY_SINGLE_NODE_WRITER || mode == GANTRY_SINGLE_NODE_READER_ONLY ||
         mode == GANTRY_SINGLE_NODE_SINGLE_WRITER || mode == GANTRY_SINGLE_NODE_MULTI_WRITER;
}

bool IsReaderOnly(int32_t mode) {
  return mode == GANTRY_SINGLE_NODE_READER_ONLY || mode == GANTRY_MULTI_NODE_READER_ONLY;
}

}  // namespace

Result<std::optional<target::Chap>> IscsiBackend::ChapFor(Call& call, ChapMode mode,
                                                          const std::string& handle,
                                                          const std::string& incarnation,
                                                          const std::string& node_id) {
  if (mode == ChapMode::kNone) return std::nullopt;
  const auto key = call.Secret(kChapKeySecret);
  if (!key)
    return plugin::Fail(code::kInvalidArgument,
                        "secrets[\"" + std::string(kChapKeySecret) +
                            "\"] is missing; expected the key that the StorageClass names for "
                            "controller-publish and node-stage, since the backend has chap " +
                            std::string(NameOf(mode)));
  GANTRY_PLUGIN_TRY_ASSIGN(
      auto secrets, DeriveChap(*key, {handle, incarnation, node_id}, mode == ChapMode::kMutual));
  target::Chap chap;
  chap.user = secrets.user;
  chap.password = secrets.password;
  chap.user_in = secrets.user_in;
  chap.password_in = secrets.password_in;
  return chap;
}

Status IscsiBackend::PublishVolume(Call& call, const gantry_publish_volume& request) {
  const std::string handle = ToString(request.handle);
  if (config_.fixed) {
    // Nothing is to be opened: whoever made the LUN has said which nodes may have it.
    const auto lun = ParseStaticLun(config_, ToMap(request.context));
    return lun ? Ok() : ToStatus(lun.error());
  }
  if (!plugin::IsKey(handle)) return Refuse(code::kNotFound, "there is no volume " + handle);
  const auto context = ToMap(request.context);
  target::PublishVolume operation;
  operation.handle = handle;
  if (const auto found = context.find("incarnation"); found != context.end())
    operation.incarnation = found->second;
  operation.node_id = ToString(request.node_id);
  operation.initiator = InitiatorName(config_.initiator_prefix, operation.node_id);
  operation.readonly = request.readonly != 0 || IsReaderOnly(request.capability.access_mode);
  operation.single_node = IsSingleNode(request.capability.access_mode);
  auto chap = ChapFor(call, config_.chap, handle, operation.incarnation, operation.node_id);
  if (!chap) return ToStatus(chap.error());
  operation.chap = std::move(*chap);
  const auto published = Ask(call, operation);
  if (operation.chap) target::Wipe(&*operation.chap);
  if (!published) return ToStatus(published.error());

  PublishContext out;
  out.portals = config_.portals;
  if (out.portals.empty())
    for (const auto& portal : published->portals) out.portals.push_back(FormatPortal(portal));
  out.iqn = published->iqn;
  out.lun = published->lun;
  out.initiator = operation.initiator;
  out.identity = published->identity.naa;
  out.size_bytes = published->size_bytes;
  out.chap = config_.chap;
  out.readonly = operation.readonly;
  out.several_write = !operation.single_node && !operation.readonly;
  out.may_format = published->never_written;
  call.EmitPublishContext(Encode(out));
  return Ok();
}

Status IscsiBackend::UnpublishVolume(Call& call, const gantry_publish_volume& request) {
  const std::string handle = ToString(request.handle);
  // The fence of a static LUN is the reservation that the next node takes.
  if (config_.fixed) return Ok();
  if (!plugin::IsKey(handle)) return Ok();  // None of ours ever looked like that.
  target::UnpublishVolume operation;
  operation.handle = handle;
  operation.node_id = ToString(request.node_id);
  const auto fenced = Ask(call, operation);
  if (!fenced) return ToStatus(fenced.error());
  return Ok();
}

}  // namespace gantry::iscsi
