// SPDX-License-Identifier: Apache-2.0
// Swaps as an operator makes them: a real gantryd, real workers, plugins renamed into the plugin
// directory or a configuration that is read again.
#include <csignal>

#include "tests/integration/swap_lab.hpp"

namespace gantry::itest {
namespace {

constexpr int kUid = 61071;
constexpr int kClients = 16;
constexpr std::chrono::seconds kSoonMax{20};

class Swap : public testing::Test {
 protected:
  void Begin(const std::string& first = "v1", int standby_ms = 300, int drain_ms = 5000) {
    Put(first);
    lab::GantrydOptions options;
    options.backends = Backend("good");
    options.driver_backends = "[rel]";
    options.role = "controller";
    options.log_level = "info";
    options.plugin_directory = plugins_.path();
    options.top = "swap: {standby_ms: " + std::to_string(standby_ms) +
                  ", drain_ms: " + std::to_string(drain_ms) + "}\n";
    auto host = lab::Gantryd::Start(std::move(options));
    ASSERT_TRUE(host) << host.error().message;
    host_ = std::move(*host);
    stub_ = csi::v1::Controller::NewStub(host_->Connect());
  }
  static std::string Backend(const std::string& word) {
    return "  rel:\n    plugin: release\n    owner: lab\n    uid: " + std::to_string(kUid) +
           "\n    watch: true\n    config: {word: " + word + "}\n";
  }
  void Put(const std::string& release) {
    plugins_.Put(BuildDirectory() / "tests/zoo/releases" / (release + ".so"), "release");
  }
  size_t Logged(const std::string& word) const { return CountIn(host_->Log(), word); }
  bool AwaitLog(const std::string& word, size_t count = 1) {
    return WaitFor([&] { return Logged(word) >= count; });
  }
  // The version that answers; 0: the call failed.
  int64_t Version(csi::v1::Controller::Stub& stub) {
    csi::v1::GetCapacityResponse response;
    const auto context = lab::Within(kSoonMax);
    context->set_wait_for_ready(true);
    return stub.GetCapacity(context.get(), {}, &response).ok() ? response.available_capacity() : 0;
  }
  int64_t Version() { return Version(*stub_); }

