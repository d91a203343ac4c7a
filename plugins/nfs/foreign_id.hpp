// SPDX-License-Identifier: Apache-2.0
// Volumes that csi-driver-nfs has made, or that its users wrote by hand: what their ids and their
// attributes say, and which configured share they are on. Its forms of an id:
//
//   server#share#subDir#uuid#onDelete   uuid and onDelete may be empty or left out
//   server/share/subDir                 of its first releases; only the share may hold slashes
//
// Slashes at the ends of its parts were dropped when the id was made; a path that holds a '#' made
// an id that cannot be read back, by it or here. Attributes: server, share, subDir, in upper or
// lower case. Source: getNfsVolFromID and getVolumeIDFromNfsVol in its pkg/nfs/controllerserver.go.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/nfs/config.hpp"

namespace gantry::nfs {

struct ForeignId {
  std::string server;
  std::string share;                          // without slashes at its ends
  std::string sub_dir;                        // likewise; empty: the share itself
  std::optional<plugin::Disposal> on_delete;  // nothing: whatever the driver's default was
};
std::optional<ForeignId> ParseForeignId(std::string_view id);

struct ForeignVolume {
  const ShareConfig* share = nullptr;  // of the configuration
  std::string sub_dir;
  std::optional<plugin::Disposal> on_delete;
};
// By its attributes, where they name a server, else by its id. Nothing: it is on no configured
// share.
std::optional<ForeignVolume> FindForeign(const Config& config, std::string_view id,
                                         const std::map<std::string, std::string>& attributes);

// A configured share of the same server that the directory of the volume has in it, or lies in. Its
// records are not those of the volume's share, so neither knows the other's volumes. nullptr: none.
const ShareConfig* OverlappingShare(const Config& config, const ForeignVolume& volume);

// The handle of its record once it is adopted.
std::string ForeignHandle(const ForeignVolume& volume, std::string_view id);

}  // namespace gantry::nfs
