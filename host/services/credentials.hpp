// SPDX-License-Identifier: Apache-2.0
// gantry.secret/1: a backend's own credentials, in files that the configuration names (in
// Kubernetes a mounted Secret). Read again when the file has changed, so that a rotated credential
// needs no restart; a Secret is swapped by a symlink, so what is looked at is the file behind it.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "host/base/error.hpp"
#include "host/base/secret.hpp"

namespace gantry::services {

constexpr size_t kCredentialBytesMax = 65536;

// Any thread.
class CredentialFiles {
 public:
  explicit CredentialFiles(std::map<std::string, std::filesystem::path> files)
      : files_(std::move(files)) {}

  // The whole file, as it is. NOT_FOUND: the configuration names none so; UNAVAILABLE: its file
  // cannot be read now. No message holds any of the content.
  base::Result<base::SecretBytes> Get(const std::string& name);

 private:
  struct Cached {
    struct stat seen {};
    base::SecretBytes content;
  };

  const std::map<std::string, std::filesystem::path> files_;
  std::mutex mutex_;
  std::map<std::string, Cached> cache_;
};

}  // namespace gantry::services
