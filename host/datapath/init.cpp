// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/init.hpp"

#include <linux/fuse.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "host/base/fd.hpp"

namespace gantry::datapath {
namespace {

constexpr uint64_t kWantedFlags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA |
                                  FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |
                                  FUSE_CACHE_SYMLINKS;
constexpr uint64_t kReaddirplusFlags = FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;

base::Status WaitForRequest(int fd, base::TimePoint deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0)
      return base::Fail(base::Code::kDeadlineExceeded, "the kernel sent no FUSE_INIT");
    pollfd wait{fd, POLLIN, 0};
    const int timeout_ms = static_cast<int>(std::min<int64_t>(left.count(), 60'000));
    const int ready = poll(&wait, 1, timeout_ms);
    if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "poll /dev/fuse");
    if (ready > 0) return {};
  }
}

base::Status Reply(int fd, uint64_t unique, int32_t error, const void* body, size_t bytes) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof header + bytes);
  header.error = error;
  header.unique = unique;
  iovec parts[] = {{&header, sizeof header}, {const_cast<void*>(body), bytes}};
  if (writev(fd, parts, bytes > 0 ? 2 : 1) < 0) return base::FailErrno(errno, "answer FUSE_INIT");
  return {};
}

}  // namespace

base::Result<PageCache> ParsePageCache(std::string_view text) {
  if (text.empty() || text == "writethrough") return PageCache::kWritethrough;
  if (text == "writeback") return PageCache::kWriteback;
  return base::Fail(base::Code::kInvalidArgument, std::string(kCacheParameter) + " is \"" +
                                                      std::string(text) +
                                                      "\"; expected writethrough or writeback");
}

base::Result<Locks> ParseLocks(std::string_view text) {
  if (text.empty() || text == "local") return Locks::kLocal;
  if (text == "none") return Locks::kNone;
  return base::Fail(
      base::Code::kInvalidArgument,
      std::string(kLocksParameter) + " is \"" + std::string(text) + "\"; expected local or none");
}

base::Result<FuseAgreement> AnswerInit(int fuse_fd, base::TimePoint deadline, InitChoices choices) {
  GANTRY_TRY(base::SetNonBlocking(fuse_fd));
  alignas(8) std::array<char, FUSE_MIN_READ_BUFFER> buffer;
  ssize_t length = -1;
  while (length < 0) {
    GANTRY_TRY(WaitForRequest(fuse_fd, deadline));
    length = read(fuse_fd, buffer.data(), buffer.size());
    if (length < 0 && errno != EAGAIN && errno != EINTR)
      return base::FailErrno(errno, "read FUSE_INIT");
  }
  constexpr size_t kShortInitBytes = sizeof(fuse_in_header) + 16;  // before protocol 7.36
  fuse_in_header header{};
  std::memcpy(&header, buffer.data(), sizeof header);
  if (static_cast<size_t>(length) < kShortInitBytes || header.opcode != FUSE_INIT)
    return base::Fail(base::Code::kInternal, "the first FUSE request has opcode " +
                                                 std::to_string(header.opcode) +
                                                 ", expected FUSE_INIT");
  fuse_init_in in{};
  std::memcpy(&in, buffer.data() + sizeof header,
              std::min(sizeof in, static_cast<size_t>(length) - sizeof header));

  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = FUSE_KERNEL_MINOR_VERSION;
  if (in.major > FUSE_KERNEL_VERSION) {
    // The kernel repeats its request in our major version (linux/fuse.h, "Protocol changelog").
    GANTRY_TRY(Reply(fuse_fd, header.unique, 0, &out, sizeof out));
    return AnswerInit(fuse_fd, deadline, choices);
  }
  if (in.major != FUSE_KERNEL_VERSION || in.minor < kFuseMinorMin) {
    (void)Reply(fuse_fd, header.unique, -EPROTO, nullptr, 0);
    return base::Fail(base::Code::kFailedPrecondition,
                      "the kernel speaks FUSE " + std::to_string(in.major) + "." +
                          std::to_string(in.minor) + ", expected at least 7." +
                          std::to_string(kFuseMinorMin));
  }
  FuseAgreement agreement;
  agreement.kernel_minor = in.minor;
  agreement.kernel_flags = in.flags | (uint64_t{in.flags2} << 32);
  uint64_t wanted = kWantedFlags;
  if (choices.readdirplus) wanted |= kReaddirplusFlags;
  if (choices.cache == PageCache::kWriteback) wanted |= FUSE_WRITEBACK_CACHE;
  if (choices.clears_set_id) wanted |= FUSE_HANDLE_KILLPRIV_V2;
  // They are asked for then, and the server refuses them; it is not asked for the kernel's own.
  if (choices.locks == Locks::kNone) wanted |= FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;
  agreement.flags = agreement.kernel_flags & wanted;
  out.max_readahead = std::min(in.max_readahead, kReadaheadBytesMax);
  out.flags = static_cast<uint32_t>(agreement.flags);
  out.max_background = kBackgroundMax;
  out.congestion_threshold = kCongestionThreshold;
  out.max_write = kWriteBytesMax;
  out.time_gran = 1;
  out.max_pages = static_cast<uint16_t>(kWriteBytesMax / 4096);
  GANTRY_TRY(Reply(fuse_fd, header.unique, 0, &out, sizeof out));
  return agreement;
}

}  // namespace gantry::datapath
