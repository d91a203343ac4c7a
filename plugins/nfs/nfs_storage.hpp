// SPDX-License-Identifier: Apache-2.0
// Records' storage on an NFSv3 server, everything by file handle: an NFS handle dies with its object,
// which is what the record protocol's fences rest on.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "plugins/common/storage.hpp"
#include "plugins/nfs/node_id.hpp"
#include "plugins/nfs/rpc/client.hpp"

namespace gantry::nfs {

// How long a RENAME between two directories is waited for the first time; doubled for each that was
// not answered. NFS-Ganesha (seen in 4.3) locks both directories, and where another call has the
// second one it lets go, sleeps a whole second and tries again, as often as it takes: a RENAME
// beside other calls took 1, 2, and once more than 24 s. A new attempt is through at once.
inline constexpr int kRenameMsMin = 250;

// One operation's use of a connection. A server that has not answered once is not asked again, so
// that the whole operation ends within about one `call_max`. One thread at a time.
class NfsStorage final : public plugin::Storage {
 public:
  // Calls end at `deadline`, each within `call_max`; `cancelled` is asked before each.
  NfsStorage(SyncClient& client, TimePoint deadline, std::chrono::milliseconds call_max,
             std::function<bool()> cancelled)
      : client_(client),
        deadline_(deadline),
        call_max_(call_max),
        cancelled_(std::move(cancelled)) {}

  static plugin::NodeId IdOf(const FileHandle& handle) { return nfs::IdOf(handle); }
  uint64_t calls() const { return calls_; }

  plugin::StoreResult<plugin::Node> Lookup(const plugin::NodeId& directory,
                                           std::string_view name) override;
  plugin::StoreResult<std::vector<plugin::Listed>> List(const plugin::NodeId& directory,
                                                        size_t names_max) override;
  plugin::StoreResult<std::string> ReadFile(const plugin::NodeId& file, size_t bytes_max) override;
  plugin::StoreResult<plugin::Node> MakeDirectory(const plugin::NodeId& directory,
                                                  std::string_view name,
                                                  const plugin::Ownership& ownership) override;
  plugin::StoreResult<plugin::Node> CreateFile(const plugin::NodeId& directory,
                                               std::string_view name,
                                               std::string_view content) override;
  plugin::StoreStatus Link(const plugin::NodeId& file, const plugin::NodeId& directory,
                           std::string_view name) override;
  plugin::StoreStatus Rename(const plugin::NodeId& from, std::string_view from_name,
                             const plugin::NodeId& to, std::string_view to_name) override;
  plugin::StoreStatus Remove(const plugin::NodeId& directory, std::string_view name) override;
  plugin::StoreStatus RemoveDirectory(const plugin::NodeId& directory,
                                      std::string_view name) override;
  plugin::StoreResult<int64_t> Touch(const plugin::NodeId& file) override;
  plugin::StoreStatus Change(const plugin::NodeId& node,
                             const plugin::OwnershipChange& change) override;
  void GiveWay(int times) override;

 private:
  template <class Call>
  plugin::StoreResult<typename Call::Reply> Do(const Call& call, std::string_view what);
  plugin::StoreStatus Begin();
  tl::unexpected<plugin::StoreError> Failed(const NfsError& error, std::string_view what);
  plugin::StoreResult<plugin::Node> Complete(const FileHandle& directory, std::string_view name,
                                             const CreateReply& reply);
  plugin::StoreStatus WriteAll(const FileHandle& file, std::string_view name,
                               std::string_view content);
  TimePoint CallDeadline() const;

  SyncClient& client_;
  const TimePoint deadline_;
  const std::chrono::milliseconds call_max_;
  const std::function<bool()> cancelled_;
  std::optional<plugin::StoreError> silence_;  // Why nothing more is asked.
  uint64_t calls_ = 0;
  std::chrono::milliseconds rename_max_{kRenameMsMin};
};

// What an error of the server means to the record protocol.
plugin::StoreError ToStoreError(const NfsError& error);

}  // namespace gantry::nfs
