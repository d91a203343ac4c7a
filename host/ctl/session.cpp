// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/session.hpp"

#include <google/protobuf/util/json_util.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "host/base/fd.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {

// Connected here rather than by gRPC, which would try again and again and tell no reason.
base::Result<admin::Admin::Stub*> Session::Connect() {
  if (stub_) return stub_.get();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket;
  if (path.size() >= sizeof(address.sun_path))
    return base::Fail(base::Code::kInvalidArgument,
                      "--socket: \"" + path + "\": expected a path of at most 107 bytes");
  std::copy(path.begin(), path.end(), address.sun_path);
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::FailErrno(errno, "make a socket");
  // A unix socket connects at once or not at all (unix(7)): EAGAIN is a full backlog.
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error_number = errno;
    const bool is_refused = error_number == EACCES || error_number == EPERM;
    return base::Fail(is_refused ? base::Code::kPermissionDenied : base::Code::kUnavailable,
                      "gantryd at " + path + ": " + std::strerror(error_number) +
                          (is_refused ? ": expected root or gantryd's own user" : ""));
  }
  stub_ = admin::Admin::NewStub(grpc::CreateInsecureChannelFromFd("gantryd", fd.Release()));
  return stub_.get();
}

std::unique_ptr<grpc::ClientContext> Session::Context(uint32_t seconds) const {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(timeout_seconds == 0 ? seconds : timeout_seconds));
  return context;
}

void Session::PrintJson(const google::protobuf::Message& message) const {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  out << text << "\n";
}

int Session::Fail(const base::Error& error) const {
  err << "gantryctl: " << base::CodeName(error.code) << ": " << Clean(error.message) << "\n";
  switch (error.code) {
    case base::Code::kInvalidArgument:
      return kUsage;
    case base::Code::kUnavailable:
    case base::Code::kDeadlineExceeded:
      return kNoAnswer;
    case base::Code::kPermissionDenied:
      return kRefused;
    default:
      return kFailed;
  }
}

int Session::Fail(const grpc::Status& status) const {
  return Fail(base::Error{static_cast<base::Code>(status.error_code()), status.error_message()});
}

}  // namespace gantry::ctl
