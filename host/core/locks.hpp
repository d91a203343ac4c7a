// SPDX-License-Identifier: Apache-2.0
// One operation a key. A second one is told ABORTED at once, as the CSI spec asks ("operation
// pending for volume"); waiting would only fill the host with calls that the CO repeats anyway.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/sync.hpp"

namespace gantry::core {

// Thread-safe. Must outlive the locks it gave.
class KeyLocks {
 public:
  // All keys or none. The locks are held until the returned object is destroyed, which may be on
  // another thread and after the caller has been answered.
  base::Result<std::shared_ptr<void>> TryLock(std::vector<std::string> keys);
  size_t HeldCount() const;

 private:
  struct State {
    mutable base::Mutex mutex;
    std::set<std::string, std::less<>> held;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace gantry::core
