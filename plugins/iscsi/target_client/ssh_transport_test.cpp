// SPDX-License-Identifier: Apache-2.0
// The real program behind a real sshd.
#include "plugins/iscsi/target_client/ssh_transport.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "host/base/temp_dir.hpp"
#include "tests/lab/sshd.hpp"

namespace gantry::iscsi::target_client {
namespace {

namespace code = plugin::code;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

class SshTransportTest : public ::testing::Test {
 protected:
  SshTransportTest() {
    std::signal(SIGPIPE, SIG_IGN);
    std::filesystem::create_directory(temp_.path() / "store");
    chmod((temp_.path() / "store").c_str(), 0700);
    const auto config = temp_.path() / "target.json";
    // No daemon is asked by what these tests ask.
    std::ofstream(config) << R"({"kind": "tgt", "iqn_prefix": "iqn.2026-01.test",)"
                          << R"( "portals": ["127.0.0.1:3260"], "store": ")"
                          << (temp_.path() / "store").string() << "\"}";
    chmod(config.c_str(), 0600);
    const char* build = std::getenv("GANTRY_BUILD_DIR");
    Start(std::string(build != nullptr ? build : ".") + "/bin/gantry-target " + config.string());
  }
  void Start(const std::string& command) {
    auto started = lab::Sshd::Start(command);
    if (!started) throw std::runtime_error(started.error().message);
    sshd_.emplace(*std::move(started));
    key_ = sshd_->client_key();
  }
  SshConfig Config() const {
    SshConfig config;
    config.host = "127.0.0.1";
    config.port = sshd_->port();
    config.user = sshd_->user();
    config.host_keys = {sshd_->host_key()};
    return config;
  }
  std::unique_ptr<SshTransport> Make(SshConfig config) {
    return std::make_unique<SshTransport>(std::move(config), [this](const Asked&) {
      ++keys_read_;
      return plugin::Result<std::string>(key_);
    });
  }
  static Asked Within(milliseconds time) { return {0, steady_clock::now() + time, {}}; }
  static plugin::Result<target::CreatedVolume> Create(Transport& transport,
                                                      const std::string& handle,
                                                      milliseconds time = seconds(20)) {
    target::CreateVolume request;
    request.handle = handle;
    request.required_bytes = 1 << 20;
    return Call(transport, "cluster-a", request, Within(time));
  }

  base::TempDir temp_;
  std::optional<lab::Sshd> sshd_;
  std::string key_;
  std::atomic<int> keys_read_ = 0;
};

TEST_F(SshTransportTest, AsksTheProgramOfAnotherMachineOnOneConnection) {
  const auto transport = Make(Config());
  for (const char* handle : {"a", "b", "c"}) {
    const auto made = Create(*transport, handle);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->volume->handle, handle);
  }
  const auto page = Call(*transport, "cluster-a", target::ListVolumes{}, Within(seconds(10)));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->volumes.size(), 3U);
  EXPECT_EQ(keys_read_, 1) << "one login";
}

TEST_F(SshTransportTest, ErrorsKeepTheirCode) {
  const auto transport = Make(Config());
  const auto reply =
      Call(*transport, "cluster-a", target::GetVolume{"nothing"}, Within(seconds(10)));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, code::kNotFound) << reply.error().message;
}

TEST_F(SshTransportTest, AServerWithAnotherKeyGetsNothing) {
  auto other = lab::Sshd::Start("true");
  ASSERT_TRUE(other) << other.error().message;
  SshConfig config = Config();
  config.host_keys = {other->host_key()};
  const auto reply = Create(*Make(config), "a");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, code::kUnauthenticated) << reply.error().message;
  EXPECT_THAT(reply.error().message, HasSubstr("host_keys"));
  config.host_keys.push_back(sshd_->host_key());
  EXPECT_TRUE(Create(*Make(config), "a")) << "one of several";
}

TEST_F(SshTransportTest, AKeyThatTheServerDoesNotKnowIsRefused) {
  const auto other = sshd_->OtherKey();
  ASSERT_TRUE(other) << other.error().message;
  key_ = *other;
  EXPECT_EQ(Create(*Make(Config()), "a").error().code, code::kUnauthenticated);
  key_ = "no key";
  EXPECT_EQ(Create(*Make(Config()), "a").error().code, code::kFailedPrecondition);
}

