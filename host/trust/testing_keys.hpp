// SPDX-License-Identifier: Apache-2.0
// Keys for tests, made where they are needed: none lies in the tree.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace gantry::trust::testing {

struct KeyFiles {
  std::filesystem::path secret;
  std::filesystem::path open;
};

// <directory>/<name>.pem and <name>.pub.pem; `algorithm` as OpenSSL calls it.
inline KeyFiles MakeKey(const std::filesystem::path& directory, const std::string& name,
                        const char* algorithm = "ED25519") {
  const KeyFiles files{directory / (name + ".pem"), directory / (name + ".pub.pem")};
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      EVP_PKEY_Q_keygen(nullptr, nullptr, algorithm), EVP_PKEY_free);
  const auto write = [&](const std::filesystem::path& path, auto&& put) {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "we"), std::fclose);
    if (!file || !key || put(file.get()) != 1) throw std::runtime_error("make " + path.string());
  };
  write(files.secret, [&](FILE* file) {
    return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  write(files.open, [&](FILE* file) { return PEM_write_PUBKEY(file, key.get()); });
  return files;
}

}  // namespace gantry::trust::testing
