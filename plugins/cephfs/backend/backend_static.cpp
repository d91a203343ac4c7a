// SPDX-License-Identifier: Apache-2.0
// Volumes of ceph-csi, static ones and those that it made: mounted, looked at, opened to nodes, and
// otherwise left alone. Where they are stands in the attributes of their PersistentVolumes and in no
// record, so what a call without attributes asks of them is refused. Rejected: reading ceph-csi's
// journal, which would answer such calls for some of them and tie this to its formats.
//
// Nodes open them with userID and userKey of NodeStageVolume's secrets, as ceph-csi's do, also with
// nodeKeys perVolume: a key of its own has to be in a record while it exists.
#include <optional>
#include <string>

#include "plugins/cephfs/backend/backend.hpp"
#include "plugins/cephfs/context/ceph_csi.hpp"

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;
using plugin::Fail;
using plugin::Result;
using Map = std::map<std::string, std::string>;

tl::unexpected<plugin::Error> Elsewhere(const char* key, const std::string& value,
                                        const std::string& expected) {
  return Fail(code::kInvalidArgument, std::string("volume_context[\"") + key + "\"] is \"" + value +
                                          "\"; expected the backend's, \"" + expected + "\"");
}

}  // namespace

// A static volume's id says nothing. Where a call brings no attributes it is not claimed, because any
// id would be, another backend's too; what such a call asks for there is nothing of.
Status CephfsBackend::RecognizeVolume(Call&, const gantry_volume_ref& request) const {
  const auto attributes = ToMap(request.context);
  const auto in_attributes = attributes.find("clusterID");
  std::optional<std::string> cluster = ClusterOfCephCsiId(View(request.handle));
  if (IsCephCsi(attributes))
    cluster = in_attributes != attributes.end() ? in_attributes->second : std::string();
  if (!config_.cluster_id.empty() && cluster == config_.cluster_id) return Ok();
  return Refuse(code::kNotFound, "no volume of ceph-csi with the backend's clusterID");
}

Result<VolumeContext> CephfsBackend::ContextOfCephCsi(const Map& attributes) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const CephCsiVolume volume, ParseCephCsi(attributes));
  if (config_.cluster_id.empty())
    return Fail(code::kInvalidArgument,
                "volume_context is of a volume of ceph-csi; the backend serves them once its "
                "configuration has clusterID");
  if (!volume.cluster_id.empty() && volume.cluster_id != config_.cluster_id)
    return Elsewhere("clusterID", volume.cluster_id, config_.cluster_id);
  if (!volume.fs_name.empty() && volume.fs_name != config_.fs_name)
    return Elsewhere("fsName", volume.fs_name, config_.fs_name);
  VolumeContext context;
  context.monitors = config_.monitors;
  context.fs_name = config_.fs_name;
  context.path = volume.path;
  context.mounter = volume.mounter.value_or(config_.mounter);
  context.incarnation = "ceph-csi";
  context.backing_snapshot = volume.path.find("/.snap/") != std::string::npos;
  // No kernel mounts a path within a snapshot.
  if (context.backing_snapshot) context.mounter = Mounter::kUserspace;
  return context;
}

Result<Look> CephfsBackend::LookAtCephCsi(Call& call, const Map& attributes) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const VolumeContext volume, ContextOfCephCsi(attributes));
  GANTRY_PLUGIN_TRY_ASSIGN(const Look look, LookInJob(call, volume.path, {}, DeadlineOf(call)));
  if (!look.there)
    return Fail(code::kNotFound, "there is no directory " + volume.path + " in " + volume.fs_name);
  return look;
}

Status CephfsBackend::GetCephCsi(Call& call, const gantry_volume_ref& request) const {
  const std::string handle = ToString(request.handle);
  const auto attributes = ToMap(request.context);
  if (!IsCephCsi(attributes)) return NotOurs(handle);
  const auto look = LookAtCephCsi(call, attributes);
  if (!look) return ToStatus(look.error());
  std::string problem;
  if (look->quota_bytes && look->used_bytes >= *look->quota_bytes)
    problem = "the volume is full: " + std::to_string(look->used_bytes) + " of " +
              std::to_string(*look->quota_bytes) + " bytes";
  gantry_volume out{};
  out.handle = ToStr(handle);
  out.capacity_bytes = look->quota_bytes.value_or(0);
  out.condition = problem.empty() ? GANTRY_CONDITION_NORMAL : GANTRY_CONDITION_ABNORMAL;
  out.condition_message = ToStr(problem);
  call.Emit(out);
  return Ok();
}

Status CephfsBackend::PublishCephCsi(Call& call, const gantry_publish_volume& request) const {
  const std::string handle = ToString(request.handle);
  const auto attributes = ToMap(request.context);
  if (!IsCephCsi(attributes)) return NotOurs(handle);
  const auto look = LookAtCephCsi(call, attributes);
  if (!look) return ToStatus(look.error());
  if (request.readonly != 0) call.EmitPublishContext({{"readonly", "true"}});
  return Ok();
}

Status CephfsBackend::NotOurs(const std::string& handle) {
  if (ClusterOfCephCsiId(handle))
    return Refuse(code::kFailedPrecondition,
                  "ceph-csi has made volume " + handle +
                      "; it is mounted and opened to nodes by its attributes, and Gantry neither "
                      "deletes nor changes it");
  return Refuse(code::kNotFound, "there is no volume " + handle);
}

}  // namespace gantry::cephfs
