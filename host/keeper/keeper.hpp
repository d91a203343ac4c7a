// SPDX-License-Identifier: Apache-2.0
// Holds what must outlive gantryd: the fuse fds, memory, secrets and sockets of userspace volumes,
// and their processes. As small as possible, because it is restarted the least: no gRPC, no
// protobuf, no plugin, one poll loop that blocks on no peer.
//
// Of its few clients one is gantryd, which asks for copies of everything (kHold): when the keeper
// dies, the processes serve on, and gantryd gives the copies to the next keeper (kAdopt). So the
// volumes survive as long as one of the two is alive.
//
// A data path that dies is followed by a successor, at once, where its volume was started for that,
// and callers wait for that moment. Where it was not, where the process ended by its own decision, or
// where it crashes again and again, its fault is kept and told, and its fuse fd is closed, so that
// callers get an error (ENOTCONN) at once instead of waiting for ever.
#pragma once

#include <poll.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/closer.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/process.hpp"
#include "host/keeper/kept_path.hpp"
#include "host/wire/keeper_protocol.hpp"

namespace gantry::keeper {

constexpr int kListenBacklog = 8;
constexpr size_t kClientsMax = 8;  // then the oldest is dropped
constexpr uint64_t kStopMsMax = 60'000;
constexpr int64_t kKillMsMax = 2000;  // from SIGKILL until a process counts as stuck
constexpr size_t kListPageBytesMax = 32 * 1024;
constexpr size_t kArgumentsMax = 64;
constexpr int kControlMessagesPerTurnMax = 16;  // of one data path
// A crash within this time from the start counts as one more of the same fault; so many are enough.
constexpr std::chrono::seconds kCrashAgainMax{10};
constexpr int kCrashesMax = 3;
// Deaths so soon after the start: many in a row are followed with doubling pauses. One that did not
// come as far as to serve counts as several.
constexpr std::chrono::milliseconds kDeathSoon{1000};
constexpr int kDeathsWithoutPause = 64;
constexpr int kUnservedDeath = 8;
constexpr std::chrono::milliseconds kLaunchPauseMin{10};
constexpr std::chrono::milliseconds kLaunchPauseMax{1000};

class Keeper {
 public:
  using Print = std::function<void(std::string_view line)>;

  // `listener`: a listening SOCK_SEQPACKET unix socket. `print` must not block.
  // `instance`: a random number.
  Keeper(base::UniqueFd listener, base::PinnedBinary worker, Print print, uint64_t instance);

  // Until an error of its own.
  base::Status Run();

 private:
  // Polling.
  base::Status Turn();
  int PollTimeoutMs() const;
  void CheckStops();
  void Accept();

  // Clients and their requests (clients.cpp).
  struct Client {
    base::UniqueFd socket;
    bool holds = false;
    std::set<std::string> unheld;  // of which volumes it has not got the newest copies
  };
  void OnClient(uint64_t number);
  wire::KeeperMessage Serve(uint64_t client, wire::KeeperMessage& request, std::vector<int>& fds);
  base::Status Spawn(wire::KeeperMessage& request);
  base::Status Adopt(wire::KeeperMessage& request);
  void BeginStop(uint64_t client, const wire::KeeperMessage& request);
  void AnswerStop(const Stopping& stopping, const base::Status& status);
  void List(const wire::KeeperMessage& request, wire::KeeperMessage& reply) const;
  void SendHeld(uint64_t number);
  void TellChanged(const KeptPath& path);
  void TellForgotten(const std::string& volume_id);
  void Send(uint64_t client, const wire::KeeperMessage& message, const std::vector<int>& fds = {});

  // Data paths.
  base::Status Launch(KeptPath& path);
  void ReadLogFrom(KeptPath& path, base::UniqueFd reader);
  bool MayFollow(KeptPath& path, const base::ExitStatus* ended) const;
  void LaunchSuccessor(KeptPath& path);
  void LaunchDue();
  void OnControl(KeptPath& path);
  wire::KeeperMessage ServePath(KeptPath& path, wire::KeeperMessage& request, int& fd);
  base::Status GiveRegion(KeptPath& path, const wire::KeeperMessage& request,
                          wire::KeeperMessage& reply, int& fd);
  void OnLog(KeptPath& path);
  void OnExit(const std::string& volume_id);
  void Forget(const std::string& volume_id);

  base::UniqueFd listener_;
  base::PinnedBinary worker_;
  Print print_;
  const uint64_t instance_;             // names this keeper among those that come after each other
  std::map<uint64_t, Client> clients_;  // by number
  uint64_t last_client_ = 0;
  std::map<std::string, KeptPath, std::less<>> paths_;  // by volume id
  base::Closer closer_;
};

// Takes the lock "<socket>.lock" and listens on `socket`, mode 0600. ALREADY_EXISTS: another keeper
// holds the lock. *lock is to be held as long as the keeper runs.
base::Result<base::UniqueFd> Listen(const std::filesystem::path& socket, base::UniqueFd* lock);
// Writes the keeper's pid into the lock's file, for people and tests.
void NotePid(const base::UniqueFd& lock, pid_t keeper);

}  // namespace gantry::keeper
