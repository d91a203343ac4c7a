// SPDX-License-Identifier: Apache-2.0
#include "host/services/ceph_usage.hpp"

#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>

#include "host/base/fd.hpp"

namespace gantry::services {
namespace {

constexpr uint32_t kCephMagic = 0x00c36400;  // linux/magic.h has it not
constexpr uint64_t kBlockBytesMax = 4096;

// Nothing where the directory has no such attribute, a quota that is not set.
Outcome<std::optional<uint64_t>> NumberOf(int directory, const char* attribute,
                                          const std::string& name) {
  std::array<char, 32> text{};
  const ssize_t length = fgetxattr(directory, attribute, text.data(), text.size());
  if (length < 0 && errno == ENODATA) return std::optional<uint64_t>();
  if (length < 0) return FailNow(std::string("read ") + attribute + " of " + name);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + length, value);
  if (error != std::errc()) {
    errno = EIO;
    return FailNow(std::string("understand ") + attribute + " of " + name);
  }
  return std::optional(value);
}

}  // namespace

bool IsCeph(const struct statfs& status) {
  return static_cast<uint32_t>(status.f_type) == kCephMagic;
}

Outcome<void> ProbeCeph(int directory, const std::string& name, HelperReply* reply) {
  const base::UniqueFd fd(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailNow("open " + name);
  const auto used = NumberOf(fd.get(), "ceph.dir.rbytes", name);
  if (!used) return tl::unexpected(used.error());
  const auto quota = NumberOf(fd.get(), "ceph.quota.max_bytes", name);
  if (!quota) return tl::unexpected(quota.error());
  const uint64_t bytes = quota->value_or(0);
  if (bytes == 0) return {};
  uint64_t block = kBlockBytesMax;
  while (bytes % block != 0) block /= 2;
  reply->block_bytes = block;
  reply->blocks = bytes / block;
  reply->blocks_free = (bytes - std::min(bytes, used->value_or(0))) / block;
  reply->blocks_available = reply->blocks_free;
  return {};
}

}  // namespace gantry::services
