// SPDX-License-Identifier: Apache-2.0
// csi.v1.Controller for snapshots.
#pragma once

#include "host/core/driver.hpp"

namespace gantry::core {

// Thread-safe.
class Snapshots {
 public:
  explicit Snapshots(const Driver& driver) : driver_(driver) {}

  base::Result<csi::v1::CreateSnapshotResponse> CreateSnapshot(
      const csi::v1::CreateSnapshotRequest& request, const CallContext& context) const;
  base::Result<csi::v1::DeleteSnapshotResponse> DeleteSnapshot(
      const csi::v1::DeleteSnapshotRequest& request, const CallContext& context) const;
  base::Result<csi::v1::GetSnapshotResponse> GetSnapshot(const csi::v1::GetSnapshotRequest& request,
                                                         const CallContext& context) const;
  base::Result<csi::v1::ListSnapshotsResponse> ListSnapshots(
      const csi::v1::ListSnapshotsRequest& request, const CallContext& context) const;

 private:
  base::Result<csi::v1::Snapshot> Get(const Driver::Located& located,
                                      const google::protobuf::MessageLite& request,
                                      const SecretMap& secrets, const CallContext& context) const;
  base::Result<csi::v1::Snapshot> Find(const Driver::Located& located,
                                       const google::protobuf::MessageLite& request,
                                       const SecretMap& secrets, const CallContext& context) const;
  base::Result<csi::v1::ListSnapshotsResponse> ListOne(const csi::v1::ListSnapshotsRequest& request,
                                                       const CallContext& context) const;

  const Driver& driver_;
};

}  // namespace gantry::core
