// SPDX-License-Identifier: Apache-2.0
// What the CSI logic sees of a storage backend: a name, what it can do, and calls that end. Whether
// a worker died and the call was replayed, or a swap went on, is not visible here; supervise/
// implements this, tests implement it with a few lines.
#pragma once

#include <gantry/channel.pb.h>

#include <bitset>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/secret.hpp"

namespace gantry::core {

using SecretMap = std::map<std::string, base::SecretBytes>;

// What the plugin declared when its instance was made; fixed for the life of gantryd.
class Capabilities {
 public:
  Capabilities() = default;
  explicit Capabilities(channel::Description description);

  // False: no worker has described itself yet.
  bool known() const { return known_; }

  // Has("gantry.controller/1", "create_volume"): the extension is there and the slot is set.
  bool Has(std::string_view extension, std::string_view slot) const;
  bool Offers(channel::Operation operation) const;
  const channel::Description& description() const { return description_; }

 private:
  bool known_ = false;
  channel::Description description_;
  std::set<std::string, std::less<>> slots_;
  std::bitset<channel::Operation_ARRAYSIZE> offers_;
};

// Set once, by a caller who no longer wants the answer. Any thread.
class Cancellation {
 public:
  virtual ~Cancellation() = default;
  virtual bool cancelled() const = 0;
  // fn runs once, on the cancelling thread or at once; the returned object unregisters it.
  virtual std::shared_ptr<void> OnCancel(std::function<void()> fn) = 0;
};

struct BackendCall {
  channel::Call message;  // operation, request, handle, ...; deadline and attempt are filled in
  const SecretMap* secrets = nullptr;
  base::TimePoint deadline;
  Cancellation* cancellation = nullptr;  // may be null
  // Kept until the plugin has really finished or its worker is dead, which may be after Call
  // returned DEADLINE_EXCEEDED: the lock of the volume.
  std::shared_ptr<void> hold;
  // Where set, gets each task that the operation asks for, at once and whatever becomes of it, from
  // a thread of the call's; they are not among its results then.
  std::function<void(const channel::Task&)> on_task;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const std::string& name() const = 0;
  virtual const Capabilities& capabilities() const = 0;
  // UNAVAILABLE, and why, while the plugin has not said what it offers: since the host started no
  // worker of it came up. Such a backend must never look like one that offers nothing.
  virtual base::Status Known() const;
  // Runs one operation to its end and returns what it emitted. Blocks until the finish, the
  // deadline or the cancellation. UNAVAILABLE when the backend's worker died and could not be
  // replayed in time; never INTERNAL or UNKNOWN for that (the CO would take them as final).
  virtual base::Result<std::vector<channel::Emit>> Call(const BackendCall& call) = 0;
  // The same for results that come one by one; on_emit returns false when no more are wanted.
  virtual base::Status Stream(const BackendCall& call,
                              const std::function<bool(const channel::Emit&)>& on_emit) = 0;
};

}  // namespace gantry::core