  // One call of a client's: each kind in turn.
  void Round(csi::v1::Controller::Stub& stub, int client, uint64_t number, Tally& tally) {
    const std::string name = std::to_string(client) + "-" + std::to_string(number);
    const auto context = lab::Within(kSoonMax);
    context->set_wait_for_ready(true);
    const auto begin = std::chrono::steady_clock::now();
    grpc::Status status;
    std::string rpc;
    if (number % 4 == 0) {
      rpc = "CreateVolume";
      csi::v1::CreateVolumeResponse response;
      auto request = CreateRequest(name);
      request.mutable_volume_capabilities(0)->mutable_access_mode()->set_mode(
          csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
      status = stub.CreateVolume(context.get(), request, &response);
    } else if (number % 4 == 1) {
      rpc = "DeleteVolume";
      csi::v1::DeleteVolumeRequest request;
      request.set_volume_id("rel:" + name);
      csi::v1::DeleteVolumeResponse response;
      status = stub.DeleteVolume(context.get(), request, &response);
    } else if (number % 4 == 2) {
      rpc = "ListVolumes";
      csi::v1::ListVolumesResponse response;
      status = stub.ListVolumes(context.get(), {}, &response);
    } else {
      rpc = "GetCapacity";
      csi::v1::GetCapacityResponse response;
      status = stub.GetCapacity(context.get(), {}, &response);
    }
    tally.Add(rpc, status, std::chrono::steady_clock::now() - begin);
  }
  std::unique_ptr<Clients> StartClients(Tally& tally) {
    std::vector<std::shared_ptr<csi::v1::Controller::Stub>> stubs;
    for (int i = 0; i < kClients; ++i)
      stubs.emplace_back(csi::v1::Controller::NewStub(host_->Connect()));
    return std::make_unique<Clients>(kClients, [this, stubs, &tally](int client, uint64_t number) {
      Round(*stubs[static_cast<size_t>(client)], client, number, tally);
    });
  }

  PluginDirectory plugins_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<csi::v1::Controller::Stub> stub_;
};

TEST_F(Swap, AFileRenamedIntoThePluginDirectoryTakesOver) {
  Begin();
  EXPECT_EQ(Version(), 1);
  const auto begin = std::chrono::steady_clock::now();
  Put("v2");
  ASSERT_TRUE(WaitFor([&] { return Version() == 2; }));
  std::printf(
      "from the rename to the first answer of the new release: %.1f ms\n",
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  const auto pids = host_->WorkerPids("rel");
  for (const auto pid : pids)
    std::printf("worker %d: %llu KiB proportional set\n", pid,
                static_cast<unsigned long long>(ResidentKib(pid)));
  ASSERT_TRUE(AwaitLog("swap: finalize")) << host_->Log();
  ASSERT_TRUE(WaitFor([&] { return host_->WorkerPids("rel").size() == 1; }));
}

TEST_F(Swap, AReleaseThatMustNotServeGetsNoTrafficAndTheLogSaysWhy) {
  Begin();
  const std::vector<std::pair<std::string, std::string>> bad{
      {"shrinks", "it takes away the capability gantry.controller/1:list_volumes"},
      {"unreadable", "it cannot read records of format 1"},
      {"refuses_config", "config.word: bad: expected another one"}};
  for (const auto& [release, why] : bad) {
    Put(release);
    ASSERT_TRUE(AwaitLog("rel: swap: rollback: preflight", 1)) << host_->Log();
    ASSERT_TRUE(AwaitLog(why)) << host_->Log();
    EXPECT_EQ(Version(), 1);
  }
  plugins_.Put(BuildDirectory() / "tests/zoo/wrong_major.so", "release");
  ASSERT_TRUE(AwaitLog("abi_major is ")) << host_->Log();
  EXPECT_EQ(Version(), 1);
  Put("v2");
  ASSERT_TRUE(WaitFor([&] { return Version() == 2; }));
}

TEST_F(Swap, AReleaseThatCrashesUnderLoadIsRolledBackWithNoFailedCall) {
  Begin("v1", 60'000);
  Tally tally;
  const auto clients = StartClients(tally);
  Put("crashes");
  ASSERT_TRUE(AwaitLog("swap: rollback: ")) << host_->Log();
  const uint64_t calls = tally.calls();
  ASSERT_TRUE(WaitFor([&] { return tally.calls() > calls + 1000; }));
  EXPECT_EQ(tally.failed(), 0U) << tally.errors();
  EXPECT_EQ(Version(), 1);
}

TEST_F(Swap, ACallThatDoesNotEndIsReplayedOnTheNewReleaseAtTheDrainDeadline) {
  Begin("slow", 300, 300);
  std::thread slow([this] {
    csi::v1::DeleteVolumeRequest request;
    request.set_volume_id("rel:slow");
    csi::v1::DeleteVolumeResponse response;
    const auto context = lab::Within(kSoonMax);
    const auto status = stub_->DeleteVolume(context.get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  });
  const auto other = csi::v1::Controller::NewStub(host_->Connect());
  EXPECT_EQ(Version(*other), 1);
  Put("v2");
  slow.join();
  EXPECT_EQ(Version(), 2);
  EXPECT_EQ(Logged("does not let its calls go"), 1U) << host_->Log();
}

TEST_F(Swap, ANewConfigurationIsSwappedInOnSighup) {
  Begin();
  const auto file = host_->directory() / "gantry.yaml";
  const std::string text = *base::ReadFile(file, 1 << 20);
  const auto write = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    ASSERT_TRUE(base::WriteFileDurably(file, changed, 0600));
    kill(host_->pid(), SIGHUP);
  };
  write("word: good", "word: bad");
  ASSERT_TRUE(AwaitLog("reload: backend rel: config.word: bad")) << host_->Log();
  write("word: good", "word: better");
  ASSERT_TRUE(AwaitLog("reload: done")) << host_->Log();
  write("uid: 61071", "uid: 61072");
  ASSERT_TRUE(AwaitLog("only a restart of gantryd brings these about: backends.rel.uid"))
      << host_->Log();
  EXPECT_EQ(Version(), 1);
}

TEST_F(Swap, GantrydMayBeKilledAtAnyStep) {
  Begin("v1", 100);
  const std::vector<std::string> steps{"stage",    "preflight", "spawn",  "canary",
                                       "cut-over", "standby",   "retire", "finalize"};
  const auto journal_file = host_->directory() / "state/swap/rel.json";
  int64_t next = 2;
  for (const auto& step : steps) {
    const auto known = Logged("rel: swap: " + step);
    Put(next == 2 ? "v2" : "v1");
    // Looked for as often as can be: the sooner after the step, the better.
    ASSERT_TRUE(AwaitLog("rel: swap: " + step, known + 1)) << step << "\n" << host_->Log();
    ASSERT_TRUE(host_->Kill(SIGKILL));
    const auto journal = base::ReadFile(journal_file, 1 << 20);
    ASSERT_TRUE(host_->Restart()) << host_->Log();
    stub_ = csi::v1::Controller::NewStub(host_->Connect());
    const auto serving = Version();
    EXPECT_TRUE(serving == 1 || serving == 2) << step;
    if (journal) {
      const auto active = journal->find("\"active\"");
      const auto version = journal->find("\"version\": \"" + std::to_string(serving), active);
      EXPECT_NE(version, std::string::npos) << step << "\n" << *journal;
      EXPECT_LT(version, journal->find("\"config_sha256\"", active)) << step << "\n"
                                                                     << *journal << host_->Log();
    } else {
      // Killed between the first swap's first line and its first entry: the file is what there is.
      EXPECT_EQ(step, "stage");
      EXPECT_EQ(serving, next);
    }
    // And the same swap can be made again, or be found made.
    if (serving != next) Put(next == 2 ? "v2" : "v1");
    ASSERT_TRUE(WaitFor([&] { return Version() == next; })) << step << "\n" << host_->Log();
    // Or the next step that is seen would be this swap's.
    ASSERT_TRUE(WaitFor([&] {
      const auto now = base::ReadFile(journal_file, 1 << 20);
      return (!now || now->find("\"is_over\": true") != std::string::npos) &&
             host_->WorkerPids("rel").size() == 1;
    })) << step
        << "\n"
        << host_->Log();
    next = 3 - next;
  }
}

TEST_F(Swap, NoCallFailsWhileReleasesAreSwappedEveryHundredMilliseconds) {
  constexpr std::chrono::seconds kCalm{2};
  constexpr std::chrono::seconds kSwapping{5};
  constexpr int kPeriodMs = 100;
  Begin("v1", 60'000);
  double calm_ms = 0;
  {
    Tally tally;
    const auto clients = StartClients(tally);
    poll(nullptr, 0, static_cast<int>(std::chrono::milliseconds(kCalm).count()));
    EXPECT_EQ(tally.failed(), 0U) << tally.errors();
    calm_ms = tally.longest_ms();
    std::printf("without swaps: %llu calls, the longest %.1f ms\n",
                static_cast<unsigned long long>(tally.calls()), calm_ms);
  }
  Tally tally;
  const auto clients = StartClients(tally);
  const auto end = std::chrono::steady_clock::now() + kSwapping;
  for (int i = 0; std::chrono::steady_clock::now() < end; ++i) {
    Put(i % 2 == 0 ? "v2" : "v1");
    poll(nullptr, 0, kPeriodMs);
  }
  const size_t swaps = Logged("swap: cut-over");
  std::printf("%zu swaps: %llu calls, %llu failed, the longest %.1f ms\n", swaps,
              static_cast<unsigned long long>(tally.calls()),
              static_cast<unsigned long long>(tally.failed()), tally.longest_ms());
  EXPECT_EQ(tally.failed(), 0U) << tally.errors();
  // A start takes a second with a sanitizer.
#ifdef GANTRY_SANITIZED
  EXPECT_GE(swaps, 2U);
#else
  EXPECT_GE(swaps, 5U);
#endif
  EXPECT_EQ(Logged("swap: rollback"), 0U) << host_->Log();
}

TEST_F(Swap, NoCallFailsWhileWorkersAreKilled) {
  constexpr int kKills = 5;
  constexpr int kPeriodMs = 400;
  Begin();
  Tally tally;
  const auto clients = StartClients(tally);
  std::vector<double> until_answer_ms;
  for (int i = 0; i < kKills; ++i) {
    poll(nullptr, 0, kPeriodMs);
    const auto begin = std::chrono::steady_clock::now();
    for (const pid_t pid : host_->WorkerPids("rel")) kill(pid, SIGKILL);
    ASSERT_EQ(Version(), 1);
    until_answer_ms.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  std::sort(until_answer_ms.begin(), until_answer_ms.end());
  std::printf(
      "SIGKILL to the next good answer: median %.1f ms, longest %.1f ms; %llu calls, the "
      "longest %.1f ms\n",
      until_answer_ms[until_answer_ms.size() / 2], until_answer_ms.back(),
      static_cast<unsigned long long>(tally.calls()), tally.longest_ms());
  EXPECT_EQ(tally.failed(), 0U) << tally.errors();
}

}  // namespace
}  // namespace gantry::itest
