// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/share.hpp"

#include <algorithm>

namespace gantry::nfs {
namespace {

Server ServerOf(const Config& config, const ShareConfig& share) {
  Server server;
  server.host = share.server;
  server.export_path = share.share;
  server.nfs_port = share.port;
  server.mount_port = share.mount_port;
  server.reserved_port = config.reserved_ports;
  return server;
}

PoolOptions OptionsOf(const Config& config) {
  PoolOptions options;
  options.connections_max = config.connections_max;
  return options;
}

}  // namespace

Share::Share(const Config& config, ShareConfig share, Credentials credentials)
    : config_(std::move(share)),
      timeout_(config.timeout),
      pool_(ServerOf(config, config_), std::move(credentials), OptionsOf(config)) {}

TimePoint Share::Deadline(const Limits& limits) const {
  return std::min(limits.deadline, std::chrono::steady_clock::now() + timeout_);
}

plugin::StoreResult<std::optional<plugin::Layout>> Share::LayoutOf(NfsStorage& storage,
                                                                   const FileHandle& root,
                                                                   Records records) {
  const plugin::NodeId root_id = NfsStorage::IdOf(root);
  {
    const std::lock_guard lock(mutex_);
    if (layout_ && layout_->root == root_id) return layout_;
  }
  std::optional<plugin::Layout> layout;
  if (records == Records::kMake) {
    GANTRY_PLUGIN_TRY_ASSIGN(layout, plugin::OpenLayout(storage, root_id));
  } else {
    GANTRY_PLUGIN_TRY_ASSIGN(layout, plugin::FindLayout(storage, root_id));
  }
  const std::lock_guard lock(mutex_);
  layout_ = layout;
  return layout;
}

void Share::Forget() {
  const std::lock_guard lock(mutex_);
  layout_.reset();
}

plugin::Result<uint64_t> Share::AvailableBytes(const Limits& limits) {
  const TimePoint deadline = Deadline(limits);
  const auto stat = pool_.Run(deadline, [&](SyncClient& client, const FileHandle& root) {
    return client.Do(FsStat{root}, deadline);
  });
  if (!stat) return tl::make_unexpected(ToStoreError(stat.error()).error);
  return stat->bytes_available;
}

}  // namespace gantry::nfs
