// SPDX-License-Identifier: Apache-2.0
// The other side of call_bench: what gRPC's callback server costs with nothing behind it.
#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>

namespace {

class BareController final : public csi::v1::Controller::CallbackService {
  grpc::ServerUnaryReactor* DeleteVolume(grpc::CallbackServerContext* context,
                                         const csi::v1::DeleteVolumeRequest*,
                                         csi::v1::DeleteVolumeResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: bare_csi_server unix:PATH\n");
    return 2;
  }
  BareController controller;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&controller);
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  server->Wait();
  return 0;
}
