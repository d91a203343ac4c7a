// SPDX-License-Identifier: Apache-2.0
// Plugins are loaded from here and nowhere else: a copy named by its digest, which never changes,
// while the file it was copied from may be replaced at any time, also in place, under a process
// that has mapped it. What the digest says, what was judged and what is loaded are therefore the
// same bytes: the trust policy is asked about the copy, before the copy has a name.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "host/base/error.hpp"
#include "host/trust/policy.hpp"

namespace gantry::supervise {

constexpr size_t kPluginBytesMax = 512U << 20;

struct StoredPlugin {
  std::filesystem::path path;  // <store>/<digest>.so, 0555
  std::string digest;          // sha256 in hexadecimal
  std::string trusted;         // why, for logs; empty from Find
};

// Any thread.
class PluginStore {
 public:
  // Made when missing; 0755, since workers open their plugin under uids of their own.
  // FAILED_PRECONDITION: it belongs to another user, who could change what was checked.
  static base::Result<PluginStore> Open(std::filesystem::path directory);

  // Copies the plugin, durably, unless the same bytes are there already. An object that is there
  // but damaged is replaced. NOT_FOUND, RESOURCE_EXHAUSTED (larger than kPluginBytesMax),
  // INVALID_ARGUMENT (not a regular file, or a key of the policy is none), PERMISSION_DENIED (not
  // trusted: nothing is left in the store).
  base::Result<StoredPlugin> Add(const std::filesystem::path& plugin,
                                 const trust::Policy& policy) const;

  // DATA_LOSS when the object's bytes are not those of its name, PERMISSION_DENIED when another
  // user could change them; NOT_FOUND. Reads the whole file.
  base::Result<StoredPlugin> Find(const std::string& digest) const;

  // Find for a path that Add gave, before each use. Quick where the file has not changed since it
  // was last read, by its inode's change time, which no system call can set (inode(7)).
  base::Status Verify(const std::filesystem::path& stored) const;

 private:
  struct Seen;
  struct Memory;
  explicit PluginStore(std::filesystem::path directory);
  std::filesystem::path directory_;
  std::shared_ptr<Memory> memory_;
};

}  // namespace gantry::supervise
