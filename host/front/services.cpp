// SPDX-License-Identifier: Apache-2.0
#include "host/front/services.hpp"

#include "host/core/controller.hpp"
#include "host/core/groups.hpp"
#include "host/core/identity.hpp"
#include "host/core/metadata.hpp"
#include "host/core/node.hpp"
#include "host/core/snapshots.hpp"
#include "host/front/stream.hpp"
#include "host/front/unary.hpp"

// One method of a service: the reactor that runs the member of the same name.
#define GANTRY_UNARY(Method, target)                                                        \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* context,                    \
                                   const csi::v1::Method##Request* request,                 \
                                   csi::v1::Method##Response* response) override {          \
    return RunUnary(pool_, log_, *context, *request, *response,                             \
                    [this](const csi::v1::Method##Request& r, const core::CallContext& c) { \
                      return (target).Method(r, c);                                         \
                    });                                                                     \
  }

namespace gantry::front {
namespace {

class IdentityService final : public csi::v1::Identity::CallbackService {
 public:
  IdentityService(const core::Driver& driver, CallPool& pool, CallLog& log)
      : identity_(driver), pool_(pool), log_(log) {}
  GANTRY_UNARY(GetPluginInfo, identity_)
  GANTRY_UNARY(GetPluginCapabilities, identity_)
  GANTRY_UNARY(Probe, identity_)

 private:
  core::Identity identity_;
  CallPool& pool_;
  CallLog& log_;
};

class ControllerService final : public csi::v1::Controller::CallbackService {
 public:
  ControllerService(const core::Driver& driver, CallPool& pool, CallLog& log)
      : controller_(driver), snapshots_(driver), pool_(pool), log_(log) {}
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
  CallPool& pool_;
  CallLog& log_;
};

class GroupService final : public csi::v1::GroupController::CallbackService {
 public:
  GroupService(const core::Driver& driver, CallPool& pool, CallLog& log)
      : groups_(driver), pool_(pool), log_(log) {}
  GANTRY_UNARY(GroupControllerGetCapabilities, groups_)
  GANTRY_UNARY(CreateVolumeGroupSnapshot, groups_)
  GANTRY_UNARY(DeleteVolumeGroupSnapshot, groups_)
  GANTRY_UNARY(GetVolumeGroupSnapshot, groups_)

 private:
  core::Groups groups_;
  CallPool& pool_;
  CallLog& log_;
};

class MetadataService final : public csi::v1::SnapshotMetadata::CallbackService {
 public:
  MetadataService(const core::Driver& driver, CallPool& pool, CallLog& log)
      : metadata_(driver), pool_(pool), log_(log) {}

  grpc::ServerWriteReactor<csi::v1::GetMetadataAllocatedResponse>* GetMetadataAllocated(
      grpc::CallbackServerContext* context,
      const csi::v1::GetMetadataAllocatedRequest* request) override {
    return RunStream<csi::v1::GetMetadataAllocatedResponse>(
        pool_, log_, *context, *request,
        [this](const auto& r, const core::CallContext& c, const auto& send) {
          return metadata_.GetMetadataAllocated(r, c, send);
        });
  }
  grpc::ServerWriteReactor<csi::v1::GetMetadataDeltaResponse>* GetMetadataDelta(
      grpc::CallbackServerContext* context,
      const csi::v1::GetMetadataDeltaRequest* request) override {
    return RunStream<csi::v1::GetMetadataDeltaResponse>(
        pool_, log_, *context, *request,
        [this](const auto& r, const core::CallContext& c, const auto& send) {
          return metadata_.GetMetadataDelta(r, c, send);
        });
  }

 private:
  core::Metadata metadata_;
  CallPool& pool_;
  CallLog& log_;
};

class NodeService final : public csi::v1::Node::CallbackService {
 public:
  NodeService(const core::Driver& driver, CallPool& pool, CallLog& log)
      : node_(driver), pool_(pool), log_(log) {}
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
  CallPool& pool_;
  CallLog& log_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeServices(const core::Driver& driver, CallPool& pool,
                                                         CallLog& log) {
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(std::make_unique<IdentityService>(driver, pool, log));
  if (driver.parts().roles.controller) {
    services.push_back(std::make_unique<ControllerService>(driver, pool, log));
    services.push_back(std::make_unique<GroupService>(driver, pool, log));
    services.push_back(std::make_unique<MetadataService>(driver, pool, log));
  }
  if (driver.parts().roles.node)
    services.push_back(std::make_unique<NodeService>(driver, pool, log));
  return services;
}

}  // namespace gantry::front
