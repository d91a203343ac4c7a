// SPDX-License-Identifier: Apache-2.0
// One configured export: its connections, and where its records are. All waiting for its server is
// bounded here, so that a dead one costs its own volumes an error and the others nothing.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "plugins/common/layout.hpp"
#include "plugins/nfs/config.hpp"
#include "plugins/nfs/nfs_storage.hpp"
#include "plugins/nfs/nfs_tree.hpp"
#include "plugins/nfs/rpc/pool.hpp"

namespace gantry::nfs {

// What an operation may take.
struct Limits {
  TimePoint deadline = kNoDeadline;
  std::function<bool()> cancelled = [] { return false; };
};

// Any thread.
class Share {
 public:
  Share(const Config& config, ShareConfig share, Credentials credentials);

  const ShareConfig& config() const { return config_; }

  enum class Records : uint8_t { kMake, kOnlyIfThere };

  // Runs `work(Storage&, const Layout&)`, which returns a plugin::Result, with the directories of
  // .gantry; with kOnlyIfThere and no records yet, the result is `none`.
  template <class T, class Work>
  plugin::Result<T> Run(const Limits& limits, Records records, T none, Work work) {
    plugin::Result<T> result = std::move(none);
    const auto ran = pool_.Run(Deadline(limits), [&](SyncClient& client, const FileHandle& root) {
      return RunBy(client, root, limits, records, &result, work);
    });
    if (!ran && result) return tl::make_unexpected(ToStoreError(ran.error()).error);
    return result;
  }

  // As Run, for work on whole trees: `work(Storage&, AsyncStorage&, const Layout&)`. Over connections
  // of its own, because it may take hours, and the pool's are for calls.
  template <class T, class Work>
  plugin::Result<T> RunTree(const Limits& limits, Records records, T none, Work work) {
    GANTRY_PLUGIN_TRY_ASSIGN(const TreeOptions options, TreeOptionsFor(limits));
    const auto root = pool_.Root(Deadline(limits));
    if (!root) return tl::make_unexpected(ToStoreError(root.error()).error);
    NfsTree tree(server_, credentials_, options);
    SyncClient client(server_, credentials_);
    plugin::Result<T> result = std::move(none);
    const auto ran = RunBy(client, *root, limits, records, &result,
                           [&](plugin::Storage& storage, const plugin::Layout& layout) {
                             return work(storage, tree, layout);
                           });
    if (!ran && result) return tl::make_unexpected(ToStoreError(ran.error()).error);
    return result;
  }

  // Runs `work(Storage&, const NodeId& root)`, which returns a plugin::Status, without .gantry.
  template <class Work>
  plugin::Status RunAtRoot(const Limits& limits, Work work) {
    plugin::Status result;
    const auto ran = pool_.Run(
        Deadline(limits), [&](SyncClient& client, const FileHandle& root) -> NfsResult<bool> {
          NfsStorage storage(client, limits.deadline, timeout_, limits.cancelled);
          result = work(storage, NfsStorage::IdOf(root));
          return true;
        });
    if (!ran) return tl::make_unexpected(ToStoreError(ran.error()).error);
    return result;
  }

  // Bytes a volume could still take.
  plugin::Result<uint64_t> AvailableBytes(const Limits& limits);

 private:
  // The directories are known from before, unless something went wrong: then they are asked for.
  template <class T, class Work>
  NfsResult<bool> RunBy(SyncClient& client, const FileHandle& root, const Limits& limits,
                        Records records, plugin::Result<T>* result, Work work) {
    NfsStorage storage(client, limits.deadline, timeout_, limits.cancelled);
    const auto layout = LayoutOf(storage, root, records);
    if (plugin::FailedWith(layout, plugin::StoreFault::kStale)) {
      *result = tl::make_unexpected(plugin::Error(layout.error()));
      return tl::make_unexpected(FromStatus(NfsStatus3::kStale, "the share's root"));
    }
    if (!layout) {
      *result = tl::make_unexpected(plugin::Error(layout.error()));
      return false;
    }
    if (!*layout) return true;
    *result = work(storage, **layout);
    if (!*result) Forget();
    return true;
  }

  plugin::StoreResult<std::optional<plugin::Layout>> LayoutOf(NfsStorage& storage,
                                                              const FileHandle& root,
                                                              Records records);
  plugin::Result<TreeOptions> TreeOptionsFor(const Limits& limits);
  void Forget();
  TimePoint Deadline(const Limits& limits) const;

  const ShareConfig config_;
  const std::chrono::milliseconds timeout_;
  const Server server_;
  const Credentials credentials_;
  ClientPool pool_;

  std::mutex mutex_;
  std::optional<plugin::Layout> layout_;
  std::optional<uint32_t> chunk_bytes_;  // Known once the server has been asked.
};

}  // namespace gantry::nfs
