// SPDX-License-Identifier: Apache-2.0
// One change of names, the first time or again, and what is noted of it until the host knows its end.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <utility>

#include "plugins/cephfs/datapath/convert.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {

class CephDataPath::Attempt {
 public:
  // On the loop's thread. `journal`: nullptr where the volume is this node's alone.
  Attempt(gantry_op op, bool replayed, std::shared_ptr<Journal> journal)
      : op_(op),
        replayed_(replayed),
        journal_(std::move(journal)),
        past_(journal_ ? journal_->TakePast(op) : std::nullopt) {}
  Attempt(const Attempt&) = delete;
  // With its last owner, after the host was told.
  ~Attempt() {
    if (journal_) journal_->Free(op_);
  }

  bool IsAlone() const { return journal_ == nullptr; }
  // What the predecessor that began it had found.
  const std::optional<Begun>& past() const { return past_; }
  // A predecessor may have done it.
  bool MayBeDone() const { return IsAlone() ? replayed_ : past_.has_value(); }
  // Before the MDS is asked for the change. False: no room for it.
  bool Note(const Handle& before = {}) {
    if (IsAlone() || past_) return true;
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return journal_->Note(op_, {ToNanoseconds(now), before});
  }

 private:
  const gantry_op op_;
  const bool replayed_;
  const std::shared_ptr<Journal> journal_;
  const std::optional<Begun> past_;
};

}  // namespace gantry::cephfs
