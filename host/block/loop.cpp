// SPDX-License-Identifier: Apache-2.0
#include "host/block/loop.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "host/base/file.hpp"

namespace gantry::block {
namespace {

namespace fs = std::filesystem;
using base::Code;
using base::Fail;
using base::UniqueFd;

constexpr std::chrono::milliseconds kDetachPollMs{10};
constexpr std::chrono::milliseconds kDetachPollMsMax{200};
constexpr uint32_t kLargestBlockBytes = 4096;
constexpr size_t kAttributeBytesMax = 4096;

void CopyName(const std::string& from, uint8_t* to) {
  std::memcpy(to, from.data(), std::min(from.size(), kLoopNameBytesMax));
}

std::string NameFrom(const uint8_t* bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes);
  return std::string(text, strnlen(text, kLoopNameBytesMax + 1));
}

UniqueFd OpenLoop(int number) {
  return UniqueFd(
      open(("/dev/loop" + std::to_string(number)).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

// Empty: it has none (any more).
std::string BackingFile(int number) {
  auto text = base::ReadFile("/sys/block/loop" + std::to_string(number) + "/loop/backing_file",
                             kAttributeBytesMax);
  if (!text) return "";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return std::move(*text);
}

// May hang as long as its file's server does.
std::string NameOf(int number) {
  const UniqueFd device = OpenLoop(number);
  loop_info64 info{};
  if (!device || ioctl(device.get(), LOOP_GET_STATUS64, &info) != 0) return "";
  return NameFrom(info.lo_file_name);
}

std::vector<Loop> Attached() {
  constexpr std::string_view kPrefix = "loop";
  std::vector<Loop> loops;
  std::error_code error;
  for (fs::directory_iterator it("/sys/block", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    int number = 0;
    const char* const end_of_name = name.data() + name.size();
    if (!name.starts_with(kPrefix)) continue;
    const auto [stop, parsed] = std::from_chars(name.data() + kPrefix.size(), end_of_name, number);
    if (parsed != std::errc() || stop != end_of_name) continue;
    if (auto file = BackingFile(number); !file.empty()) loops.push_back({number, std::move(file)});
  }
  std::sort(loops.begin(), loops.end(),
            [](const Loop& a, const Loop& b) { return a.number < b.number; });
  return loops;
}

// False: another has taken it meanwhile.
base::Result<bool> Configure(int device, int backing, const LoopOptions& options) {
  loop_config config{};
  config.fd = static_cast<uint32_t>(backing);
  config.block_size = options.block_bytes;
  config.info.lo_flags = LO_FLAGS_DIRECT_IO;
  if (options.readonly) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  CopyName(options.name, config.info.lo_file_name);
  if (ioctl(device, LOOP_CONFIGURE, &config) == 0) return true;
  if (errno == EBUSY) return false;
  return base::FailErrno(errno, "LOOP_CONFIGURE");
}

bool DoesDirectIo(int number) {
  const auto text =
      base::ReadFile("/sys/block/loop" + std::to_string(number) + "/loop/dio", kAttributeBytesMax);
  return text && text->starts_with("1");
}

base::Result<Loop> AttachNew(int backing, const LoopOptions& options) {
  const UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) return base::FailErrno(errno, "open /dev/loop-control");
  for (int i = 0; i < kLoopTriesMax; ++i) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return base::FailErrno(errno, "LOOP_CTL_GET_FREE");
    const std::string path = "/dev/loop" + std::to_string(number);
    const UniqueFd device(open(path.c_str(), (options.readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    if (!device) return base::FailErrno(errno, "open " + path);
    GANTRY_TRY_ASSIGN(const bool is_ours, Configure(device.get(), backing, options));
    if (!is_ours) continue;
    if (DoesDirectIo(number)) return Loop{number, BackingFile(number)};
    if (ioctl(device.get(), LOOP_CLR_FD) != 0) return base::FailErrno(errno, "LOOP_CLR_FD");
    return Fail(Code::kFailedPrecondition,
                "the file under a loop device can do no direct I/O with blocks of " +
                    std::to_string(options.block_bytes) + " bytes");
  }
  return Fail(Code::kUnavailable,
              std::to_string(kLoopTriesMax) + " free loop devices were taken by others");
}

}  // namespace

base::Result<std::vector<Loop>> FindLoops(const LoopSearch& search) {
  std::vector<Loop> found;
  for (auto& loop : Attached()) {
    const auto match = search.match(loop.backing_file);
    if (match == LoopSearch::Match::kNo) continue;
    if (match == LoopSearch::Match::kIfNamed && !NameOf(loop.number).starts_with(search.name))
      continue;
    found.push_back(std::move(loop));
  }
  return found;
}

base::Result<Loop> AttachLoop(int backing, const LoopOptions& options) {
  if (options.name.empty() || options.name.size() > kLoopNameBytesMax)
    return Fail(Code::kInvalidArgument, "loop device name \"" + options.name +
                                            "\": expected 1 to " +
                                            std::to_string(kLoopNameBytesMax) + " bytes");
  auto made = AttachNew(backing, options);
  if (made || made.error().code != Code::kFailedPrecondition || options.block_bytes != 0)
    return made;
  // Older kernels begin with 512, which a disk with larger blocks below cannot do.
  LoopOptions larger = options;
  larger.block_bytes = kLargestBlockBytes;
  return AttachNew(backing, larger);
}

base::Status RefreshLoop(const Loop& loop) {
  const UniqueFd device = OpenLoop(loop.number);
  if (!device) return base::FailErrno(errno, "open " + loop.Path());
  if (ioctl(device.get(), LOOP_SET_CAPACITY, 0) != 0)
    return base::FailErrno(errno, "LOOP_SET_CAPACITY of " + loop.Path());
  return {};
}

base::Status DetachLoop(const Loop& loop, base::TimePoint deadline) {
  for (auto pause = kDetachPollMs;; pause = std::min(2 * pause, kDetachPollMsMax)) {
    if (BackingFile(loop.number) != loop.backing_file) return {};
    {
      // Closed before waiting: it is gone when the last one closes it.
      const UniqueFd device = OpenLoop(loop.number);
      if (!device && errno != ENXIO && errno != ENOENT)
        return base::FailErrno(errno, "open " + loop.Path());
      if (device && ioctl(device.get(), LOOP_CLR_FD) != 0 && errno != ENXIO && errno != EBUSY)
        return base::FailErrno(errno, "LOOP_CLR_FD of " + loop.Path());
    }
    if (std::chrono::steady_clock::now() + pause >= deadline)
      return Fail(Code::kFailedPrecondition, loop.Path() +
                                                 " is still in use: expected nobody who "
                                                 "has it open or mounted");
    (void)poll(nullptr, 0, static_cast<int>(pause.count()));
  }
}

}  // namespace gantry::block
