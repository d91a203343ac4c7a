// SPDX-License-Identifier: Apache-2.0
// A pod's CephFS volume on the node of a gantryd that is controller and node at once (role all).
#pragma once

#include <csi/v1/csi.grpc.pb.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "tests/integration/nfs_node.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::itest {

class CephPod {
 public:
  // `volume`: id and context, as in a PersistentVolume.
  CephPod(const lab::Gantryd& host, csi::v1::Volume volume, const std::string& name)
      : node_(csi::v1::Node::NewStub(host.Connect())),
        volume_(std::move(volume)),
        staging_(host.kubelet() / "plugins/kubernetes.io/csi" / name / "globalmount"),
        target_(host.kubelet() / "pods" / name / "volumes/kubernetes.io~csi/data/mount") {}

  std::map<std::string, std::string> publish_context;
  std::map<std::string, std::string> secrets;

  // Staged and published; the first error.
  grpc::Status Start(bool readonly = false) {
    std::filesystem::create_directories(staging_);
    std::filesystem::create_directories(target_.parent_path());
    csi::v1::NodeStageVolumeRequest stage;
    Fill(stage);
    csi::v1::NodeStageVolumeResponse staged;
    if (const auto status = node_->NodeStageVolume(Soon().get(), stage, &staged); !status.ok())
      return status;
    csi::v1::NodePublishVolumeRequest publish;
    Fill(publish);
    publish.set_target_path(target_);
    publish.set_readonly(readonly);
    csi::v1::NodePublishVolumeResponse published;
    return node_->NodePublishVolume(Soon().get(), publish, &published);
  }
  // Unpublished and unstaged; the first error.
  grpc::Status End() {
    csi::v1::NodeUnpublishVolumeRequest unpublish;
    unpublish.set_volume_id(volume_.volume_id());
    unpublish.set_target_path(target_);
    csi::v1::NodeUnpublishVolumeResponse unpublished;
    if (const auto status = node_->NodeUnpublishVolume(Soon().get(), unpublish, &unpublished);
        !status.ok())
      return status;
    csi::v1::NodeUnstageVolumeRequest unstage;
    unstage.set_volume_id(volume_.volume_id());
    unstage.set_staging_target_path(staging_);
    csi::v1::NodeUnstageVolumeResponse unstaged;
    return node_->NodeUnstageVolume(Soon().get(), unstage, &unstaged);
  }
  const std::filesystem::path& target() const { return target_; }

 private:
  static std::unique_ptr<grpc::ClientContext> Soon() { return lab::Within(tests::kCallMax); }

  template <class Request>
  void Fill(Request& request) const {
    request.set_volume_id(volume_.volume_id());
    request.set_staging_target_path(staging_);
    *request.mutable_volume_context() = volume_.volume_context();
    request.mutable_publish_context()->insert(publish_context.begin(), publish_context.end());
    request.mutable_secrets()->insert(secrets.begin(), secrets.end());
    auto& capability = *request.mutable_volume_capability();
    capability.mutable_mount();
    capability.mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
  }

  std::unique_ptr<csi::v1::Node::Stub> node_;
  csi::v1::Volume volume_;
  std::filesystem::path staging_;
  std::filesystem::path target_;
};

}  // namespace gantry::itest
