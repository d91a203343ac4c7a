// SPDX-License-Identifier: Apache-2.0
// Who counts CSI calls: front/ tells, admin/ makes metrics of it.
#pragma once

#include <string_view>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::core {

struct CallEnd {
  std::string_view method;   // "CreateVolume"
  std::string_view backend;  // empty where the call named none, or none that exists
  base::Code code = base::Code::kOk;
  base::Duration took{0};
};

// Any thread; cheap and never blocking. Every Began is followed by one Ended.
class CallWatch {
 public:
  virtual ~CallWatch() = default;
  virtual void Began(std::string_view method) = 0;
  virtual void Ended(const CallEnd& end) = 0;
};

}  // namespace gantry::core
