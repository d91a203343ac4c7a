// SPDX-License-Identifier: Apache-2.0
// What differs between iSCSI targets, and nothing else. A target exists exactly as long as a node
// has its volume: it is made by the first publication and gone after the last, so that a volume
// nobody uses costs the daemon nothing, can be grown and copied freely, and a fence is the target's
// end. Each volume has a target of its own, with the one LUN kLun.
//
// One process at a time works on one target: callers hold the volume's lock.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"
#include "plugins/iscsi/target/store.hpp"

namespace gantry::iscsi::target {

inline constexpr uint32_t kLun = 1;  // tgtd's LUN 0 is a controller of its own

struct Access {
  std::string initiator;
  bool readonly = false;
  std::optional<Chap> chap;
};

// A target as it is to be.
struct Export {
  std::string iqn;
  std::string file;  // absolute
  uint64_t size_bytes = 0;
  Identity identity;
  std::vector<Access> access;
};

class TargetKind {
 public:
  TargetKind() = default;
  TargetKind(const TargetKind&) = delete;
  TargetKind& operator=(const TargetKind&) = delete;
  virtual ~TargetKind() = default;

  virtual const char* name() const = 0;
  // Grow takes the LUN away for a moment.
  virtual bool grow_interrupts() const = 0;
  // UNAVAILABLE: nobody is there.
  virtual plugin::Status Probe() = 0;
  // Whether these can be given out together; FAILED_PRECONDITION says what cannot.
  virtual plugin::Status Check(const Export& wanted) const = 0;
  // Makes it what it is to be, whatever of it there is; access comes last. Access of others than
  // wanted is taken away, as by Close.
  virtual plugin::Status Ensure(const Export& wanted, Deadline deadline) = 0;
  // Nobody has it any more: access gone, connections dropped, nothing queued, no target. Not there:
  // OK. DEADLINE_EXCEEDED: something is still queued.
  virtual plugin::Status Remove(const std::string& iqn, Deadline deadline) = 0;
  // The same for one initiator, while others go on. `chap_user`: empty, none. Not there: OK.
  virtual plugin::Status Close(const std::string& iqn, const std::string& initiator,
                               const std::string& chap_user, Deadline deadline) = 0;
  // The file has grown. ABORTED: the LUN is busy.
  virtual plugin::Status Grow(const Export& wanted, Deadline deadline) = 0;
  // Those of `wanted` that are not whole, and targets beneath the prefix that are none of them.
  struct Difference {
    std::vector<std::string> missing;  // IQNs
    std::vector<std::string> surplus;
  };
  virtual plugin::Result<Difference> Compare(const std::string& iqn_prefix,
                                             const std::vector<Export>& wanted) = 0;
  // Another value after it has forgotten everything; nothing: nobody is there. Costs next to nothing.
  virtual std::optional<std::string> Generation() = 0;
};

}  // namespace gantry::iscsi::target
