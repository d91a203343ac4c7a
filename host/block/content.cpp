// SPDX-License-Identifier: Apache-2.0
#include "host/block/content.hpp"

#include <blkid/blkid.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "host/block/device.hpp"

namespace gantry::block {
namespace {

using base::Code;
using base::Fail;

constexpr off_t kXfsInProgressOffset = 126;  // xfs_dsb.sb_inprogress

struct FreeProbe {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

base::Status ReadExactly(int device, uint64_t offset, char* to, size_t length) {
  for (size_t done = 0; done < length;) {
    const ssize_t got = pread(device, to + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return Fail(Code::kUnavailable, "the device cannot be read at byte " +
                                          std::to_string(offset + done) + ": " +
                                          (got == 0 ? "end of file" : std::strerror(errno)));
    done += static_cast<size_t>(got);
  }
  return {};
}

base::Result<bool> IsZero(int device, uint64_t offset, uint64_t length) {
  constexpr size_t kPieceBytes = 64U << 10;
  std::vector<char> piece(kPieceBytes);
  bool is_zero = true;  // all of it is read even when it is not: a bad sector is worth an error
  for (uint64_t done = 0; done < length; done += kPieceBytes) {
    const size_t size = static_cast<size_t>(std::min<uint64_t>(kPieceBytes, length - done));
    GANTRY_TRY(ReadExactly(device, offset + done, piece.data(), size));
    is_zero = is_zero && std::all_of(piece.begin(), piece.begin() + static_cast<ptrdiff_t>(size),
                                     [](char c) { return c == 0; });
  }
  return is_zero;
}

std::string Value(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  if (blkid_probe_lookup_value(probe, name, &value, nullptr) != 0 || value == nullptr) return "";
  return value;
}

// What libblkid recognizes; nothing: no signature at all.
base::Result<std::optional<Content>> Signature(int device) {
  const Probe probe(blkid_new_probe());
  if (!probe || blkid_probe_set_device(probe.get(), device, 0, 0) != 0)
    return Fail(Code::kUnavailable, "libblkid cannot look at the device");
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                                     BLKID_SUBLKS_UUID | BLKID_SUBLKS_BADCSUM);
  blkid_probe_enable_partitions(probe.get(), 1);
  constexpr int kFound = 0;
  constexpr int kNothing = 1;
  constexpr int kAmbivalent = -2;
  const int found = blkid_do_safeprobe(probe.get());
  if (found == kNothing) return std::optional<Content>{};
  Content content;
  content.kind = Content::Kind::kOther;
  if (found == kAmbivalent) {
    content.type = "several at once";
    return std::optional<Content>(content);
  }
  if (found != kFound) return Fail(Code::kUnavailable, "libblkid cannot read the device");
  content.type = Value(probe.get(), "TYPE");
  content.uuid = Value(probe.get(), "UUID");
  if (Value(probe.get(), "USAGE") == "filesystem") content.kind = Content::Kind::kFilesystem;
  if (content.type.empty()) content.type = "partition table " + Value(probe.get(), "PTTYPE");
  return std::optional<Content>(content);
}

base::Result<bool> IsUnfinishedXfs(int device) {
  std::array<char, kXfsInProgressOffset + 1> superblock{};
  GANTRY_TRY(ReadExactly(device, 0, superblock.data(), superblock.size()));
  return std::string_view(superblock.data(), 4) == "XFSB" && superblock.back() != 0;
}

}  // namespace

std::string Content::Describe() const {
  switch (kind) {
    case Kind::kBlank:
      return "nothing";
    case Kind::kFilesystem:
      return "a filesystem of type " + type;
    case Kind::kOther:
      return "a signature of " + type;
    case Kind::kUnknown:
      break;
  }
  return type.empty() ? "data without a signature" : "an unfinished " + type;
}

base::Result<Content> Examine(int device) {
  GANTRY_TRY(FlushDevice(device));
  GANTRY_TRY_ASSIGN(const uint64_t bytes, DeviceBytes(device));
  if (bytes == 0) return Fail(Code::kUnavailable, "the device has no size");
  const uint64_t head = std::min(kHeadBytes, bytes);
  const uint64_t tail = std::min(kTailBytes, bytes - head);
  GANTRY_TRY_ASSIGN(const bool is_head_zero, IsZero(device, 0, head));
  GANTRY_TRY_ASSIGN(const bool is_tail_zero, IsZero(device, bytes - tail, tail));
  GANTRY_TRY_ASSIGN(auto signature, Signature(device));
  if (signature) {
    GANTRY_TRY_ASSIGN(const bool is_unfinished, IsUnfinishedXfs(device));
    if (is_unfinished) signature->kind = Content::Kind::kUnknown;
    return std::move(*signature);
  }
  Content content;
  if (is_head_zero && is_tail_zero) content.kind = Content::Kind::kBlank;
  return content;
}

base::Status MakeBlank(int device) {
  GANTRY_TRY_ASSIGN(const uint64_t bytes, DeviceBytes(device));
  const uint64_t head = std::min(kHeadBytes, bytes);
  const uint64_t tail = std::min(kTailBytes, bytes - head);
  const std::vector<char> zeroes(std::max(head, tail));
  for (const auto& [offset, length] : {std::pair(uint64_t{0}, head), std::pair(bytes - tail, tail)})
    for (uint64_t done = 0; done < length;) {
      const ssize_t wrote =
          pwrite(device, zeroes.data(), length - done, static_cast<off_t>(offset + done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return base::FailErrno(errno, "write zeroes to a device");
      done += static_cast<uint64_t>(wrote);
    }
  return FlushDevice(device);
}

}  // namespace gantry::block
