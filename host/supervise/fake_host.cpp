// SPDX-License-Identifier: Apache-2.0
// A gantryd that is nothing but one supervisor, to be killed by a test: argv is the worker's
// program, the file that tells the worker what to do, and the lease. It prints the worker's pid.
#include <unistd.h>

#include <cstdio>

#include "host/supervise/supervisor.hpp"

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
  const auto worker = gantry::base::PinnedBinary::Open(argv[1]);
  if (!worker) return 2;
  gantry::supervise::WorkerSpec spec;
  spec.worker = &*worker;
  spec.plugin = argv[2];
  spec.lease = argv[3];
  spec.backend.name = "fake";
  spec.drop_privileges = false;
  const gantry::base::SystemClock clock;
  NoServices services;
  gantry::supervise::HostCallPool host_calls(services, clock);
  gantry::supervise::Supervisor supervisor(spec, {}, host_calls);
  if (!supervisor.Start()) return 1;
  std::printf("%d\n", static_cast<int>(supervisor.state().pid));
  std::fflush(stdout);
  for (;;) pause();
}
