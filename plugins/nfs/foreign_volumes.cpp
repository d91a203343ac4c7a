// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/foreign_volumes.hpp"

#include <optional>
#include <utility>

namespace gantry::nfs {
namespace {

using plugin::Fail;
using plugin::NodeType;
using plugin::Result;
using plugin::Status;
using plugin::Volumes;
namespace code = plugin::code;

std::string Name(const ShareConfig& share) { return share.server + ":" + share.share; }

}  // namespace

Status LookAtForeign(Share& share, const Limits& limits, const ForeignVolume& volume) {
  plugin::Path path;
  if (!volume.sub_dir.empty()) {
    GANTRY_PLUGIN_TRY_ASSIGN(path, plugin::ParseSubDir(volume.sub_dir));
  }
  return share.RunAtRoot(
      limits, [&](plugin::Storage& storage, const plugin::NodeId& root) -> plugin::Status {
        plugin::NodeId directory = root;
        for (const auto& name : path) {
          auto found = storage.Lookup(directory, name);
          const bool is_there = found && found->type == NodeType::kDirectory;
          if (!is_there && (found || IsGone(found))) {
            return Fail(code::kNotFound, "there is no directory \"" + volume.sub_dir + "\" on " +
                                             Name(share.config()));
          }
          GANTRY_PLUGIN_TRY(found);
          directory = std::move(found->id);
        }
        return {};
      });
}

Result<plugin::DeletedVolume> DeleteForeign(Share& share, const Limits& limits,
                                            const ForeignVolume& volume, const std::string& id,
                                            const std::string& owner,
                                            const plugin::MakeNonce& nonce) {
  const ShareConfig& config = share.config();
  if (!config.adopt) {
    return Fail(code::kFailedPrecondition,
                "volume " + id + " was made by another driver; with adopt: true at the share " +
                    Name(config) + " of the backend's configuration it would be deleted");
  }
  plugin::VolumeSpec spec;
  spec.disposal = volume.on_delete.value_or(config.adopt_on_delete);
  if (spec.disposal == plugin::Disposal::kRetain) return plugin::DeletedVolume{};
  if (volume.sub_dir.empty()) {
    return Fail(code::kFailedPrecondition,
                "volume " + id + " is the whole share " + Name(config) + ", which is not deleted");
  }
  spec.path = plugin::ParseSubDir(volume.sub_dir);
  GANTRY_PLUGIN_TRY(spec.path);
  spec.handle = ForeignHandle(volume, id);
  spec.name = spec.path->back();
  spec.owner = owner;
  return share.Run<plugin::DeletedVolume>(
      limits, Share::Records::kMake, {},
      [&](plugin::Storage& storage, const plugin::Layout& layout) -> Result<plugin::DeletedVolume> {
        Volumes volumes(storage, layout, owner, nonce);
        GANTRY_PLUGIN_TRY_ASSIGN(const auto record, volumes.Adopt(spec));
        if (!record) return plugin::DeletedVolume{};
        return volumes.Delete(spec.handle);
      });
}

}  // namespace gantry::nfs
