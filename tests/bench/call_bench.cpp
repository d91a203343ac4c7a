// SPDX-License-Identifier: Apache-2.0
// What a call through front, lock, channel and worker costs more than a bare gRPC callback server
// on the same kind of socket. DeleteVolume to a plugin that does nothing. Also: memory at rest.
#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "host/base/process.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::bench {
namespace {

constexpr int kRounds = 9;
constexpr int kCallsOneClient = 2000;
constexpr int kClients = 16;
constexpr std::chrono::milliseconds kRoundMs{1500};
constexpr std::chrono::milliseconds kCallMsMax{5000};

bool Delete(csi::v1::Controller::Stub& stub, const std::string& id) {
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(id);
  csi::v1::DeleteVolumeResponse response;
  return stub.DeleteVolume(lab::Within(kCallMsMax).get(), request, &response).ok();
}

// Median latency of one client, in microseconds.
double OneClient(const std::shared_ptr<grpc::Channel>& channel) {
  auto stub = csi::v1::Controller::NewStub(channel);
  std::vector<double> latencies;
  for (int i = 0; i < kCallsOneClient; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    if (!Delete(*stub, "noop:v1")) std::abort();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    latencies.push_back(took.count());
  }
  return Percentile(latencies, 0.5);
}

// Calls a second of so many clients, each with its own connection and volume.
double ManyClients(const std::vector<std::shared_ptr<grpc::Channel>>& channels) {
  std::atomic<uint64_t> calls = 0;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < channels.size(); ++i)
    threads.emplace_back([&, i] {
      auto stub = csi::v1::Controller::NewStub(channels[i]);
      const std::string id = "noop:v" + std::to_string(i);
      while (std::chrono::steady_clock::now() < begin + kRoundMs) {
        if (!Delete(*stub, id)) std::abort();
        ++calls;
      }
    });
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(calls) / took.count();
}

std::shared_ptr<grpc::Channel> Connect(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments);
}

double ResidentMiB(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

int Main() {
  lab::GantrydOptions options;
  options.backends = "  noop: {plugin: noop, owner: bench, uid: 61009}\n";
  options.driver_backends = "[noop]";
  options.log_level = "info";
  auto host = lab::Gantryd::Start(options);
  if (!host) {
    std::fprintf(stderr, "%s\n", host.error().message.c_str());
    return 1;
  }
  const std::string bare_endpoint = "unix:" + ((*host)->directory() / "bare.sock").string();
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  auto binary = base::PinnedBinary::Open(std::filesystem::path(build ? build : "build/release") /
                                         "tests/bare_csi_server");
  if (!binary) return 1;
  base::SpawnOptions spawn;
  spawn.arguments = {"bare_csi_server", bare_endpoint};
  auto bare = base::Spawn(*binary, spawn);
  if (!bare) return 1;

  auto ours = Connect((*host)->endpoint());
  auto theirs = Connect(bare_endpoint);
  if (!theirs->WaitForConnected(std::chrono::system_clock::now() + kCallMsMax)) return 1;
  std::vector<std::shared_ptr<grpc::Channel>> our_channels;
  std::vector<std::shared_ptr<grpc::Channel>> their_channels;
  for (int i = 0; i < kClients; ++i) {
    our_channels.push_back(Connect((*host)->endpoint()));
    their_channels.push_back(Connect(bare_endpoint));
  }
  OneClient(ours);
  OneClient(theirs);

  std::vector<double> our_latency;
  std::vector<double> their_latency;
  std::vector<double> our_rate;
  std::vector<double> their_rate;
  std::vector<double> added;
  std::vector<double> ratio;
  for (int round = 0; round < kRounds; ++round) {
    our_latency.push_back(OneClient(ours));
    their_latency.push_back(OneClient(theirs));
    added.push_back(our_latency.back() - their_latency.back());
    our_rate.push_back(ManyClients(our_channels));
    their_rate.push_back(ManyClients(their_channels));
    ratio.push_back(our_rate.back() / their_rate.back());
  }
  std::printf("one client, us a call:      gantryd %s\n", Spread(our_latency).c_str());
  std::printf("                            bare    %s\n", Spread(their_latency).c_str());
  std::printf("%d clients, calls a second: gantryd %s\n", kClients, Spread(our_rate).c_str());
  std::printf("                            bare    %s\n", Spread(their_rate).c_str());
  Goal("added latency, one client, median", Percentile(added, 0.5), "<=", 150, "us");
  Goal("throughput with 16 clients, of bare", Percentile(ratio, 0.5), ">=", 0.5, "");
  auto idle = lab::Gantryd::Start(options);
  if (!idle) return 1;
  Goal("gantryd at rest, resident", ResidentMiB((*idle)->pid()), "<=", 25, "MiB");
  for (const pid_t pid : (*idle)->WorkerPids("noop"))
    std::printf("%-58s %9.2f MiB\n", "worker with the no-op plugin, resident", ResidentMiB(pid));
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }
