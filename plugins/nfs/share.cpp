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
      server_(ServerOf(config, config_)),
      credentials_(std::move(credentials)),
      pool_(server_, credentials_, OptionsOf(config)) {}

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

// Chunks are of a size that the server takes whole.
plugin::Result<TreeOptions> Share::TreeOptionsFor(const Limits& limits) {
  TreeOptions options;
  {
    const std::lock_guard lock(mutex_);
    if (chunk_bytes_) {
      options.chunk_bytes = *chunk_bytes_;
      return options;
    }
  }
  const TimePoint deadline = Deadline(limits);
  const auto info = pool_.Run(deadline, [&](SyncClient& client, const FileHandle& root) {
    return client.Do(FsInfo{root}, deadline);
  });
  if (!info) return tl::make_unexpected(ToStoreError(info.error()).error);
  for (const uint32_t takes : {info->read_max, info->write_max}) {
    if (takes >= kTreeChunkBytesMin) options.chunk_bytes = std::min(options.chunk_bytes, takes);
  }
  const std::lock_guard lock(mutex_);
  chunk_bytes_ = options.chunk_bytes;
  return options;
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
