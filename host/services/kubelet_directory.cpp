// SPDX-License-Identifier: Apache-2.0
#include "host/services/kubelet_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <vector>

namespace gantry::services {
namespace {

constexpr size_t kPathBytesMax = PATH_MAX - 1;

// Lexically: without "." and empty components; a ".." is refused.
base::Result<std::vector<std::string_view>> Components(std::string_view path) {
  std::vector<std::string_view> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const auto part = path.substr(start, end - start);
    if (part == "..")
      return base::Fail(base::Code::kInvalidArgument,
                        "path \"" + std::string(path) + "\": expected one without \"..\"");
    if (!part.empty() && part != ".") parts.push_back(part);
    start = end + 1;
  }
  return parts;
}

std::string Join(const std::vector<std::string_view>& parts, size_t from) {
  std::string joined;
  for (size_t i = from; i < parts.size(); ++i) {
    if (!joined.empty()) joined += '/';
    joined += parts[i];
  }
  return joined;
}

}  // namespace

base::Result<KubeletDirectory> KubeletDirectory::Open(const std::filesystem::path& configured) {
  base::UniqueFd fd(open(configured.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return base::FailErrno(errno, "open kubelet_directory " + configured.string());
  std::array<char, PATH_MAX> resolved{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd.get());
  const ssize_t length = readlink(link.c_str(), resolved.data(), resolved.size());
  if (length < 0) return base::FailErrno(errno, "resolve kubelet_directory " + configured.string());
  const std::string name(resolved.data(), static_cast<size_t>(length));
  if (name == "/")
    return base::Fail(base::Code::kInvalidArgument,
                      "kubelet_directory: \"/\": expected a directory of kubelet's own");
  return KubeletDirectory(std::move(fd), configured.string(), name);
}

base::Result<std::string> KubeletDirectory::Relative(std::string_view path) const {
  if (path.empty() || path.front() != '/' || path.size() > kPathBytesMax ||
      path.find('\0') != std::string_view::npos)
    return base::Fail(base::Code::kInvalidArgument,
                      "path \"" + std::string(path.substr(0, 256)) +
                          "\": expected an absolute path of at most " +
                          std::to_string(kPathBytesMax) + " bytes");
  GANTRY_TRY_ASSIGN(const auto parts, Components(path));
  for (const auto* prefix : {&configured_, &resolved_}) {
    GANTRY_TRY_ASSIGN(const auto own, Components(*prefix));
    if (parts.size() <= own.size()) continue;
    if (std::equal(own.begin(), own.end(), parts.begin())) return Join(parts, own.size());
  }
  return base::Fail(
      base::Code::kInvalidArgument,
      "path \"" + std::string(path) + "\": expected one beneath kubelet_directory " + configured_);
}

}  // namespace gantry::services
