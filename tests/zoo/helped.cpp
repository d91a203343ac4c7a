// SPDX-License-Identifier: Apache-2.0
// Asks the host for processes: a helper program, and jobs of its own that echo, block for ever,
// crash and say too much. A replay answers at once, so that a test can look for what is left.
#include <poll.h>

#include <cstdlib>
#include <gantry/gantry.hpp>

namespace {

constexpr std::string_view kJob = "job ";

class Helped {
 public:
  static gantry::Made<Helped> Create(const gantry::Host&, const gantry_create&) {
    return std::make_unique<Helped>();
  }

  // The name says what is done: "job echo", "job block", "exec", "kv...", anything else nothing.
  gantry::Status CreateVolume(gantry::Call& call, const gantry_create_volume& request) {
    const std::string_view name = gantry::View(request.name);
    const auto& api = call.host().call_api();
    const int64_t deadline_ns = api.deadline_ns(api.ctx, call.id());
    std::string told = "attempt-" + std::to_string(call.attempt());
    if (call.attempt() == 1 && name.starts_with(kJob)) {
      const auto outcome = gantry::RunJob(call.host(), call.id(), name.substr(kJob.size()),
                                          std::string(100'000, 'i'), deadline_ns);
      if (outcome.code != GANTRY_OK) return {outcome.code, "as the job"};
      told = std::to_string(outcome.output.size()) + "-" + outcome.output.substr(0, 4);
    }
    if (name.starts_with("kv")) {
      const auto* kv = call.host().Extension<gantry_kv_api>(GANTRY_EXT_KV);
      const gantry_bytes value{name.data(), name.size()};
      const auto code = kv->put(kv->ctx, gantry::ToStr(name), value, 0, deadline_ns);
      if (code != GANTRY_OK) return {code, "as the store"};
    }
    if (call.attempt() == 1 && name == "exec") {
      const auto* exec = call.host().Extension<gantry_exec_api>(GANTRY_EXT_EXEC);
      const gantry_str argv[] = {gantry::ToStr("wait"), gantry::ToStr("7321")};
      gantry_exec_request run{};
      run.size = sizeof run;
      run.argv = {argv, 2};
      run.deadline_ns = deadline_ns;
      gantry_exec_result result{};
      result.size = sizeof result;
      const auto code = exec->run(exec->ctx, call.id(), &run, nullptr, 0, nullptr, 0, &result);
      if (code != GANTRY_OK) return {code, "as the helper"};
      told = "exit-" + std::to_string(result.exit_status);
    }
    gantry_volume volume{};
    volume.handle = gantry::ToStr(told);
    volume.capacity_bytes = 1 << 30;
    call.Emit(volume);
    return gantry::Ok();
  }
  gantry::Status DeleteVolume(gantry::Call&, const gantry_volume_ref&) { return gantry::Ok(); }

  static gantry::Status RunJob(gantry::Job& job) {
    if (job.name() == "block")
      for (;;) (void)poll(nullptr, 0, -1);
    if (job.name() == "crash") std::abort();
    if (job.name() == "refuse") return {GANTRY_FAILED_PRECONDITION, "as told"};
    if (job.name() == "flood")
      while (job.Write(std::string(65536, 'o'))) {
      }
    job.Log(GANTRY_LOG_INFO, "the job runs");
    job.Write("echo");
    job.Write(job.input());
    return gantry::Ok();
  }
};

const gantry_manifest kManifest = [] {
  gantry_manifest manifest{};
  manifest.size = sizeof manifest;
  manifest.thread_model = GANTRY_THREADS_PARALLEL;
  manifest.name = gantry::ToStr("helped");
  manifest.version = gantry::ToStr("1.0.0");
  manifest.csi_min = manifest.csi_max = gantry::ToStr("1.12.0");
  manifest.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER);
  manifest.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  return manifest;
}();

}  // namespace

GANTRY_PLUGIN(Helped, kManifest)
