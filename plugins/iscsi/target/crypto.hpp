// SPDX-License-Identifier: Apache-2.0
// What is made of hashes and keys: names that never repeat, and CHAP secrets at rest. The target's
// daemon forgets its accounts when it ends, so they must be kept; they are sealed (AES-256-GCM) under
// a key that lies outside of the store, so that neither a record nor a backup of the store tells them.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target {

// `bytes` random bytes as hex; at most 256.
std::string RandomHex(size_t bytes);

// <prefix>:<handle>.<the incarnation's first 12 digits>, in lower case: a target that is made again
// is another one for every initiator that remembers names.
std::string IqnOf(const std::string& prefix, const std::string& handle,
                  const std::string& incarnation);
// NAA 6 with the OUI 001405, which LIO puts there of its own accord.
Identity IdentityOf(const std::string& handle, const std::string& incarnation);

class SealKey {
 public:
  // 64 hex digits, white space around them allowed. FAILED_PRECONDITION: nobody else may read it.
  static plugin::Result<SealKey> Read(const std::string& path);
  explicit SealKey(const std::array<unsigned char, 32>& key) : key_(key) {}
  SealKey(const SealKey&) = default;
  SealKey& operator=(const SealKey&) = default;
  ~SealKey();

  // Hex; `context` is bound to it: it opens only with the same.
  plugin::Result<std::string> Seal(const Chap& chap, std::string_view context) const;
  // FAILED_PRECONDITION: another key, another context, or damaged.
  plugin::Result<Chap> Open(std::string_view sealed, std::string_view context) const;

 private:
  std::array<unsigned char, 32> key_;
};

}  // namespace gantry::iscsi::target
