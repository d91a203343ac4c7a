// SPDX-License-Identifier: Apache-2.0
// What a round trip costs: 256 bytes there and back, each end a Channel with its own threads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <semaphore>
#include <vector>

#include "host/wire/channel.hpp"
#include "host/wire/socket_pair.hpp"

namespace gantry::wire {
namespace {

class Echo : public Receiver {
 public:
  void OnMessage(Message message) override {
    message.kind = Kind::kFinish;
    (void)channel->Send(std::move(message));
  }
  void OnClosed(const base::Error&) override {}
  Channel* channel = nullptr;
};

class Wake : public Receiver {
 public:
  void OnMessage(Message) override { arrived.release(); }
  void OnClosed(const base::Error&) override { arrived.release(); }
  std::counting_semaphore<> arrived{0};
};

void RoundTrip(benchmark::State& state) {
  auto pair = MakeChannelPair();
  Wake wake;
  Echo echo;
  auto caller = Channel::Create(std::move(pair->ours)).value();
  auto callee = Channel::Create(std::move(pair->theirs)).value();
  echo.channel = callee.get();
  if (!callee->Start(echo) || !caller->Start(wake)) return state.SkipWithError("no threads");

  const auto size = static_cast<size_t>(state.range(0));
  std::vector<double> micros;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    if (!caller->Send({Kind::kCall, 1, std::string(size, 'x'), {}, {}}))
      return state.SkipWithError("send failed");
    wake.arrived.acquire();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    micros.push_back(took.count());
  }
  std::sort(micros.begin(), micros.end());
  state.counters["median_us"] = micros[micros.size() / 2];
  state.counters["p99_us"] = micros[micros.size() * 99 / 100];
}
BENCHMARK(RoundTrip)->Arg(256)->Arg(64 * 1024)->Arg(1024 * 1024)->UseRealTime();

}  // namespace
}  // namespace gantry::wire

BENCHMARK_MAIN();
