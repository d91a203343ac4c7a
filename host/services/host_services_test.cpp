// SPDX-License-Identifier: Apache-2.0
#include "host/services/host_services.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>

#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

base::PinnedBinary BuiltHelper() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  auto binary = base::PinnedBinary::Open(std::filesystem::path(build != nullptr ? build : ".") /
                                         "bin/gantry-helper");
  if (!binary) throw std::runtime_error(binary.error().message);
  return std::move(*binary);
}

class DeskTest : public ::testing::Test {
 protected:
  DeskTest() : kv_(temp_.path() / "kv") {
    for (const char* name : {"a", "b"}) config_.backends[name].name = name;
    std::ofstream(temp_.path() / "key") << "hunter2";
    config_.backends["a"].credentials["key"] = temp_.path() / "key";
    config_.backends["a"].grants.helpers["say"] = {"/bin/echo", {{"{name}"}}};
    config_.backends["a"].uid = geteuid();
    config_.backends["a"].gid = getegid();
    desk_.emplace(config_, kv_, counters_, helper_);
  }
  channel::HostReply Ask(const std::string& backend, const channel::HostCall& call) {
    return desk_->Serve(backend, call,
                        std::chrono::steady_clock::now() + std::chrono::milliseconds(60000),
                        nullptr);
  }
  static channel::HostCall Put(const std::string& value, uint64_t expected) {
    channel::HostCall call;
    call.mutable_kv_put()->set_key("k");
    call.mutable_kv_put()->set_value(value);
    call.mutable_kv_put()->set_expected_version(expected);
    return call;
  }
  static channel::HostCall Get() {
    channel::HostCall call;
    call.mutable_kv_get()->set_key("k");
    return call;
  }
  static int32_t Number(base::Code code) { return static_cast<int32_t>(code); }

  base::TempDir temp_;
  core::Config config_;
  FileKv kv_;
  Counters counters_;
  const base::PinnedBinary helper_ = BuiltHelper();
  std::optional<HostServiceDesk> desk_;
};

TEST_F(DeskTest, KeepsTheValuesOfBackendsApart) {
  const auto put = Ask("a", Put("x", 0));
  ASSERT_EQ(put.code(), 0) << put.message();
  const auto got = Ask("a", Get());
  EXPECT_EQ(got.value(), "x");
  EXPECT_EQ(got.version(), put.version());
  EXPECT_EQ(Ask("b", Get()).code(), Number(base::Code::kNotFound));
  channel::HostCall scan;
  scan.mutable_kv_scan();
  EXPECT_THAT(Ask("a", scan).keys(), ::testing::ElementsAre("k"));
  EXPECT_EQ(Ask("b", scan).keys_size(), 0);
  channel::HostCall remove;
  remove.mutable_kv_remove()->set_key("k");
  remove.mutable_kv_remove()->set_expected_version(put.version());
  EXPECT_EQ(Ask("a", remove).code(), 0);
  EXPECT_EQ(Ask("a", Get()).code(), Number(base::Code::kNotFound));
}

TEST_F(DeskTest, GivesACredentialToItsBackendAlone) {
  channel::HostCall call;
  call.mutable_secret_get()->set_name("key");
  EXPECT_EQ(Ask("a", call).value(), "hunter2");
  EXPECT_EQ(Ask("b", call).code(), Number(base::Code::kNotFound));
}

TEST_F(DeskTest, RunsAHelperForItsBackendAlone) {
  channel::HostCall call;
  call.mutable_exec()->add_argv("say");
  call.mutable_exec()->add_argv("hello");
  EXPECT_EQ(Ask("a", call).value(), "hello\n");
  EXPECT_EQ(Ask("b", call).code(), Number(base::Code::kPermissionDenied));
}

TEST_F(DeskTest, Counts) {
  channel::HostCall call;
  call.mutable_count()->set_name("calls");
  call.mutable_count()->set_add(4);
  EXPECT_EQ(Ask("a", call).code(), 0);
  EXPECT_EQ(counters_.Read().at("a").at("calls"), 4U);
}

TEST_F(DeskTest, AnswersWhatItDoesNotKnowOrWhatComesTooLate) {
  EXPECT_EQ(Ask("a", channel::HostCall()).code(), Number(base::Code::kUnimplemented));
  EXPECT_EQ(Ask("c", Get()).code(), Number(base::Code::kInternal));
  EXPECT_EQ(desk_->Serve("a", Get(), std::chrono::steady_clock::now(), nullptr).code(),
            Number(base::Code::kDeadlineExceeded));
}

}  // namespace
}  // namespace gantry::services
