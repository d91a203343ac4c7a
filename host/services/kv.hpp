// SPDX-License-Identifier: Apache-2.0
// gantry.kv/1: small durable values on this node, a namespace a backend, one file a key. A version
// is never given twice to a key, also when it was removed in between, so that compare-and-swap
// cannot mistake another value for the one it knew.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::services {

constexpr size_t kKvKeyBytesMax = 128;      // GANTRY_KV_KEY_BYTES_MAX
constexpr size_t kKvValueBytesMax = 65536;  // GANTRY_KV_VALUE_BYTES_MAX
constexpr size_t kKvKeysMax = 4096;         // a backend

struct KvValue {
  std::string value;
  uint64_t version = 0;
};

// Any thread. Done means durable.
class FileKv {
 public:
  // Nanoseconds since 1970; versions are taken from it.
  using WallClock = std::function<uint64_t()>;
  explicit FileKv(std::filesystem::path directory, WallClock now = SystemNow)
      : directory_(std::move(directory)), now_(std::move(now)) {}

  // NOT_FOUND; DATA_LOSS names a file that is not understood.
  base::Result<KvValue> Get(const std::string& backend, const std::string& key);
  // The new version. ABORTED unless the key's version is `expected_version` (0: not there).
  // RESOURCE_EXHAUSTED: the backend has kKvKeysMax keys.
  base::Result<uint64_t> Put(const std::string& backend, const std::string& key,
                             std::string_view value, uint64_t expected_version);
  base::Status Remove(const std::string& backend, const std::string& key,
                      uint64_t expected_version);
  // Keys in the order of their bytes.
  base::Result<std::vector<std::string>> Scan(const std::string& backend,
                                              const std::string& prefix);

 private:
  static uint64_t SystemNow();
  base::Result<KvValue> ReadKey(const std::string& backend, const std::string& key) const;
  std::filesystem::path FileOf(const std::string& backend, const std::string& key) const;
  std::mutex& LockOf(const std::string& backend);

  const std::filesystem::path directory_;
  const WallClock now_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<std::mutex>> locks_;
};

}  // namespace gantry::services
