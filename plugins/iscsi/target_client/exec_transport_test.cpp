// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target_client/exec_transport.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace gantry::iscsi::target_client {
namespace {

namespace code = plugin::code;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The host's side of gantry.exec/1: notes what it was asked, answers what the test says.
struct FakeExec {
  FakeExec() {
    api.size = sizeof api;
    api.ctx = this;
    api.run = [](void* ctx, gantry_call, const gantry_exec_request* request, void* out,
                 size_t out_capacity, void* err, size_t err_capacity, gantry_exec_result* result) {
      auto& self = *static_cast<FakeExec*>(ctx);
      self.words.clear();
      for (size_t i = 0; i < request->argv.count; ++i)
        self.words.push_back(ToString(request->argv.items[i]));
      self.input.assign(static_cast<const char*>(request->input.ptr), request->input.len);
      self.deadline_ns = request->deadline_ns;
      std::memcpy(out, self.output.data(), std::min(out_capacity, self.output.size()));
      std::memcpy(err, self.complaint.data(), std::min(err_capacity, self.complaint.size()));
      result->output_length = self.output.size();
      result->error_length = self.complaint.size();
      result->exit_status = self.exit_status;
      return self.code;
    };
  }
  gantry_exec_api api{};
  std::vector<std::string> words;
  std::string input;
  int64_t deadline_ns = 0;
  gantry_code code = GANTRY_OK;
  int exit_status = 0;
  std::string output;
  std::string complaint;
};

class ExecTransportTest : public ::testing::Test {
 protected:
  plugin::Result<target::Capacity> Ask(seconds time = seconds(10)) {
    return Call(transport_, "cluster-a", target::GetCapacity{},
                {7, steady_clock::now() + time, {}});
  }
  FakeExec exec_;
  ExecTransport transport_{exec_.api, "target", "/etc/gantry/target.json"};
};

TEST_F(ExecTransportTest, TheRequestIsTheInputAndTheReplyTheOutput) {
  const target::Capacity capacity{1, 2, 3, 4};
  exec_.output = target::EncodeReply<target::Capacity>(capacity) + "\n";
  EXPECT_EQ(Ask().value(), capacity);
  EXPECT_THAT(exec_.words, ElementsAre("target", "/etc/gantry/target.json"));
  const auto line = target::DecodeRequest(exec_.input);
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_LT(line->call.deadline, seconds(10)) << "so that the target answers in time";
  EXPECT_GT(line->call.deadline, seconds(9));
  EXPECT_GT(exec_.deadline_ns, 0);
}

TEST_F(ExecTransportTest, ErrorsOfTheTargetKeepTheirCode) {
  exec_.output = target::EncodeReply<target::Capacity>(plugin::Fail(code::kDataLoss, "broken"));
  EXPECT_EQ(Ask().error().code, code::kDataLoss);
}

TEST_F(ExecTransportTest, WithoutAReplyItSaysHowTheProgramEnded) {
  exec_.exit_status = 2;
  exec_.complaint = "gantry-target: /etc/gantry/target.json: kind: missing\n";
  const auto reply = Ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, code::kUnavailable);
  EXPECT_THAT(reply.error().message, HasSubstr("status 2"));
  EXPECT_THAT(reply.error().message, HasSubstr("kind: missing"));
}

TEST_F(ExecTransportTest, WhatTheHostRefusesNamesTheGrant) {
  exec_.code = GANTRY_PERMISSION_DENIED;
  const auto reply = Ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, code::kPermissionDenied);
  EXPECT_THAT(reply.error().message, HasSubstr("\"target\""));
}

TEST_F(ExecTransportTest, NothingIsAskedWithoutTime) {
  EXPECT_EQ(Ask(seconds(0)).error().code, code::kDeadlineExceeded);
  EXPECT_EQ(exec_.input, "");
}

}  // namespace
}  // namespace gantry::iscsi::target_client
