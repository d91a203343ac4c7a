// SPDX-License-Identifier: Apache-2.0
#include "host/core/translate.hpp"

#include <gantry/host.h>

#include <algorithm>
#include <chrono>

#include "host/core/ids.hpp"

namespace gantry::core {
namespace {

base::Error Misbehaved(const Backend& backend, const std::string& what) {
  return {base::Code::kUnavailable, "backend " + backend.name() + " " + what};
}

}  // namespace

int64_t ToBytes(uint64_t bytes) {
  return static_cast<int64_t>(std::min<uint64_t>(bytes, INT64_MAX));
}

google::protobuf::Timestamp ToTime(int64_t ns) {
  constexpr int64_t kNsPerS = 1'000'000'000;
  const int64_t nanos = (ns % kNsPerS + kNsPerS) % kNsPerS;
  google::protobuf::Timestamp out;
  out.set_seconds(ns / kNsPerS - (ns % kNsPerS < 0 ? 1 : 0));
  out.set_nanos(static_cast<int32_t>(nanos));
  return out;
}

base::Result<csi::v1::Volume> ToVolume(const std::string& backend, const channel::Volume& volume) {
  csi::v1::Volume out;
  GANTRY_TRY_ASSIGN(*out.mutable_volume_id(), FormatId(IdKind::kVolume, backend, volume.handle()));
  out.set_capacity_bytes(ToBytes(volume.capacity_bytes()));
  out.mutable_volume_context()->insert(volume.context().begin(), volume.context().end());
  if (volume.content_kind() == GANTRY_CONTENT_SNAPSHOT) {
    GANTRY_TRY_ASSIGN(*out.mutable_content_source()->mutable_snapshot()->mutable_snapshot_id(),
                      FormatId(IdKind::kSnapshot, backend, volume.content_handle()));
  } else if (volume.content_kind() == GANTRY_CONTENT_VOLUME) {
    GANTRY_TRY_ASSIGN(*out.mutable_content_source()->mutable_volume()->mutable_volume_id(),
                      FormatId(IdKind::kVolume, backend, volume.content_handle()));
  }
  for (const auto& topology : volume.topologies())
    out.add_accessible_topology()->mutable_segments()->insert(topology.values().begin(),
                                                              topology.values().end());
  return out;
}

base::Result<csi::v1::Snapshot> ToSnapshot(const std::string& backend,
                                           const channel::Snapshot& snapshot) {
  csi::v1::Snapshot out;
  GANTRY_TRY_ASSIGN(*out.mutable_snapshot_id(),
                    FormatId(IdKind::kSnapshot, backend, snapshot.handle()));
  GANTRY_TRY_ASSIGN(*out.mutable_source_volume_id(),
                    FormatId(IdKind::kVolume, backend, snapshot.source_volume_handle()));
  if (!snapshot.group_handle().empty()) {
    GANTRY_TRY_ASSIGN(*out.mutable_group_snapshot_id(),
                      FormatId(IdKind::kGroup, backend, snapshot.group_handle()));
  }
  out.set_size_bytes(ToBytes(snapshot.size_bytes()));
  *out.mutable_creation_time() = ToTime(snapshot.created_ns());
  out.set_ready_to_use(snapshot.ready());
  return out;
}

std::optional<csi::v1::VolumeCondition> ToCondition(const channel::Volume& volume) {
  if (volume.condition() == GANTRY_CONDITION_UNKNOWN) return std::nullopt;
  csi::v1::VolumeCondition condition;
  condition.set_abnormal(volume.condition() == GANTRY_CONDITION_ABNORMAL);
  condition.set_message(volume.condition_message());
  return condition;
}

base::Result<channel::Volume> OneVolume(const Backend& backend,
                                        const std::vector<channel::Emit>& emits) {
  std::optional<channel::Volume> found;
  for (const auto& emit : emits) {
    if (!emit.has_volume()) continue;
    if (found) return tl::unexpected(Misbehaved(backend, "answered with several volumes"));
    found = emit.volume();
  }
  if (!found) return tl::unexpected(Misbehaved(backend, "answered without a volume"));
  return *found;
}

base::Result<channel::Snapshot> OneSnapshot(const Backend& backend,
                                            const std::vector<channel::Emit>& emits) {
  std::optional<channel::Snapshot> found;
  for (const auto& emit : emits) {
    if (!emit.has_snapshot()) continue;
    if (found) return tl::unexpected(Misbehaved(backend, "answered with several snapshots"));
    found = emit.snapshot();
  }
  if (!found) return tl::unexpected(Misbehaved(backend, "answered without a snapshot"));
  return *found;
}

}  // namespace gantry::core
