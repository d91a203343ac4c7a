// SPDX-License-Identifier: Apache-2.0
// The NFS backend under load while its plugin is swapped and its worker killed, against a real
// server. GANTRY_SWAP_SECONDS says how long each part takes; 60 is what is promised, 5 what an
// ordinary run takes.
#include <csignal>

#include "tests/integration/swap_lab.hpp"

namespace gantry::itest {
namespace {

constexpr int kUid = 61072;
constexpr int kClients = 16;
constexpr std::chrono::milliseconds kSwapPeriod{500};
constexpr std::chrono::milliseconds kKillPeriod{1000};
constexpr std::chrono::seconds kRetriedMax{2};

std::chrono::seconds Duration() {
  const char* seconds = std::getenv("GANTRY_SWAP_SECONDS");
  return std::chrono::seconds(seconds != nullptr ? std::stoi(seconds) : 5);
}

class SwapNfs : public testing::Test {
 protected:
  void SetUp() override {
    lab::GaneshaOptions ganesha;
    ganesha.exports = {"vol"};
    auto server = lab::Ganesha::Start(ganesha);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::make_unique<lab::Ganesha>(std::move(*server));
    Put();
    lab::GantrydOptions options;
    options.backends = NfsBackend("nfs", kUid, {At(*server_)}) + "    watch: true\n";
    options.driver_backends = "[nfs]";
    options.role = "controller";
    options.log_level = "info";
    options.plugin_directory = plugins_.path();
    options.top = "swap: {standby_ms: 1000, drain_ms: 10000}\n";
    auto host = lab::Gantryd::Start(std::move(options));
    ASSERT_TRUE(host) << host.error().message;
    host_ = std::move(*host);
  }
  void Put() { plugins_.Put(BuildDirectory() / "lib/gantry/plugins/nfs.so", "nfs"); }
  // One of them: which of two that live during a swap is left to chance.
  void KillWorker() {
    const auto pids = host_->WorkerPids("nfs");
    if (!pids.empty()) kill(pids[kills_++ % pids.size()], SIGKILL);
  }

  template <class Send>
  bool Try(Tally& tally, const std::string& rpc, const Send& send) {
    const auto context = lab::Within(kCallMsMax);
    context->set_wait_for_ready(true);
    const auto begin = std::chrono::steady_clock::now();
    const grpc::Status status = send(context.get());
    tally.Add(rpc, status, std::chrono::steady_clock::now() - begin);
    return status.ok();
  }
  // A volume's life, and what is asked beside it.
  void Round(csi::v1::Controller::Stub& stub, const std::string& name, Tally& tally) {
    csi::v1::CreateVolumeResponse created;
    if (!Try(tally, "CreateVolume", [&](auto* context) {
          return stub.CreateVolume(context, CreateRequest(name), &created);
        }))
      return;
    const auto& volume = created.volume();
    Try(tally, "ValidateVolumeCapabilities", [&](auto* context) {
      csi::v1::ValidateVolumeCapabilitiesRequest request;
      request.set_volume_id(volume.volume_id());
      *request.add_volume_capabilities() = CreateRequest(name).volume_capabilities(0);
      csi::v1::ValidateVolumeCapabilitiesResponse response;
      return stub.ValidateVolumeCapabilities(context, request, &response);
    });
    Try(tally, "ListVolumes", [&](auto* context) {
      csi::v1::ListVolumesRequest request;
      request.set_max_entries(5);
      csi::v1::ListVolumesResponse response;
      return stub.ListVolumes(context, request, &response);
    });
    Try(tally, "GetCapacity", [&](auto* context) {
      csi::v1::GetCapacityResponse response;
      return stub.GetCapacity(context, {}, &response);
    });
    const auto erase = [&](auto* context) {
      csi::v1::DeleteVolumeRequest request;
      request.set_volume_id(volume.volume_id());
      csi::v1::DeleteVolumeResponse response;
      return stub.DeleteVolume(context, request, &response);
    };
    while (!Try(tally, "DeleteVolume", erase)) poll(nullptr, 0, 20);
  }
  std::unique_ptr<Clients> StartClients(Tally& tally, const std::string& prefix) {
    std::vector<std::shared_ptr<csi::v1::Controller::Stub>> stubs;
    for (int i = 0; i < kClients; ++i)
      stubs.emplace_back(csi::v1::Controller::NewStub(host_->Connect()));
    return std::make_unique<Clients>(
        kClients, [this, stubs, prefix, &tally](int client, uint64_t number) {
          Round(*stubs[static_cast<size_t>(client)],
                prefix + std::to_string(client) + "-" + std::to_string(number), tally);
        });
  }
  // Runs clients, and `disturb` once a period.
  void Load(const std::string& what, std::chrono::milliseconds period,
            const std::function<void()>& disturb) {
    Tally tally;
    {
      const auto clients = StartClients(tally, what.substr(0, 4));
      const auto end = std::chrono::steady_clock::now() + Duration();
      while (std::chrono::steady_clock::now() < end) {
        poll(nullptr, 0, static_cast<int>(period.count()));
        disturb();
      }
    }
    std::printf("%s: %llu calls, %llu failed, the longest %.1f ms\n", what.c_str(),
                static_cast<unsigned long long>(tally.calls()),
                static_cast<unsigned long long>(tally.failed()), tally.longest_ms());
    EXPECT_EQ(tally.failed(), 0U) << tally.errors();
    EXPECT_GT(tally.calls(), 100U);
  }

