// SPDX-License-Identifier: Apache-2.0
#include "host/wire/decoder.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace gantry::wire {
namespace {

tl::unexpected<base::Error> Violation(std::string message) {
  return base::Fail(base::Code::kInternal, "channel protocol violation: " + std::move(message));
}

bool IsSecret(Kind kind) { return FindKind(static_cast<uint8_t>(kind))->secret; }

size_t BodySize(const Message& message) {
  return IsSecret(message.kind) ? message.secret.size() : message.payload.size();
}

}  // namespace

std::span<char> Decoder::Body() {
  if (IsSecret(current_.kind)) return {current_.secret.data(), current_.secret.size()};
  return {current_.payload.data(), current_.payload.size()};
}

std::span<char> Decoder::Space() {
  if (!in_payload_) return {};
  return Body().subspan(body_have_);
}

base::Status Decoder::Feed(std::vector<base::UniqueFd> fds, size_t direct, std::span<char> bytes) {
  if (!fds.empty() && !accept_fds_)
    return Violation(std::to_string(fds.size()) + " fds received, this side accepts none");
  for (base::UniqueFd& fd : fds) fds_.push_back(std::move(fd));
  if (fds_.size() > kMessageFdsMax)
    return Violation("more than " + std::to_string(kMessageFdsMax) + " fds received");

  if (direct > 0) {
    body_have_ += direct;
    if (body_have_ == Body().size()) GANTRY_TRY(EndFrame());
  }
  while (!bytes.empty()) {
    if (!in_payload_) {
      const size_t n = std::min(bytes.size(), sizeof(FrameHeader) - header_have_);
      std::memcpy(header_bytes_.data() + header_have_, bytes.data(), n);
      header_have_ += n;
      bytes = bytes.subspan(n);
      if (header_have_ < sizeof(FrameHeader)) break;
      header_have_ = 0;
      GANTRY_TRY(BeginFrame());
      continue;
    }
    const std::span<char> space = Space();
    const std::span<char> piece = bytes.first(std::min(bytes.size(), space.size()));
    std::memcpy(space.data(), piece.data(), piece.size());
    if (IsSecret(current_.kind)) base::Wipe(piece);
    body_have_ += piece.size();
    bytes = bytes.subspan(piece.size());
    if (body_have_ == Body().size()) GANTRY_TRY(EndFrame());
  }
  if (!fds_.empty() && header_have_ == 0)
    return Violation(std::to_string(fds_.size()) + " fds received that no frame announces");
  return {};
}

base::Status Decoder::BeginFrame() {
  std::memcpy(&header_, header_bytes_.data(), sizeof(header_));
  GANTRY_TRY(CheckHeader(header_));
  const KindTraits& traits = *FindKind(header_.kind);
  const std::string name = traits.name;

  const auto same_call = std::find_if(partial_.begin(), partial_.end(), [&](const Message& other) {
    if (other.call_id != header_.call_id) return false;
    return other.kind == traits.kind ||
           (traits.of_call && FindKind(static_cast<uint8_t>(other.kind))->of_call);
  });
  if (same_call == partial_.end()) {
    current_ = Message{traits.kind, header_.call_id, {}, {}, {}};
  } else {
    if (same_call->kind != traits.kind)
      return Violation("a " + name + " frame inside an incomplete " + KindName(same_call->kind) +
                       " message of the same call");
    if (header_.fd_count > 0) return Violation("fds in a later chunk of a " + name + " message");
    current_ = std::move(*same_call);
    partial_bytes_ -= BodySize(current_);
    partial_.erase(same_call);
  }

  if (fds_.size() < header_.fd_count)
    return Violation("a " + name + " frame announces " + std::to_string(header_.fd_count) +
                     " fds, " + std::to_string(fds_.size()) + " came with it");
  const auto fds_end = fds_.begin() + header_.fd_count;
  std::move(fds_.begin(), fds_end, std::back_inserter(current_.fds));
  fds_.erase(fds_.begin(), fds_end);

  body_have_ = BodySize(current_);
  const size_t size = body_have_ + header_.length;
  if (size > traits.bytes_max)
    return Violation("a " + name + " message of more than " + std::to_string(traits.bytes_max) +
                     " bytes");
  if (traits.secret) {
    current_.secret.Resize(size);
  } else {
    current_.payload.resize(size);
  }
  in_payload_ = true;
  if (header_.length == 0) return EndFrame();
  return {};
}

base::Status Decoder::EndFrame() {
  in_payload_ = false;
  if ((header_.flags & kFlagMore) == 0) {
    sink_(std::exchange(current_, Message{}));
    return {};
  }
  partial_bytes_ += BodySize(current_);
  if (partial_.size() == kReassemblyMessagesMax || partial_bytes_ > kReassemblyBytesMax)
    return Violation("too many incomplete messages: " + std::to_string(partial_.size() + 1) +
                     " with " + std::to_string(partial_bytes_) + " bytes, at most " +
                     std::to_string(kReassemblyMessagesMax) + " with " +
                     std::to_string(kReassemblyBytesMax) + " are allowed");
  partial_.push_back(std::exchange(current_, Message{}));
  return {};
}

std::string Decoder::Incomplete() const {
  if (in_payload_) {
    const size_t missing = BodySize(current_) - body_have_;
    return "in a " + KindName(current_.kind) + " frame, " +
           std::to_string(header_.length - missing) + " of " + std::to_string(header_.length) +
           " payload bytes received";
  }
  if (header_have_ > 0)
    return "in a frame header, " + std::to_string(header_have_) + " of " +
           std::to_string(sizeof(FrameHeader)) + " bytes received";
  if (!partial_.empty())
    return "between the chunks of a " + KindName(partial_.front().kind) + " message";
  return "";
}

}  // namespace gantry::wire
