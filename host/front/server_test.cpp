// SPDX-License-Identifier: Apache-2.0
#include "host/front/server.hpp"

#include <csi/v1/csi.grpc.pb.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <future>
#include <sstream>

#include "host/base/fd.hpp"
#include "host/base/temp_dir.hpp"
#include "host/core/limits.hpp"
#include "host/core/testing.hpp"

namespace gantry::front {
namespace {

using core::testing::Describe;
using core::testing::Emits;
using core::testing::FakeDriver;
using core::testing::VolumeEmit;
using namespace std::chrono_literals;

// A driver at a socket of its own, with a client.
class ServerTest : public ::testing::Test {
 protected:
  void Start(core::Roles roles = {}) {
    fake = MakeDriver(roles);
    server = MakeServer(*fake);
    ASSERT_TRUE(server);
    channel = Connect();
  }
  std::unique_ptr<FakeDriver> MakeDriver(core::Roles roles = {}) {
    auto made = std::make_unique<FakeDriver>(
        std::vector<std::pair<std::string, channel::Description>>{
            {"fast", Describe(core::testing::AllOperations())}},
        roles, "unix://" + socket());
    made->backend().Answers(channel::CREATE_VOLUME, Emits{VolumeEmit("v1")});
    made->backend().Answers(channel::GET_VOLUME, Emits{VolumeEmit("v1")});
    return made;
  }
  std::unique_ptr<Server> MakeServer(FakeDriver& driver) {
    auto started = Server::Start(driver.driver(), log);
    EXPECT_TRUE(started) << (started ? "" : started.error().message);
    return started ? std::move(*started) : nullptr;
  }
  std::string socket() const { return (dir.path() / "csi.sock").string(); }
  std::shared_ptr<grpc::Channel> Connect(const std::string& authority = {}) const {
    grpc::ChannelArguments arguments;
    // A connection of its own for each; by default equal channels share one.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    if (!authority.empty()) arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, authority);
    return grpc::CreateCustomChannel("unix:" + socket(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  static void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds time = 20s) {
    context.set_deadline(std::chrono::system_clock::now() + time);
  }
  static csi::v1::CreateVolumeRequest CreateRequest(const std::string& name = "pvc-1") {
    csi::v1::CreateVolumeRequest request;
    request.set_name(name);
    *request.add_volume_capabilities() = core::testing::MountCapability();
    return request;
  }
  grpc::Status Create(const csi::v1::CreateVolumeRequest& request,
                      std::chrono::milliseconds time = 20s) const {
    grpc::ClientContext context;
    SetDeadline(context, time);
    csi::v1::CreateVolumeResponse response;
    return csi::v1::Controller::NewStub(channel)->CreateVolume(&context, request, &response);
  }
  grpc::Status Probe(const std::shared_ptr<grpc::Channel>& at) const {
    grpc::ClientContext context;
    SetDeadline(context);
    csi::v1::ProbeResponse response;
    return csi::v1::Identity::NewStub(at)->Probe(&context, {}, &response);
  }
  // Without an fd, and errno set, where nobody listens.
  base::UniqueFd ConnectedSocket() const {
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket().copy(address.sun_path, sizeof address.sun_path - 1);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
    return fd;
  }
  // 0, or the errno of a plain connect.
  int ConnectPlainly() const { return ConnectedSocket() ? 0 : errno; }
  size_t FilesInDirectory() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), {}));
  }

  base::TempDir dir;
  CallLog log;
  std::unique_ptr<FakeDriver> fake;
  std::unique_ptr<Server> server;
  std::shared_ptr<grpc::Channel> channel;
};

