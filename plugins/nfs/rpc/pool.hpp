// SPDX-License-Identifier: Apache-2.0
// The connections to one export under one identity, shared by a plugin's threads. It bounds them,
// keeps the root handle, and remembers for a moment that the server doesn't answer, so that one
// dead server costs a short error and not all threads their deadlines. It never stays convinced: a
// caller who comes while the server is thought dead asks it briefly, and goes on when it answers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "plugins/nfs/rpc/client.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kConnectionsMax = 16;
inline constexpr int kIdleMsMax = 60'000;    // An older connection is not used again.
inline constexpr int kServerDeadMs = 2'000;  // After a failure callers only probe for so long,
inline constexpr int kProbeMsMax = 500;      // and each of them waits at most so long.

struct PoolOptions {
  uint32_t connections_max = kConnectionsMax;
  std::chrono::milliseconds idle_max{kIdleMsMax};
  std::chrono::milliseconds server_dead{kServerDeadMs};
  std::chrono::milliseconds probe_max{kProbeMsMax};
  StreamSizes sizes;
};

// Any thread. Outlives its leases.
class ClientPool {
 public:
  // A client for one thread's use; goes back to the pool at its end.
  class Lease {
   public:
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (client_) pool_->Return(std::move(client_));
    }
    SyncClient* operator->() const { return client_.get(); }
    SyncClient& operator*() const { return *client_; }

   private:
    friend class ClientPool;
    Lease(ClientPool* pool, std::unique_ptr<SyncClient> client)
        : pool_(pool), client_(std::move(client)) {}
    ClientPool* pool_;
    std::unique_ptr<SyncClient> client_;
  };

  ClientPool(Server server, Credentials credentials, PoolOptions options = {})
      : server_(std::move(server)), credentials_(std::move(credentials)), options_(options) {}

  // Waits for a free connection until the deadline (kBusy). kUnreachable at once, or after a short
  // probe, while the server is known not to answer.
  NfsResult<Lease> Acquire(TimePoint deadline);

  // The export's root handle, MOUNTed at the first use.
  NfsResult<FileHandle> Root(TimePoint deadline);

  // Runs `work(SyncClient&, const FileHandle& root)`, which returns an NfsResult. When it fails
  // with NFS3ERR_STALE and a new MOUNT gives another root (the export was made again), it runs once
  // more; so work must tolerate that.
  template <class Work>
  auto Run(TimePoint deadline, Work work)
      -> decltype(work(std::declval<SyncClient&>(), std::declval<const FileHandle&>())) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Lease lease, Acquire(deadline));
    GANTRY_PLUGIN_TRY_ASSIGN(const FileHandle root, RootBy(*lease, deadline));
    auto result = work(*lease, root);
    if (result ||
        !(result.error().Is(NfsStatus3::kStale) || result.error().Is(NfsStatus3::kBadHandle))) {
      return result;
    }
    const auto fresh = lease->MountRoot(deadline);
    if (!fresh || *fresh == root) return result;
    SetRoot(*fresh);
    return work(*lease, *fresh);
  }

  // Clients that exist, leased or idle.
  uint32_t size() const;

 private:
  struct Idle {
    std::unique_ptr<SyncClient> client;
    TimePoint since;
  };

  void Return(std::unique_ptr<SyncClient> client);
  NfsResult<FileHandle> RootBy(SyncClient& client, TimePoint deadline);
  void SetRoot(const FileHandle& root);
  std::unique_ptr<SyncClient> NewClient() const;
  void DropIdle(TimePoint now);
  NfsOutcome AskDeadServer(std::unique_lock<std::mutex>& lock, TimePoint deadline);
  void NoteHealth(const SyncClient& client);

  const Server server_;
  const Credentials credentials_;
  const PoolOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Idle> idle_;  // The one used last is at the back.
  uint32_t size_ = 0;
  std::optional<FileHandle> root_;
  std::optional<std::string> dead_;  // Why; while the server is thought not to answer.
  TimePoint dead_since_;
  bool probing_ = false;
};

}  // namespace gantry::nfs
