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
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/closer.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/process.hpp"
#include "host/keeper/kept_path.hpp"
#include "host/keeper/roots.hpp"
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
// A standby is started when the one that serves has had this time for itself, and again after
// doubling pauses when it dies.
constexpr std::chrono::milliseconds kStandbyAfter{250};
constexpr std::chrono::milliseconds kStandbyPauseMax{30'000};
constexpr std::chrono::milliseconds kTakenMsMax{1000};  // from kServe to kTaken, else it is killed
// An upgrade: how long the new version may take to serve, what the old one has for what is under way,
// and how long it is gone back to when the new one crashes again and again.
constexpr uint64_t kUpgradeMsMax = 120'000;
constexpr uint64_t kHandOverMsMax = 100;
constexpr std::chrono::seconds kYoungMax{60};
constexpr size_t kPluginBytesMax = 4096;  // of its path

class Keeper {
 public:
  using Print = std::function<void(std::string_view line)>;

  // `listener`: a listening SOCK_SEQPACKET unix socket. `print` must not block.
  // `instance`: a random number.
  Keeper(base::UniqueFd listener, base::PinnedBinary worker, Print print, uint64_t instance);

  // Until an error of its own.
  base::Status Run();

 private:
  enum class Role { kServer, kStandby, kNext };

  // Polling.
  base::Status Turn();
  void OnProcess(KeptPath& path, Role role, int fd);
  std::optional<base::TimePoint> NextAt() const;
  void CheckDeadlines();
  void CheckStop(KeptPath& path);
  void Accept();
  // Kills a process that nobody waits for; it is reaped when it has ended.
  void End(base::Child child);

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
  void Answer(uint64_t client, uint64_t request, const base::Status& status);
  void List(const wire::KeeperMessage& request, wire::KeeperMessage& reply) const;
  void SendHeld(uint64_t number);
  void TellChanged(const KeptPath& path);
  void TellForgotten(const std::string& volume_id);
  void Send(uint64_t client, const wire::KeeperMessage& message, const std::vector<int>& fds = {});

  // Data paths.
  base::Result<PathProcess> StartProcess(const KeptPath& path, const Version& version,
                                         bool is_standby);
  base::Status Launch(KeptPath& path);
  void ReadLogFrom(PathProcess& process, const std::string& volume_id, base::UniqueFd reader);
  bool MayFollow(KeptPath& path, const base::ExitStatus* ended);
  base::Status Follow(KeptPath& path);
  void LaunchSuccessor(KeptPath& path);
  void LaunchDue();
  void OnControl(KeptPath& path);
  void OnServing(KeptPath& path);
  void OnFault(KeptPath& path, const wire::KeeperMessage& message);
  wire::KeeperMessage ServePath(KeptPath& path, wire::KeeperMessage& request, int& fd);
  base::Status GiveRegion(KeptPath& path, const wire::KeeperMessage& request,
                          wire::KeeperMessage& reply, int& fd);
  static void OnLog(PathProcess& process);
  // How a process of that path ended, with its last line; nullopt: it has not.
  std::optional<std::string> Reap(PathProcess& process, std::optional<base::ExitStatus>& ended);
  void OnExit(const std::string& volume_id);
  void Forget(const std::string& volume_id);

  // Those that wait (standby.cpp).
  void WantStandby(KeptPath& path);
  void LaunchStandby(KeptPath& path);
  void OnStandbyControl(KeptPath& path, Role role);
  void OnStandbyExit(KeptPath& path);
  bool Promote(KeptPath& path, Standby& standby);
  bool PromoteStandby(KeptPath& path);
  void EndStandby(KeptPath& path);

  // Another version (upgrade.cpp).
  void BeginUpgrade(uint64_t client, wire::KeeperMessage& request);
  base::Status PrepareUpgrade(uint64_t client, wire::KeeperMessage& request);
  void HandOver(KeptPath& path);
  bool PromoteNext(KeptPath& path);
  void OnNextExit(KeptPath& path);
  void CheckUpgrade(KeptPath& path);
  void GoBack(KeptPath& path, std::string why);
  void EndUpgrade(KeptPath& path, const base::Status& status);
  void KeepUpgrade(KeptPath& path);
  bool FallBack(KeptPath& path);

  base::UniqueFd listener_;
  base::PinnedBinary worker_;
  Print print_;
  const uint64_t instance_;             // names this keeper among those that come after each other
  std::map<uint64_t, Client> clients_;  // by number
  uint64_t last_client_ = 0;
  std::map<std::string, KeptPath, std::less<>> paths_;  // by volume id
  WorkerRoots roots_;
  std::vector<base::Child> ending_;
  base::Closer closer_;
};

// Takes the lock "<socket>.lock" and listens on `socket`, mode 0600. ALREADY_EXISTS: another keeper
// holds the lock. *lock is to be held as long as the keeper runs.
base::Result<base::UniqueFd> Listen(const std::filesystem::path& socket, base::UniqueFd* lock);
// Writes the keeper's pid into the lock's file, for people and tests.
void NotePid(const base::UniqueFd& lock, pid_t keeper);

}  // namespace gantry::keeper
