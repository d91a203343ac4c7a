// SPDX-License-Identifier: Apache-2.0
// Plugins are loaded from here and nowhere else: a copy named by its digest, which never changes,
// while the file it was copied from may be replaced at any time, also in place, under a process
// that has mapped it. What the digest says and what is loaded are therefore the same bytes.
#pragma once

#include <filesystem>
#include <string>

#include "host/base/error.hpp"

namespace gantry::supervise {

constexpr size_t kPluginBytesMax = 512U << 20;

struct StoredPlugin {
  std::filesystem::path path;  // <store>/<digest>.so, 0555
  std::string digest;          // sha256 in hexadecimal
};

// Any thread.
class PluginStore {
 public:
  // Made when missing; 0755, since workers open their plugin under uids of their own.
  static base::Result<PluginStore> Open(std::filesystem::path directory);

  // Copies the plugin, durably, unless the same bytes are there already. An object that is there
  // but damaged is replaced. NOT_FOUND, RESOURCE_EXHAUSTED (larger than kPluginBytesMax),
  // INVALID_ARGUMENT (not a regular file).
  base::Result<StoredPlugin> Add(const std::filesystem::path& plugin) const;

  // DATA_LOSS when the object's bytes are not those of its name; NOT_FOUND.
  base::Result<StoredPlugin> Find(const std::string& digest) const;

 private:
  explicit PluginStore(std::filesystem::path directory) : directory_(std::move(directory)) {}
  std::filesystem::path directory_;
};

}  // namespace gantry::supervise
