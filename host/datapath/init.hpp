// SPDX-License-Identifier: Apache-2.0
// The first request of a FUSE connection, answered where the mount is made: a data path never sees
// it, so that every server of a volume, also a later release's, speaks what was agreed here once.
// No writeback cache (a write would be acknowledged before it is anywhere but in page cache) and no
// ATOMIC_O_TRUNC (the truncation then is a SETATTR of its own, which can be repeated).
//
// A target of its own without the rest of the folder, for the mount helper.
#pragma once

#include <cstdint>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::datapath {

constexpr uint32_t kFuseMinorMin = 31;  // Linux 5.4
constexpr uint32_t kWriteBytesMax = 1024 * 1024;
constexpr uint32_t kReadaheadBytesMax = 1024 * 1024;
// Reads ahead and asynchronous direct I/O under way at once, and when the kernel calls it busy.
constexpr uint16_t kBackgroundMax = 64;
constexpr uint16_t kCongestionThreshold = 48;

struct FuseAgreement {
  uint32_t kernel_minor = 0;
  uint64_t kernel_flags = 0;  // what the kernel offered
  uint64_t flags = 0;         // what was taken of it
};

// Reads FUSE_INIT from the fd of a filesystem just mounted and answers it. DEADLINE_EXCEEDED,
// UNAVAILABLE (unmounted), FAILED_PRECONDITION (a kernel too old). Leaves the fd non-blocking.
base::Result<FuseAgreement> AnswerInit(int fuse_fd, base::TimePoint deadline);

}  // namespace gantry::datapath
