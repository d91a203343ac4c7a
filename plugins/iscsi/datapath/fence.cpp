// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/datapath/fence.hpp"

#include <algorithm>
#include <cstdio>
#include <tuple>
#include <vector>

namespace gantry::iscsi {
namespace {

using scsi::Failure;
using scsi::ScsiError;

constexpr uint64_t kTag = 'g';
constexpr scsi::Sense kCommunicationFailure{scsi::kNotReady, 0x0800};
constexpr auto kType = scsi::ReservationType::kWriteExclusiveRegistrants;

std::string Hex(uint64_t key) {
  char text[24];
  snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(key));
  return text;
}

// From a target that can't, or from one that can't now.
FenceError Judge(ScsiError error) {
  const bool cannot =
      error.IsUnsupported() || (error.failure == Failure::kTaskManagement && error.status == 5);
  return {cannot ? FenceVerdict::kCannot : FenceVerdict::kRetry, std::move(error)};
}

// What a Linux target answers that has nowhere to write the key.
ScsiError HintOfKeysDirectory(ScsiError error) {
  if (error.failure == Failure::kCheckCondition && error.sense == kCommunicationFailure)
    error.message += "; a Linux target says so when it has no directory pr beneath its dbroot";
  return error;
}

tl::unexpected<FenceError> Refuse(FenceVerdict verdict, std::string message) {
  return tl::unexpected<FenceError>(FenceError{
      verdict,
      ScsiError{Failure::kStatus, {}, scsi::kStatusReservationConflict, std::move(message)}});
}

#define GANTRY_FENCE_TRY_ASSIGN(declaration, expression) \
  GANTRY_PLUGIN_TRY_ASSIGN(declaration, (expression).map_error(Judge))
#define GANTRY_FENCE_TRY(expression) GANTRY_PLUGIN_TRY((expression).map_error(Judge))

std::vector<ReservationKey> Ours(const std::vector<uint64_t>& keys) {
  std::vector<ReservationKey> ours;
  for (const uint64_t key : keys) {
    if (const auto mine = ReservationKey::From(key)) ours.push_back(*mine);
  }
  return ours;
}

tl::expected<ReservationKey, FenceError> Choose(const Claim& claim,
                                                const std::vector<ReservationKey>& found) {
  uint32_t epoch = claim.epoch.value_or(claim.epoch_min);
  if (!claim.epoch) {
    for (const ReservationKey& key : found) {
      if (key.epoch() > UINT32_MAX - kEpochStep) {
        return Refuse(FenceVerdict::kForeign, "the LUN is registered under key " +
                                                  Hex(key.value()) + ", which nothing can follow");
      }
      epoch = std::max(epoch, key.epoch() + kEpochStep);
    }
    return ReservationKey(epoch, claim.login, claim.owner);
  }
  const ReservationKey own(epoch, claim.login, claim.owner);
  for (const ReservationKey& key : found) {
    if (own.IsOlderThan(key)) {
      return Refuse(FenceVerdict::kFenced, "another node or process has taken the disk over (key " +
                                               Hex(key.value()) + ")");
    }
  }
  return own;
}

}  // namespace

ReservationKey::ReservationKey(uint32_t epoch, uint16_t login, uint16_t owner)
    : value_(kTag << 56 | uint64_t{epoch} << 24 | uint64_t{login & 0xfffu} << 12 |
             (owner & 0xfffu)) {}

std::optional<ReservationKey> ReservationKey::From(uint64_t key) {
  if (key >> 56 != kTag) return std::nullopt;
  return ReservationKey(key);
}

bool ReservationKey::IsOlderThan(const ReservationKey& other) const {
  return std::tuple(epoch(), owner()) < std::tuple(other.epoch(), other.owner());
}

tl::expected<ReservationKey, FenceError> Fence(
    scsi::Session& session, uint32_t lun, const Claim& claim,
    const std::function<void(const ReservationKey&)>& announce, const scsi::Wait& wait) {
  GANTRY_FENCE_TRY_ASSIGN(const auto before, scsi::ReadKeys(session, lun, wait));
  GANTRY_FENCE_TRY_ASSIGN(const auto holder, scsi::ReadReservation(session, lun, wait));
  if (holder && !ReservationKey::From(holder->key)) {
    return Refuse(FenceVerdict::kForeign, "the LUN is reserved under key " + Hex(holder->key) +
                                              ", which is not one of Gantry's");
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const ReservationKey own, Choose(claim, Ours(before)));
  announce(own);
  GANTRY_FENCE_TRY(
      scsi::RegisterAndIgnore(session, lun, own.value(), wait).map_error(HintOfKeysDirectory));
  // Asked again: where the target takes this session for the old one, the old key is gone now.
  GANTRY_FENCE_TRY_ASSIGN(const auto registered, scsi::ReadKeys(session, lun, wait));
  std::vector<uint64_t> preempted;
  for (const ReservationKey& key : Ours(registered)) {
    if (key.value() == own.value() ||
        std::find(preempted.begin(), preempted.end(), key.value()) != preempted.end()) {
      continue;
    }
    if (claim.epoch && own.IsOlderThan(key)) {
      return Refuse(FenceVerdict::kFenced, "another node or process has taken the disk over (key " +
                                               Hex(key.value()) + ")");
    }
    GANTRY_FENCE_TRY(scsi::Preempt(session, lun, own.value(), key.value(), kType, wait));
    preempted.push_back(key.value());
  }
  GANTRY_FENCE_TRY_ASSIGN(const auto left, scsi::ReadReservation(session, lun, wait));
  if (!left) GANTRY_FENCE_TRY(scsi::Reserve(session, lun, own.value(), kType, wait));
  GANTRY_FENCE_TRY(session.ResetLun(lun, wait));
  GANTRY_FENCE_TRY(scsi::TestReady(session, lun, wait));
  GANTRY_FENCE_TRY_ASSIGN(const auto held, scsi::ReadReservation(session, lun, wait));
  if (!held || held->key != own.value() || held->type != kType) {
    return Refuse(FenceVerdict::kRetry, "the reservation was lost again while it was made");
  }
  return own;
}

#undef GANTRY_FENCE_TRY
#undef GANTRY_FENCE_TRY_ASSIGN

}  // namespace gantry::iscsi
