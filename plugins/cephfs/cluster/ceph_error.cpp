// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/ceph_error.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;

constexpr size_t kWordsBytesMax = 200;

int32_t CodeOf(int number) {
  switch (std::abs(number)) {
    case EACCES:
    case EKEYREJECTED:
      return code::kUnauthenticated;
    case EPERM:
      return code::kPermissionDenied;
    case EINVAL:
    case ENAMETOOLONG:
      return code::kInvalidArgument;
    case ENOENT:
      return code::kNotFound;
    case EEXIST:
      return code::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
      return code::kResourceExhausted;
    case ENOTEMPTY:
    case EOPNOTSUPP:
      return code::kFailedPrecondition;
    case EAGAIN:
    case EBUSY:
      return code::kAborted;
    default:
      return code::kUnavailable;
  }
}

}  // namespace

std::string ForPeople(std::string_view words) {
  while (!words.empty() && static_cast<unsigned char>(words.back()) <= ' ') words.remove_suffix(1);
  if (words.find("Traceback") != std::string_view::npos) {
    const size_t line = words.rfind('\n');
    if (line != std::string_view::npos) words.remove_prefix(line + 1);
  }
  std::string text;
  for (const char c : words.substr(0, kWordsBytesMax))
    text += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  return text;
}

plugin::Error FromErrno(int number, std::string_view what, std::string_view words) {
  std::string message(what);
  message += ": ";
  const std::string said = ForPeople(words);
  message += said.empty() ? std::strerror(std::abs(number)) : said;
  return {CodeOf(number), std::move(message)};
}

}  // namespace gantry::cephfs
