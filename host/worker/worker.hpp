// SPDX-License-Identifier: Apache-2.0
// The worker: one plugin, one instance, one channel. Here the parts are put together and each
// message finds the thread it belongs to:
//
//   wire-read   takes messages apart and queues; never writes, never runs plugin code
//   the caller  of Run is the control thread: create, start, activate, deactivate, drain, stop
//   gw-call     (pool) operations, as the Dispatcher lets them in
//   gw-probe    probe; gw-cancel  callbacks of cancelled calls
//   gw-clerk    pongs, and answers to calls that never reach the plugin; no plugin code
//
// The process ends by _exit: after STOP, at the end of the channel, or because the host broke the
// protocol; nothing of the plugin's is ever waited for then.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/base/error.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"
#include "host/worker/call_table.hpp"
#include "host/worker/control_queue.hpp"
#include "host/worker/dispatcher.hpp"
#include "host/worker/extensions.hpp"
#include "host/worker/host_table.hpp"
#include "host/worker/load.hpp"
#include "host/worker/outbound.hpp"

namespace gantry::worker {

// Exit codes: why the process ended.
constexpr int kExitStopped = 0;
constexpr int kExitFailed = 1;  // it could not start; the log says why
constexpr int kExitUsage = 2;
constexpr int kExitHostGone = 3;  // the channel's end, or a host that reads nothing
constexpr int kExitProtocol = 4;  // the host sent what it must not

constexpr size_t kSecretsWaitingMax = 1024;  // of calls that have not come yet
constexpr size_t kClerkJobsMax = 8192;
constexpr size_t kCancelJobsMax = 8192;
constexpr size_t kProbesWaitingMax = 4;
constexpr int64_t kStopMsMax = 30 * 1000;  // that operations have to end, without another deadline

class Worker final : public wire::Receiver {
 public:
  // `not_enforced`: of the sandbox; told to the host with the description.
  Worker(std::string backend, std::vector<std::string> not_enforced,
         std::unique_ptr<wire::Channel> channel, wire::LogPipe log);

  // Starts the channel, loads the plugin, then serves. A plugin that cannot be loaded is the answer
  // to CREATE_INSTANCE, so that the host need not guess it from the log.
  [[noreturn]] void Run(const std::filesystem::path& plugin);

  // wire::Receiver, on wire-read.
  void OnMessage(wire::Message message) override;
  void OnClosed(const base::Error& error) override;

 private:
  class Operation;
  // What there is once create has succeeded; never destroyed.
  struct Live {
    LoadedPlugin plugin;
    Extensions extensions;
    gantry_instance* instance;
    Dispatcher dispatcher;
  };

  void OnCall(wire::Message message);
  void OnSecrets(wire::Message message);
  void RefuseLater(uint64_t id, base::Error why);

  void RunControl(ControlCall& call, const base::Result<LoadedPlugin>& plugin);
  base::Error Create(ControlCall& call, const base::Result<LoadedPlugin>& plugin);
  base::Error SendDescription(ControlCall& call, const base::Result<LoadedPlugin>& plugin);
  base::Error Step(ControlCall& call);
  void (*FunctionOf(channel::Operation operation) const)(gantry_instance*, gantry_call);
  [[noreturn]] void Stop(ControlCall& call);
  template <class Function>
  void Enter(const char* what, Function&& function) noexcept;
  void Answer(ControlCall& call, const base::Error& outcome);

  std::string LogIdOf(uint64_t id);
  void Log(wire::LogLevel level, std::string_view text) { log_.Write(level, text); }
  [[noreturn]] void Exit(int code, wire::LogLevel level, std::string_view why);

  const std::string backend_;
  const std::vector<std::string> not_enforced_;
  wire::LogPipe log_;
  const std::unique_ptr<wire::Channel> channel_;
  Outbound outbound_;
  TaskThread clerk_{"gw-clerk", kClerkJobsMax};
  TaskThread canceller_{"gw-cancel", kCancelJobsMax};
  TaskThread prober_{"gw-probe", kProbesWaitingMax};
  Misbehaviour misbehaviour_;
  HostCalls services_;
  CallTable calls_;
  HostTable host_table_;
  ControlQueue control_;
  std::atomic<Live*> live_{nullptr};
  std::unordered_map<uint64_t, CallSecrets> secrets_;  // reader's only
};

}  // namespace gantry::worker
