// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/pool.hpp"

#include <algorithm>

namespace gantry::nfs {
namespace {

TimePoint Now() { return std::chrono::steady_clock::now(); }

}  // namespace

std::unique_ptr<SyncClient> ClientPool::NewClient() const {
  return std::make_unique<SyncClient>(server_, credentials_, options_.sizes);
}

// Under the mutex.
void ClientPool::DropIdle(TimePoint now) {
  while (!idle_.empty() && now - idle_.front().since > options_.idle_max) {
    idle_.pop_front();
    --size_;
  }
}

// Under the mutex. A client that was not used says nothing.
void ClientPool::NoteHealth(const SyncClient& client) {
  if (!client.silence() && !client.connected()) return;
  dead_ = client.silence();
  if (dead_) dead_since_ = Now();
}

// One caller asks the server; the others wait for what it learns.
NfsOutcome ClientPool::AskDeadServer(std::unique_lock<std::mutex>& lock, TimePoint deadline) {
  const TimePoint limit = std::min(deadline, Now() + options_.probe_max);
  if (probing_) {
    changed_.wait_until(lock, limit, [&] { return !probing_; });
  } else {
    probing_ = true;
    lock.unlock();
    auto client = NewClient();
    const auto answer = client->Do(NullCall{}, limit);
    lock.lock();
    probing_ = false;
    changed_.notify_all();
    // dead_since_ stays when there is no answer: some time after the last real failure a caller
    // may try for as long as its deadline allows, since the server may only be slow.
    if (!client->silence()) {
      dead_.reset();
      if (size_ < options_.connections_max) {
        ++size_;
        idle_.push_back({std::move(client), Now()});
      }
    }
  }
  if (!dead_) return {};
  return FailNfs(Failure::kUnreachable, "server " + server_.host + " does not answer: " + *dead_);
}

NfsResult<ClientPool::Lease> ClientPool::Acquire(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (dead_ && Now() - dead_since_ < options_.server_dead) {
      GANTRY_PLUGIN_TRY(AskDeadServer(lock, deadline));
    }
    DropIdle(Now());
    if (!idle_.empty()) {
      auto client = std::move(idle_.back().client);
      idle_.pop_back();
      return Lease(this, std::move(client));
    }
    if (size_ < options_.connections_max) {
      ++size_;
      return Lease(this, NewClient());
    }
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && Now() >= deadline) {
      return FailNfs(Failure::kBusy, "server " + server_.host + ": all " +
                                         std::to_string(options_.connections_max) +
                                         " connections are in use");
    }
  }
}

void ClientPool::Return(std::unique_ptr<SyncClient> client) {
  const std::lock_guard lock(mutex_);
  NoteHealth(*client);
  if (client->connected()) {
    idle_.push_back({std::move(client), Now()});
  } else {
    --size_;
  }
  changed_.notify_all();
}

NfsResult<FileHandle> ClientPool::RootBy(SyncClient& client, TimePoint deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (root_) return *root_;
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const FileHandle root, client.MountRoot(deadline));
  SetRoot(root);
  return root;
}

void ClientPool::SetRoot(const FileHandle& root) {
  const std::lock_guard lock(mutex_);
  root_ = root;
}

NfsResult<FileHandle> ClientPool::Root(TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Lease lease, Acquire(deadline));
  return RootBy(*lease, deadline);
}

uint32_t ClientPool::size() const {
  const std::lock_guard lock(mutex_);
  return size_;
}

}  // namespace gantry::nfs