TEST_F(ServerTest, EveryServiceAnswers) {
  Start();
  const auto code = [&](auto stub, auto method, auto request, auto response) {
    grpc::ClientContext context;
    SetDeadline(context);
    return ((*stub).*method)(&context, request, &response).error_code();
  };
  using namespace csi::v1;
  EXPECT_EQ(code(Identity::NewStub(channel), &Identity::Stub::GetPluginInfo, GetPluginInfoRequest(),
                 GetPluginInfoResponse()),
            grpc::StatusCode::OK);
  EXPECT_EQ(code(Controller::NewStub(channel), &Controller::Stub::ControllerGetCapabilities,
                 ControllerGetCapabilitiesRequest(), ControllerGetCapabilitiesResponse()),
            grpc::StatusCode::OK);
  EXPECT_EQ(code(GroupController::NewStub(channel),
                 &GroupController::Stub::GroupControllerGetCapabilities,
                 GroupControllerGetCapabilitiesRequest(), GroupControllerGetCapabilitiesResponse()),
            grpc::StatusCode::OK);
  EXPECT_EQ(code(Node::NewStub(channel), &Node::Stub::NodeGetInfo, NodeGetInfoRequest(),
                 NodeGetInfoResponse()),
            grpc::StatusCode::OK);
  EXPECT_EQ(Create(CreateRequest()).error_code(), grpc::StatusCode::OK);
}

