// SPDX-License-Identifier: Apache-2.0
// csi_lite_test's other half: parses every message it is given as the lite type of that name and
// writes it out again. A program of its own because one program may hold only one protobuf runtime,
// and so that the test runs what the worker runs: libprotobuf-lite.a and nothing else.
// Reads fd 3, writes fd 1; both carry [u32 length, name, u32 length, bytes]... in host order.
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "csi_lite.pb.h"

namespace {

using google::protobuf::MessageLite;
using Prototypes = std::map<std::string, std::unique_ptr<MessageLite>>;

// Every message at the top level of csi.proto; those nested in them come along.
Prototypes MakePrototypes() {
  Prototypes prototypes;
#define GANTRY_ADD(Type) \
  prototypes.emplace("csi.v1." #Type, std::make_unique<gantry::lite::csi::v1::Type>())
  GANTRY_ADD(GetPluginInfoRequest);
  GANTRY_ADD(GetPluginInfoResponse);
  GANTRY_ADD(GetPluginCapabilitiesRequest);
  GANTRY_ADD(GetPluginCapabilitiesResponse);
  GANTRY_ADD(PluginCapability);
  GANTRY_ADD(ProbeRequest);
  GANTRY_ADD(ProbeResponse);
  GANTRY_ADD(CreateVolumeRequest);
  GANTRY_ADD(CreateVolumeResponse);
  GANTRY_ADD(VolumeContentSource);
  GANTRY_ADD(VolumeCapability);
  GANTRY_ADD(CapacityRange);
  GANTRY_ADD(Volume);
  GANTRY_ADD(TopologyRequirement);
  GANTRY_ADD(Topology);
  GANTRY_ADD(DeleteVolumeRequest);
  GANTRY_ADD(DeleteVolumeResponse);
  GANTRY_ADD(ControllerPublishVolumeRequest);
  GANTRY_ADD(ControllerPublishVolumeResponse);
  GANTRY_ADD(ControllerUnpublishVolumeRequest);
  GANTRY_ADD(ControllerUnpublishVolumeResponse);
  GANTRY_ADD(ValidateVolumeCapabilitiesRequest);
  GANTRY_ADD(ValidateVolumeCapabilitiesResponse);
  GANTRY_ADD(ListVolumesRequest);
  GANTRY_ADD(ListVolumesResponse);
  GANTRY_ADD(ControllerGetVolumeRequest);
  GANTRY_ADD(ControllerGetVolumeResponse);
  GANTRY_ADD(ControllerModifyVolumeRequest);
  GANTRY_ADD(ControllerModifyVolumeResponse);
  GANTRY_ADD(GetCapacityRequest);
  GANTRY_ADD(GetCapacityResponse);
  GANTRY_ADD(ControllerGetCapabilitiesRequest);
  GANTRY_ADD(ControllerGetCapabilitiesResponse);
  GANTRY_ADD(ControllerServiceCapability);
  GANTRY_ADD(CreateSnapshotRequest);
  GANTRY_ADD(CreateSnapshotResponse);
  GANTRY_ADD(Snapshot);
  GANTRY_ADD(DeleteSnapshotRequest);
  GANTRY_ADD(DeleteSnapshotResponse);
  GANTRY_ADD(ListSnapshotsRequest);
  GANTRY_ADD(ListSnapshotsResponse);
  GANTRY_ADD(GetSnapshotRequest);
  GANTRY_ADD(GetSnapshotResponse);
  GANTRY_ADD(ControllerExpandVolumeRequest);
  GANTRY_ADD(ControllerExpandVolumeResponse);
  GANTRY_ADD(NodeStageVolumeRequest);
  GANTRY_ADD(NodeStageVolumeResponse);
  GANTRY_ADD(NodeUnstageVolumeRequest);
  GANTRY_ADD(NodeUnstageVolumeResponse);
  GANTRY_ADD(NodePublishVolumeRequest);
  GANTRY_ADD(NodePublishVolumeResponse);
  GANTRY_ADD(NodeUnpublishVolumeRequest);
  GANTRY_ADD(NodeUnpublishVolumeResponse);
  GANTRY_ADD(NodeGetVolumeStatsRequest);
  GANTRY_ADD(NodeGetVolumeStatsResponse);
  GANTRY_ADD(VolumeUsage);
  GANTRY_ADD(VolumeCondition);
  GANTRY_ADD(NodeGetCapabilitiesRequest);
  GANTRY_ADD(NodeGetCapabilitiesResponse);
  GANTRY_ADD(NodeServiceCapability);
  GANTRY_ADD(NodeGetInfoRequest);
  GANTRY_ADD(NodeGetInfoResponse);
  GANTRY_ADD(NodeExpandVolumeRequest);
  GANTRY_ADD(NodeExpandVolumeResponse);
  GANTRY_ADD(GroupControllerGetCapabilitiesRequest);
  GANTRY_ADD(GroupControllerGetCapabilitiesResponse);
  GANTRY_ADD(GroupControllerServiceCapability);
  GANTRY_ADD(CreateVolumeGroupSnapshotRequest);
  GANTRY_ADD(CreateVolumeGroupSnapshotResponse);
  GANTRY_ADD(VolumeGroupSnapshot);
  GANTRY_ADD(DeleteVolumeGroupSnapshotRequest);
  GANTRY_ADD(DeleteVolumeGroupSnapshotResponse);
  GANTRY_ADD(GetVolumeGroupSnapshotRequest);
  GANTRY_ADD(GetVolumeGroupSnapshotResponse);
  GANTRY_ADD(BlockMetadata);
  GANTRY_ADD(GetMetadataAllocatedRequest);
  GANTRY_ADD(GetMetadataAllocatedResponse);
  GANTRY_ADD(GetMetadataDeltaRequest);
  GANTRY_ADD(GetMetadataDeltaResponse);
#undef GANTRY_ADD
  return prototypes;
}

bool Read(FILE* input, std::string& text) {
  uint32_t length = 0;
  if (fread(&length, sizeof length, 1, input) != 1) return false;
  text.resize(length);
  return fread(text.data(), 1, length, input) == length;
}

void Write(const std::string& text) {
  const auto length = static_cast<uint32_t>(text.size());
  fwrite(&length, sizeof length, 1, stdout);
  fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

int main() {
  const auto prototypes = MakePrototypes();
  FILE* input = fdopen(3, "rb");
  if (input == nullptr) return 2;
  for (std::string name, bytes; Read(input, name);) {
    if (!Read(input, bytes)) return 2;
    const auto found = prototypes.find(name);
    if (found == prototypes.end()) {
      fprintf(stderr, "csi_lite_echo: no lite message is called %s\n", name.c_str());
      return 1;
    }
    const std::unique_ptr<MessageLite> message(found->second->New());
    if (!message->ParseFromString(bytes)) {
      fprintf(stderr, "csi_lite_echo: %s does not parse\n", name.c_str());
      return 1;
    }
    Write(name);
    Write(message->SerializeAsString());
  }
  const bool failed = fflush(stdout) != 0 || ferror(stdout) != 0;
  fclose(input);
  return failed ? 2 : 0;
}
