// SPDX-License-Identifier: Apache-2.0
// csi-call: one CSI call from the command line, for people and scripts.
//
//   csi-call unix:///csi/csi.sock Controller/CreateVolume 'name: "pvc-1" ...'
//
// The request is protobuf text format (or comes on standard input with "-"), the response is
// printed likewise. The exit code is the gRPC code, 0 for OK. It works from descriptors, so it
// knows every call of csi.proto without a line of its own for any.
#include <csi/v1/csi.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>

namespace {

using google::protobuf::Message;

constexpr int kBadCommandLine = 100;
constexpr std::chrono::seconds kDeadlineS{60};

int Complain(const std::string& what) {
  std::fprintf(stderr, "csi-call: %s\n", what.c_str());
  return kBadCommandLine;
}

const google::protobuf::MethodDescriptor* FindMethod(std::string name) {
  for (char& c : name)
    if (c == '/') c = '.';
  const auto* file = csi::v1::Volume::descriptor()->file();
  return file->pool()->FindMethodByName("csi.v1." + name);
}

grpc::ByteBuffer ToBuffer(const Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool FromBuffer(const grpc::ByteBuffer& buffer, Message& message) {
  grpc::Slice slice;
  return buffer.DumpToSingleSlice(&slice).ok() &&
         message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

grpc::Status Call(const std::string& endpoint, const google::protobuf::MethodDescriptor& method,
                  const Message& request, Message& response) {
  const auto channel = grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadlineS);
  context.set_wait_for_ready(true);
  grpc::CompletionQueue queue;
  const std::string path = "/" + method.service()->full_name() + "/" + method.name();
  auto reader = stub.PrepareUnaryCall(&context, path, ToBuffer(request), &queue);
  reader->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  reader->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (status.ok() && !FromBuffer(answer, response))
    return {grpc::StatusCode::INTERNAL, "unreadable response"};
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4)
    return Complain("usage: csi-call ENDPOINT SERVICE/METHOD [REQUEST | -]");
  const auto* method = FindMethod(argv[2]);
  if (method == nullptr)
    return Complain(std::string(argv[2]) + ": expected a method of CSI, as Node/NodeGetInfo");
  if (method->server_streaming())
    return Complain(std::string(argv[2]) + ": expected a call with one answer");
  std::string text = argc == 4 ? argv[3] : "";
  if (text == "-") text.assign(std::istreambuf_iterator<char>(std::cin), {});

  google::protobuf::DynamicMessageFactory factory;
  const std::unique_ptr<Message> request(factory.GetPrototype(method->input_type())->New());
  const std::unique_ptr<Message> response(factory.GetPrototype(method->output_type())->New());
  if (!google::protobuf::TextFormat::ParseFromString(text, request.get()))
    return Complain("the request is no " + method->input_type()->name() + " in text format");
  const grpc::Status status = Call(argv[1], *method, *request, *response);
  if (!status.ok()) {
    std::fprintf(stderr, "%s: code %d: %s\n", argv[2], status.error_code(),
                 status.error_message().c_str());
    return status.error_code();
  }
  std::string out;
  google::protobuf::TextFormat::PrintToString(*response, &out);
  std::fputs(out.c_str(), stdout);
  return 0;
}
