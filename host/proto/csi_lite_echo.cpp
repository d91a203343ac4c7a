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

// Every message at the top level of csi.proto; those nested in them come along.
#define GANTRY_CSI_MESSAGES(X)                                                                    \
  X(GetPluginInfoRequest) X(GetPluginInfoResponse)                                                \
  X(GetPluginCapabilitiesRequest) X(GetPluginCapabilitiesResponse) X(PluginCapability)            \
  X(ProbeRequest) X(ProbeResponse)                                                                \
  X(CreateVolumeRequest) X(CreateVolumeResponse)                                                  \
  X(VolumeContentSource) X(VolumeCapability) X(CapacityRange) X(Volume)                           \
  X(TopologyRequirement) X(Topology)                                                              \
  X(DeleteVolumeRequest) X(DeleteVolumeResponse)                                                  \
  X(ControllerPublishVolumeRequest) X(ControllerPublishVolumeResponse)                            \
  X(ControllerUnpublishVolumeRequest) X(ControllerUnpublishVolumeResponse)                        \
  X(ValidateVolumeCapabilitiesRequest) X(ValidateVolumeCapabilitiesResponse)                      \
  X(ListVolumesRequest) X(ListVolumesResponse)                                                    \
  X(ControllerGetVolumeRequest) X(ControllerGetVolumeResponse)                                    \
  X(ControllerModifyVolumeRequest) X(ControllerModifyVolumeResponse)                              \
  X(GetCapacityRequest) X(GetCapacityResponse)                                                    \
  X(ControllerGetCapabilitiesRequest) X(ControllerGetCapabilitiesResponse)                        \
  X(ControllerServiceCapability)                                                                  \
  X(CreateSnapshotRequest) X(CreateSnapshotResponse) X(Snapshot)                                  \
  X(DeleteSnapshotRequest) X(DeleteSnapshotResponse)                                              \
  X(ListSnapshotsRequest) X(ListSnapshotsResponse)                                                \
  X(GetSnapshotRequest) X(GetSnapshotResponse)                                                    \
  X(ControllerExpandVolumeRequest) X(ControllerExpandVolumeResponse)                              \
  X(NodeStageVolumeRequest) X(NodeStageVolumeResponse)                                            \
  X(NodeUnstageVolumeRequest) X(NodeUnstageVolumeResponse)                                        \
  X(NodePublishVolumeRequest) X(NodePublishVolumeResponse)                                        \
  X(NodeUnpublishVolumeRequest) X(NodeUnpublishVolumeResponse)                                    \
  X(NodeGetVolumeStatsRequest) X(NodeGetVolumeStatsResponse)                                      \
  X(VolumeUsage) X(VolumeCondition)                                                               \
  X(NodeGetCapabilitiesRequest) X(NodeGetCapabilitiesResponse) X(NodeServiceCapability)           \
  X(NodeGetInfoRequest) X(NodeGetInfoResponse)                                                    \
  X(NodeExpandVolumeRequest) X(NodeExpandVolumeResponse)                                          \
  X(GroupControllerGetCapabilitiesRequest) X(GroupControllerGetCapabilitiesResponse)              \
  X(GroupControllerServiceCapability)                                                             \
  X(CreateVolumeGroupSnapshotRequest) X(CreateVolumeGroupSnapshotResponse)                        \
  X(VolumeGroupSnapshot)                                                                          \
  X(DeleteVolumeGroupSnapshotRequest) X(DeleteVolumeGroupSnapshotResponse)                        \
  X(GetVolumeGroupSnapshotRequest) X(GetVolumeGroupSnapshotResponse)                              \
  X(BlockMetadata)                                                                                \
  X(GetMetadataAllocatedRequest) X(GetMetadataAllocatedResponse)                                  \
  X(GetMetadataDeltaRequest) X(GetMetadataDeltaResponse)

using google::protobuf::MessageLite;
using Prototypes = std::map<std::string, std::unique_ptr<MessageLite>>;

Prototypes MakePrototypes() {
  Prototypes prototypes;
#define GANTRY_ADD(Type) \
  prototypes.emplace("csi.v1." #Type, std::make_unique<gantry::lite::csi::v1::Type>());
  GANTRY_CSI_MESSAGES(GANTRY_ADD)
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
