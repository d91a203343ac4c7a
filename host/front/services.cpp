// SPDX-License-Identifier: Apache-2.0
#include "host/front/services.hpp"

#include "host/core/controller.hpp"
#include "host/core/groups.hpp"
#include "host/core/identity.hpp"
#include "host/core/metadata.hpp"
#include "host/core/node.hpp"
#include "host/core/snapshots.hpp"
#include "host/front/run_call.hpp"

// One method of a service: it runs the member of the same name.
#define GANTRY_UNARY(Method, target)                                                         \
  grpc::Status Method(grpc::ServerContext* context, const csi::v1::Method##Request* request, \
                      csi::v1::Method##Response* response) override {                        \
    return RunUnary(calls_, log_, *context, *request, *response,                             \
                    [this](const csi::v1::Method##Request& r, const core::CallContext& c) {  \
                      return (target).Method(r, c);                                          \
                    });                                                                      \
  }

namespace gantry::front {
namespace {

class IdentityService final : public csi::v1::Identity::Service {
 public:
  IdentityService(const core::Driver& driver, Calls& calls, CallLog& log)
      : identity_(driver), calls_(calls), log_(log) {}
  GANTRY_UNARY(GetPluginInfo, identity_)
  GANTRY_UNARY(GetPluginCapabilities, identity_)
  GANTRY_UNARY(Probe, identity_)

 private:
  core::Identity identity_;
  Calls& calls_;
  CallLog& log_;
};

class ControllerService final : public csi::v1::Controller::Service {
 public:
  ControllerService(const core::Driver& driver, Calls& calls, CallLog& log)
      : controller_(driver), snapshots_(driver), calls_(calls), log_(log) {}
  GANTRY_UNARY(CreateVolume, controller_)
  GANTRY_UNARY(DeleteVolume, controller_)
  GANTRY_UNARY(ControllerPublishVolume, controller_)
  GANTRY_UNARY(ControllerUnpublishVolume, controller_)
  GANTRY_UNARY(ValidateVolumeCapabilities, controller_)
  GANTRY_UNARY(ListVolumes, controller_)
  GANTRY_UNARY(GetCapacity, controller_)
  GANTRY_UNARY(ControllerGetCapabilities, controller_)
  GANTRY_UNARY(ControllerExpandVolume, controller_)
  GANTRY_UNARY(ControllerGetVolume, controller_)
  GANTRY_UNARY(ControllerModifyVolume, controller_)
  GANTRY_UNARY(CreateSnapshot, snapshots_)
  GANTRY_UNARY(DeleteSnapshot, snapshots_)
  GANTRY_UNARY(GetSnapshot, snapshots_)
  GANTRY_UNARY(ListSnapshots, snapshots_)

 private:
  core::Controller controller_;
  core::Snapshots snapshots_;
  Calls& calls_;
  CallLog& log_;
};

class GroupService final : public csi::v1::GroupController::Service {
 public:
  GroupService(const core::Driver& driver, Calls& calls, CallLog& log)
      : groups_(driver), calls_(calls), log_(log) {}
  GANTRY_UNARY(GroupControllerGetCapabilities, groups_)
  GANTRY_UNARY(CreateVolumeGroupSnapshot, groups_)
  GANTRY_UNARY(DeleteVolumeGroupSnapshot, groups_)
  GANTRY_UNARY(GetVolumeGroupSnapshot, groups_)

 private:
  core::Groups groups_;
  Calls& calls_;
  CallLog& log_;
};

class MetadataService final : public csi::v1::SnapshotMetadata::Service {
 public:
  MetadataService(const core::Driver& driver, Calls& calls, CallLog& log)
      : metadata_(driver), calls_(calls), log_(log) {}

  grpc::Status GetMetadataAllocated(
      grpc::ServerContext* context, const csi::v1::GetMetadataAllocatedRequest* request,
      grpc::ServerWriter<csi::v1::GetMetadataAllocatedResponse>* writer) override {
    return RunStream(calls_, log_, *context, *request, *writer,
                     [this](const auto& r, const core::CallContext& c, const auto& send) {
                       return metadata_.GetMetadataAllocated(r, c, send);
                     });
  }
  grpc::Status GetMetadataDelta(
      grpc::ServerContext* context, const csi::v1::GetMetadataDeltaRequest* request,
      grpc::ServerWriter<csi::v1::GetMetadataDeltaResponse>* writer) override {
    return RunStream(calls_, log_, *context, *request, *writer,
                     [this](const auto& r, const core::CallContext& c, const auto& send) {
                       return metadata_.GetMetadataDelta(r, c, send);
                     });
  }

 private:
  core::Metadata metadata_;
  Calls& calls_;
  CallLog& log_;
};

class NodeService final : public csi::v1::Node::Service {
 public:
  NodeService(const core::Driver& driver, Calls& calls, CallLog& log)
      : node_(driver), calls_(calls), log_(log) {}
  GANTRY_UNARY(NodeStageVolume, node_)
  GANTRY_UNARY(NodeUnstageVolume, node_)
  GANTRY_UNARY(NodePublishVolume, node_)
  GANTRY_UNARY(NodeUnpublishVolume, node_)
  GANTRY_UNARY(NodeGetVolumeStats, node_)
  GANTRY_UNARY(NodeExpandVolume, node_)
  GANTRY_UNARY(NodeGetCapabilities, node_)
  GANTRY_UNARY(NodeGetInfo, node_)

 private:
  core::Node node_;
  Calls& calls_;
  CallLog& log_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeServices(const core::Driver& driver, Calls& calls,
                                                         CallLog& log) {
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(std::make_unique<IdentityService>(driver, calls, log));
  if (driver.parts().roles.controller) {
    services.push_back(std::make_unique<ControllerService>(driver, calls, log));
    services.push_back(std::make_unique<GroupService>(driver, calls, log));
    services.push_back(std::make_unique<MetadataService>(driver, calls, log));
  }
  if (driver.parts().roles.node)
    services.push_back(std::make_unique<NodeService>(driver, calls, log));
  return services;
}

}  // namespace gantry::front
