// SPDX-License-Identifier: Apache-2.0
#include "host/core/metadata.hpp"

#include <gantry/snapshot.h>

#include <algorithm>
#include <cstdint>

#include "host/core/redact.hpp"
#include "host/core/translate.hpp"
#include "host/core/validate.hpp"

namespace gantry::core {
namespace {

// Fills responses of type Response with the ranges of one call. Where the plugin breaks off, such as
// by its worker's death, the stream goes on from where it had come: by starting_offset, which is
// what a CO would do as well (CSI spec, GetMetadataAllocatedRequest).
template <class Response, class Request>
base::Status StreamRanges(Backend& backend, BackendCall call, Request request,
                          const std::function<bool(const Response&)>& send) {
  const auto block_type = backend.capabilities().description().block_type();
  const int32_t max_results = request.max_results();
  const uint32_t max = max_results > 0
                           ? std::min(static_cast<uint32_t>(max_results), kMetadataRangesMax)
                           : kMetadataRangesMax;
  Response response;
  const auto reset = [&] {
    response.Clear();
    response.set_block_metadata_type(block_type == GANTRY_BLOCKS_FIXED_LENGTH
                                         ? csi::v1::FIXED_LENGTH
                                         : csi::v1::VARIABLE_LENGTH);
  };
  reset();
  bool gone = false;
  bool disordered = false;
  uint64_t end = 0;
  const auto on_emit = [&](const channel::Emit& emit) {
    if (!emit.has_block_range()) return true;
    const auto& range = emit.block_range();
    // CSI spec, BlockMetadata: rising and not overlapping; a backup that trusts it would lose data.
    disordered = range.length_bytes() == 0 || range.offset_bytes() < end ||
                 range.length_bytes() > static_cast<uint64_t>(INT64_MAX) - range.offset_bytes();
    if (disordered) return false;
    end = range.offset_bytes() + range.length_bytes();
    response.set_volume_capacity_bytes(ToBytes(range.volume_capacity_bytes()));
    auto& block = *response.add_block_metadata();
    block.set_byte_offset(static_cast<int64_t>(range.offset_bytes()));
    block.set_size_bytes(static_cast<int64_t>(range.length_bytes()));
    if (static_cast<uint32_t>(response.block_metadata_size()) < max) return true;
    gone = !send(response);
    reset();
    return !gone;
  };
  base::Status status;
  for (uint32_t resumes = 0; resumes <= kMetadataResumesMax; ++resumes) {
    if (resumes > 0) request.set_starting_offset(static_cast<int64_t>(end));
    call.message.set_request(request.SerializeAsString());
    const uint64_t begun_at = end;
    status = backend.Stream(call, on_emit);
    const bool is_broken_off = !status && status.error().code == base::Code::kUnavailable;
    if (!is_broken_off || gone || disordered || end == begun_at) break;
  }
  if (disordered)
    return base::Fail(base::Code::kUnavailable, "backend " + backend.name() +
                                                    " gave a block range that does not follow " +
                                                    "the one before it");
  if (!status) return tl::unexpected(WithoutSecrets(status.error(), call.secrets));
  if (!gone && response.block_metadata_size() > 0) gone = !send(response);
  if (gone) return base::Fail(base::Code::kCancelled, "the caller stopped reading");
  return {};
}

base::Status CheckOffsets(int64_t starting_offset, int32_t max_results) {
  if (starting_offset < 0)
    return base::Fail(
        base::Code::kInvalidArgument,
        "starting_offset: " + std::to_string(starting_offset) + ": expected 0 or more");
  return CheckMaxEntries(max_results, "max_results");
}

}  // namespace

base::Status Metadata::GetMetadataAllocated(
    const csi::v1::GetMetadataAllocatedRequest& request, const CallContext& context,
    const std::function<bool(const csi::v1::GetMetadataAllocatedResponse&)>& send) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::GET_ALLOCATED));
  GANTRY_TRY(RequireText(request.snapshot_id(), "snapshot_id"));
  GANTRY_TRY(CheckOffsets(request.starting_offset(), request.max_results()));
  GANTRY_TRY_ASSIGN(const auto located, driver_.Locate(IdKind::kSnapshot, request.snapshot_id()));
  GANTRY_TRY(driver_.RequireOffered(*located.backend, channel::GET_ALLOCATED));
  const auto split = SplitSecrets(request);
  BackendCall call;
  call.message.set_operation(channel::GET_ALLOCATED);
  call.message.set_handle(located.handle);
  call.secrets = &split.secrets;
  call.deadline = context.deadline;
  call.cancellation = context.cancellation;
  return StreamRanges<csi::v1::GetMetadataAllocatedResponse>(*located.backend, std::move(call),
                                                             split.request, send);
}

base::Status Metadata::GetMetadataDelta(
    const csi::v1::GetMetadataDeltaRequest& request, const CallContext& context,
    const std::function<bool(const csi::v1::GetMetadataDeltaResponse&)>& send) const {
  GANTRY_TRY(driver_.RequireAnyOffers(channel::GET_DELTA));
  GANTRY_TRY(RequireText(request.base_snapshot_id(), "base_snapshot_id"));
  GANTRY_TRY(RequireText(request.target_snapshot_id(), "target_snapshot_id"));
  GANTRY_TRY(CheckOffsets(request.starting_offset(), request.max_results()));
  GANTRY_TRY_ASSIGN(const auto older,
                    driver_.Locate(IdKind::kSnapshot, request.base_snapshot_id()));
  GANTRY_TRY_ASSIGN(const auto newer,
                    driver_.Locate(IdKind::kSnapshot, request.target_snapshot_id()));
  if (older.backend != newer.backend)
    return base::Fail(base::Code::kInvalidArgument,
                      "target_snapshot_id: " + request.target_snapshot_id() + " is of backend " +
                          newer.backend->name() + ": expected " + older.backend->name());
  GANTRY_TRY(driver_.RequireOffered(*newer.backend, channel::GET_DELTA));
  const auto split = SplitSecrets(request);
  BackendCall call;
  call.message.set_operation(channel::GET_DELTA);
  call.message.set_handle(newer.handle);
  call.message.set_content_handle(older.handle);
  call.secrets = &split.secrets;
  call.deadline = context.deadline;
  call.cancellation = context.cancellation;
  return StreamRanges<csi::v1::GetMetadataDeltaResponse>(*newer.backend, std::move(call),
                                                         split.request, send);
}

}  // namespace gantry::core
