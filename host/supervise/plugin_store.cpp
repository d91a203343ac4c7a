// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/plugin_store.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"

namespace gantry::supervise {
namespace {

using base::Code;
using base::Fail;
using base::UniqueFd;

constexpr mode_t kObjectMode = 0555;
constexpr size_t kDigestChars = 64;

class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    good_ = context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }
  void Update(std::string_view bytes) {
    good_ = good_ && EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1;
  }
  base::Result<std::string> Finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int length = 0;
    if (!good_ || EVP_DigestFinal_ex(context_.get(), digest.data(), &length) != 1)
      return Fail(Code::kInternal, "sha256 failed");
    constexpr const char* kDigits = "0123456789abcdef";
    std::string hex;
    for (unsigned int i = 0; i < length; ++i) {
      hex += kDigits[digest[i] >> 4];
      hex += kDigits[digest[i] & 15];
    }
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool good_ = false;
};

// The digest of what was read, which is what was written to `to` (-1: nowhere).
base::Result<std::string> CopyAndDigest(int from, int to, const std::filesystem::path& name) {
  Digest digest;
  std::string buffer(1U << 16, '\0');
  size_t total = 0;
  for (;;) {
    const ssize_t n = read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read " + name.string());
    if (n == 0) return digest.Finish();
    total += static_cast<size_t>(n);
    if (total > kPluginBytesMax)
      return Fail(Code::kResourceExhausted,
                  name.string() + " is larger than " + std::to_string(kPluginBytesMax) + " bytes");
    const std::string_view bytes(buffer.data(), static_cast<size_t>(n));
    digest.Update(bytes);
    if (to >= 0) GANTRY_TRY(base::WriteAll(to, bytes));
  }
}

base::Result<UniqueFd> OpenRegular(const std::filesystem::path& path, int flags) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags));
  if (!fd) return base::FailErrno(errno, "open " + path.string());
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat " + path.string());
  if (!S_ISREG(status.st_mode))
    return Fail(Code::kInvalidArgument, path.string() + ": expected a regular file");
  return fd;
}

bool IsDigest(const std::string& text) {
  return text.size() == kDigestChars && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

base::Result<PluginStore> PluginStore::Open(std::filesystem::path directory) {
  GANTRY_TRY(base::MakeDirectories(directory, 0755));
  if (chmod(directory.c_str(), 0755) != 0)  // whatever the umask
    return base::FailErrno(errno, "make " + directory.string() + " readable");
  return PluginStore(std::move(directory));
}

base::Result<StoredPlugin> PluginStore::Add(const std::filesystem::path& plugin) const {
  GANTRY_TRY_ASSIGN(const UniqueFd from, OpenRegular(plugin, 0));
  // A file without a name until it is whole (open(2), O_TMPFILE), so a crash leaves nothing.
  const UniqueFd to(open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kObjectMode));
  if (!to) return base::FailErrno(errno, "make a file in " + directory_.string());
  GANTRY_TRY_ASSIGN(const std::string digest, CopyAndDigest(from.get(), to.get(), plugin));
  if (fchmod(to.get(), kObjectMode) != 0 || fsync(to.get()) != 0)
    return base::FailErrno(errno, "sync the copy of " + plugin.string());
  const StoredPlugin stored{directory_ / (digest + ".so"), digest};
  const std::string unnamed = "/proc/self/fd/" + std::to_string(to.get());
  constexpr int kTriesMax = 2;
  for (int attempt = 1;; ++attempt) {
    if (linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, stored.path.c_str(), AT_SYMLINK_FOLLOW) == 0)
      break;
    if (errno != EEXIST) return base::FailErrno(errno, "name " + stored.path.string());
    const auto there = Find(digest);
    if (there) return there;
    if (attempt == kTriesMax) return there;
    // Damaged: whoever has it mapped keeps it, whoever opens it next gets these bytes.
    if (unlink(stored.path.c_str()) != 0 && errno != ENOENT)
      return base::FailErrno(errno, "replace " + stored.path.string());
  }
  GANTRY_TRY(base::SyncDirectory(directory_));
  return stored;
}

base::Result<StoredPlugin> PluginStore::Find(const std::string& digest) const {
  if (!IsDigest(digest))
    return Fail(Code::kInvalidArgument, "plugin digest \"" + digest.substr(0, kDigestChars) +
                                            "\": expected 64 hexadecimal digits");
  const StoredPlugin stored{directory_ / (digest + ".so"), digest};
  GANTRY_TRY_ASSIGN(const UniqueFd fd, OpenRegular(stored.path, O_NOFOLLOW));
  GANTRY_TRY_ASSIGN(const std::string found, CopyAndDigest(fd.get(), -1, stored.path));
  if (found != digest)
    return Fail(Code::kDataLoss, stored.path.string() + ": its bytes have digest " + found);
  return stored;
}

}  // namespace gantry::supervise
