// SPDX-License-Identifier: Apache-2.0
// A gantryd that is nothing but one runner, to be killed by a test: argv is the worker's program,
// the file that tells the worker what to do, and the lease. It prints the worker's pid.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

#include "host/supervise/generation.hpp"
#include "host/supervise/runner.hpp"

namespace {

class NoServices final : public gantry::core::HostServices {
 public:
  gantry::channel::HostReply Serve(const std::string&, const gantry::channel::HostCall&,
                                   gantry::base::TimePoint, gantry::core::Cancellation*) override {
    return {};
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  spdlog::set_level(spdlog::level::off);  // standard output is for the pid alone
  const auto program = gantry::base::PinnedBinary::Open(argv[1]);
  if (!program) return 2;
  gantry::supervise::WorkerSpec worker;
  worker.worker = &*program;
  worker.plugin = argv[2];
  worker.lease = argv[3];
  worker.backend.name = "fake";
  worker.drop_privileges = false;
  const gantry::base::SystemClock clock;
  NoServices services;
  gantry::supervise::HostCallPool host_calls(services, clock);
  uint64_t number = 0;
  gantry::supervise::RunnerSpec spec;
  spec.backend = worker.backend;
  spec.next_number = [&] { return ++number; };
  gantry::supervise::Runner runner(spec, gantry::supervise::MakeSpawner(worker, host_calls));
  if (!runner.Start()) return 1;
  std::printf("%d\n", static_cast<int>(runner.state().pid));
  std::fflush(stdout);
  for (;;) pause();
}
