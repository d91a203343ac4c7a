// SPDX-License-Identifier: Apache-2.0
// A backend that brings Debian's shared protobuf and gRPC and the very messages that the host uses:
// what a vendor does whose array speaks gRPC. Nothing of the worker's own protobuf may be seen.
#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <gantry/gantry.hpp>

namespace {

class Array final : public csi::v1::Controller::Service {
  grpc::Status CreateVolume(grpc::ServerContext*, const csi::v1::CreateVolumeRequest* request,
                            csi::v1::CreateVolumeResponse* response) override {
    response->mutable_volume()->set_volume_id("array-" + request->name());
    response->mutable_volume()->set_capacity_bytes(1 << 30);
    return grpc::Status::OK;
  }
};

class OwnGrpc {
 public:
  static gantry::Made<OwnGrpc> Create(const gantry::Host&, const gantry_create&) {
    return std::make_unique<OwnGrpc>();
  }
  gantry::Status Start(gantry::Call&) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&array_);
    server_ = builder.BuildAndStart();
    stub_ = csi::v1::Controller::NewStub(server_->InProcessChannel({}));
    return gantry::Ok();
  }
  gantry::Status CreateVolume(gantry::Call& call, const gantry_create_volume&) {
    const auto& api = call.host().call_api();
    const gantry_bytes raw = api.request_bytes(api.ctx, call.id());
    csi::v1::CreateVolumeRequest request;
    if (!request.ParseFromArray(raw.ptr, static_cast<int>(raw.len)))
      return {GANTRY_INVALID_ARGUMENT, "unreadable"};
    csi::v1::CreateVolumeResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    const auto status = stub_->CreateVolume(&context, request, &response);
    if (!status.ok()) return {GANTRY_UNAVAILABLE, status.error_message()};
    gantry_volume volume{};
    volume.handle = gantry::ToStr(response.volume().volume_id());
    volume.capacity_bytes = static_cast<uint64_t>(response.volume().capacity_bytes());
    call.Emit(volume);
    return gantry::Ok();
  }
  gantry::Status DeleteVolume(gantry::Call&, const gantry_volume_ref&) { return gantry::Ok(); }
  gantry::Status Stop(gantry::Call&) {
    server_->Shutdown();
    return gantry::Ok();
  }

 private:
  Array array_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<csi::v1::Controller::Stub> stub_;
};

const gantry_manifest kManifest = [] {
  gantry_manifest manifest{};
  manifest.size = sizeof manifest;
  manifest.thread_model = GANTRY_THREADS_PARALLEL;
  manifest.name = gantry::ToStr("own-grpc");
  manifest.version = gantry::ToStr("1.0.0");
  manifest.csi_min = manifest.csi_max = gantry::ToStr("1.12.0");
  manifest.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER);
  manifest.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  return manifest;
}();

}  // namespace

GANTRY_PLUGIN(OwnGrpc, kManifest)
