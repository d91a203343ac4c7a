// SPDX-License-Identifier: Apache-2.0
// A real gantry-worker with a plugin of the zoo, and the host's end of its channel: what gantryd's
// supervisor is to it, reduced to what a test wants to say and see.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gantry/channel.pb.h"
#include "host/base/process.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::testing {

constexpr std::chrono::seconds kPatience{60};  // only a broken worker makes a test wait so long
constexpr uid_t kPluginUid = 61234;
constexpr gid_t kPluginGid = 61235;

struct Outcome {
  int code = -1;  // -1: it did not end
  std::string message;
  std::vector<channel::Emit> emits;
};

class WorkerProcess final : public wire::Receiver {
 public:
  using HostCallHandler =
      std::function<std::optional<channel::HostReply>(const channel::HostCall&)>;

  // `extra`: further arguments.
  explicit WorkerProcess(const std::string& zoo_plugin, std::vector<std::string> extra = {});
  ~WorkerProcess() override;
  static std::filesystem::path Binary();
  static std::filesystem::path ZooPath(const std::string& name);

  // Sends and returns the call's id.
  uint64_t Send(channel::Call call, const std::map<std::string, std::string>& secrets = {});
  uint64_t Send(channel::Operation operation);
  Outcome Await(uint64_t id);
  bool AwaitEmits(uint64_t id, size_t count);
  Outcome Run(channel::Call call, const std::map<std::string, std::string>& secrets = {}) {
    return Await(Send(std::move(call), secrets));
  }
  Outcome Run(channel::Operation operation) { return Await(Send(operation)); }
  Outcome Create();  // and checks nothing
  void Cancel(uint64_t id);
  void Credit(uint64_t id, uint32_t emits, bool stop = false);
  bool Ping();  // true when the pong has come
  void OnHostCall(HostCallHandler handler);
  void CloseChannel() { channel_->Close(); }

  bool AwaitLog(const std::string& text);
  std::string Log();
  // Its end, and everything it logged before.
  base::ExitStatus AwaitExit();
  pid_t pid() const { return child_.pid(); }
  // A field of /proc/<pid>/status, without the tabs around it.
  std::string StatusField(const std::string& name) const;
  int lease_fd() const { return lease_.get(); }

  void OnMessage(wire::Message message) override;
  void OnClosed(const base::Error& error) override;

 private:
  void ReadLog();
  template <class Condition>
  bool Wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, condition);
  }

  base::UniqueFd lease_;
  std::unique_ptr<wire::Channel> channel_;
  std::unique_ptr<wire::LogPipeReader> log_reader_;
  base::Child child_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Outcome> outcomes_;
  uint64_t last_id_ = 0;
  uint64_t pongs_ = 0;
  bool log_ended_ = false;
  std::string log_;
  HostCallHandler on_host_call_;
  std::thread log_thread_;
};

// A create of the given name; parameter server, and the hint pvc/name.
channel::Call CreateVolume(const std::string& name, const std::string& server = "nas");
channel::Call DeleteVolume(const std::string& handle);

}  // namespace gantry::testing