TEST_F(ServerTest, StreamsMetadata) {
  Start();
  Emits emits;
  for (uint64_t i = 0; i < 10; ++i) emits.push_back(core::testing::RangeEmit(i * 8192, 4096));
  fake->backend().Answers(channel::GET_ALLOCATED, emits);
  fake->backend().Answers(channel::GET_DELTA, emits);
  const auto stub = csi::v1::SnapshotMetadata::NewStub(channel);
  {
    grpc::ClientContext context;
    SetDeadline(context);
    csi::v1::GetMetadataAllocatedRequest request;
    request.set_snapshot_id("fast:s:s1");
    request.set_max_results(3);
    const auto reader = stub->GetMetadataAllocated(&context, request);
    int messages = 0;
    for (csi::v1::GetMetadataAllocatedResponse response; reader->Read(&response);) ++messages;
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(messages, 4);
  }
  grpc::ClientContext context;
  SetDeadline(context);
  csi::v1::GetMetadataDeltaRequest request;
  request.set_base_snapshot_id("fast:s:s1");
  const auto reader = stub->GetMetadataDelta(&context, request);
  csi::v1::GetMetadataDeltaResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, AReaderThatLeavesAStreamStopsThePlugin) {
  Start();
  Emits emits;
  for (uint64_t i = 0; i < 200'000; ++i) emits.push_back(core::testing::RangeEmit(i * 8192, 4096));
  fake->backend().Answers(channel::GET_ALLOCATED, emits);
  {
    grpc::ClientContext context;
    SetDeadline(context);
    csi::v1::GetMetadataAllocatedRequest request;
    request.set_snapshot_id("fast:s:s1");
    request.set_max_results(1);
    const auto reader =
        csi::v1::SnapshotMetadata::NewStub(channel)->GetMetadataAllocated(&context, request);
    csi::v1::GetMetadataAllocatedResponse response;
    EXPECT_TRUE(reader->Read(&response));
    context.TryCancel();
  }
  server->Stop(20s);
}

TEST_F(ServerTest, AcceptsWhateverAuthorityAClientSends) {
  Start();
  for (const std::string authority :
       {"localhost", "/csi/csi.sock", "%2Fcsi%2Fcsi.sock", "unix", ".", "csi.sock:0"}) {
    const auto status = Probe(Connect(authority));
    EXPECT_TRUE(status.ok()) << authority << ": " << status.error_message();
  }
}

TEST_F(ServerTest, ReplacesAStaleSocket) {
  {
    const base::UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_EQ(ConnectPlainly(), ECONNREFUSED);
  Start();
  EXPECT_TRUE(Probe(channel).ok());
  EXPECT_EQ(FilesInDirectory(), 1U);
}

TEST_F(ServerTest, ASuccessorTakesThePathWithoutAGap) {
  Start();
  std::atomic<bool> over = false;
  std::atomic<int> failures = 0;
  std::atomic<int> connects = 0;
  std::atomic<int> last_error = 0;
  std::thread client([&] {
    while (!over) {
      if (const int error = ConnectPlainly(); error != 0) {
        ++failures;
        last_error = error;
      }
      ++connects;
      // Not faster than gRPC accepts and closes them: out of file descriptors it stops to listen.
      poll(nullptr, 0, 1);
    }
  });
  auto next_driver = MakeDriver();
  auto next = MakeServer(*next_driver);
  server->Stop(1s);
  EXPECT_TRUE(Probe(Connect()).ok()) << "the old one removed the new one's socket";
  const int before = connects;
  while (connects < before + 10) poll(nullptr, 0, 1);
  over = true;
  client.join();
  EXPECT_EQ(failures, 0) << strerror(last_error);
  EXPECT_EQ(FilesInDirectory(), 1U);
  next.reset();
  EXPECT_EQ(FilesInDirectory(), 0U);
}

TEST_F(ServerTest, SuccessorsAndPredecessorsDoNotHarmEachOther) {
  Start();
  for (int i = 0; i < 20; ++i) {
    auto next_driver = MakeDriver();
    std::thread stopper([&] { server->Stop(1s); });
    auto next = MakeServer(*next_driver);
    stopper.join();
    ASSERT_TRUE(next);
    EXPECT_TRUE(Probe(Connect()).ok()) << i;
    server = std::move(next);
    fake = std::move(next_driver);
  }
  EXPECT_EQ(FilesInDirectory(), 1U);
}

TEST_F(ServerTest, TheSocketIsForItsGroupAndNobodyElse) {
  Start();
  struct stat status {};
  ASSERT_EQ(stat(socket().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0660U);
}

TEST_F(ServerTest, RefusesAPathThatIsTooLong) {
  FakeDriver long_path({{"fast", Describe({})}}, {},
                       "unix://" + (dir.path() / std::string(100, 'x')).string());
  const auto started = Server::Start(long_path.driver(), log);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, base::Code::kInvalidArgument);
}

TEST_F(ServerTest, StopLetsACallUnderWayFinish) {
  Start();
  core::testing::Gate gate;
  fake->backend().On(channel::CREATE_VOLUME, [&](const auto&) -> core::testing::Answer {
    gate.Pass();
    return Emits{VolumeEmit("v1")};
  });
  std::thread caller([&] { EXPECT_TRUE(Create(CreateRequest()).ok()); });
  gate.AwaitArrival();
  std::thread stopper([&] { server->Stop(20s); });
  while (ConnectPlainly() == 0) poll(nullptr, 0, 1);
  gate.Open();
  caller.join();
  stopper.join();
}

// It reads nothing, as one that is stopped (SIGSTOP): it never acknowledges the goodbye.
TEST_F(ServerTest, AClientThatHangsDoesNotDelayTheStop) {
  Start();
  const base::UniqueFd hung = ConnectedSocket();
  // RFC 9113, section 3.4: the preface and an empty SETTINGS frame make it a connection.
  constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  ASSERT_EQ(write(hung.get(), kPreface.data(), kPreface.size()),
            static_cast<ssize_t>(kPreface.size()));
  pollfd settings{hung.get(), POLLIN, 0};
  ASSERT_EQ(poll(&settings, 1, 20'000), 1);

  core::testing::Gate gate;
  fake->backend().On(channel::CREATE_VOLUME, [&](const auto&) -> core::testing::Answer {
    gate.Pass();
    return Emits{VolumeEmit("v1")};
  });
  std::thread caller([&] { EXPECT_TRUE(Create(CreateRequest()).ok()); });
  gate.AwaitArrival();
  auto stopped = std::async(std::launch::async, [&] { server->Stop(60s); });
  EXPECT_EQ(stopped.wait_for(3 * kGoodbyeMs), std::future_status::timeout) << "a call is under way";
  gate.Open();
  caller.join();
  // gRPC alone waits 20 s for the client.
  EXPECT_EQ(stopped.wait_for(10s), std::future_status::ready);
}

TEST_F(ServerTest, StopCancelsWhatDoesNotFinishInTime) {
  Start();
  core::testing::Gate gate;
  fake->backend().On(
      channel::CREATE_VOLUME, [&](const core::BackendCall& call) -> core::testing::Answer {
        const auto registration = call.cancellation->OnCancel([&gate] { gate.Open(); });
        gate.Pass();
        return Emits{VolumeEmit("v1")};
      });
  std::thread caller([&] { EXPECT_FALSE(Create(CreateRequest()).ok()); });
  gate.AwaitArrival();
  server->Stop(50ms);
  caller.join();
  server.reset();
}

TEST_F(ServerTest, ACancelReachesTheBackend) {
  Start();
  core::testing::Gate gate;
  std::atomic<bool> seen = false;
  fake->backend().On(channel::CREATE_VOLUME,
                     [&](const core::BackendCall& call) -> core::testing::Answer {
                       const auto registration = call.cancellation->OnCancel([&] {
                         seen = true;
                         gate.Open();
                       });
                       gate.Pass();
                       return tl::unexpected(core::testing::Refusal(base::Code::kCancelled));
                     });
  grpc::ClientContext context;
  std::thread caller([&] {
    csi::v1::CreateVolumeResponse response;
    const auto status =
        csi::v1::Controller::NewStub(channel)->CreateVolume(&context, CreateRequest(), &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  });
  gate.AwaitArrival();
  context.TryCancel();
  caller.join();
  server->Stop(20s);  // the caller has its answer without the server
  EXPECT_TRUE(seen);
}

TEST_F(ServerTest, TheCallersDeadlineIsTheBackendsWithinLimits) {
  Start();
  std::atomic<std::chrono::steady_clock::duration> left{};
  fake->backend().On(channel::CREATE_VOLUME,
                     [&](const core::BackendCall& call) -> core::testing::Answer {
                       left = call.deadline - std::chrono::steady_clock::now();
                       return Emits{VolumeEmit("v1")};
                     });
  ASSERT_TRUE(Create(CreateRequest(), 5s).ok());
  EXPECT_LE(left.load(), 6s) << "gRPC rounds a deadline up on the wire";
  EXPECT_GT(left.load(), 3s);
  ASSERT_TRUE(Create(CreateRequest(), 24h).ok());
  EXPECT_LE(left.load(), core::kCallMsMax);
  grpc::ClientContext forever;
  csi::v1::CreateVolumeResponse response;
  ASSERT_TRUE(csi::v1::Controller::NewStub(channel)
                  ->CreateVolume(&forever, CreateRequest(), &response)
                  .ok());
  EXPECT_LE(left.load(), core::kCallMsDefault);
  EXPECT_GT(left.load(), core::kCallMsDefault - 10s);
}

TEST_F(ServerTest, AStatusHasACodeAndASentenceAndNothingElse) {
  Start();
  fake->backend().Answers(
      channel::CREATE_VOLUME,
      tl::unexpected(core::testing::Refusal(base::Code::kOutOfRange, "too \xC3\xA4 large")));
  const auto status = Create(CreateRequest());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(status.error_message(), "too \xC3\xA4 large");
  EXPECT_TRUE(status.error_details().empty());
}

TEST_F(ServerTest, AnEndlessMessageIsCutBetweenCharacters) {
  Start();
  std::string text = "x";
  while (text.size() < 3 * core::kErrorMessageBytesMax) text += "\xC3\xA4";
  fake->backend().Answers(channel::CREATE_VOLUME,
                          tl::unexpected(core::testing::Refusal(base::Code::kOutOfRange, text)));
  const auto message = Create(CreateRequest()).error_message();
  EXPECT_EQ(message.size(), core::kErrorMessageBytesMax - 1);
  EXPECT_EQ(message.substr(message.size() - 2), "\xC3\xA4");
}

TEST_F(ServerTest, RefusesARequestBeyondTheLimits) {
  Start();
  EXPECT_EQ(Create(CreateRequest(std::string(129, 'n'))).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  auto request = CreateRequest();
  (*request.mutable_parameters())["long"] = std::string(core::kMapBytesMax, 'x');
  const auto status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("parameters"), std::string::npos);
  (*request.mutable_parameters())["long"] = std::string(5 << 20, 'x');
  EXPECT_EQ(Create(request).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(fake->backend().seen().empty());
}

TEST_F(ServerTest, ARoleThatGantrydDoesNotHaveIsUnimplemented) {
  Start({true, false});
  grpc::ClientContext context;
  SetDeadline(context);
  csi::v1::NodeGetInfoResponse info;
  EXPECT_EQ(csi::v1::Node::NewStub(channel)->NodeGetInfo(&context, {}, &info).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  server.reset();
  Start({false, true});
  EXPECT_EQ(Create(CreateRequest()).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerTest, Runs200CallsBesideEachOther) {
  Start();
  constexpr int kCalls = 200;
  core::testing::Gate gate;
  fake->backend().On(channel::CREATE_VOLUME, [&](const auto&) -> core::testing::Answer {
    gate.Pass();
    return Emits{VolumeEmit("v1")};
  });
  std::atomic<int> good = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < kCalls; ++i)
    callers.emplace_back([&, i] {
      if (Create(CreateRequest("pvc-" + std::to_string(i))).ok()) ++good;
    });
  gate.AwaitArrival(kCalls);
  gate.Open();
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(good, kCalls);
}

TEST_F(ServerTest, IsUnavailableWhenTooManyCallsAreUnderWay) {
  fake = MakeDriver();
  auto started = Server::Start(fake->driver(), log, 1);
  ASSERT_TRUE(started);
  server = std::move(*started);
  channel = Connect();
  core::testing::Gate gate;
  fake->backend().On(channel::CREATE_VOLUME, [&](const auto&) -> core::testing::Answer {
    gate.Pass();
    return Emits{VolumeEmit("v1")};
  });
  std::thread caller([&] { EXPECT_TRUE(Create(CreateRequest()).ok()); });
  gate.AwaitArrival();
  EXPECT_EQ(Create(CreateRequest("pvc-2")).error_code(), grpc::StatusCode::UNAVAILABLE);
  gate.Open();
  caller.join();
  EXPECT_TRUE(Create(CreateRequest("pvc-2")).ok());
}

TEST_F(ServerTest, NoSecretReachesTheLog) {
  std::ostringstream text;
  const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text);
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  spdlog::set_level(spdlog::level::trace);
  Start();
  const std::string canary = "canary-7321";
  auto request = CreateRequest();
  (*request.mutable_secrets())["password"] = canary;
  request.mutable_volume_capabilities(0)->mutable_mount()->add_mount_flags("password=" + canary);
  EXPECT_TRUE(Create(request).ok());
  fake->backend().On(channel::CREATE_VOLUME,
                     [&](const core::BackendCall& call) -> core::testing::Answer {
                       return tl::unexpected(core::testing::Refusal(
                           base::Code::kPermissionDenied,
                           "login with " + std::string(call.secrets->at("password").view())));
                     });
  const auto status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message().find(canary), std::string::npos);
  (*request.mutable_secrets())["too-long"] = canary + std::string(core::kSecretMapBytesMax, 'x');
  EXPECT_EQ(Create(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  server->Stop(1s);
  spdlog::set_default_logger(before);
  EXPECT_EQ(text.str().find(canary), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("CreateVolume PERMISSION_DENIED"), std::string::npos)
      << "the test must see what is logged: " << text.str();
}

}  // namespace
}  // namespace gantry::front
