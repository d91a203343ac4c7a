// SPDX-License-Identifier: Apache-2.0
#include "host/worker/landlock.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "host/base/fd.hpp"

namespace gantry::worker {
namespace {

// Debian 12's header ends at ABI 2; the numbers are the kernel's ABI and do not change.
constexpr uint64_t kTruncate = 1ULL << 14;          // ABI 3, Linux 6.2
constexpr uint64_t kIoctlDevice = 1ULL << 15;       // ABI 5, Linux 6.10
constexpr uint64_t kScopeAbstractUnix = 1ULL << 0;  // ABI 6, Linux 6.12
constexpr uint64_t kScopeSignal = 1ULL << 1;
constexpr uint64_t kFilesAbi1 = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr int kScopesAbi = 6;

// A kernel takes a larger struct than its own when the rest is zero.
struct RulesetAttributes {
  uint64_t files = 0;
  uint64_t network = 0;
  uint64_t scoped = 0;
};

RulesetAttributes AttributesOf(int abi) {
  RulesetAttributes attributes;
  attributes.files = kFilesAbi1;
  if (abi >= 2) attributes.files |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) attributes.files |= kTruncate;
  if (abi >= 5) attributes.files |= kIoctlDevice;
  if (abi >= kScopesAbi) attributes.scoped = kScopeAbstractUnix | kScopeSignal;
  return attributes;
}

base::Status Allow(int ruleset, const std::filesystem::path& path, uint64_t access) {
  const base::UniqueFd fd(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd)
    return errno == ENOENT ? base::Status{} : base::FailErrno(errno, "open " + path.string());
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = fd.get();
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    return base::FailErrno(errno, "allow " + path.string());
  return {};
}

}  // namespace

base::Status RestrictFiles(const std::vector<std::filesystem::path>& readable,
                           const std::filesystem::path& plugin,
                           std::vector<std::string>& not_enforced) {
  const long abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return base::FailErrno(errno, "this kernel has none");
  const RulesetAttributes attributes = AttributesOf(static_cast<int>(abi));
  const base::UniqueFd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!ruleset) return base::FailErrno(errno, "make a ruleset");
  for (const auto& folder : readable) GANTRY_TRY(Allow(ruleset.get(), folder, kRead));
  GANTRY_TRY(Allow(ruleset.get(), plugin, LANDLOCK_ACCESS_FS_READ_FILE));
  for (const char* device : {"/dev/urandom", "/dev/random"})
    GANTRY_TRY(Allow(ruleset.get(), device, LANDLOCK_ACCESS_FS_READ_FILE));
  GANTRY_TRY(Allow(ruleset.get(), "/dev/null",
                   LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                       (attributes.files & kTruncate)));
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return base::FailErrno(errno, "restrict");
  if (abi < kScopesAbi)
    not_enforced.emplace_back("landlock scopes: this kernel's ABI is " + std::to_string(abi) +
                              ", expected 6 (Linux 6.12): abstract unix sockets can be reached");
  return {};
}

}  // namespace gantry::worker
