// SPDX-License-Identifier: Apache-2.0
// Volumes of ceph-csi, as the attributes and ids of their PersistentVolumes describe them. The names
// are those of its newVolumeOptionsFromStaticVolume and NodeStageVolume (internal/cephfs), so that a
// cluster that changes over keeps its objects, which cannot be edited:
//
//   clusterID      which cluster; the backend's clusterID says which one it serves
//   fsName         the filesystem; left out: the backend's
//   staticVolume   "true": an administrator has made the directory, and rootPath says where it is
//   rootPath       from the filesystem's root
//   subvolumePath  the same of a volume that ceph-csi has made
//   mounter        "kernel" or "fuse", which here is the userspace client; left out: the backend's
//   kernelMountOptions  mount flags where the kernel's client serves it; fuseMountOptions are ceph-fuse's
//   encrypted      "true" is refused: without the file keys a node would show and write ciphertext
//
// The id of a volume that ceph-csi has made is "0001-<length>-<clusterID>-<filesystem>-<uuid>" (its
// csicommon volid), all but clusterID in hex digits. Of a static volume it is anything.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/cephfs/context/context.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

struct CephCsiVolume {
  std::string cluster_id;  // empty: not said
  std::string fs_name;     // likewise
  std::string path;
  std::optional<Mounter> mounter;
  std::string kernel_mount_options;
};

// Do attributes describe one? Those of Gantry's own volumes never do.
bool IsCephCsi(const std::map<std::string, std::string>& attributes);
// INVALID_ARGUMENT names the attribute, its value and what was expected.
plugin::Result<CephCsiVolume> ParseCephCsi(const std::map<std::string, std::string>& attributes);

// The clusterID within an id that ceph-csi made; none: it made no such id.
std::optional<std::string> ClusterOfCephCsiId(std::string_view id);

}  // namespace gantry::cephfs
