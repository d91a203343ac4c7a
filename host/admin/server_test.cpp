// SPDX-License-Identifier: Apache-2.0
#include "host/admin/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <future>

#include "host/admin/testing.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::admin {
namespace {

using ::testing::ElementsAre;
using testing::FakeParts;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST(Peer, IsRootOrOneselfAndNeverAWorker) {
  const std::set<uid_t> workers{61001, 61002};
  EXPECT_TRUE(CheckPeer({1, 0, 0}, 500, workers));
  EXPECT_TRUE(CheckPeer({1, 500, 0}, 500, workers));
  EXPECT_EQ(CheckPeer({1, 501, 0}, 500, workers).error().code, base::Code::kPermissionDenied);
  EXPECT_THAT(CheckPeer({7, 61002, 0}, 0, workers).error().message,
              HasSubstr("pid 7, uid 61002: a backend's worker"));
  EXPECT_FALSE(CheckPeer({1, 61001, 0}, 61001, workers));
}

struct AdminServerTest : ::testing::Test {
  void Start() {
    fake.parts.config.admin_socket = socket();
    auto started = Server::Start(fake.parts);
    ASSERT_TRUE(started) << started.error().message;
    server = std::move(*started);
    stub = v1::Admin::NewStub(
        grpc::CreateChannel("unix:" + socket(), grpc::InsecureChannelCredentials()));
  }
  std::string socket() const { return directory.path() / "admin.sock"; }
  static std::unique_ptr<grpc::ClientContext> Within(std::chrono::milliseconds timeout = 20s) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + timeout);
    return context;
  }
  struct Swapped {
    std::vector<std::string> steps;
    v1::SwapState result;
    grpc::Status status;
  };
  static Swapped Drain(grpc::ClientReader<v1::SwapEvent>& reader) {
    Swapped swapped;
    for (v1::SwapEvent event; reader.Read(&event);) {
      if (event.has_step()) swapped.steps.push_back(event.step().name());
      if (event.has_result()) swapped.result = event.result();
    }
    swapped.status = reader.Finish();
    return swapped;
  }

  base::TempDir directory;
  FakeParts fake;
  std::unique_ptr<Server> server;
  std::unique_ptr<v1::Admin::Stub> stub;
};

