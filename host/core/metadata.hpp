// SPDX-License-Identifier: Apache-2.0
// csi.v1.SnapshotMetadata: which blocks are allocated, which have changed. Ranges come one by one
// from the plugin and go out in messages of bounded size; a caller that stops reading stops the
// plugin.
#pragma once

#include <functional>

#include "host/core/driver.hpp"

namespace gantry::core {

constexpr uint32_t kMetadataRangesMax = 1024;  // in one message of the stream
// How often a stream that the plugin breaks off goes on from where it had come.
constexpr uint32_t kMetadataResumesMax = 3;

// Thread-safe.
class Metadata {
 public:
  explicit Metadata(const Driver& driver) : driver_(driver) {}

  // `send` returns false when the caller is gone.
  base::Status GetMetadataAllocated(
      const csi::v1::GetMetadataAllocatedRequest& request, const CallContext& context,
      const std::function<bool(const csi::v1::GetMetadataAllocatedResponse&)>& send) const;
  base::Status GetMetadataDelta(
      const csi::v1::GetMetadataDeltaRequest& request, const CallContext& context,
      const std::function<bool(const csi::v1::GetMetadataDeltaResponse&)>& send) const;

 private:
  const Driver& driver_;
};

}  // namespace gantry::core
