// SPDX-License-Identifier: Apache-2.0
// One run of gantryctl: where gantryd is, how long it may take, how the answer is printed, and which
// exit code an error is. No call is made without a deadline.
#pragma once

#include <gantry/admin.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "host/base/error.hpp"

namespace gantry::ctl {

namespace admin = ::gantry::admin::v1;

// Exit codes; --help lists them.
constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kNoAnswer = 3;
constexpr int kRefused = 4;
constexpr int kFound = 5;

constexpr char kSocketDefault[] = "/var/lib/gantry/admin.sock";
constexpr uint32_t kTimeoutSecondsDefault = 10;
constexpr uint32_t kTimeoutSecondsMax = 3600;

class Session {
 public:
  std::filesystem::path socket = kSocketDefault;
  uint32_t timeout_seconds = 0;  // 0: the command's own default
  bool json = false;
  std::ostream& out = std::cout;
  std::ostream& err = std::cerr;

  // Connects at the first use. PERMISSION_DENIED, UNAVAILABLE.
  base::Result<admin::Admin::Stub*> Connect();
  // With a deadline: what --timeout says, else `seconds`.
  std::unique_ptr<grpc::ClientContext> Context(uint32_t seconds = kTimeoutSecondsDefault) const;

  // One JSON object on one line.
  void PrintJson(const google::protobuf::Message& message) const;
  // Says what went wrong and gives the exit code for it.
  int Fail(const base::Error& error) const;
  int Fail(const grpc::Status& status) const;

  // A call with one answer, printed by `show` or as JSON.
  template <class Request, class Response, class Show>
  int Unary(grpc::Status (admin::Admin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                       Response*),
            const Request& request, Response& response, uint32_t seconds, Show&& show) {
    const auto stub = Connect();
    if (!stub) return Fail(stub.error());
    const auto context = Context(seconds);
    const auto status = ((*stub)->*method)(context.get(), request, &response);
    if (!status.ok()) return Fail(status);
    if (!json) return show();
    PrintJson(response);
    return kDone;
  }

  // A call that answers with a stream: `show` gets each, also where JSON was asked for and printed.
  template <class Request, class Response, class Show>
  int Stream(std::unique_ptr<grpc::ClientReader<Response>> (admin::Admin::Stub::*method)(
                 grpc::ClientContext*, const Request&),
             const Request& request, uint32_t seconds, Show&& show) {
    const auto stub = Connect();
    if (!stub) return Fail(stub.error());
    const auto context = Context(seconds);
    const auto reader = ((*stub)->*method)(context.get(), request);
    Response response;
    while (reader->Read(&response)) {
      if (json) PrintJson(response);
      show(response);
      out.flush();
    }
    const auto status = reader->Finish();
    return status.ok() ? kDone : Fail(status);
  }

 private:
  std::unique_ptr<admin::Admin::Stub> stub_;
};

}  // namespace gantry::ctl
