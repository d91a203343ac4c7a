// SPDX-License-Identifier: Apache-2.0
// The node's half of the iSCSI backend: how a LUN is reached, by whom it is known, and what it has to
// prove to be.
#include <algorithm>
#include <charconv>
#include <map>
#include <string>

#include "plugins/common/json_config.hpp"
#include "plugins/iscsi/backend/backend.hpp"
#include "plugins/iscsi/backend/publish_context.hpp"
#include "plugins/iscsi/scsi/portal.hpp"

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
      {"fence", publish.several_write ? "none" : "reservation"},
      // What a dead process has sent may still land where nothing fences it.
      {"takeOver", publish.several_write ? "false" : "true"}};
  if (publish.chap != ChapMode::kNone) {
    parameters["chapHandle"] = handle;
    parameters["chapIncarnation"] = Find(volume, "incarnation", "");
    parameters["chapNode"] = node_id;
  }
  return parameters;
}

// What the node lacks, rather than what has just gone wrong.
bool IsLacking(const plugin::Error& error) {
  return error.code == code::kFailedPrecondition || error.code == code::kPermissionDenied;
}

// Of the kernel's initiator.
initiator::Unit UnitOf(const PublishContext& publish) {
  return {publish.iqn, publish.lun, publish.initiator, publish.identity};
}

uint32_t IoTimeoutOf(const std::map<std::string, std::string>& volume) {
  const std::string text = Find(volume, "ioTimeoutSeconds", "0");
  uint32_t seconds = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), seconds);
  return seconds;
}

}  // namespace

// Where both would do, a node keeps the choice as long as it has what the choice was made for: the
// host refuses another kind of source until the volume is unstaged.
Result<Mounter> IscsiBackend::MounterOf(Call& call,
                                        const std::map<std::string, std::string>& volume) const {
  const std::string name = Find(volume, "mounter", "userspace");
  const auto mounter = ParseMounter(name);
  if (!mounter)
    return plugin::BadValue("volume_context[\"mounter\"]", "\"" + name + "\"",
                            "userspace, kernel or auto");
  if (*mounter == Mounter::kKernel && !kernel_)
    return plugin::Fail(code::kFailedPrecondition,
                        std::string("mounter kernel: the host has no ") + GANTRY_EXT_EXEC);
  if (*mounter != Mounter::kAuto) return *mounter;
  if (!kernel_) return Mounter::kUserspace;
  const auto there = kernel_->Ask(call, initiator::Probe{});
  if (there) return Mounter::kKernel;
  if (IsLacking(there.error())) return Mounter::kUserspace;
  return tl::unexpected(there.error());
}

Result<initiator::Paths> IscsiBackend::AttachByKernel(Call& call, const gantry_attach& request,
                                                      const PublishContext& publish) const {
  const auto volume = ToMap(request.context);
  initiator::Attach attach;
  attach.unit = UnitOf(publish);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto portals,
                           scsi::ParsePortals(plugin::JoinNames(publish.portals, ",")));
  for (const auto& portal : portals) attach.portals.push_back({portal.host, portal.port});
  attach.size_bytes = publish.size_bytes;
  attach.multipath = config_.kernel.multipath && portals.size() > 1;
  attach.io_timeout_s = IoTimeoutOf(volume);
  auto chap = ChapFor(call, publish.chap, ToString(request.handle), Find(volume, "incarnation", ""),
                      ToString(request.node_id));
  // A session that is there needs no secret, and a volume is staged anew without any.
  if (chap) attach.chap = std::move(*chap);
  auto paths = kernel_->Ask(call, attach);
  if (attach.chap) target::Wipe(&*attach.chap);
  if (!paths && !chap && paths.error().code == code::kUnauthenticated)
    return tl::unexpected(std::move(chap.error()));
  return paths;
}

void IscsiBackend::EmitDisk(Call& call, const gantry_attach& request,
                            const PublishContext& publish) {
  const auto parameters = DiskParameters(publish, ToMap(request.context), ToString(request.handle),
                                         ToString(request.node_id));
  const MapRef map(parameters);
  gantry_source source{};
  source.kind = GANTRY_SOURCE_DISK;
  source.identity = ToStr(publish.identity);
  source.size_bytes = publish.size_bytes;
  source.flags = publish.may_format ? GANTRY_SOURCE_MAY_FORMAT : 0;
  source.parameters = map.get();
  call.Emit(source);
}

// The host finds the device by what it has to be, and proves it itself.
void IscsiBackend::EmitBlock(Call& call, const PublishContext& publish,
                             const initiator::Paths& paths) {
  const std::string origin = "iscsi:" + publish.iqn + "-lun-" + std::to_string(publish.lun);
  gantry_source source{};
  source.kind = GANTRY_SOURCE_BLOCK;
  source.source = ToStr(origin);
  source.identity = ToStr(publish.identity);
  source.size_bytes = std::max(publish.size_bytes, paths.size_bytes);
  source.multipath = paths.multipath ? GANTRY_MULTIPATH_REQUIRED : GANTRY_MULTIPATH_NONE;
  source.flags = publish.may_format ? GANTRY_SOURCE_MAY_FORMAT : 0;
  call.Emit(source);
}

Status IscsiBackend::Attach(Call& call, const gantry_attach& request) {
  if (config_.fixed) return EmitStaticSource(call, request);
  const auto publish = DecodePublishContext(ToMap(request.publish_context));
  if (!publish) return ToStatus(publish.error());
  const auto mounter = MounterOf(call, ToMap(request.context));
  if (!mounter) return ToStatus(mounter.error());
  if (*mounter == Mounter::kUserspace) {
    EmitDisk(call, request, *publish);
    return Ok();
  }
  const auto paths = AttachByKernel(call, request, *publish);
  if (!paths) return ToStatus(paths.error());
  EmitBlock(call, *publish, *paths);
  return Ok();
}

// The data path of a userspace volume has ended with its mount.
Status IscsiBackend::Detach(Call& call, const gantry_attach& request) {
  if (config_.fixed) return Ok();
  const auto publish = DecodePublishContext(ToMap(request.publish_context));
  const auto mounter = ParseMounter(Find(ToMap(request.context), "mounter", "userspace"));
  // An attach of these has made nothing.
  if (!publish || !mounter || *mounter == Mounter::kUserspace || !kernel_) return Ok();
  const auto done = kernel_->Ask(call, initiator::Detach{UnitOf(*publish)});
  if (done) {
    if (!done->remark.empty()) call.host().Log(GANTRY_LOG_WARNING, done->remark, call.id());
    return Ok();
  }
  // Without the program there was nothing to choose at the attach.
  if (*mounter == Mounter::kAuto && IsLacking(done.error()) && !kernel_->CanBeRun(call))
    return Ok();
  return ToStatus(done.error());
}

// A data path asks the target itself; which disk it is has not changed.
Status IscsiBackend::Rescan(Call& call, const gantry_attach& request) {
  if (config_.fixed) return Ok();  // Asked by the data path, which has the secrets.
  const auto publish = DecodePublishContext(ToMap(request.publish_context));
  if (!publish) return ToStatus(publish.error());
  const auto mounter = MounterOf(call, ToMap(request.context));
  if (!mounter) return ToStatus(mounter.error());
  if (*mounter == Mounter::kUserspace) {
    EmitDisk(call, request, *publish);
    return Ok();
  }
  const auto paths = kernel_->Ask(call, initiator::Rescan{UnitOf(*publish)});
  if (!paths) return ToStatus(paths.error());
  EmitBlock(call, *publish, *paths);
  return Ok();
}

}  // namespace gantry::iscsi