TEST_F(SshTransportTest, ARestartedServerIsAskedAgainOnANewConnection) {
  const auto transport = Make(Config());
  ASSERT_TRUE(Create(*transport, "a"));
  ASSERT_TRUE(sshd_->Restart());
  const auto made = Create(*transport, "b");
  EXPECT_TRUE(made) << made.error().message;
  EXPECT_EQ(keys_read_, 2);
}

TEST_F(SshTransportTest, ADeadServerIsUnavailableAtOnceAndAFrozenOneAtTheDeadline) {
  const auto transport = Make(Config());
  ASSERT_TRUE(sshd_->Freeze());
  auto begin = steady_clock::now();
  const auto late = Create(*transport, "a", milliseconds(1000));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, code::kDeadlineExceeded) << late.error().message;
  EXPECT_GE(steady_clock::now() - begin, milliseconds(900));
  EXPECT_LT(steady_clock::now() - begin, seconds(5));
  ASSERT_TRUE(sshd_->Thaw());
  ASSERT_TRUE(sshd_->Kill());
  begin = steady_clock::now();
  const auto dead = Create(*transport, "a");
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error().code, code::kUnavailable) << dead.error().message;
  EXPECT_LT(steady_clock::now() - begin, seconds(5));
}

TEST_F(SshTransportTest, ACancelledCallReturnsSoon) {
  const auto transport = Make(Config());
  ASSERT_TRUE(sshd_->Freeze());
  const auto begin = steady_clock::now();
  Asked asked = Within(seconds(60));
  asked.cancelled = [&] { return steady_clock::now() - begin > milliseconds(200); };
  const auto reply = Call(*transport, "cluster-a", target::GetCapacity{}, asked);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, code::kCancelled) << reply.error().message;
  EXPECT_LT(steady_clock::now() - begin, seconds(10));
  ASSERT_TRUE(sshd_->Thaw());
}

TEST_F(SshTransportTest, ManyAtOnceAreServedByFewConnections) {
  const auto transport = Make(Config());
  constexpr int kThreads = 16;
  std::atomic<int> made = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([&, i] {
        for (int j = 0; j < 3; ++j) {
          const auto reply = Create(*transport, "v" + std::to_string(i) + "-" + std::to_string(j));
          if (reply)
            ++made;
          else
            ADD_FAILURE() << reply.error().message;
        }
      });
  }
  EXPECT_EQ(made, 3 * kThreads);
  EXPECT_LE(keys_read_, static_cast<int>(kSshConnectionsMax));
}

TEST_F(SshTransportTest, WhatTheServerRunsInsteadIsSaid) {
  Start("echo no such program >&2; exit 3");
  const auto reply = Create(*Make(Config()), "a");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, code::kUnavailable);
  EXPECT_THAT(reply.error().message, HasSubstr("no such program"));
}

TEST_F(SshTransportTest, ALargeRequestAndItsReplyPass) {
  const auto transport = Make(Config());
  target::CreateVolume request;
  request.handle = "a";
  for (int i = 0; i < 60; ++i)
    request.parameters["key" + std::to_string(i)] = std::string(1000, 'v');
  const auto made = Call(*transport, "cluster-a", request, Within(seconds(20)));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->volume->parameters, request.parameters);
}

TEST_F(SshTransportTest, ABadConfigurationNamesItsField) {
  SshConfig config = Config();
  config.host_keys = {"ssh-ed25519 garbage"};
  EXPECT_THAT(CheckSshConfig(config).error().message,
              HasSubstr("host_keys: \"ssh-ed25519 garbage\""));
  config.host_keys.clear();
  EXPECT_THAT(CheckSshConfig(config).error().message, HasSubstr("host_keys"));
  config = Config();
  config.host.clear();
  EXPECT_THAT(CheckSshConfig(config).error().message, HasSubstr("host"));
}

}  // namespace
}  // namespace gantry::iscsi::target_client
