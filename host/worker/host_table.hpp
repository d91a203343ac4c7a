// SPDX-License-Identifier: Apache-2.0
// The tables of function pointers that a plugin sees of its host (host.h), over the parts that do
// the work. C functions all: no exception passes, no argument is believed.
#pragma once

#include <functional>
#include <string_view>

#include "gantry/gantry.h"
#include "host/worker/call_table.hpp"
#include "host/worker/host_calls.hpp"
#include "host/worker/misbehaviour.hpp"

namespace gantry::worker {

// Lives as long as the plugin may call, which is until _exit.
class HostTable {
 public:
  // level is one of GANTRY_LOG_*.
  using Log = std::function<void(uint64_t call, int32_t level, std::string_view text)>;
  HostTable(CallTable& calls, HostCalls& services, Misbehaviour& misbehaviour, Log log);
  HostTable(const HostTable&) = delete;
  HostTable& operator=(const HostTable&) = delete;

  const gantry_host* host() const { return &host_; }

 private:
  struct Functions;  // the C functions, which get a HostTable* as their ctx

  CallTable& calls_;
  HostCalls& services_;
  Misbehaviour& misbehaviour_;
  const Log log_;
  gantry_host host_{};
  gantry_call_api call_api_{};
  gantry_kv_api kv_api_{};
  gantry_exec_api exec_api_{};
  gantry_secret_api secret_api_{};
  gantry_job_api job_api_{};
  gantry_metric_api metric_api_{};
};

}  // namespace gantry::worker
