// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/xdr_shape.hpp"

#include <cstring>

namespace gantry::nfs {
namespace {

constexpr uint32_t kFattrRestBytes = 80;  // fattr3 after its type
constexpr uint32_t kWccBytes = 24;        // wcc_attr: size, mtime, ctime
constexpr uint32_t kFileTypeMax = 7;
constexpr uint32_t kStableMax = 2;

}  // namespace

uint32_t ShapeWalk::Take() {
  if (!ok_ || rest_.size() < 4) {
    ok_ = false;
    return 0;
  }
  uint32_t word;
  std::memcpy(&word, rest_.data(), 4);
  rest_ = rest_.subspan(4);
  return __builtin_bswap32(word);
}

bool ShapeWalk::Skip(uint64_t bytes) {
  if (!ok_ || rest_.size() < bytes) return ok_ = false;
  rest_ = rest_.subspan(bytes);
  return true;
}

bool ShapeWalk::Opaque(uint32_t bytes_max) {
  const uint32_t bytes = Take();
  if (!ok_ || bytes > bytes_max) return ok_ = false;
  return Skip((static_cast<uint64_t>(bytes) + 3) & ~uint64_t{3});
}

bool ShapeWalk::Bool(bool* value) {
  const uint32_t word = Take();
  if (!ok_ || word > 1) return ok_ = false;
  *value = word == 1;
  return true;
}

// libnfs gives strings as char*, so a NUL inside would silently cut them; a name with a slash would
// let a server point whoever joins paths to another place.
bool ShapeWalk::Text(uint32_t bytes_max, bool is_name) {
  const auto before = rest_;
  const uint32_t bytes = Take();
  if (!ok_ || bytes > bytes_max || (is_name && bytes == 0) || rest_.size() < bytes) {
    return ok_ = false;
  }
  const std::string_view text(reinterpret_cast<const char*>(rest_.data()), bytes);
  if (text.find('\0') != text.npos || (is_name && text.find('/') != text.npos)) return ok_ = false;
  rest_ = before;
  return Opaque(bytes_max);
}

bool ShapeWalk::Entries(bool plus) {
  bool more = false;
  for (uint32_t entries = 0; Bool(&more) && more; ++entries) {
    if (entries == kDirEntriesMax) return ok_ = false;
    if (!Match("q") || !Text(kNameBytesMax, true) || !Match(plus ? "qaH" : "q")) return false;
  }
  return ok_;
}

bool ShapeWalk::One(char letter) {
  bool follows = false;
  switch (letter) {
    case 'u':
      return Skip(4);
    case 'q':
    case 'v':
      return Skip(8);
    case 'b':
      return Bool(&follows);
    case 's': {
      const uint32_t stable = Take();
      return ok_ = ok_ && stable <= kStableMax;
    }
    case 'f': {
      const uint32_t type = Take();
      ok_ = ok_ && type >= 1 && type <= kFileTypeMax;
      return Skip(kFattrRestBytes);
    }
    case 'a':
      return Bool(&follows) && (!follows || One('f'));
    case 'w':
      return Bool(&follows) && (!follows || Skip(kWccBytes)) && One('a');
    case 'h': {
      // An empty one names nothing; the next call with it could not be made.
      return ok_ = ShapeWalk(rest_).Take() > 0 && Opaque(kHandleBytesMax);
    }
    case 'H':
      return Bool(&follows) && (!follows || One('h'));
    case 'p':
      return Text(kPathBytesMax, false);
    case 'd':
      return Opaque(INT32_MAX);
    case 'n':
      return Entries(false);
    case 'N':
      return Entries(true);
    case 'r':
      return Opaque(kAuthBytesMax);
    case 'A': {
      const uint32_t count = Take();
      if (!ok_ || count > kAuthFlavorsMax) return ok_ = false;
      return Skip(uint64_t{count} * 4);
    }
    default:
      return ok_ = false;
  }
}

bool ShapeWalk::Match(std::string_view shape) {
  for (const char letter : shape) {
    if (!ok_ || !One(letter)) return ok_ = false;
  }
  return ok_;
}

}  // namespace gantry::nfs
