// SPDX-License-Identifier: Apache-2.0
// Holds what must outlive gantryd: the fuse fds, memory, secrets and sockets of userspace volumes,
// and their processes. As small as possible, because it is restarted the least: no gRPC, no
// protobuf, no plugin, one poll loop that blocks on no peer.
//
// One client at a time, which is gantryd; a new connection replaces the old one, whose gantryd is
// dead or about to be. A data path that dies is not started again: its fault is kept and told, and
// its fuse fd is closed, so that callers get an error (ENOTCONN) at once instead of waiting for
// ever.
#pragma once

#include <poll.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/base/process.hpp"
#include "host/keeper/closer.hpp"
#include "host/keeper/kept_path.hpp"
#include "host/wire/keeper_protocol.hpp"

namespace gantry::keeper {

constexpr int kListenBacklog = 8;
constexpr uint64_t kStopMsMax = 60'000;
constexpr int64_t kKillMsMax = 2000;  // from SIGKILL until a process counts as stuck
constexpr size_t kListPageBytesMax = 32 * 1024;
constexpr size_t kArgumentsMax = 64;
constexpr int kControlMessagesPerTurnMax = 16;  // of one data path

class Keeper {
 public:
  using Print = std::function<void(std::string_view line)>;

  // `listener`: a listening SOCK_SEQPACKET unix socket. `print` must not block.
  Keeper(base::UniqueFd listener, base::PinnedBinary worker, Print print);

  // Until an error of its own.
  base::Status Run();

 private:
  // Polling.
  base::Status Turn();
  int PollTimeoutMs() const;
  void CheckStops();
  void Accept();
  void DropClient();

  // Requests of the client.
  void OnClient();
  wire::KeeperMessage Serve(wire::KeeperMessage& request, std::vector<int>& fds);
  base::Status Spawn(wire::KeeperMessage& request);
  base::Status Launch(KeptPath& path, std::vector<std::string> arguments);
  void BeginStop(const wire::KeeperMessage& request);
  void List(const wire::KeeperMessage& request, wire::KeeperMessage& reply) const;

  // Data paths.
  void OnControl(KeptPath& path);
  wire::KeeperMessage ServePath(KeptPath& path, wire::KeeperMessage& request, int& fd);
  base::Status GiveRegion(KeptPath& path, const wire::KeeperMessage& request,
                          wire::KeeperMessage& reply, int& fd);
  void OnLog(KeptPath& path);
  void OnExit(const std::string& volume_id);
  void Forget(const std::string& volume_id);
  void TellChanged(const KeptPath& path);
  void AnswerStop(const Stopping& stopping, const base::Status& status);

  void Send(const wire::KeeperMessage& message, const std::vector<int>& fds = {});

  base::UniqueFd listener_;
  base::PinnedBinary worker_;
  Print print_;
  base::UniqueFd client_;
  uint64_t client_number_ = 0;
  std::map<std::string, KeptPath, std::less<>> paths_;  // by volume id
  Closer closer_;
};

// Takes the lock "<socket>.lock" and listens on `socket`, mode 0600. ALREADY_EXISTS: another keeper
// holds the lock. *lock is to be held as long as the keeper runs.
base::Result<base::UniqueFd> Listen(const std::filesystem::path& socket, base::UniqueFd* lock);
// Writes this process's pid into the lock's file, for people and tests.
void NotePid(const base::UniqueFd& lock);

}  // namespace gantry::keeper