TEST_F(AdminServerTest, ServesOverASocketForItsOwnerAlone) {
  Start();
  struct stat found {};
  ASSERT_EQ(lstat(socket().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  for (int i = 0; i < 3; ++i) {
    v1::Status status;
    const auto context = Within();
    const auto done = stub->GetStatus(context.get(), {}, &status);
    ASSERT_TRUE(done.ok()) << done.error_message();
    EXPECT_EQ(status.version(), "1.2.3");
    ASSERT_EQ(status.backends_size(), 1);
    EXPECT_EQ(status.backends(0).health(), "serving");
    EXPECT_EQ(status.backends(0).generations(0).number(), 3u);
    EXPECT_EQ(status.backends(0).uid(), 61001u);
  }
  server.reset();
  EXPECT_NE(lstat(socket().c_str(), &found), 0);
}

TEST_F(AdminServerTest, RefusesAPeerWhoseUidIsAWorkers) {
  fake.parts.config.backends["fast"].uid = geteuid();
  Start();
  v1::Status status;
  const auto context = Within(3s);
  EXPECT_FALSE(stub->GetStatus(context.get(), {}, &status).ok());
  EXPECT_EQ(status.backends_size(), 0);
}

TEST_F(AdminServerTest, TellsTheStepsOfASwapAndItsResult) {
  Start();
  v1::SwapRequest request;
  request.set_backend("fast");
  request.set_plugin_file("/new.so");
  request.set_dry_run(true);
  auto context = Within();
  auto swapped = Drain(*stub->Swap(context.get(), request));
  ASSERT_TRUE(swapped.status.ok()) << swapped.status.error_message();
  EXPECT_THAT(swapped.steps, ElementsAre("preflight", "cut-over"));
  EXPECT_EQ(swapped.result.to().version(), "2.0.0");
  ASSERT_EQ(fake.fleet.swaps.size(), 1u);
  EXPECT_EQ(fake.fleet.swaps[0].plugin_file, "/new.so");
  EXPECT_EQ(fake.fleet.swaps[0].shift_percent_start, 100u);
  EXPECT_TRUE(fake.fleet.swaps[0].dry_run);

  fake.fleet.roll_back = {base::Code::kUnavailable, "the canary died"};
  context = Within();
  swapped = Drain(*stub->Swap(context.get(), request));
  EXPECT_TRUE(swapped.status.ok());
  EXPECT_EQ(swapped.result.error_code(), "UNAVAILABLE");
  EXPECT_EQ(swapped.result.error(), "the canary died");
}

TEST_F(AdminServerTest, RefusesASwapOfWhatIsNotThereOrNotClear) {
  Start();
  v1::SwapRequest request;
  request.set_backend("slow");
  auto context = Within();
  auto refused = Drain(*stub->Swap(context.get(), request)).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(refused.error_message(), HasSubstr("\"slow\": expected one of fast"));
  request.set_backend("fast");
  request.set_plugin_file("relative.so");
  context = Within();
  refused = Drain(*stub->Swap(context.get(), request)).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(fake.fleet.swaps.empty());
}

TEST_F(AdminServerTest, CancelsTheSwapOfACallerWhoIsGone) {
  fake.fleet.waits_for_cancel = true;
  Start();
  v1::SwapRequest request;
  request.set_backend("fast");
  const auto context = Within();
  const auto reader = stub->Swap(context.get(), request);
  v1::SwapEvent event;
  ASSERT_TRUE(reader->Read(&event));
  context->TryCancel();
  reader->Finish();
  server->Stop(20s);
  EXPECT_TRUE(fake.fleet.was_cancelled);
}

TEST_F(AdminServerTest, DrainsAndResumes) {
  Start();
  v1::DrainRequest drain;
  drain.set_backend("fast");
  v1::DrainResponse drained;
  auto context = Within();
  ASSERT_TRUE(stub->Drain(context.get(), drain, &drained).ok());
  EXPECT_THAT(fake.fleet.drained, ElementsAre("fast"));
  v1::ResumeRequest resume;
  resume.set_backend("fast");
  v1::ResumeResponse resumed;
  context = Within();
  ASSERT_TRUE(stub->Resume(context.get(), resume, &resumed).ok());
  EXPECT_TRUE(fake.fleet.drained.empty());
}

TEST_F(AdminServerTest, FollowsTheLogOfOneCall) {
  fake.log.Add({{}, "info", "before", {.id = "01234567-1"}});
  fake.log.Add({{}, "info", "other", {}});
  Start();
  v1::ReadLogRequest request;
  request.set_tail(10);
  request.set_follow(true);
  request.set_call("01234567-1");
  const auto context = Within();
  const auto reader = stub->ReadLog(context.get(), request);
  v1::LogLine line;
  ASSERT_TRUE(reader->Read(&line));
  EXPECT_EQ(line.text(), "before");
  fake.log.Add({{}, "info", "after", {.id = "01234567-1"}});
  ASSERT_TRUE(reader->Read(&line));
  EXPECT_EQ(line.text(), "after");
  // The server's end ends it, though the caller would go on.
  server->Stop(20s);
  EXPECT_FALSE(reader->Read(&line));
  reader->Finish();
}

TEST_F(AdminServerTest, ReloadsWhatASwapCanBringAboutAndNothingElse) {
  const auto file = directory.path() / "gantry.yaml";
  const auto write = [&](const std::string& config, int uid) {
    std::ofstream(file)
        << "state_directory: " << directory.path().string()
        << "\ntrust: any\nnode: {id: node-1}\nbackends:\n  fast: {plugin: nfs, owner: o, uid: "
        << uid << ", config: " << config
        << "}\ndrivers: [{name: test.gantry, endpoint: \"unix:///csi.sock\", "
           "backends: [fast]}]\n";
  };
  write("{a: 1}", 61001);
  fake.parts.config = core::LoadConfig(file).value();
  fake.parts.config_file = file;
  fake.parts.config.admin_socket = socket();
  Start();
  const auto reload = [&] {
    const auto context = Within();
    const auto reader = stub->ReloadConfig(context.get(), {});
    for (v1::ReloadEvent event; reader->Read(&event);) {
    }
    return reader->Finish();
  };
  ASSERT_TRUE(reload().ok());
  EXPECT_TRUE(fake.fleet.swaps.empty());
  write("{a: 2}", 61001);
  ASSERT_TRUE(reload().ok());
  ASSERT_EQ(fake.fleet.swaps.size(), 1u);
  EXPECT_EQ(fake.fleet.swaps[0].config_json, "{\"a\":2}");
  ASSERT_TRUE(reload().ok());  // it is the configuration now
  EXPECT_EQ(fake.fleet.swaps.size(), 1u);
  write("{a: 3}", 61009);
  const auto refused = reload();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("backends.fast.uid"));
  EXPECT_EQ(fake.fleet.swaps.size(), 1u);
  write("{a: 4}", 61001);
  fake.fleet.roll_back = {base::Code::kInvalidArgument, "a: 4"};
  EXPECT_EQ(reload().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace gantry::admin
