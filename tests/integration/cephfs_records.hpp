// SPDX-License-Identifier: Apache-2.0
// The records of a gantryd's CephFS backend, read and changed as a second controller does it: in the
// cluster itself, by compare and swap, whatever the manager or the monitor do meanwhile.
#pragma once

#include "plugins/cephfs/backend/records.hpp"
#include "plugins/common/sha256.hpp"
#include "tests/integration/cephfs_lab.hpp"

namespace gantry::itest {

class CephRecords {
 public:
  // `pool`: the backend's recordsPool. Connected on return, so that a frozen monitor is no matter.
  explicit CephRecords(lab::Ceph& ceph, const std::string& pool = {})
      : cluster_({cephfs::MonHost({ceph.monitor()}), "admin", ceph.filesystem(), pool,
                  "gantry-" + plugin::Sha256Hex("lab").substr(0, 16), 30s},
                 [key = ceph.admin_key()](cephfs::TimePoint) -> plugin::Result<cephfs::SecretText> {
                   return cephfs::SecretText(key);
                 }) {
    (void)Volume(std::string(32, '0'));
  }

  std::optional<cephfs::VolumeRecord> Volume(const std::string& handle) {
    return Find(volumes_, handle);
  }
  std::optional<cephfs::SnapshotRecord> Snapshot(const std::string& handle) {
    return Find(snapshots_, handle);
  }
  void ChangeVolume(const std::string& handle,
                    const std::function<void(cephfs::VolumeRecord*)>& change) {
    Change(volumes_, handle, change);
  }
  void ChangeSnapshot(const std::string& handle,
                      const std::function<void(cephfs::SnapshotRecord*)>& change) {
    Change(snapshots_, handle, change);
  }
  cephfs::Cluster& cluster() { return cluster_; }

 private:
  template <class Record>
  static std::optional<Record> Find(const cephfs::Records<Record>& of, const std::string& handle) {
    const auto found = of.Find(handle, CephCluster::Soon());
    EXPECT_TRUE(found) << found.error().message;
    if (!found || !*found) return std::nullopt;
    return (*found)->record;
  }
  template <class Record, class Edit>
  static void Change(const cephfs::Records<Record>& of, const std::string& handle,
                     const Edit& edit) {
    auto found = of.Find(handle, CephCluster::Soon());
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_TRUE(*found) << handle;
    edit(&(*found)->record);
    const auto written = of.Write(&**found, CephCluster::Soon());
    ASSERT_TRUE(written) << written.error().message;
    EXPECT_TRUE(*written);
  }

  cephfs::Cluster cluster_;
  const cephfs::Records<cephfs::VolumeRecord> volumes_{&cluster_};
  const cephfs::Records<cephfs::SnapshotRecord> snapshots_{&cluster_};
};

}  // namespace gantry::itest
