// SPDX-License-Identifier: Apache-2.0
#include "host/services/credentials.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "host/base/fd.hpp"

namespace gantry::services {
namespace {

bool Same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

// Into a buffer that is wiped, which ReadFile's is not.
base::Result<base::SecretBytes> ReadAll(int fd, size_t size) {
  base::SecretBytes content;
  content.Resize(size);
  size_t have = 0;
  while (have < size) {
    const ssize_t n = read(fd, content.data() + have, size - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read");
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  content.Resize(have);
  return content;
}

tl::unexpected<base::Error> Unreadable(const std::string& name, const std::filesystem::path& file,
                                       const std::string& why) {
  return base::Fail(base::Code::kUnavailable,
                    "credential " + name + ": " + file.string() + ": " + why);
}

}  // namespace

base::Result<base::SecretBytes> CredentialFiles::Get(const std::string& name) {
  const auto file = files_.find(name);
  if (file == files_.end())
    return base::Fail(base::Code::kNotFound,
                      "credential \"" + name.substr(0, 64) + "\": the configuration names no such");
  // Non-blocking: a FIFO there must not hold up the caller.
  const base::UniqueFd fd(open(file->second.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return Unreadable(name, file->second, base::FromErrno(errno, "open").message);
  struct stat now {};
  if (fstat(fd.get(), &now) != 0)
    return Unreadable(name, file->second, base::FromErrno(errno, "stat").message);
  if (!S_ISREG(now.st_mode)) return Unreadable(name, file->second, "expected a regular file");
  if (static_cast<size_t>(now.st_size) > kCredentialBytesMax)
    return Unreadable(name, file->second,
                      "expected at most " + std::to_string(kCredentialBytesMax) + " bytes");
  const std::lock_guard lock(mutex_);
  auto cached = cache_.find(name);
  if (cached == cache_.end() || !Same(cached->second.seen, now)) {
    auto content = ReadAll(fd.get(), static_cast<size_t>(now.st_size));
    if (!content) return Unreadable(name, file->second, content.error().message);
    Cached fresh;
    fresh.seen = now;
    fresh.content = std::move(*content);
    cached = cache_.insert_or_assign(name, std::move(fresh)).first;
  }
  return base::SecretBytes(cached->second.content.view());
}

}  // namespace gantry::services
