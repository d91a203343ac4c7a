// SPDX-License-Identifier: Apache-2.0
// Takes a request's body apart. What the kernel sends is well-formed; the bounds are checked all the
// same, since a successor reads it from memory.
#pragma once

#include <gantry/datapath.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "host/datapath/slots.hpp"

namespace gantry::datapath {

class RequestBody {
 public:
  explicit RequestBody(const Slot& slot) : rest_(slot.body().data(), slot.body().size()) {}

  template <class T>
  bool Take(T& value) {
    if (rest_.size() < sizeof value) return false;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return true;
  }
  // A string with its NUL; 0 or an errno.
  int Text(gantry_str& text, size_t bytes_max) {
    const size_t length = rest_.find('\0');
    if (length == std::string_view::npos || length == 0) return EINVAL;
    if (length > bytes_max) return ENAMETOOLONG;
    text = {rest_.data(), length};
    rest_.remove_prefix(length + 1);
    return 0;
  }
  int Name(gantry_str& name) { return Text(name, GANTRY_FS_NAME_BYTES_MAX); }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace gantry::datapath