  PluginDirectory plugins_;
  std::unique_ptr<lab::Ganesha> server_;
  std::unique_ptr<lab::Gantryd> host_;
  size_t kills_ = 0;
};

TEST_F(SwapNfs, NoCallFails) {
  Load("calm", kSwapPeriod, [] {});
  Load("swap every 500 ms", kSwapPeriod, [this] { Put(); });
  std::printf("%zu swaps\n", CountIn(host_->Log(), "swap: cut-over"));
  ASSERT_TRUE(WaitFor([this] { return host_->WorkerPids("nfs").size() == 1; }));
  Load("kill every second", kKillPeriod, [this] { KillWorker(); });
  int ticks = 0;
  Load("both", kSwapPeriod, [&] {
    Put();
    if (++ticks % 2 == 0) KillWorker();
  });
  // Nothing is left but what was there.
  Controller controller(*host_);
  const auto listed = controller.List();
  ASSERT_TRUE(listed.ok()) << listed.message();
  EXPECT_EQ(listed.reply.entries_size(), 0);
}

TEST_F(SwapNfs, EachCallSucceedsWhenRetriedAfterGantrydWasKilled) {
  Controller controller(*host_);
  const int rounds = static_cast<int>(Duration().count());
  std::chrono::steady_clock::duration longest{};
  for (int i = 0; i < rounds; ++i) {
    const std::string name = "gantryd-killed-" + std::to_string(i);
    std::thread killer([this] {
      poll(nullptr, 0, 5);
      EXPECT_TRUE(host_->Restart());
    });
    const auto begin = std::chrono::steady_clock::now();
    auto created = controller.Create(name);
    while (!created.ok()) {
      EXPECT_TRUE(created.code() == grpc::StatusCode::UNAVAILABLE ||
                  created.code() == grpc::StatusCode::ABORTED)
          << created.message();
      poll(nullptr, 0, 20);
      created = controller.Create(name);
    }
    longest = std::max(longest, std::chrono::steady_clock::now() - begin);
    killer.join();
    EXPECT_TRUE(controller.Delete(created.reply.volume().volume_id()).ok());
  }
  std::printf("gantryd killed: the longest until a retry succeeded %.1f ms\n",
              std::chrono::duration<double, std::milli>(longest).count());
  EXPECT_LT(longest, kRetriedMax);
}

}  // namespace
}  // namespace gantry::itest
