// SPDX-License-Identifier: Apache-2.0
// The DataPaths of the node, through the keeper's socket. Where no keeper of its own is deployed
// ("standalone") the client starts one, which detaches and outlives gantryd; the keeper's lock sees
// to it that there is one only.
//
// With `hold` it has copies of all that the keeper has, and gives them to the next keeper when that one
// dies, starting it where that is its business. Calls wait until the next one has them. A volume whose
// data path is dead as well has callers that wait as long as one of the copies is there; where no
// keeper comes for kKeeperAwayMax they are closed, and the callers get an error.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "host/base/closer.hpp"
#include "host/base/fd.hpp"
#include "host/services/data_paths.hpp"
#include "host/wire/keeper_protocol.hpp"

namespace gantry::services {

constexpr int kCallAttemptsMax = 3;
constexpr int64_t kKeeperCleanupMsMax = 3000;  // to end what a failed Start began
constexpr int64_t kStartCleanupShareMs = 500;  // of Start's time, kept for saying why it failed
// Of a client that holds: one attempt to connect, and the pauses between them.
constexpr std::chrono::milliseconds kWatchConnectMax{5000};
constexpr std::chrono::milliseconds kWatchPauseMin{5};
constexpr std::chrono::milliseconds kWatchPauseMax{1000};
constexpr std::chrono::milliseconds kWatchIdlePause{5000};  // with nothing to hold
// A DaemonSet's next pod is there in a minute, or its image cannot be had.
constexpr std::chrono::milliseconds kKeeperAwayMax{300'000};

struct KeeperClientOptions {
  std::filesystem::path socket;
  // Programs, for starting a keeper that is not there; empty: it is somebody else's to start.
  std::filesystem::path keeper;
  std::filesystem::path worker;
  // Holds copies, and connects by itself to keep them. One client of a node does.
  bool hold = false;
  std::chrono::milliseconds away_max = kKeeperAwayMax;
  // A data path began to serve, failed or died. From the client's reader thread; may not block.
  // What happens without a connection is not told later: List says it.
  std::function<void(const DataPathState&)> on_change;
};

// Copies of what the keeper holds of one volume.
struct DataPathFds {
  base::UniqueFd fuse;
  base::UniqueFd memory;
  base::UniqueFd description;
  std::map<std::string, base::UniqueFd> kept;
};

// Thread-safe. Connects when first used and again when the connection is lost.
class KeeperClient final : public DataPaths {
 public:
  explicit KeeperClient(KeeperClientOptions options);
  ~KeeperClient() override;

  base::Status Start(DataPathSpec spec, base::TimePoint deadline) override;
  base::Status Stop(const std::string& volume_id, base::TimePoint deadline) override;
  base::Result<std::vector<DataPathState>> List(base::TimePoint deadline) override;
  // Has the volume served by this plugin's file, and by the one before when it does not come to serve:
  // then an error says why, and nothing has changed. UNAVAILABLE, DEADLINE_EXCEEDED: which of the two
  // serves, List says. NOT_FOUND: it has no data path; FAILED_PRECONDITION: it can have no successor;
  // ABORTED: another upgrade is under way.
  base::Status Upgrade(const std::string& volume_id, const std::filesystem::path& plugin,
                       base::TimePoint deadline);
  // While somebody holds the fuse fd, a data path's death leaves its callers waiting.
  base::Result<DataPathFds> Fds(const std::string& volume_id, base::TimePoint deadline);

 private:
  using Lock = std::unique_lock<std::mutex>;

  enum class Keeper { kAnyhow, kIfThere };
  base::Status Connect(Keeper whether, base::TimePoint deadline);
  base::Status Hold(base::TimePoint deadline);
  void Watch();
  base::Result<wire::KeeperMessage> Exchange(wire::KeeperMessage request,
                                             const std::vector<int>& fds, base::TimePoint deadline);
  base::Result<base::UniqueFd> OpenSocket() const;
  base::Status StartKeeper(base::TimePoint deadline) const;
  base::Result<wire::KeeperMessage> Call(const wire::KeeperMessage& request,
                                         base::TimePoint deadline);
  base::Result<wire::KeeperMessage> CallOnce(wire::KeeperMessage request,
                                             const std::vector<int>& fds, base::TimePoint deadline);
  base::Status WaitUntilServing(const std::string& volume_id, base::TimePoint deadline);
  void ReadLoop(int socket, int wake);
  void Take(wire::KeeperMessage message);
  void Drop(const std::string& volume_id);
  void DropUnserved();
  void Disconnect();

  const KeeperClientOptions options_;
  std::mutex connect_mutex_;  // one connects at a time
  std::thread reader_;        // under connect_mutex_

  std::mutex mutex_;
  std::condition_variable changed_;
  base::UniqueFd socket_;
  base::UniqueFd wake_;  // eventfd: ends the reader
  bool connected_ = false;
  uint64_t connection_ = 0;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::optional<wire::KeeperMessage>> pending_;    // by request id
  std::map<std::string, DataPathState> starting_;                     // what events said of them
  std::map<std::string, std::shared_ptr<wire::KeeperMessage>> held_;  // kHeld, by volume id
  uint64_t instance_ = 0;  // of the keeper that has all of `held_`
  // Since when a volume of `held_` has had neither a process nor a keeper.
  std::map<std::string, base::TimePoint> unserved_;
  bool ending_ = false;
  base::Closer closer_;
  std::thread watcher_;
};

}  // namespace gantry::services
